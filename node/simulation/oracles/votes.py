"""S1 to S5 of docs/spec/consensus.md, for every vote that an honest host ever lets go, across all its restarts.

What a host may rest its votes on is what stood in its journal, synced, when the vote left, and the final blocks that it
had made known before. So an oracle's memory is longer than its host's: it forgets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import BlockFinal, JournalRecord, Record, Restarted, Scene, VoteLeft
from protocol.crypto.hashing import block_digest
from protocol.types.block import Header
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Proposal, Vote, VoteSubject

Place = tuple[int, int]  # epoch, view


class Journal:
    """One host's durable records by what they say. Reads on where it stopped; another list is read anew."""

    def __init__(self) -> None:
        self._list: Sequence[JournalRecord] = ()
        self._read = 0
        self._clear()

    def _clear(self) -> None:
        self.notarized: dict[Place, set[bytes]] = {}
        self.finalized: dict[Place, set[bytes]] = {}
        self.nullified: set[Place] = set()
        self.votes: set[tuple[VoteSubject, int]] = set()
        self.bodies: dict[bytes, Header] = {}

    def read(self, durable: Sequence[JournalRecord]) -> None:
        """Catch up with the journal."""
        if durable is not self._list or len(durable) < self._read:
            self._clear()
            self._list, self._read = durable, 0
        for position in range(self._read, len(durable)):
            self._take(durable[position])
        self._read = len(durable)

    def _take(self, record: JournalRecord) -> None:
        if isinstance(record, Vote):
            self.votes.add((record.subject, record.index))
        elif isinstance(record, Proposal):
            self.votes.add((record.vote.subject, record.vote.index))
            self.bodies[block_digest(record.block.header)] = record.block.header
        elif isinstance(record, Body):
            self.bodies[block_digest(record.block.header)] = record.block.header
        elif isinstance(record, Certificate):
            subject = record.subject
            place = (subject.epoch, subject.view)
            if subject.kind == NULLIFY:
                self.nullified.add(place)
            else:
                held = self.notarized if subject.kind == NOTARIZE else self.finalized
                held.setdefault(place, set()).add(subject.block)


class Votes(Oracle):
    """`count`: different votes seen."""

    name: ClassVar[str] = "votes"
    wants: ClassVar[tuple[type[Record], ...]] = (VoteLeft, BlockFinal, Restarted)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self.count = 0
        self._said: dict[tuple[int, int, int], dict[int, VoteSubject]] = {}
        self._journals: dict[int, Journal] = {}
        self._final: dict[tuple[int, int, int], bytes] = {}

    def event(self, record: Record) -> None:
        """A vote, or a final block on which votes may rest from then on."""
        if isinstance(record, VoteLeft):
            if record.host in self.scene.honest:
                self._vote(record)
        elif isinstance(record, BlockFinal | Restarted) and record.certificate is not None:
            subject = record.certificate.subject
            self._final[(record.host, subject.epoch, subject.view)] = subject.block

    def _vote(self, record: VoteLeft) -> None:
        host, at_ms, subject = record.host, record.at_ms, record.vote.subject
        said = self._said.setdefault((host, subject.epoch, subject.view), {})
        before = said.get(subject.kind)
        if before == subject:
            return
        here = f"host {host} in view {subject.epoch}/{subject.view}"
        rule = "S1: " if subject.kind == NOTARIZE else ""
        self.demand(before is None, f"{rule}{here} signed two votes of one kind that differ", at_ms)
        said[subject.kind] = subject
        self.count += 1
        journal = self._journals.setdefault(host, Journal())
        journal.read(record.durable)
        durable = (subject, record.vote.index) in journal.votes
        self.demand(durable, f"S5: {here} let a vote go that is not durable", at_ms)
        if subject.kind == NOTARIZE:
            self.demand(NULLIFY not in said, f"S1: {here} notarized after it nullified", at_ms)
            fault = self._parent_fault(host, subject, journal)
            self.demand(fault is None, f"{here} notarized {fault}", at_ms)
        elif subject.kind == NULLIFY:
            self.demand(FINALIZE not in said, f"S2: {here} nullified after it finalized", at_ms)
        else:
            self.demand(NULLIFY not in said, f"S2: {here} finalized after it nullified", at_ms)
            held = journal.notarized.get((subject.epoch, subject.view), set())
            self.demand(subject.block in held, f"S3: {here} finalized what it held no notarization of", at_ms)

    def _parent_fault(self, host: int, subject: VoteSubject, journal: Journal) -> str | None:
        """S4, and the body of S5; the last block of an epoch is its own parent when proposed again (rule 11)."""
        header = journal.bodies.get(subject.block)
        if header is None:
            return "a block whose body is not durable (S5)"
        place = (subject.epoch, subject.parent_view)
        parents = journal.notarized.get(place, set()) | journal.finalized.get(place, set())
        final = self._final.get((host, *place))
        if final is not None:
            parents = parents | {final}
        beginning = self._beginning(subject.epoch) if subject.parent_view == 0 else None
        if beginning is not None:
            parents = parents | {beginning}
        again = header.ends_epoch and subject.block in parents
        if header.parent not in parents and not again and not self._is_genesis(subject, header):
            return "on a parent that is neither notarized nor final (S4)"
        gap = [
            view
            for view in range(subject.parent_view + 1, subject.view)
            if (subject.epoch, view) not in journal.nullified
        ]
        return f"across view {gap[0]}, which is not nullified (S4)" if gap else None

    def _beginning(self, epoch: int) -> bytes | None:
        """View 0: the last block of the epoch before."""
        last = self.chronicle.ends.get(epoch - 1)
        return None if last is None else last[1]

    def _is_genesis(self, subject: VoteSubject, header: Header) -> bool:
        """The first block of all stands on the genesis, whose header no journal holds."""
        return subject.epoch == 0 and subject.parent_view == 0 and header.height == 1
