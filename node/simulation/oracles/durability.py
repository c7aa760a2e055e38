"""What a client was told is final stays: through crashes, syncs and epochs, at every honest host."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import BlockStored, ClientTold, Record, Restarted, Scene
from protocol.crypto.hashing import block_digest


class Durability(Oracle):
    """A host tells a client only what it has stored, and what it has stored it has after any restart."""

    name: ClassVar[str] = "durability"
    wants: ClassVar[tuple[type[Record], ...]] = (BlockStored, ClientTold, Restarted)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._stored: dict[int, int] = {}
        self._told: list[ClientTold] = []

    def event(self, record: Record) -> None:
        """Storage grows by one, and never goes back."""
        if not isinstance(record, BlockStored | ClientTold | Restarted) or record.host not in self.scene.honest:
            return
        host, at_ms = record.host, record.at_ms
        before = self._stored.get(host, 0)
        if isinstance(record, BlockStored):
            height = record.height
            self.demand(height == before + 1, f"host {host} stored height {height} after {before}", at_ms)
            known = self.chronicle.digests.get(height)
            self.demand(known == record.digest, f"host {host} stored a block that is not final at {height}", at_ms)
            self._stored[host] = height
        elif isinstance(record, ClientTold):
            final = self.chronicle.heights.get(record.id)
            told = f"host {host} told a client of height {record.height}"
            self.demand(record.height <= before, f"{told} and has stored {before}", at_ms)
            self.demand(final == record.height, f"{told}, but the transaction is at {final}", at_ms)
            self._told.append(record)
        else:
            height = record.head.height
            self.demand(height >= before, f"host {host} is back with height {height} and had stored {before}", at_ms)
            known = self.chronicle.digests.get(height)
            same = height == 0 or known == block_digest(record.head)
            self.demand(same, f"host {host} is back with another block at height {height}", at_ms)

    def end(self, at_ms: int) -> None:
        """All that was ever told still holds."""
        for told in self._told:
            final = self.chronicle.heights.get(told.id)
            sentence = f"host {told.host} told a client of height {told.height}, and it is at {final}"
            self.demand(final == told.height, sentence, at_ms)
