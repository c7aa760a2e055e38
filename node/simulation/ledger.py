"""Answers what one node's machine asks of the ledger, as `node.proposals` does in a node, and as slowly as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.sansio.asking import check_clock
from node.simulation.tasks import Pause
from protocol.consensus.effects import Build, Finalized, Validate
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block

if TYPE_CHECKING:
    from node.simulation.host import Host


class Ledger:
    """One life's; see `node.sansio.stepping.Ledger`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def _work(self) -> Pause:
        span, rng = self._host.world.plan.validation_ms, self._host.rng
        return Pause(int(1_000 * (span[0] + (span[1] - span[0]) * rng.random())) if span[1] else 0)

    async def build(self, wanted: Build) -> Block | None:
        """A block as wanted, or what a traitor makes of it. Raises `Obsolete`."""
        await self._work()
        host = self._host
        assert host.institution is not None
        while True:
            block, bad = host.chain.build(wanted, host.institution, host.holding.pool, host.wall_ms())
            host.holding.refuse([entry for entry, _ in bad])
            if block is not None or not bad:
                break
        if block is not None and host.lying and host.traitor is not None:
            false = host.traitor.build(block)
            if false is not block:
                host.chain.disguise(false, block)
                block = false
        return block

    async def validate(self, wanted: Validate) -> None:
        """Raises `InvalidBlock`, `Refused` or `Obsolete`."""
        await self._work()
        host, header = self._host, wanted.block.header
        if not wanted.certified:
            check_clock(header.timestamp, host.wall_ms(), host.chain.head.params())
        host.finality.executed(host.chain.execute(wanted.block, block_digest(header)))
        ahead_ms = header.timestamp - host.wall_ms()
        if ahead_ms > 0 and not wanted.certified:
            await Pause(ahead_ms * 1_000)

    def notarized(self, digest: bytes) -> None:
        """A quorum voted for this block."""
        self._host.finality.notarized(digest)

    def finalized(self, effect: Finalized) -> None:
        """Take final blocks to disk."""
        self._host.finality.put(effect.blocks, effect.certificate)
