"""What becomes of this node's own transactions between the outbox and finality, or until they can never be final.

Each is in the outbox, and then pooled, or waits for room in the pool, or is parked: refused on some state that may yet
change. The final state decides. Sans-I/O: outbox and executor are ports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

from node.mempool import Entry, Mempool
from node.standing import Standing
from protocol.errors import (
    AlreadyReported,
    Busy,
    ChartExists,
    ChartledgerError,
    CosignatureExpired,
    Expired,
    InvalidTransaction,
    Replayed,
    UnknownKey,
    WrongKey,
)
from protocol.types.block import Header

LOOK_MS, LOOK_CAP_MS = 1_000, 8_000
"""How long after a block what was refused is looked at again, if no other block came; then twice as long, and so on."""
FOR_GOOD = (Replayed, Expired, ChartExists, CosignatureExpired, AlreadyReported)
OF_KEYS = (WrongKey, UnknownKey)
"""What no later block can mend: of keys if the one it needs has stood on this copy of the ledger, since none that was
replaced or retired comes back. Other causes may pass, so the transaction stays pending until it expires."""


class Tries(Protocol):
    """The final head, and what transactions would do on it; see `node.execution.Executor`."""

    @property
    def head(self) -> Header: ...

    async def try_all(self, entries: Sequence[Entry], timestamp: int | None = None) -> Sequence[object]: ...


class Clock(Protocol):
    """The node's own, for what is looked at again after a while."""

    def monotonic_ms(self) -> int: ...


class PendingCore(ABC):
    """One node's own transactions."""

    def __init__(self, *, executor: Tries, standing: Standing, pool: Mempool, clock: Clock) -> None:
        self._executor = executor
        self._standing = standing
        self._pool = pool
        self._clock = clock
        self._pending: dict[bytes, Entry] = {}  # what the outbox holds, in order
        self._unpooled: dict[bytes, Entry] = {}  # pending, but not offered to the pool, or it had no room
        self._parked: dict[bytes, Entry] = {}  # pending, but refused on some state: the final one decides
        self._look_ms, self._pause_ms = 0, LOOK_MS

    # --- what it asks of its node --------------------------------------------------------------------------------

    @abstractmethod
    async def drop(self, lost: Sequence[tuple[bytes, ChartledgerError]]) -> None:
        """These, by id, can never become final, for what refuses them: remove them from the outbox, `release` them, and
        tell whoever waits."""

    @abstractmethod
    def pooled(self, entries: Sequence[Entry]) -> None:
        """These came into the pool: push them to others, and see to it that they are work."""

    # --- what is pending -----------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Own transactions that are neither final nor dead."""
        return len(self._pending)

    @property
    def parked(self) -> int:
        """How many of them a state refused."""
        return len(self._parked)

    def hold(self, entries: Iterable[Entry]) -> None:
        """These are in the outbox; to be pooled by the next `retry`."""
        for entry in entries:
            self._pending[entry.id] = entry
            self._unpooled[entry.id] = entry

    def take_up(self, entry: Entry) -> None:
        """This was in the outbox at a start: to be pooled by the next `retry`, unless no key at the head signed it."""
        if entry.verified is None:
            self._pending[entry.id] = self._parked[entry.id] = entry
        else:
            self.hold([entry])

    def release(self, id_: bytes) -> Entry | None:
        """This one is final or dead; None if it was not pending here."""
        self._unpooled.pop(id_, None)
        self._parked.pop(id_, None)
        return self._pending.pop(id_, None)

    def retry(self) -> None:
        """Pool what waits for room."""
        pooled = []
        for entry in list(self._unpooled.values()):
            if not self._standing.fits(entry.raw):  # a motion made blocks smaller: another may make them larger
                self._parked[entry.id] = self._unpooled.pop(entry.id)
                continue
            try:
                self._pool.add(entry)
                pooled.append(entry)
            except Busy:
                break
            except Replayed:  # another transaction with this number waits there: one of them will be final
                self._parked[entry.id] = entry
            del self._unpooled[entry.id]
        if pooled:
            self.pooled(pooled)

    # --- what finality says --------------------------------------------------------------------------------------

    def refused(self, entries: Sequence[Entry]) -> None:
        """These left the pool; what refused them may be a state or a time that never becomes final."""
        self._parked.update({entry.id: entry for entry in entries if entry.id in self._pending})

    async def review(self) -> None:
        """The head moved: bury what is lost for good, and pool again what is valid after all."""
        self._pause_ms = LOOK_MS
        self._look_after(self._clock.monotonic_ms())
        head_ms = self._executor.head.timestamp
        aside = [*self._unpooled.values(), *self._parked.values()]
        lost: list[tuple[bytes, ChartledgerError]] = []
        for entry in aside:
            try:
                self._standing.check_fresh(entry, head_ms)
            except (Replayed, Expired) as error:
                lost.append((entry.id, error))
        # At the earliest time that a block may still have: what is too late then is too late for good.
        parked = list(self._parked.values())
        results = await self._executor.try_all(parked, head_ms + 1) if parked else []
        for entry, result in zip(parked, results, strict=True):
            if not isinstance(result, InvalidTransaction):
                self._unpark(entry)
            elif isinstance(result, FOR_GOOD) or (entry.verified is not None and isinstance(result, OF_KEYS)):
                lost.append((entry.id, result))
        if lost:
            await self.drop(lost)
        self.retry()

    async def tick(self) -> None:
        """Pool again what was refused and is valid on the head after all, without waiting for a block: on an idle chain
        the next may be a heartbeat away, if nobody else holds what would call for one. Call often."""
        now = self._clock.monotonic_ms()
        if not self._parked or now < self._look_ms:
            return
        self._look_after(now)
        parked = list(self._parked.values())
        for entry, result in zip(parked, await self._executor.try_all(parked), strict=True):
            if not isinstance(result, InvalidTransaction):
                self._unpark(entry)
        self.retry()

    def _unpark(self, entry: Entry) -> None:
        if self._standing.fits(entry.raw) and self._parked.pop(entry.id, None) is not None:
            self._unpooled[entry.id] = entry

    def _look_after(self, now: int) -> None:
        self._look_ms = now + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, LOOK_CAP_MS)
