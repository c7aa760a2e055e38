"""Takes what became final at one node to its disk, in order, and then tells whom it concerns (see `node.finality`).

One commit runs at a time, and what piles up meanwhile goes into the next. Nobody is told that something is final before
it is stored here. Where the stored head ends an epoch, the machine of the next one takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.sansio.asking import Obsolete
from node.simulation.chainstate import Executed
from node.simulation.disk import StoredBlock
from node.simulation.oracles import records as seen
from protocol.codec.canonical import encode
from protocol.consensus.events import CaughtUp
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidBlock
from protocol.ledger import keys
from protocol.sync.ranges import Segment
from protocol.types.block import Block
from protocol.types.votes import Certificate

if TYPE_CHECKING:
    from node.simulation.host import Host


class Finality:
    """One life's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: list[tuple[tuple[Block, ...], Certificate, bool]] = []
        self._busy = False
        self._notarized: dict[bytes, None] = {}

    @property
    def idle(self) -> bool:
        """Whether everything that is known to be final is stored."""
        return not self._waiting and not self._busy

    def notarized(self, digest: bytes) -> None:
        """A quorum voted for this block."""
        executed = self._host.chain.known(digest)
        if executed is None:
            self._notarized[digest] = None
        else:
            self._host.holding.notarized(executed)

    def executed(self, executed: Executed) -> None:
        """This block was executed."""
        if executed.digest in self._notarized:
            del self._notarized[executed.digest]
            self._host.holding.notarized(executed)

    def put(self, blocks: tuple[Block, ...], certificate: Certificate, by_sync: bool = False) -> None:
        """These blocks are final, oldest first."""
        self._waiting.append((blocks, certificate, by_sync))
        if not self._busy:
            self._store_some()

    def synced(self, segments: list[Segment]) -> None:
        """The same by sync: what does not execute is the peer's lie, although a quorum signed it."""
        chain = self._host.chain
        try:
            for segment in segments:
                for block in segment.blocks:
                    if block.header.height > chain.head.header.height:
                        chain.execute(block, block_digest(block.header))
        except (InvalidBlock, Obsolete):
            self._host.syncing.refused()
            return
        for segment in segments:
            self.put(segment.blocks, segment.certificate, by_sync=True)
        if self.idle:
            self._host.syncing.stored()

    def _store_some(self) -> None:
        host = self._host
        executed: list[Executed] = []
        stored: list[StoredBlock] = []
        caught_up: tuple[Block, Certificate] | None = None
        waiting, self._waiting = self._waiting, []
        for blocks, certificate, by_sync in waiting:
            for block in blocks:
                if self._is_old(block):
                    continue
                last = certificate if block is blocks[-1] else None
                one = self._take(block, certificate)
                executed.append(one)
                stored.append(StoredBlock(block, encode(block), encode(block.header), last))
            if by_sync and stored and stored[-1].block is blocks[-1]:  # not what was fetched twice and is old
                caught_up = blocks[-1], certificate
        if host.halted is not None or not stored:
            return
        self._busy = True
        delay_us = host.disk.duration_us(host.world.plan.store_ms if host.world.faulty else (0, 0))
        if delay_us:
            host.world.at(delay_us, self._stored, (host.life, executed, stored, caught_up))
        else:
            self._stored(host.life, executed, stored, caught_up)

    def _is_old(self, block: Block) -> bool:
        host = self._host
        height = block.header.height
        if height > host.chain.head.header.height:
            return False
        if height <= len(host.disk.blocks) and host.disk.blocks[height - 1].block.header != block.header:
            host.stop(f"two different blocks are final at height {height}")
        return True

    def _take(self, block: Block, certificate: Certificate) -> Executed:
        host = self._host
        executed = host.chain.execute(block, block_digest(block.header))
        host.world.became_final(host, executed)
        host.world.tell(seen.BlockFinal(host.world.now_us // 1_000, host.number, block, certificate))
        host.chain.finalized(executed)
        host.holding.finalized(executed)
        return executed

    def _stored(
        self,
        life: int,
        executed: list[Executed],
        stored: list[StoredBlock],
        caught_up: tuple[Block, Certificate] | None,
    ) -> None:
        host = self._host
        if not host.up or host.life != life:
            return
        self._busy = False
        world = host.world
        host.disk.store(stored, executed[-1].state, host.journal)
        now_ms = world.now_us // 1_000
        for one in executed:
            world.tell(seen.BlockStored(now_ms, host.number, one.header.height, one.digest))
        for id_, one in host.holding.stored(executed):
            world.told(host, id_, one)
            world.tell(seen.ClientTold(now_ms, host.number, id_, one.header.height))
            host.client.told(id_, one)
        changed = frozenset().union(*(one.changed for one in executed))
        if any(key[0] == keys.KIND_INSTITUTION for key in changed):
            host.look_at_members()
        host.client.look_at_motions(host.disk.state, changed)
        if caught_up is not None:
            host.post(CaughtUp(*caught_up))
        host.wake()
        host.work(fresh=False)
        host.schedule_heartbeat()
        if self._waiting:
            self._store_some()
        host.syncing.stored()
