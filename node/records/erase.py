"""What an erasure asks of this node: delete, make the key-encryption key anew, and only then say so on the ledger.

A round goes through three stages, each durable before the next, so that after a crash the next round goes on:

1. *Wipe.* Rows, then blobs, then the write-ahead logs of both databases, which hold pages as they were: as long as
   somebody reads an older state (a backup that runs, an examination), that cannot be done, and the round waits.
2. *Renew.* One new key-encryption key for all that was wiped, since whatever old pages, old backups or the medium still
   hold lies under the former. A node rests between renewals, so that ordinary erasures share one.
3. *Answer.* Who owes a receipt gives it, and asks until it is final.

The commit of a block sets the tombstones (`node.storage.tombstones`); at a start the ledger is held against what lies
here, so that a restored file is beaten too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct

from node.logs import get_logger
from node.records.kek import KeyEncryption
from node.services import NodeServices, Waiting
from node.storage.blobs import BlobStore
from node.storage.erasures import SEALED_TABLES, Doomed, ErasureStore
from node.storage.errors import StorageFailed
from node.storage.outbox import Idempotency
from node.storage.tombstones import State
from protocol.chart_errors import AlreadyAcknowledged, NothingOwed, UnknownErasure
from protocol.codec.canonical import decode
from protocol.crypto.hashing import transaction_id
from protocol.errors import ChartledgerError
from protocol.ledger import keys
from protocol.ledger.events import Erased, RecordAppended, decode_event
from protocol.ledger.leaves import Erasure, decode_leaf
from protocol.types.operations import AppendRecords, ErasureReceipt, SignedOperation
from protocol.types.transaction import Transaction

log = get_logger("erase")

DELETED_AT_ONCE: Final = 200
SEALED_AT_ONCE: Final = 200
"""Rows sealed anew in one transaction: about ten milliseconds, in which no block is stored."""
CHECKED_AT_ONCE: Final = 1_000
AGAIN_S: Final = 5.0
"""How often it is looked again while something is left to do."""
QUIET_S: Final = 5.0
"""How long a round waits for those who are about to store what they sealed under the former key."""
REST_S: Final = 60.0
REST_TIMES: Final = 10
"""After a renewal the next waits `REST_S`, and at least `REST_TIMES` what the last one took."""
LOG_TRIES: Final = 20
LOG_PAUSE_S: Final = 0.05


class ErasureWork(Struct, frozen=True):
    """What this node has still to do for erasures. `blocked` says what it waits for."""

    records: int
    receipts: int
    blocked: str | None
    lost: int


class Erasures:
    """Carries out at this node what erasures on the ledger order."""

    def __init__(
        self, node: NodeServices, store: ErasureStore, rows: Idempotency, blobs: BlobStore, key: KeyEncryption
    ) -> None:
        self._node = node
        self._store = store
        self._rows = rows
        self._blobs = blobs
        self._key = key
        self._wake = asyncio.Event()
        self._wake.set()
        self._sent: dict[tuple[int, int], bytes] = {}
        self._renewed: tuple[float, float] | None = None  # when the last renewal ended, and what it took (seconds)
        self._blocked: str | None = None
        self.lost = 0
        """How many rows lie sealed under a key that is not here any more."""

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Hold the ledger against what lies here. Raises `StorageFailed`."""
        await self._store.reconcile(self._node.institution)
        after = -1
        while found := await self._store.blobs_after(after, CHECKED_AT_ONCE):
            back = await self._blobs.present([blob for _, blob in found])
            if back:
                await self._store.again(back)
            after = found[-1][0]
        if self._key.fresh or await self._store.last_kek() != self._key.present:
            # either no key was there, or this database is not the one that it was last used with
            self.lost = await self._count_sealed(lambda sealed: not self._key.knows(sealed))
            if self.lost:
                log.error("sealed rows open no more", rows=self.lost)
            if not self._key.renewing:
                await self._store.set_last_kek(self._key.present)

    def run(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Begin; what is given back ends it. `fail` is told if it ends by itself. A disk that refuses is told of in the
        log and tried again."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="erasures")
        task.add_done_callback(ended)
        return task.cancel

    def on_events(self, events: Iterable[tuple[int, int, bytes]]) -> None:
        """These became final and durable."""
        if any(raw[1] == Erased.__struct_config__.tag for _, _, raw in events):
            self._wake.set()

    async def work(self) -> ErasureWork:
        """What is left to do."""
        counts = await self._store.counts()
        return ErasureWork(counts.records, counts.erasures, self._blocked, self.lost)

    async def _run(self) -> None:
        left = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if left else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                left = await self.once()
            except StorageFailed as error:
                log.warning("not erased yet", code=error.code)

    async def once(self) -> bool:
        """One round; whether something is left to do. Raises `StorageFailed`."""
        await self._wipe()
        await self._renew()
        await self._answer()
        counts = await self._store.counts()
        return bool(counts.records or counts.erasures or self._key.renewing)

    # --- 1: wipe -----------------------------------------------------------------------------------------------

    async def _wipe(self) -> None:
        self._blocked = None
        while doomed := await self._store.doomed(DELETED_AT_ONCE):
            await self._blind([one for one in doomed if one.state is State.DUE])
            fresh = await self._store.delete([one for one in doomed if one.state is State.DUE])
            left = [*fresh, *(one for one in doomed if one.state is State.DELETED)]
            if not left:
                continue
            await self._blobs.discard([one.blob_id for one in left if one.blob_id is not None])
            if not await self._cut_logs():
                self._blocked = "somebody reads an older state of a database: a backup, or an examination"
                return
            await self._store.move(left, State.WIPED)

    async def _cut_logs(self) -> bool:
        for _ in range(LOG_TRIES):
            if await self._store.checkpoint() and await self._blobs.checkpoint():
                return True
            await asyncio.sleep(LOG_PAUSE_S)  # for a reader of this process, which reads for milliseconds
        return False

    async def _blind(self, doomed: Sequence[Doomed]) -> None:
        """The memory of the requests by which these records came in goes too: whoever has the bytes could ask it."""
        ids: set[bytes] = set()
        for one in doomed:
            raw = (await self._node.events_at(one.chart, [one.record])).get(one.record)
            event = None if raw is None else decode_event(raw)
            if isinstance(event, RecordAppended) and event.institution == self._node.institution:
                ids |= await self._transactions_of(one.chart, event)
        if ids:
            await self._rows.blind(ids)

    async def _transactions_of(self, chart: int, event: RecordAppended) -> set[bytes]:
        found = set()
        for block in await self._node.blocks(event.height, 1):
            for raw in block.transactions:
                body = decode(Transaction, raw).body
                operations = [one.operation for one in body.operations]
                if body.institution == event.institution and any(
                    isinstance(one, AppendRecords) and one.chart == chart and event.entry in one.entries
                    for one in operations
                ):
                    found.add(transaction_id(body))
        return found

    # --- 2: renew ----------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        due = self._key.renewing or await self._store.any_in(State.WIPED, State.RENEWING)
        if not due or self._resting():
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if not self._key.renewing:
            await self._store.move_all(State.WIPED, State.RENEWING)
            await asyncio.to_thread(self._key.begin)
        # Else one that was begun before goes on. What was wiped since then may have lain under the key that it brought,
        # as a backup has it: that waits for the next.
        if not await self._quiet():
            return
        for table in SEALED_TABLES:
            after: int | None = -1
            while after is not None:
                after = await self._store.rewrap(table, after, SEALED_AT_ONCE, self._key.rewrapped)
        left = await self._count_sealed(self._key.is_former)
        if left:  # the former key is not destroyed while anything needs it, whatever was overlooked
            log.error("rows lie under the former key still", rows=left)
            return
        if not await self._quiet():
            return
        await self._store.set_last_kek(self._key.present)
        await asyncio.to_thread(self._key.finish)
        await self._store.move_all(State.RENEWING, State.CLEAN)
        self._renewed = (loop.time(), loop.time() - begun)
        log.info("key-encryption key renewed", seconds=round(self._renewed[1], 3))

    async def _quiet(self) -> bool:
        """Whether nobody holds on any more to what lies, or lay, under the former key."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self._key.quiet()
        except TimeoutError:
            self._blocked = "records sealed under the former key are on their way to storage, or out"
            return False
        return True

    def _resting(self) -> bool:
        if self._renewed is None:
            return False
        ended, took = self._renewed
        return asyncio.get_running_loop().time() < ended + max(REST_S, REST_TIMES * took)

    async def _count_sealed(self, wanted: Callable[[bytes], bool]) -> int:
        total = 0
        for table in SEALED_TABLES:
            after: int | None = -1
            while after is not None:
                count, after = await self._store.count_sealed(table, after, CHECKED_AT_ONCE, wanted)
                total += count
        return total

    # --- 3: answer ---------------------------------------------------------------------------------------------

    async def _answer(self) -> None:
        for place in await self._store.due():
            if await self._answered(*place):
                await self._store.done(*place)
                self._sent.pop(place, None)

    async def _answered(self, chart: int, number: int) -> bool:
        """Whether nothing is left to do for this erasure; gives the receipt if that is what is left."""
        raw = (await self._node.events_at(chart, [number])).get(number)
        key = keys.erasure(chart, number)
        found = (await self._node.leaves([key])).get(key)
        if raw is None or found is None:
            return False  # the chain is being fetched anew
        event, leaf = decode_event(raw), decode_leaf(key, found)
        assert isinstance(event, Erased)
        assert isinstance(leaf, Erasure)
        me = self._node.institution
        if not await self._store.clean(chart, event.records):
            return False
        if me not in leaf.owed or any(by == me for by, _ in leaf.receipts):
            return True
        return await self._acknowledged(chart, number)

    async def _acknowledged(self, chart: int, number: int) -> bool:
        sent = self._sent.get((chart, number))
        if sent is not None and await self._node.outcomes([sent], 0) == [Waiting.PENDING]:
            return False
        try:
            prepared = await self._node.prepare([[SignedOperation(ErasureReceipt(chart, number))]])
            await self._node.submit(prepared)
        except (AlreadyAcknowledged, NothingOwed, UnknownErasure) as error:
            log.info("no receipt needed", chart=chart, erasure=number, reason=error.code)
            return True
        except ChartledgerError as error:
            log.warning("no receipt given yet", chart=chart, erasure=number, reason=error.code)
            return False
        self._sent[chart, number] = prepared[0].id
        log.info("erasure acknowledged", chart=chart, erasure=number)
        return False
