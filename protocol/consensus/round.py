"""One view: what this authority has signed in it, and what it has seen of it.

The status is one value and only moves as `_NEXT` says, which is S1 and S2 as a table: no way leads from NULLIFIED to
FINALIZED or back, nor from anywhere to NOTARIZED but from OPEN.
"""

from __future__ import annotations

from enum import Enum

from protocol.consensus.votes import Tally
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Proposal, Vote


class Status(Enum):
    """What this authority may still sign in a view."""

    OPEN = "open"  # signed nothing
    NOTARIZED = "notarized"  # signed notarize
    BARRED = "barred"  # saw two proposals: whatever was signed, only nullify may follow
    NULLIFIED = "nullified"  # signed nullify, perhaps after notarize: nothing may follow
    FINALIZED = "finalized"  # signed finalize: nothing may follow


_NEXT = {
    Status.OPEN: {Status.NOTARIZED, Status.BARRED, Status.NULLIFIED, Status.FINALIZED},
    Status.NOTARIZED: {Status.BARRED, Status.NULLIFIED, Status.FINALIZED},
    Status.BARRED: {Status.NULLIFIED},
    Status.NULLIFIED: set[Status](),
    Status.FINALIZED: set[Status](),
}

SIGNED = {NOTARIZE: Status.NOTARIZED, NULLIFY: Status.NULLIFIED, FINALIZE: Status.FINALIZED}
"""The status that signing a vote of this kind leads to."""


class Round:
    """One view. `proposal` is the leader's first; `own` holds the votes that were signed here, by kind."""

    __slots__ = ("own", "proposal", "status", "view", "votes")

    def __init__(self, view: int) -> None:
        self.view = view
        self.status = Status.OPEN
        self.votes = Tally()
        self.proposal: Proposal | None = None
        self.own: dict[int, Vote] = {}

    def may(self, kind: int) -> bool:
        """Whether the status allows to sign a vote of this kind."""
        return SIGNED[kind] in _NEXT[self.status]

    def signed(self, vote: Vote) -> None:
        """Book an own vote. Raises AssertionError where the status does not allow it."""
        if not self.may(vote.subject.kind):
            raise AssertionError(f"view {self.view} is {self.status.value}: no vote of kind {vote.subject.kind}")
        self.status = SIGNED[vote.subject.kind]
        self.own[vote.subject.kind] = vote
        self.votes.add(vote)

    def thin(self) -> bool:
        """Forget others' votes and the proposal; False if nothing is left that binds this authority."""
        self.votes = Tally()
        self.proposal = None
        for vote in self.own.values():
            self.votes.add(vote)
        return self.status is not Status.OPEN

    def bar(self) -> None:
        """Two proposals were seen: nothing but nullify may still be signed."""
        if Status.BARRED in _NEXT[self.status]:
            self.status = Status.BARRED
