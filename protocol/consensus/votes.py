"""The votes of one view: who voted for what, when that is a quorum, and who contradicts himself.

Memory: for each kind and index at most one verified and one noted vote, so six slots for each authority. A tally relies
on its caller for signatures: what is `add`ed was verified. A vote that can no longer matter, because the certificate
that it would go into is already held or the view is final, is `note`d without that, and verified only if it turns out
to contradict another, or if a different signature comes for its place.
"""

from __future__ import annotations

from protocol.types.block import Header
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Body,
    Certificate,
    ConsensusMessage,
    Fetch,
    Proposal,
    Vote,
    VoteSubject,
)

EVIDENCE_VIEWS = 64
"""Votes are looked at, and kept to be held against later ones, for so many views below the current one."""

_CONTRADICTS = {NOTARIZE: (NOTARIZE,), NULLIFY: (FINALIZE,), FINALIZE: (FINALIZE, NULLIFY)}
"""By kind: which other votes of the same index and view an honest authority cannot have signed as well. Of its own
kind, only one over another subject."""


def scope(message: Vote | Certificate | Proposal | Body) -> VoteSubject | Header:
    """Where the chain and the epoch of a message stand."""
    if isinstance(message, Body):
        return message.block.header
    return message.vote.subject if isinstance(message, Proposal) else message.subject


def epoch_of(message: ConsensusMessage) -> int:
    """The epoch that a message, or a record of the journal, belongs to."""
    return message.epoch if isinstance(message, Fetch) else scope(message).epoch


class Tally:
    """Votes of one view, by kind and index."""

    __slots__ = ("_noted", "_signatures", "_votes", "accused")

    def __init__(self) -> None:
        self._votes: dict[tuple[int, int], Vote] = {}
        self._noted: dict[tuple[int, int], Vote] = {}
        self._signatures: dict[VoteSubject, dict[int, bytes]] = {}
        self.accused: set[int] = set()
        """Indexes whose contradiction was reported, so that each is reported once a view."""

    def __len__(self) -> int:
        return len(self._votes) + len(self._noted)

    def counts(self, vote: Vote) -> bool:
        """Whether a verified vote of this index over this very subject is here."""
        return vote.index in self._signatures.get(vote.subject, {})

    def get(self, kind: int, index: int) -> Vote | None:
        """The verified vote of this kind and index."""
        return self._votes.get((kind, index))

    def noted(self, vote: Vote) -> Vote | None:
        """The unverified vote in the place of this one."""
        return self._noted.get((vote.subject.kind, vote.index))

    def add(self, vote: Vote) -> None:
        """Count a verified vote. A second one of its kind and index does not count."""
        key = (vote.subject.kind, vote.index)
        if key not in self._votes:
            self._votes[key] = vote
            self._signatures.setdefault(vote.subject, {})[vote.index] = vote.signature
            self._noted.pop(key, None)

    def note(self, vote: Vote) -> None:
        """Keep an unverified vote that no certificate needs, in case it contradicts another."""
        self._noted.setdefault((vote.subject.kind, vote.index), vote)

    def forget(self, vote: Vote) -> None:
        """Drop a noted vote that turned out to be forged."""
        self._noted.pop((vote.subject.kind, vote.index), None)

    def rivals(self, vote: Vote) -> list[tuple[Vote, bool]]:
        """Votes of the same index that contradict this one, each with whether it was verified."""
        found = []
        for kind in _CONTRADICTS[vote.subject.kind]:
            for held, verified in ((self._votes, True), (self._noted, False)):
                rival = held.get((kind, vote.index))
                if rival is not None and rival.subject != vote.subject:
                    found.append((rival, verified))
        return found

    def unseen(self, certificate: Certificate) -> list[Vote]:
        """The votes in a certificate that are neither counted nor noted here."""
        subject, kind = certificate.subject, certificate.subject.kind
        counted = self._signatures.get(subject, {})
        found = []
        for index, signature in certificate.signatures:
            if index not in counted:
                noted = self._noted.get((kind, index))
                if noted is None or noted.signature != signature or noted.subject != subject:
                    found.append(Vote(subject, index, signature))
        return found

    def signatures(self, subject: VoteSubject) -> dict[int, bytes]:
        """Verified signatures over this subject, by index."""
        return self._signatures.get(subject, {})

    def certificate(self, subject: VoteSubject, quorum: int) -> Certificate | None:
        """The certificate over this subject if `quorum` votes for it are here: the lowest indexes, ascending."""
        signatures = self.signatures(subject)
        if len(signatures) < quorum:
            return None
        return Certificate(subject, tuple(sorted(signatures.items())[:quorum]))

    def voters(self, kind: int) -> list[int]:
        """Indexes with a verified vote of this kind, ascending."""
        return sorted(index for held, index in self._votes if held == kind)

    def stirred(self, me: int | None) -> bool:
        """Whether another authority's verified vote is here."""
        return any(index != me for _, index in self._votes)
