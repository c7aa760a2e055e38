"""Copies are kept up in the background: records with too few holders get more, what a holder lost is handed over again,
and a sealed record that is damaged here is fetched from another copy.

A writer asks its holders now and then what they lack, and hands over whatever is missing, to the same holder if it is
there, else to the next that placement chooses, who then gets the share of whom it stands in for: so no institution
has two shares, and what was split needs no second split. An erasure beats all of it: nothing is handed over or fetched
for a record that the ledger says is erased.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from node.logs import get_logger
from node.network.interface import RequestFailed
from node.records.holding_messages import LACKING, SEALED, LackingAnswer, LackingRequest, SealedRequest
from node.records.judge import any_erased, erased_of
from node.records.messages import INLINE_BYTES, BlobPiece
from node.records.permits import Permits
from node.records.placing import NotTaken, Offer, Owner, Placer
from node.records.seal import Kek, held_details
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.errors import BlobCorrupt, BlobMissing, StorageFailed
from node.storage.held_store import HeldStore
from node.storage.records_store import RecordsStore, StoredRecord
from node.storage.types import Copy
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError, SealBroken
from protocol.ledger.events import RecordAppended, decode_event

log = get_logger("repair")

EVERY_S = 30.0
AT_ONCE = 64
ROUNDS = 50
"""Of `AT_ONCE` records between two pauses, while there is progress."""
AUDITED_AT_ONCE = 256
ANSWER_S = 10.0


class Copies(Struct, frozen=True):
    """How copies stand: own records with fewer than wanted, and records held for others."""

    lacking: int = 0
    held: int = 0


class NotWhole(Exception):
    """What was fetched is not the sealed record."""


class Repair:
    """Looks after the copies of what this institution wrote, and after its own copies of the rest."""

    def __init__(
        self,
        node: NodeServices,
        store: RecordsStore,
        held: HeldStore,
        blobs: BlobStore,
        kek: Kek,
        placer: Placer,
        permits: Permits,
    ) -> None:
        self._node = node
        self._store = store
        self._held = held
        self._blobs = blobs
        self._kek = kek
        self._placer = placer
        self._permits = permits
        self._audited = (0, -1)
        self.known = Copies()
        """As they were when somebody last asked, or at the last round."""

    def start(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Begin; what is given back ends it. `fail` is told if it ends by itself."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="repair")
        task.add_done_callback(ended)
        return task.cancel

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.audit()
                for _ in range(ROUNDS):
                    if not await self.top_up():
                        break
                await self.copies()
            except StorageFailed as error:
                log.warning("not repaired", code=error.code)

    async def copies(self) -> Copies:
        """As they are now; two counts by index."""
        self.known = Copies(await self._store.count_lacking(), await self._held.count())
        return self.known

    # --- more copies ---------------------------------------------------------------------------------------------

    async def top_up(self) -> int:
        """Hand over some of what lacks copies; how many copies were made. Raises `StorageFailed`."""
        made = 0
        after = (0, -1)
        while not made and (found := await self._store.lacking(*after, AT_ONCE)):
            after = (found[-1].chart, found[-1].event)
            for (chart, copies), group in groupby(found, key=lambda one: (one.chart, one.copies)):
                made += await self._top_up(chart, copies, list(group))
        return made

    async def _top_up(self, chart: int, copies: tuple[Copy, ...], records: list[StoredRecord]) -> int:
        gone = await erased_of(self._node, chart, [one.event for one in records])
        records = [one for one in records if one.event not in gone and one.shares]
        with self._kek.keys.lease():
            offers = await self._offers(chart, records)
        if not offers:
            return 0
        offered = {one.record for one in offers}
        records = [one for one in records if one.event in offered]  # what does not open here is handed to nobody
        owner = await self._owner(chart)
        made = 0
        for index in range(1, min(len(one.shares) for one in offers) + 1):
            if any(copy.index == index and copy.held for copy in copies):
                continue
            tried: list[Copy] = []
            holder = await self._find(index, chart, copies, owner, offers, tried)
            if holder is None and not tried:
                continue
            copies = (*copies, *tried)
            if holder is not None:
                copies = (*(one for one in copies if one.holder != holder), Copy(holder, index, held=True))
                made += len(offers)
            await self._note(records, copies, len(offers[0].shares))
        return made

    async def _find(
        self, index: int, chart: int, copies: Sequence[Copy], owner: Owner, offers: Sequence[Offer], tried: list[Copy]
    ) -> int | None:
        """Whoever takes this share: who had it first, then whoever had none. `tried` gets who else may have it now."""
        accredited = set(self._node.accredited())
        before = [one.holder for one in copies if one.index == index and not one.held and one.holder in accredited]
        others = self._placer.candidates(chart, exclude=[one.holder for one in copies])
        for holder in [*before, *others]:
            try:
                await self._placer.hand_over(holder, index, chart, owner, offers)
            except NotTaken as error:
                log.info("copy not taken", institution=holder, why=str(error))
                if error.given and holder not in before:
                    tried.append(Copy(holder, index, held=False))
            else:
                log.info("copied", institution=holder, chart=chart, records=len(offers))
                return holder
        return None

    async def _note(self, records: Sequence[StoredRecord], copies: tuple[Copy, ...], wanted: int) -> None:
        lacking = max(0, wanted - sum(copy.held for copy in copies))
        ordered = tuple(sorted(copies, key=lambda copy: copy.holder))
        await self._store.set_copies([replace(one, copies=ordered, lacking=lacking) for one in records])

    async def _offers(self, chart: int, records: Sequence[StoredRecord]) -> list[Offer]:
        raw = await self._node.events_at(chart, [one.event for one in records])
        offers = []
        for one in records:
            event = decode_event(raw[one.event]) if one.event in raw else None
            if not isinstance(event, RecordAppended):
                continue  # the chain is being fetched anew
            commitment = event.entry.commitment
            try:
                secret = self._kek.open_secret(one.sealed, chart, commitment)
                shares = self._kek.open_shares(one.shares, chart, commitment)
                small = one.blob_bytes <= INLINE_BYTES
                blob = await self._blobs.get(one.blob_id) if small else None
            except (SealBroken, BlobMissing, BlobCorrupt):
                continue  # named by the scrub, or by `doctor`
            details = held_details(secret, self._node.chain, chart, commitment)
            offers.append(
                Offer(commitment, one.event, one.blob_id, one.blob_bytes, blob, shares, details, one.owner_envelope)
            )
        return offers

    async def _owner(self, chart: int) -> Owner:
        raw = await self._store.chart_secret(chart)
        with self._kek.keys.lease():
            if raw is None:  # another's chart, to which a grant lets this institution write
                return Owner(*(await self._permits.owner(chart) or (1, b"")))
            secret = self._kek.open_chart(raw)
        return Owner(secret.encryption_suite, secret.encryption_public)

    # --- what holders still have ---------------------------------------------------------------------------------

    async def audit(self) -> int:
        """Ask holders about the next records; how many copies are gone. Raises `StorageFailed`."""
        found = await self._store.after(*self._audited, AUDITED_AT_ONCE)
        self._audited = (found[-1].chart, found[-1].event) if found else (0, -1)
        accredited = set(self._node.accredited())
        gone = 0
        for chart, group in groupby(found, key=lambda one: one.chart):
            records = list(group)
            lost: dict[int, set[int]] = {}
            for holder in {copy.holder for one in records for copy in one.copies if copy.held}:
                mine = [one.event for one in records if any(c.holder == holder and c.held for c in one.copies)]
                lost[holder] = set(mine) if holder not in accredited else await self._lacking(holder, chart, mine)
            changed = [one for one in (self._without(one, lost) for one in records) if one is not None]
            gone += len(changed)
            if changed:
                log.warning("holders lost copies", chart=chart, records=len(changed))
                await self._store.set_copies(changed)
        return gone

    async def _lacking(self, holder: int, chart: int, records: Sequence[int]) -> set[int]:
        request = encode(LackingRequest(chart, tuple(records)))
        try:
            return set(decode(LackingAnswer, await self._node.ask(holder, LACKING, request, ANSWER_S)).records)
        except (RequestFailed, DecodeError):
            return set()  # nothing is known of it; `peers` says who is away

    def _without(self, record: StoredRecord, lost: dict[int, set[int]]) -> StoredRecord | None:
        copies = tuple(
            replace(copy, held=False) if copy.held and record.event in lost.get(copy.holder, ()) else copy
            for copy in record.copies
        )
        if copies == record.copies:
            return None
        fewer = sum(one.held for one in record.copies) - sum(one.held for one in copies)
        return replace(record, copies=copies, lacking=record.lacking + fewer)

    # --- what lies here ------------------------------------------------------------------------------------------

    async def heal(self, chart: int, record: int, blob_id: bytes, size: int) -> bool:
        """Fetch a sealed record that is missing or damaged here from another copy; whether it is whole again. Raises
        `StorageFailed`."""
        raw = (await self._node.events_at(chart, [record])).get(record)
        event = None if raw is None else decode_event(raw)
        if not isinstance(event, RecordAppended) or await any_erased(self._node, chart, [record]):
            return False
        own = (await self._store.get(chart, [record])).get(record)
        more = () if own is None else tuple(copy.holder for copy in own.copies)
        for source in dict.fromkeys((event.institution, *event.holders, *more)):
            if source != self._node.institution and await self._fetched(source, chart, record, blob_id, size):
                if not await self._wanted_still(chart, record, blob_id):
                    await self._blobs.discard([blob_id])
                    await self._blobs.checkpoint()
                    return False
                log.info("healed", chart=chart, record=record, institution=source)
                return True
        return False

    async def _fetched(self, source: int, chart: int, record: int, blob_id: bytes, size: int) -> bool:
        async def pieces() -> AsyncIterator[bytes]:
            offset = 0
            while offset < size:
                request = encode(SealedRequest(chart, record, blob_id, offset))
                piece = decode(BlobPiece, await self._node.ask(source, SEALED, request, ANSWER_S)).data
                if not min(INLINE_BYTES, size - offset) <= len(piece) <= size - offset:
                    raise NotWhole
                offset += len(piece)
                yield piece

        async def check(identity: bytes, _: int) -> None:
            if identity != blob_id:
                raise NotWhole
            await self._blobs.discard([blob_id])  # what is damaged makes room for what is whole

        try:
            await self._blobs.put(pieces(), check)
        except (RequestFailed, DecodeError, NotWhole):
            return False
        return True

    async def _wanted_still(self, chart: int, record: int, blob_id: bytes) -> bool:
        """An erasure may have passed while it was fetched: then its rows are gone, and so must this be."""
        own, held = await self._store.get(chart, [record]), await self._held.get(chart, [record])
        here = {one.blob_id for one in own.values()} | {one.handed.blob_id for one in held.values()}
        return blob_id in here
