"""Takes what became final to disk, in order, and then tells everybody whom it concerns.

One task does this for consensus and for sync alike, so the final head has one mover. What piled up while the last
commit ran is committed together: one SQLite transaction, one sync. Nobody is told that something is final before it
is durable here. Two different final blocks at one height mean that more than a third of the authorities are traitors
(or that this disk lies): the node stops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from node.doubts import Doubts
from node.epochs import FinalState
from node.execution import Executed, Executor
from node.gossip import Gossip
from node.mempool import Entry, Mempool
from node.standing import Standing
from node.storage.types import CommittedBlock, Settled
from protocol.crypto.hashing import block_digest
from protocol.errors import AlreadyReported, ChartledgerError, InvalidTransaction
from protocol.types.block import Block, Header
from protocol.types.votes import Certificate

BATCH_BLOCKS = 64
RECENT_DIGESTS = 1_024


class ForkSeen(ChartledgerError):
    """Two different blocks are final at one height: more than a third of the authorities signed both."""

    advice = "Stop, keep the data folder as evidence and call the other institutions; docs/operators.md says how."


class Store(Protocol):
    """Where final blocks go."""

    async def commit(self, blocks: Sequence[CommittedBlock], journal_mark: bytes | None = None) -> None: ...


class Outcomes(Protocol):
    """Whoever keeps this node's own transactions."""

    def settled(self, executed: Executed) -> tuple[Settled, ...]:
        """Those of the block's transactions that are this node's own."""
        ...

    def final(self, executed: Executed) -> None:
        """The block is final and durable."""
        ...

    def refused(self, entries: Sequence[Entry]) -> None:
        """These left the pool for what is wrong with them; some may be this node's own."""
        ...

    async def review(self) -> None:
        """The head moved: find out what is lost for good, and pool what may be pooled again."""
        ...


class Batch(Struct, eq=False):
    """Blocks that became final together, and who waits until they are stored."""

    blocks: tuple[Block, ...]
    certificate: Certificate
    nullifications: tuple[Certificate, ...]
    done: asyncio.Future[None]


