"""Every final block is valid by the naive ledger, records what that says, and leads to its state root by a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import BlockFinal, Record, Scene
from protocol.codec.canonical import decode
from protocol.crypto.signing import transaction_message
from protocol.errors import ChartledgerError
from protocol.ledger import tree
from protocol.ledger.blocks import apply_block
from protocol.ledger.genesis import genesis_block
from protocol.types.block import Block, Header
from protocol.types.transaction import Transaction


class Validity(Oracle):
    """The naive ledger judges what is allowed, and what comes of it: outcomes, reasons, all events and what stands of
    charts. The replay, which takes the ledger's own rules, tells what was recorded, since its state root is that of the
    header: from the blocks alone, on a state that no fork, overlay, crash or cache ever touched."""

    name: ClassVar[str] = "validity"
    wants: ClassVar[tuple[type[Record], ...]] = (BlockFinal,)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._replay = Replay(scene)

    def event(self, record: Record) -> None:
        """Follow the chronicle."""
        if self.failure is not None:
            return
        self.demand(
            self.chronicle.invalid is None, f"an invalid block is final: {self.chronicle.invalid}", record.at_ms
        )
        while (block := self.chronicle.blocks.get(self._replay.head.height + 1)) is not None:
            fault = self._replay.apply(block)
            if not self.demand(fault is None, f"a final block does not replay: {fault}", record.at_ms):
                return
            fault = self.chronicle.disagreement(block.header, self._replay.recorded, self._replay.leaves)
            sentence = f"height {block.header.height} does not record what happened: {fault}"
            if not self.demand(fault is None, sentence, record.at_ms):
                return


class Replay:
    """The ledger's own transition on one state. `leaves`, `events` and `nodes` are all there is of it; `recorded` are
    the events of the newest block: chart, number, bytes."""

    def __init__(self, scene: Scene) -> None:
        genesis = genesis_block(scene.genesis)
        self.head: Header = genesis.header
        self.leaves: dict[bytes, bytes] = dict(genesis.changes.leaves)
        self.events: dict[tuple[int, int], bytes] = {}
        self.nodes: dict[bytes, bytes] = dict(genesis.tree.nodes)
        self.recorded: list[tuple[int, int, bytes]] = []
        self._verify = scene.verify

    def leaf(self, key: bytes) -> bytes | None:
        """As `StateView`."""
        return self.leaves.get(key)

    def event(self, chart: int, number: int) -> bytes | None:
        """As `StateView`."""
        return self.events.get((chart, number))

    def apply(self, block: Block) -> str | None:
        """Why it cannot be what follows, or None."""
        try:
            transactions = [decode(Transaction, raw) for raw in block.transactions]
            signed = [(transaction.body, self._signed_by(transaction)) for transaction in transactions]
            changes = apply_block(self, self.head, block, signed, self._verify).changes
        except ChartledgerError as error:
            return f"height {block.header.height}: {error}"
        after = tree.update(self.nodes or tree.EMPTY_TREE, changes.leaves)
        if changes.leaves and after.root != block.header.state_root:
            return f"height {block.header.height} leads to another state root"
        if not changes.leaves and block.header.state_root != self.head.state_root:
            return f"height {block.header.height} changes nothing, and its state root differs"
        self.leaves.update(changes.leaves)
        self.nodes.update(after.nodes)
        self.recorded = list(changes.events)
        self.events.update(((chart, number), raw) for chart, number, raw in changes.events)
        self.head = block.header
        return None

    def _signed_by(self, transaction: Transaction) -> Callable[[bytes], bool]:
        message = transaction_message(transaction.body)
        return lambda public: self._verify(public, message, transaction.signature)
