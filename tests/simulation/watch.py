"""What one node's messages show: every contradiction between two signed votes that reached it must be reported.

Written from the rule in docs/spec/consensus.md, not from the machine: a vote that came by itself, in a proposal or in a
certificate that verifies, while its view was at most one above the node's and at most 64 below.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.consensus.effects import Equivocation
from protocol.consensus.events import Event, Received
from protocol.consensus.machine import Machine
from protocol.crypto.signing import vote_message
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Proposal, Vote

Slot = tuple[int, int, int]


class Watch:
    """Of one node: what it was shown in this life and epoch, and what it reported."""

    def __init__(self, verifier: Callable[[bytes, bytes, bytes], bool]) -> None:
        self.verifier = verifier
        self.reported: set[Slot] = set()
        self.due: set[Slot] = set()

    def begin(self, machine: Machine) -> None:
        self.machine = machine
        self.shown: dict[Slot, set[tuple[int, bytes, int]]] = {}

    def before(self, event: Event) -> None:
        machine, config = self.machine, self.machine.config
        if not isinstance(event, Received) or config.index is None or machine.halted:
            return
        message = event.message
        votes: list[Vote] = []
        if isinstance(message, Certificate):
            votes = [Vote(message.subject, i, signature) for i, signature in message.signatures]
            n = len(config.vote_keys)
            if len(votes) < n - (n - 1) // 3 or not all(self.signed(vote) for vote in votes):
                return
        elif isinstance(message, Vote | Proposal):
            votes = [message.vote if isinstance(message, Proposal) else message]
        for vote in votes:
            view = vote.subject.view
            far = isinstance(message, Certificate) and view > machine.chain.final_view
            near = far or machine.view - 64 <= view <= machine.view + 1
            if near and vote.index != config.index and self.signed(vote):
                self.show(vote)

    def signed(self, vote: Vote) -> bool:
        config = self.machine.config
        return (
            vote.subject.epoch == config.epoch
            and vote.index < len(config.vote_keys)
            and self.verifier(config.vote_keys[vote.index], vote_message(vote.subject), vote.signature)
        )

    def show(self, vote: Vote) -> None:
        subject = vote.subject
        slot = (subject.epoch, vote.index, subject.view)
        seen = self.shown.setdefault(slot, set())
        seen.add((subject.kind, subject.block, subject.parent_view))
        kinds = [kind for kind, _, _ in seen]
        if kinds.count(NOTARIZE) > 1 or kinds.count(FINALIZE) > 1 or {NULLIFY, FINALIZE} <= set(kinds):
            self.due.add(slot)

    def found(self, evidence: Equivocation) -> None:
        first, second = evidence.first, evidence.second
        slot = (first.subject.epoch, evidence.index, first.subject.view)
        if first.subject == second.subject or not (self.signed(first) and self.signed(second)):
            raise AssertionError(f"no evidence: {evidence}")
        self.reported.add(slot)

    def crashed(self) -> None:
        """What was not told before the crash is forgotten."""
        self.due &= self.reported

    def missed(self) -> set[Slot]:
        return self.due - self.reported
