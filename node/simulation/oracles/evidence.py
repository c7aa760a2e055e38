"""Every equivocation that an honest host could see is found, and nobody honest is ever accused.

An authority equivocates in a view when two votes of it contradict each other. A host could see it if both, validly
signed, came to its machine in one life of it and one epoch, while their view was admitted: at most one above its own
view and 64 below, final or not (docs/spec/consensus.md). They may come by themselves, in a proposal or in a sound
certificate. Then evidence must come out of some honest host.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.naive.governance import contradict, quorum_of
from node.simulation.oracles.records import (
    Crashed,
    EpochBegan,
    EquivocationFound,
    MessageArrived,
    Record,
    Restarted,
    Scene,
    Stopped,
)
from protocol.crypto.signing import vote_message
from protocol.types.base import ZERO_DIGEST
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Fetch, Proposal, Vote, VoteSubject

Slot = tuple[int, int, int]  # epoch, index, view
KEPT = 6  # different votes of one authority in one view
ADMITTED = 48  # of the 64 views below: a machine that is busy with its disk looks at a message later
HOP_MS = 3_000  # a message that came so shortly before an epoch's end may be looked at by the next machine


class Evidence(Oracle):
    """`owed` counts what had to be found."""

    name: ClassVar[str] = "evidence"
    wants: ClassVar[tuple[type[Record], ...]] = (
        MessageArrived,
        EpochBegan,
        EquivocationFound,
        Crashed,
        Restarted,
        Stopped,
    )

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._seen: dict[int, dict[Slot, dict[VoteSubject, Vote]]] = {}
        self._owed: dict[Slot, dict[int, tuple[int, str]]] = {}
        self._found: set[Slot] = set()
        self._gone: set[int] = set()
        self._liars: dict[int, dict[int, bytes]] = {}

    @property
    def owed(self) -> int:
        """How many equivocations could be seen."""
        return len(self._owed)

    def event(self, record: Record) -> None:
        """Votes as they arrive, and what becomes of them."""
        if isinstance(record, MessageArrived):
            if record.host in self.scene.honest and record.host not in self._gone:
                self._arrived(record)
        elif isinstance(record, EquivocationFound):
            if record.host in self.scene.honest:
                self._check(record)
        elif isinstance(record, Stopped):
            self._gone.add(record.host)
        elif isinstance(record, Restarted | Crashed):  # with it goes what its machine had not looked at yet
            self._forget(record.host, 0)
        elif isinstance(record, EpochBegan):
            self._forget(record.host, record.at_ms - HOP_MS)

    def _forget(self, host: int, since_ms: int) -> None:
        """What this host saw is over; what it saw from then on, and has not found, it owes no more."""
        self._seen.pop(host, None)
        for slot, hosts in self._owed.items():
            if slot not in self._found and host in hosts and hosts[host][0] >= since_ms:
                del hosts[host]

    def _arrived(self, record: MessageArrived) -> None:
        message = record.message
        liars = self._liars_of(record.epoch)
        if not liars or not record.voting or isinstance(message, Body | Fetch):
            return
        if isinstance(message, Certificate):
            signatures = [(index, signature) for index, signature in message.signatures if index in liars]
            votes = [Vote(message.subject, index, signature) for index, signature in signatures]
        else:
            vote = message.vote if isinstance(message, Proposal) else message
            votes = [vote] if vote.index in liars else []
        fresh = [vote for vote in votes if self._is_fresh(record, vote)]
        if fresh and (not isinstance(message, Certificate) or self._sound(message)):
            for vote in fresh:
                self._vote(record, vote, liars[vote.index])

    def _liars_of(self, epoch: int) -> dict[int, bytes]:
        """Vote keys of the traitors in an epoch's set, by index: nobody else equivocates."""
        known = self._liars.get(epoch)
        if known is None:
            authorities = self.chronicle.sets.get(epoch)
            if authorities is None:
                return {}
            seats = enumerate(authorities.members)
            known = {index: seat.vote_key for index, seat in seats if self.scene.lies(seat.institution)}
            self._liars[epoch] = known
        return known

    def _is_fresh(self, record: MessageArrived, vote: Vote) -> bool:
        """Whether the vote is admitted, and says what this host has not heard of this authority."""
        subject = vote.subject
        slot = (subject.epoch, vote.index, subject.view)
        seen = self._seen.get(record.host, {}).get(slot, {})
        return (
            subject not in seen
            and len(seen) < KEPT
            and slot not in self._found
            and subject.epoch == record.epoch
            and max(1, record.view - ADMITTED) <= subject.view <= record.view + 1
            and subject.chain == self.scene.chain
            and _formed(subject)
        )

    def _sound(self, certificate: Certificate) -> bool:
        """Whether it is one: nobody need look into what is none."""
        subject = certificate.subject
        authorities = self.chronicle.sets.get(subject.epoch)
        indexes = [index for index, _ in certificate.signatures]
        if authorities is None or indexes[-1] >= len(authorities.members):
            return False
        if len(indexes) < quorum_of(len(authorities.members)) or any(a >= b for a, b in pairwise(indexes)):
            return False
        votes = (Vote(subject, index, signature) for index, signature in certificate.signatures)
        return all(self._signed(vote, authorities.members[vote.index].vote_key) for vote in votes)

    def _vote(self, record: MessageArrived, vote: Vote, key: bytes) -> None:
        subject = vote.subject
        if not self._signed(vote, key):
            return
        slot = (subject.epoch, vote.index, subject.view)
        seen = self._seen.setdefault(record.host, {}).setdefault(slot, {})
        seen[subject] = vote
        if any(contradict(vote, other) for other in seen.values()):
            where = f"view {subject.epoch}/{subject.view}"
            sentence = f"host {record.host} saw authority {vote.index} equivocate in {where}"
            self._owed.setdefault(slot, {}).setdefault(record.host, (record.at_ms, sentence))

    def _signed(self, vote: Vote, key: bytes) -> bool:
        return self.scene.verify(key, vote_message(vote.subject), vote.signature)

    def _check(self, record: EquivocationFound) -> None:
        """Evidence must convict by itself."""
        first, second = record.first, record.second
        seat = self.chronicle.member(record.epoch, record.index)
        here = f"host {record.host} accuses authority {record.index} of view {record.epoch}/{first.subject.view}"
        if not self.demand(seat is not None, f"{here}, who does not exist", record.at_ms) or seat is None:
            return
        sound = first.index == record.index == second.index and first.subject.epoch == record.epoch
        self.demand(sound and contradict(first, second), f"{here} of what does not contradict itself", record.at_ms)
        signed = self._signed(first, seat[1]) and self._signed(second, seat[1])
        self.demand(signed, f"{here} with votes that are not its own", record.at_ms)
        self.demand(self.scene.lies(seat[0]), f"{here}, who is honest", record.at_ms)
        self._found.add((record.epoch, record.index, first.subject.view))

    def end(self, at_ms: int) -> None:
        """What was seen has been found."""
        for slot, hosts in self._owed.items():
            if hosts and slot not in self._found:
                seen_ms, sentence = min(hosts.values())
                self.demand(False, f"{sentence} at {seen_ms} ms, and no evidence came of it", at_ms)


def _formed(subject: VoteSubject) -> bool:
    """Whether the subject has the form of its kind: docs/spec/consensus.md, the table of kinds."""
    if subject.kind == NOTARIZE:
        return subject.parent_view < subject.view
    if subject.parent_view != 0:
        return False
    return subject.kind == FINALIZE or (subject.kind == NULLIFY and subject.block == ZERO_DIGEST)
