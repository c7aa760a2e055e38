"""What a block's finality causes, in its order: executed, stored with its like, then told to whom it concerns.

Sans-I/O: what takes time is awaited from ports. One pass runs at a time, for consensus and for sync alike, so the final
head has one mover; what piles up while it stores is stored together by the next. Nobody is told that something is final
before it is durable here. Two different final blocks at one height mean that more than a third of the authorities are
traitors (or that this disk lies): the node stops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from node.mempool import Entry, Mempool, Slot
from node.sansio.doubts import Doubts
from node.sansio.terms import FinalState
from node.standing import Standing
from protocol.crypto.hashing import block_digest
from protocol.errors import AlreadyReported, ChartledgerError, InvalidTransaction
from protocol.types.block import Block, Header
from protocol.types.votes import Certificate

BATCH_BLOCKS = 64
RECENT_DIGESTS = 1_024


class ForkSeen(ChartledgerError):
    """Two different blocks are final at one height: more than a third of the authorities signed both."""

    advice = "Stop, keep the data folder as evidence and call the other institutions; docs/operators.md says how."


class Executed(Protocol):
    """An executed block: `ids` and `slots` go with its transactions, `leaves` are those that it changed."""

    @property
    def digest(self) -> bytes: ...

    @property
    def block(self) -> Block: ...

    @property
    def header(self) -> Header: ...

    @property
    def ids(self) -> tuple[bytes, ...]: ...

    @property
    def slots(self) -> dict[Slot, bytes]: ...

    @property
    def leaves(self) -> Mapping[bytes, bytes]: ...


E = TypeVar("E", bound=Executed)


class Executor(Protocol[E]):
    """The states above the final one; see `node.execution.Executor`."""

    @property
    def head(self) -> Header: ...

    async def execute(self, block: Block) -> E: ...

    async def try_all(self, entries: Sequence[Entry], timestamp: int | None = None) -> Sequence[object]: ...

    def finalized(self, executed: E) -> None: ...

    async def stored(self, blocks: Sequence[E]) -> None: ...


E_contra = TypeVar("E_contra", bound=Executed, contravariant=True)


class Outcomes(Protocol[E_contra]):
    """Whoever keeps this node's own transactions."""

    def settled(self, executed: E_contra) -> tuple[Any, ...]:
        """Those of the block's transactions that are this node's own, as the store takes them."""
        ...

    def final(self, executed: E_contra) -> None:
        """The block is final and durable."""
        ...

    def refused(self, entries: Sequence[Entry]) -> None:
        """These left the pool for what is wrong with them; some may be this node's own."""
        ...

    async def review(self) -> None:
        """The head moved: find out what is lost for good, and pool what may be pooled again."""
        ...


class Forgets(Protocol):
    """Whoever asks other nodes for transactions; see `node.sansio.spreading`."""

    def forget(self, ids: Iterable[bytes]) -> None:
        """These are final, or can never be."""

    def doubt(self, entries: Iterable[Entry]) -> None:
        """These were found invalid."""


