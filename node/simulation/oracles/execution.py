"""Nothing is executed twice: no transaction by its id, none under a number that its key has used, at no host."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import BlockFinal, Record, Scene
from protocol.codec.canonical import decode
from protocol.crypto.hashing import block_digest, transaction_id
from protocol.errors import DecodeError
from protocol.types.transaction import Transaction

Slot = tuple[int, int, int]


class NoDoubleExecution(Oracle):
    """Looks at whatever any honest host makes final, also where hosts disagree."""

    name: ClassVar[str] = "no double execution"
    wants: ClassVar[tuple[type[Record], ...]] = (BlockFinal,)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._seen: set[bytes] = set()
        self._at: dict[bytes, tuple[int, int]] = {}
        self._slots: dict[Slot, bytes] = {}

    def event(self, record: Record) -> None:
        """Each block once."""
        if not isinstance(record, BlockFinal) or record.host not in self.scene.honest:
            return
        digest = block_digest(record.block.header)
        if digest in self._seen:
            return
        self._seen.add(digest)
        for position, raw in enumerate(record.block.transactions):
            try:
                body = decode(Transaction, raw).body
            except DecodeError:
                continue  # for validity to say
            identity, place = transaction_id(body), (record.block.header.height, position)
            before = self._at.setdefault(identity, place)
            self.demand(before == place, f"a transaction is executed at {before} and at {place}", record.at_ms)
            slot = (body.institution, body.key, body.number)
            used = self._slots.setdefault(slot, identity)
            self.demand(used == identity, f"number {slot} is used by two transactions", record.at_ms)
