"""What executes blocks at one node, as slowly as planned, as `node.execution` does in a node.

What is asked of it, and in which order, is decided by `node.sansio.proposals` and `node.sansio.finality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.mempool import Entry
from node.sansio import proposals
from node.simulation.chainstate import Executed
from node.simulation.tasks import Pause, Promise
from protocol.consensus.effects import Build, Validate
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidTransaction
from protocol.ledger.blocks import next_timestamp
from protocol.ledger.transition import Receipt
from protocol.params import Params
from protocol.types.block import Block, Header

if TYPE_CHECKING:
    from node.simulation.host import Host


class Executor:
    """One life's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._clock_waits: dict[bytes, Promise] = {}

    @property
    def head(self) -> Header:
        """The final head, whether or not its block is stored yet."""
        return self._host.chain.head.header

    def known(self, digest: bytes) -> Executed | None:
        """The executed block of this digest, unless something above it is final."""
        return self._host.chain.known(digest)

    def params(self) -> Params:
        """Those at the final head."""
        return self._host.standing.params

    def wall_ms(self) -> int:
        """What this node believes the time to be."""
        return self._host.wall_ms()

    def _work(self) -> Pause:
        span, rng = self._host.world.plan.validation_ms, self._host.rng
        return Pause(int(1_000 * (span[0] + (span[1] - span[0]) * rng.random())) if span[1] else 0)

    async def build(self, wanted: Build) -> tuple[Block | None, list[tuple[Entry, InvalidTransaction]]]:
        """A block as wanted, or what a traitor makes of it, and what was found to be invalid. Raises `Obsolete`."""
        await self._work()
        host = self._host
        assert host.institution is not None
        pool, params = host.holding.pool, self.params()
        block, bad = host.chain.build(wanted, host.institution, pool, host.wall_ms(), params)
        if block is not None and host.lying and host.traitor is not None:
            false = host.traitor.build(block)
            if false is not block:
                host.chain.disguise(false, block)
                block = false
        return block, bad

    async def validate(self, wanted: Validate) -> None:
        """See `node.sansio.proposals.validate`."""
        await self._work()
        await proposals.validate(self, wanted)

    async def execute(self, block: Block) -> Executed:
        """Execute the block unless that was done. Raises `InvalidBlock` or `Obsolete`."""
        return self._host.chain.execute(block, block_digest(block.header))

    async def await_clock(self, timestamp: int, digest: bytes) -> None:
        """Wait until this node's clock shows this time, or until `end_wait`."""
        host = self._host
        waiting = self._clock_waits.setdefault(digest, Promise(host.world))
        while not waiting.done() and (ahead_ms := timestamp - host.wall_ms()) > 0:
            host.world.at(ahead_ms * 1_000, self._look, (timestamp, digest))
            await waiting
        self._clock_waits.pop(digest, None)

    def _look(self, timestamp: int, digest: bytes) -> None:
        ahead_ms = timestamp - self._host.wall_ms()
        if ahead_ms > 0:
            self._host.world.at(ahead_ms * 1_000, self._look, (timestamp, digest))
        else:
            self.end_wait(digest)

    def end_wait(self, digest: bytes) -> None:
        """A quorum voted for the block: whether its time has come does not matter any more."""
        waiting = self._clock_waits.get(digest)
        if waiting is not None and not waiting.done():
            waiting.set_result()

    async def try_all(
        self, entries: Sequence[Entry], timestamp: int | None = None
    ) -> list[Receipt | InvalidTransaction]:
        """What each would do in a block of this time on the final head, or of one that it proposed now."""
        at_ms = next_timestamp(self.head, self._host.wall_ms()) if timestamp is None else timestamp
        return self._host.chain.try_all(entries, at_ms)

    def finalized(self, executed: Executed) -> None:
        """The block is final."""
        self._host.chain.finalized(executed)

    async def stored(self, blocks: Sequence[Executed]) -> None:
        """These final blocks are on disk. States are whole here, so nothing follows."""