class Promise(Protocol):
    """What is awaited until somebody keeps it, as `asyncio.Future`."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...

    def __await__(self) -> Generator[Any, Any, None]: ...


class Final(Struct, Generic[E], frozen=True, eq=False):
    """A block to be stored. `certificate` and `nullifications` are those of the finalization that ended with it; None
    and () for one that became final as the ancestor of another."""

    executed: E
    certificate: Certificate | None
    nullifications: tuple[Certificate, ...]
    settled: tuple[Any, ...]


class Batch(Struct, eq=False):
    """Blocks that became final together, and who waits until they are stored."""

    blocks: tuple[Block, ...]
    certificate: Certificate
    nullifications: tuple[Certificate, ...]
    done: Promise


class FinalityCore(ABC, Generic[E]):
    """The mover of the final head. `listeners` are told of each block, after it is durable, `after_commit` after each
    pass."""

    def __init__(
        self,
        *,
        executor: Executor[E],
        pool: Mempool,
        standing: Standing,
        gossip: Forgets,
        outcomes: Outcomes[E],
        certificate: Certificate | None,
        former: Certificate | None,
    ) -> None:
        self.stored = executor.head
        self.certificate = certificate
        self._former = former
        self.listeners: list[Callable[[E], None]] = []
        self.after_commit: list[Callable[[], None]] = []
        self.refused_of: dict[int, int] = {}
        """Transactions found invalid since the start, by the institution that signed them, whoever passed them on."""
        self._executor = executor
        self._pool = pool
        self._doubts = Doubts(pool)
        self._standing = standing
        self._gossip = gossip
        self._outcomes = outcomes
        self._queue: deque[Batch] = deque()
        self._carrying: dict[bytes, E] = {}  # notarized and not final, as far as executed here
        self._lost: list[Entry] = []
        self._recent: dict[int, bytes] = {executor.head.height: block_digest(executor.head)}
        self._busy = False
        self._block_bytes = standing.params.block_bytes

    # --- what takes time -----------------------------------------------------------------------------------------

    @abstractmethod
    def promise(self) -> Promise:
        """One that nobody has kept yet."""

    @abstractmethod
    async def kept(self, promise: Promise) -> None:
        """Wait until this one is; whoever waits may be stopped without harm to it."""

    @abstractmethod
    async def commit(self, blocks: Sequence[Final[E]]) -> None:
        """Store these, all in one, durable when done."""

    @abstractmethod
    def wake(self) -> None:
        """Have `store` called, if it does not run."""

    # --- what is final -------------------------------------------------------------------------------------------

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

    def has_work(self, wall_ms: int) -> bool:
        """Whether a block is called for, by what waits or by the heartbeat (design, section 5, rule 9)."""
        return self._pool.has_work or self.heartbeat_due(wall_ms)

    def heartbeat_due(self, wall_ms: int) -> bool:
        """Whether the last block is as old as the parameters allow on an idle chain."""
        return wall_ms - self._executor.head.timestamp >= self._standing.params.heartbeat_ms

    def notarized(self, executed: E) -> None:
        """A quorum voted for this block: what it carries is no work of its own (design, section 5, rule 9)."""
        if executed.header.height > self._executor.head.height:
            self._carrying[executed.digest] = executed
            self._pool.set_carried(executed.ids)

    def put(
        self, blocks: tuple[Block, ...], certificate: Certificate, nullifications: tuple[Certificate, ...] = ()
    ) -> Promise:
        """Queue blocks that are final, oldest first; the promise is kept once they are durable."""
        done = self.promise()
        self._queue.append(Batch(blocks, certificate, nullifications, done))
        self.wake()
        return done

    async def backlog_below(self, blocks: int) -> None:
        """Wait while this many final blocks wait for the disk."""
        while sum(len(batch.blocks) for batch in self._queue) >= blocks:
            await self.kept(self._queue[0].done)

    # --- the pass ------------------------------------------------------------------------------------------------

    async def store(self) -> None:
        """Store all that is queued. One at a time; whatever it raises stops the node."""
        while self._queue:
            self._busy = True
            await self._store_some()
            self._busy = False
            for tell in self.after_commit:
                tell()

    async def _store_some(self) -> None:
        batches: list[Batch] = []
        count = 0
        while self._queue and count < BATCH_BLOCKS:
            batches.append(self._queue.popleft())
            count += len(batches[-1].blocks)
        finals: list[Final[E]] = []
        for batch in batches:
            for block in batch.blocks:
                if not self._is_old(block):
                    finals.append(self.take(await self._executor.execute(block), batch))
        if finals:
            await self.commit(finals)
            all_executed = [final.executed for final in finals]
            await self._executor.stored(all_executed)
            self.stored, self.certificate = all_executed[-1].header, finals[-1].certificate
            ends = (final.certificate for final in reversed(finals) if final.executed.header.ends_epoch)
            self._former = next(ends, self._former)
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

    def take(self, executed: E, batch: Batch) -> Final[E]:
        """Make the block the final head in memory."""
        self._executor.finalized(executed)
        self._standing.update(executed.leaves)
        self._recent[executed.header.height] = executed.digest
        self._recent.pop(executed.header.height - RECENT_DIGESTS, None)
        self._gossip.forget(executed.ids)
        self._carrying = self._descending(executed.digest)
        carried = {id_ for one in self._carrying.values() for id_ in one.ids}
        self._lost += self._pool.finalize(executed.slots, carried)
        ends = executed.header.height == batch.blocks[-1].header.height
        return Final(
            executed,
            batch.certificate if ends else None,
            batch.nullifications if ends else (),
            self._outcomes.settled(executed),
        )

    def _descending(self, digest: bytes) -> dict[bytes, E]:
        """What is notarized above the block of this digest; what a lost branch carries must be proposed anew."""
        kept: dict[bytes, E] = {}
        for key, one in sorted(self._carrying.items(), key=lambda item: item[1].header.height):
            if one.header.parent == digest or one.header.parent in kept:
                kept[key] = one
        return kept

    # --- what waits ----------------------------------------------------------------------------------------------

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

    def refuse(self, found: Collection[tuple[Entry, InvalidTransaction]]) -> None:
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
