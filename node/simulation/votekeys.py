"""One institution's vote keys and their journals on the simulated disk (see `node.sansio.terms`)."""

from __future__ import annotations

from collections.abc import Sequence

from node.sansio.terms import VotingKeyCore
from node.simulation import keyring
from node.simulation.disk import Disk, Journal
from node.simulation.memory import Memory
from protocol.consensus.effects import Record
from protocol.crypto.signing import SigningKey, vote_message
from protocol.errors import JournalBroken
from protocol.types.votes import Vote, VoteSubject


class VotingKey(VotingKeyCore):
    """One key, with its journal."""

    def __init__(self, key: SigningKey, journal: Journal, memory: Memory) -> None:
        super().__init__(journal.durable)
        self.journal = journal
        self._key = key
        self._memory = memory

    @property
    def epoch(self) -> int:
        """The first in which the journal itself lets the key sign."""
        return self.journal.epoch

    def replace(self, records: Sequence[Record], epoch: int) -> None:
        """Put these in the place of all that is in the journal."""
        self.journal.rewrite(records, epoch)

    def sign(self, subject: VoteSubject, index: int) -> Vote:
        """The signed vote of the authority with this index."""
        return Vote(subject, index, self._memory.sign(self._key, vote_message(subject)))


class VoteKeys:
    """One life's: what the disk holds of them is read when the ledger first asks for a key."""

    def __init__(self, node: int, disk: Disk, memory: Memory) -> None:
        self._node = node
        self._disk = disk
        self._memory = memory
        self._open: dict[bytes, VotingKey] = {}

    def take(self, public: bytes) -> VotingKey:
        """This key with its journal. Raises `JournalBroken` when it must not sign, or is not here."""
        found = self._open.get(public)
        if found is None:
            for number in range(self._disk.vote_keys):
                key = keyring.vote_key(self._node, number)
                if key.public == public:
                    found = self._open[public] = VotingKey(key, self._disk.open_journal(public), self._memory)
                    return found
            raise JournalBroken("the vote key that stands on the ledger is not held here")
        return found

    def destroy_before(self, epoch: int, public: bytes) -> None:
        """Destroy the journals of vote keys that signed only before this epoch: one that has not may still come."""
        for number in range(self._disk.vote_keys):
            other = keyring.vote_key(self._node, number).public
            journal = self._disk.journals.get(other)
            if other == public or journal is None or journal.epoch >= epoch:
                continue
            if other in self._open or journal.sequence > 0:
                self._open.pop(other, None)
                del self._disk.journals[other]
