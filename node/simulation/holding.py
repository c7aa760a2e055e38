"""What waits at one node to become final: its pool, its own transactions, and what others send it.

How it spreads is decided by `node.sansio.spreading`, what becomes of own transactions by `node.sansio.pending`. The
outbox on the simulated disk is here, and a tick that ends when nothing waits, so that a history can.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

from node.mempool import Entry, Mempool
from node.sansio.pending import PendingCore
from node.sansio.spreading import TICK_MS, Spreading, admit
from node.simulation.chainstate import Executed
from node.simulation.disk import Disk
from node.simulation.finality import Finality
from node.simulation.ledger import Executor
from node.simulation.tasks import Work
from node.standing import Standing
from protocol.errors import ChartledgerError
from protocol.sync.messages import GossipMessage

POOL_BYTES: Final = 64 << 20


class Keeper(Protocol):
    """The node around it."""

    number: int
    disk: Disk
    standing: Standing
    executor: Executor
    finality: Finality

    def monotonic_ms(self) -> int: ...

    def checked(self, raw: bytes, *, in_block: bool) -> Entry: ...

    def connected(self) -> Collection[int]: ...

    def institution_of(self, peer: int) -> int | None: ...

    def tell(self, peer: int, message: GossipMessage) -> None: ...

    def tell_all(self, message: GossipMessage) -> None: ...

    def leader(self) -> int | None: ...

    def work(self, fresh: bool) -> None: ...

    def tick_later(self, delay_ms: int) -> None: ...

    def settled(self, id_: bytes, executed: Executed) -> None: ...

    def begin(self, work: Work) -> None: ...


class Holding(PendingCore):
    """One life's. After a restart what the outbox holds is taken up again."""

    def __init__(self, keeper: Keeper) -> None:
        self.pool = Mempool(POOL_BYTES)
        super().__init__(executor=keeper.executor, standing=keeper.standing, pool=self.pool, clock=keeper)
        self.spreading = Spreading(keeper, self.pool, self, self._admit, keeper)
        self._keeper = keeper
        self._admitting = self._ticking = False

    def load(self) -> None:
        """Take up the outbox."""
        for raw in list(self._keeper.disk.outbox.values()):
            self.take_up(self._keeper.checked(raw, in_block=True))
        self.retry()

    # --- own -----------------------------------------------------------------------------------------------------

    def submit(self, entries: Sequence[Entry]) -> None:
        """Own: durable here, pooled, and pushed."""
        for entry in entries:
            self._keeper.disk.outbox[entry.id] = entry.raw
            entry.added_ms = self._keeper.monotonic_ms()
        self.hold(entries)
        self.retry()

    def pooled(self, entries: Sequence[Entry]) -> None:
        """Pushed to every peer, and work."""
        self.spreading.push(entries)
        self._keeper.work(fresh=True)
        self._tick_on()

    async def drop(self, lost: Sequence[tuple[bytes, ChartledgerError]]) -> None:
        """Out of the outbox."""
        for id_, _ in lost:
            self.release(id_)
            self._keeper.disk.outbox.pop(id_, None)

    # --- finality ------------------------------------------------------------------------------------------------

    def settled(self, executed: Executed) -> tuple[bytes, ...]:
        """Ids of the block's transactions that are in the outbox."""
        return tuple(id_ for id_ in executed.ids if id_ in self._keeper.disk.outbox)

    def final(self, executed: Executed) -> None:
        """The block is final and stored."""
        for id_ in executed.ids:
            if self.release(id_) is not None:
                self._keeper.settled(id_, executed)

    def refused(self, entries: Sequence[Entry]) -> None:
        """These left the pool for what is wrong with them: own ones are looked at again."""
        super().refused(entries)
        self._tick_on()

    def forget(self, ids: Iterable[bytes]) -> None:
        """These are final, or can never be: they are not asked for."""
        self.spreading.forget(ids)

    def doubt(self, entries: Iterable[Entry]) -> None:
        """These were found invalid: they are heard of again from the institution that signed them, after a while."""
        self.spreading.doubt(entries)

    # --- others' -------------------------------------------------------------------------------------------------

    def hear(self, sender: int, message: GossipMessage) -> None:
        """From another node."""
        self.spreading.hear(sender, message)
        if self.spreading.waiting and not self._admitting:
            self._admitting = True
            self._keeper.begin(self._admit_waiting())

    async def _admit_waiting(self) -> None:
        await self.spreading.admit_waiting(self._new)
        self._admitting = False

    async def check(self, raws: Sequence[bytes]) -> list[Entry | ChartledgerError]:
        """See `node.sansio.spreading.Intake`."""
        results: list[Entry | ChartledgerError] = []
        for raw in raws:
            try:
                results.append(self._keeper.checked(raw, in_block=False))
            except ChartledgerError as error:
                results.append(error)
        return results

    def _admit(self, entries: Sequence[Entry]) -> list[Entry]:
        keeper = self._keeper
        return admit(
            entries,
            pool=self.pool,
            standing=keeper.standing,
            head_ms=keeper.executor.head.timestamp,
            now_ms=keeper.monotonic_ms(),
            forget=self.forget,
        )

    def _new(self) -> None:
        self._keeper.work(fresh=True)
        self._tick_on()

    # --- the tick ------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Every `TICK_MS` while something waits: announce, remind the leader, look again at what was refused and at
        what the head may refuse."""
        self._ticking = False
        if len(self.pool):
            self.spreading.tick(self._keeper.leader())
        await self.tick()
        await self._keeper.finality.try_again(self._keeper.monotonic_ms())
        self._keeper.work(fresh=False)
        self._tick_on()

    def _tick_on(self) -> None:
        if not self._ticking and (len(self.pool) or self.parked):
            self._ticking = True
            self._keeper.tick_later(TICK_MS)
