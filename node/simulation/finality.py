"""One node's disk under what becomes final. What that causes, and in which order, `node.sansio.finality` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.sansio.finality import Batch, Final, FinalityCore, ForkSeen, Promise
from node.simulation import tasks
from node.simulation.chainstate import Executed
from node.simulation.disk import StoredBlock
from node.simulation.oracles import records as seen
from protocol.codec.canonical import encode
from protocol.errors import InvalidBlock

if TYPE_CHECKING:
    from node.simulation.host import Host


class Finality(FinalityCore[Executed]):
    """One life's."""

    def __init__(self, host: Host) -> None:
        disk = host.disk
        super().__init__(
            executor=host.executor,
            pool=host.holding.pool,
            standing=host.standing,
            gossip=host.holding,
            outcomes=host.holding,
            certificate=disk.certificate,
            former=disk.epoch_ends.get(disk.state.header.child_epoch - 1),
        )
        self._host = host
        self._running = False

    def promise(self) -> tasks.Promise:
        """One that nobody has kept yet."""
        return tasks.Promise(self._host.world)

    async def kept(self, promise: Promise) -> None:
        """Wait until this one is."""
        await promise

    def wake(self) -> None:
        """Have what is queued stored, if nothing is being stored."""
        if not self._running:
            self._running = True
            self._host.begin(self._run())

    async def _run(self) -> None:
        await tasks.Pause(0)
        try:
            await self.store()
        except (ForkSeen, InvalidBlock) as error:  # as in a node, which ends then
            self._host.fail(str(error))
        self._running = False

    async def commit(self, blocks: Sequence[Final[Executed]]) -> None:
        """Onto the disk, all in one, when it is done."""
        host, world = self._host, self._host.world
        await tasks.Pause(host.disk.duration_us(world.plan.store_ms if world.faulty else (0, 0)))
        stored = [
            StoredBlock(one.executed.block, encode(one.executed.block), encode(one.executed.header), one.certificate)
            for one in blocks
        ]
        host.disk.store(stored, blocks[-1].executed.state, host.journal)
        for one in blocks:
            for id_ in one.settled:
                host.disk.outbox.pop(id_, None)
            executed = one.executed
            world.tell(seen.BlockStored(world.now_us // 1_000, host.number, executed.header.height, executed.digest))

    def take(self, executed: Executed, batch: Batch) -> Final[Executed]:
        """Make the block the final head in memory."""
        host, world = self._host, self._host.world
        world.became_final(host, executed)
        world.tell(seen.BlockFinal(world.now_us // 1_000, host.number, executed.block, batch.certificate))
        return super().take(executed, batch)
