"""What of a node survives a crash: journals of votes, final blocks, its own transactions and numbers.

A journal is what was synced and what was not yet. It belongs to one vote key; the store of final blocks keeps a mark
of how many records it had, and a journal that has fewer is an old copy: who votes from it could contradict itself
(rule 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from node.simulation import keyring
from node.simulation.chainstate import State
from protocol.codec.canonical import encode
from protocol.consensus.effects import Record
from protocol.errors import JournalBroken
from protocol.types.block import Block
from protocol.types.votes import Certificate


class Journal:
    """One vote key's journal. `sequence` counts the synced records over its whole life, rewrites included; `epoch` is
    the first in which the key may sign."""

    def __init__(self) -> None:
        self.durable: list[Record] = []
        self.unsynced: list[Record] = []
        self.sequence = 0
        self.epoch = 0
        self._copies: list[tuple[list[Record], int, int]] = [([], 0, 0)]

    def append(self, record: Record) -> None:
        """Write without waiting for the disk."""
        self.unsynced.append(record)

    def sync(self) -> None:
        """All that was appended is durable."""
        self.durable += self.unsynced
        self.sequence += len(self.unsynced)
        self.unsynced = []

    def rewrite(self, records: Sequence[Record], epoch: int) -> None:
        """Put these in the place of all; the key signs in no epoch before this one from now on."""
        self.durable = list(records)
        self.unsynced = []
        self.sequence += 1
        self.epoch = epoch

    def crash(self, torn: bool, rng: Random) -> None:
        """What was not synced is lost: all, or if torn, all but a beginning, whose last record is cut off if half."""
        if self.unsynced and torn:
            kept = rng.randint(0, len(self.unsynced))
            self.durable = self.durable + self.unsynced[:kept]
            self.sequence += kept
        self.unsynced = []

    def copy(self) -> None:
        """Somebody makes a copy."""
        self._copies.append((list(self.durable), self.sequence, self.epoch))

    def put_back(self, mark: int) -> bool:
        """Somebody puts the newest copy in the journal's place that does not reach the mark, by which alone anybody
        could tell; False if there is none. The first copy was made with the journal."""
        for records, sequence, epoch in reversed(self._copies):
            if sequence < mark:
                self.durable, self.sequence, self.epoch = list(records), sequence, epoch
                return True
        return False


class StoredBlock(Struct, frozen=True, gc=False):
    """A final block; `certificate` if it is the last of those that became final together."""

    block: Block
    block_raw: bytes
    header_raw: bytes
    certificate: Certificate | None

    @property
    def height(self) -> int:
        return self.block.header.height

    @property
    def certificate_raw(self) -> bytes | None:
        return None if self.certificate is None else encode(self.certificate)


class Disk:
    """One node's. `outbox` holds raw own transactions by id; `extra_us` is what a sync takes more than usual."""

    def __init__(self, genesis: State, rng: Random) -> None:
        self.rng = rng
        self.state = genesis
        self.blocks: list[StoredBlock] = []
        self.certificate: Certificate | None = None
        self.epoch_ends: dict[int, Certificate] = {}
        self.journals: dict[bytes, Journal] = {}
        self.marks: dict[bytes, int] = {}
        self.outbox: dict[bytes, bytes] = {}
        self.next_number = 1
        self.chart: int | None = None
        self.vote_keys = 1
        """How many vote keys this institution has made for itself so far."""
        self.extra_us = 0

    def duration_us(self, span_ms: tuple[int, int]) -> int:
        """How long a sync takes now."""
        least, most = span_ms
        return self.extra_us + (0 if not most else int(1_000 * (least + (most - least) * self.rng.random())))

    def open_journal(self, public: bytes) -> Journal:
        """The journal of this vote key. Raises `JournalBroken` if there is none, or it is older than its mark."""
        journal = self.journals.get(public)
        if journal is None:
            raise JournalBroken("there is no journal of this vote key")
        if journal.sequence < self.marks.get(public, 0):
            raise JournalBroken("the journal is older than its mark")
        return journal

    def store(self, blocks: Sequence[StoredBlock], state: State, journal: Journal | None) -> None:
        """Final blocks, all in one: the last has a certificate. With them goes how far the `journal` of the key that
        votes must reach; the mark of one that was found to be older than its mark stays."""
        self.blocks += blocks
        self.state = state
        self.certificate = blocks[-1].certificate
        for stored in blocks:
            if stored.block.header.ends_epoch and stored.certificate is not None:
                self.epoch_ends[stored.block.header.epoch] = stored.certificate
        self.mark(journal)

    def mark(self, journal: Journal | None) -> None:
        """This journal must reach as far as it does now."""
        for public, one in self.journals.items():
            if one is journal:
                self.marks[public] = one.sequence

    def make_vote_key(self, node: int) -> int:
        """Another vote key of this node's, with a journal of its own, before anybody hears of it: its number."""
        number = self.vote_keys
        self.vote_keys += 1
        self.journals[keyring.vote_key(node, number).public] = Journal()
        return number

    def copy_journals(self) -> None:
        """Somebody makes copies of the journals."""
        for journal in self.journals.values():
            journal.copy()

    def lose_journals(self, to_copy: bool) -> None:
        """The journals are gone, or copies are in their place, which are old enough for their marks to tell."""
        for public, journal in list(self.journals.items()):
            if not (to_copy and journal.put_back(self.marks.get(public, 0))):
                del self.journals[public]

    def crash(self, torn: bool) -> None:
        """The node went down."""
        for journal in self.journals.values():
            journal.crash(torn, self.rng)