class Finality:
    """The mover of the final head. `listeners` are told of each block, after it is durable."""

    def __init__(
        self,
        *,
        executor: Executor,
        store: Store,
        pool: Mempool,
        standing: Standing,
        gossip: Gossip,
        outcomes: Outcomes,
        certificate: Certificate | None,
        former: Certificate | None,
        journal_mark: Callable[[], bytes | None],
    ) -> None:
        self.stored = executor.head
        self.certificate = certificate
        self._former = former
        self.listeners: list[Callable[[Executed], None]] = []
        self.after_commit: list[Callable[[], None]] = []
        self.refused_of: dict[int, int] = {}
        """Transactions found invalid since the start, by the institution that signed them, whoever passed them on."""
        self._executor = executor
        self._store = store
        self._pool = pool
        self._doubts = Doubts(pool)
        self._standing = standing
        self._gossip = gossip
        self._outcomes = outcomes
        self._journal_mark = journal_mark
        self._queue: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._carrying: dict[bytes, Executed] = {}  # notarized and not final, as far as executed here
        self._lost: list[Entry] = []
        self._recent: dict[int, bytes] = {executor.head.height: block_digest(executor.head)}
        self._busy = False
        self._block_bytes = standing.params.block_bytes

    @property
    def head(self) -> Header:
        """The final head as far as it is stored."""
        return self.stored

    def state(self) -> FinalState:
        """The final head as far as it is stored, with what finalizes it."""
        return FinalState(self.stored, self.certificate, self._former)

    @property
    def idle(self) -> bool:
        """Whether everything that is known to be final is stored."""
        return not self._queue and not self._busy

    def notarized(self, executed: Executed) -> None:
        """A quorum voted for this block: what it carries is no work of its own (design, section 5, rule 9)."""
        if executed.header.height > self._executor.head.height:
            self._carrying[executed.digest] = executed
            self._pool.set_carried(executed.ids)

    def put(
        self, blocks: tuple[Block, ...], certificate: Certificate, nullifications: tuple[Certificate, ...] = ()
    ) -> asyncio.Future[None]:
        """Queue blocks that are final, oldest first; the future is done once they are durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(Batch(blocks, certificate, nullifications, done))
        self._wake.set()
        return done

    async def run(self) -> None:
        """Store what comes, until cancelled. Whatever it raises stops the node."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                self._busy = True
                await self._store_some()
                self._busy = False
                for tell in self.after_commit:
                    tell()

    async def backlog_below(self, blocks: int) -> None:
        """Wait while this many final blocks wait for the disk."""
        while sum(len(batch.blocks) for batch in self._queue) >= blocks:
            await asyncio.wait([self._queue[0].done])

    async def drain(self) -> None:
        """Wait until everything queued is stored; for a stop, while `run` still runs."""
        waiting = [batch.done for batch in self._queue]
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _store_some(self) -> None:
        batches: list[Batch] = []
        count = 0
        while self._queue and count < BATCH_BLOCKS:
            batches.append(self._queue.popleft())
            count += len(batches[-1].blocks)
        all_executed: list[Executed] = []
        committed: list[CommittedBlock] = []
        for batch in batches:
            for block in batch.blocks:
                if self._is_old(block):
                    continue
                executed = await self._executor.execute(block)
                last = block is batch.blocks[-1]
                committed.append(self._take(executed, batch if last else None))
                all_executed.append(executed)
        if all_executed:
            await self._store.commit(committed, self._journal_mark())
            await self._executor.stored(all_executed)
            self.stored, self.certificate = all_executed[-1].header, committed[-1].certificate
            self._former = next((one.certificate for one in reversed(committed) if one.header.ends_epoch), self._former)
            for executed in all_executed:
                self._outcomes.final(executed)
                for listener in self.listeners:
                    listener(executed)
            await self._look_again(empty=not all_executed[-1].ids)
        for batch in batches:
            if not batch.done.done():
                batch.done.set_result(None)

    def _is_old(self, block: Block) -> bool:
        """Whether sync or consensus brought this block before."""
        height = block.header.height
        if height > self._executor.head.height:
            return False
        before = self._recent.get(height)
        if before is not None and before != block_digest(block.header):
            raise ForkSeen(f"two different blocks are final at height {height}")
        return True

    def _take(self, executed: Executed, ended: Batch | None) -> CommittedBlock:
        """Make the block the final head in memory."""
        changes = executed.overlay.changes
        self._executor.finalized(executed)
        self._standing.update(changes.leaves)
        self._recent[executed.header.height] = executed.digest
        self._recent.pop(executed.header.height - RECENT_DIGESTS, None)
        self._gossip.forget(executed.ids)
        self._carrying = self._descending(executed.digest)
        carried = {id_ for one in self._carrying.values() for id_ in one.ids}
        self._lost += self._pool.finalize(executed.slots, carried)
        return CommittedBlock(
            header=executed.header,
            transactions=executed.block.transactions,
            certificate=ended.certificate if ended else None,
            nullifications=ended.nullifications if ended else (),
            leaves=changes.leaves,
            nodes=executed.overlay.tree.nodes,
            events=tuple(changes.events),
            settled=self._outcomes.settled(executed),
        )

    def _descending(self, digest: bytes) -> dict[bytes, Executed]:
        """What is notarized above the block of this digest; what a lost branch carries must be proposed anew."""
        kept: dict[bytes, Executed] = {}
        for key, one in sorted(self._carrying.items(), key=lambda item: item[1].header.height):
            if one.header.parent == digest or one.header.parent in kept:
                kept[key] = one
        return kept

    async def _look_again(self, empty: bool) -> None:
        """Let go of what can no longer become final, so that it is no work for ever."""
        refused, self._lost = self._lost, []
        refused += self._pool.expired(self._executor.head.timestamp)
        # An empty block although transactions wait: its leader found none of them valid.
        if self._standing.params.block_bytes < self._block_bytes:  # a motion made blocks smaller
            refused += [entry for entry in self._pool if not self._standing.fits(entry.raw)]
        self._block_bytes = self._standing.params.block_bytes
        stale = self._pool.stale(everything=empty)
        if stale:
            results = await self._executor.try_all(stale)
            self.refuse([(e, r) for e, r in zip(stale, results, strict=True) if isinstance(r, InvalidTransaction)])
        self._let_go(refused)
        await self._outcomes.review()

    async def try_again(self, now_ms: int) -> None:
        """While the head stands still, find out what it refuses of what is pooled. Call often."""
        head = self._executor.head
        carrying = any(one.ids for one in self._carrying.values())
        doubtful = self._doubts.due(head.height, now_ms, carrying)
        if not doubtful:
            return
        results = await self._executor.try_all(doubtful)
        if head is self._executor.head:
            valid = [not isinstance(result, InvalidTransaction) for result in results]
            self._pool.judge(zip(doubtful, valid, strict=True))

    def refuse(self, found: Sequence[tuple[Entry, InvalidTransaction]]) -> None:
        """Let go of pooled transactions that were found invalid: whoever signed them answers for that. Not for the
        report of evidence that another's came before: all who saw it report it."""
        for entry, error in found:
            if not isinstance(error, AlreadyReported):
                number = entry.body.institution
                self.refused_of[number] = self.refused_of.get(number, 0) + 1
        self._let_go([entry for entry, _ in found])

    def _let_go(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._pool.remove([entry.id for entry in entries])
            self._gossip.doubt(entries)
            self._outcomes.refused(entries)
