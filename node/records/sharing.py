"""A holder's way out: shares of keys, and sealed bytes, against a final asking that still holds.

A share is released exactly as a writer releases a key: after the rules were asked again on this node's newest final
state (`node.records.judge`), sealed to the reader's key. Alone it opens nothing. Sealed bytes alone go to who keeps
copies, too, so that a copy that was lost can be made good from another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from node.records.errors import NotHeld
from node.records.holding_messages import (
    LACKING,
    SEALED,
    SHARE,
    LackingAnswer,
    LackingRequest,
    SealedRequest,
    ShareAnswer,
    Shared,
    ShareRequest,
    Shares,
    batch_digest,
)
from node.records.judge import Judge, Judged, any_erased
from node.records.messages import ANSWER_BYTES, BLOB, INLINE_BYTES, BlobPiece, BlobRequest
from node.records.placing import Placer
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.held_store import HeldRecord, HeldStore
from node.storage.records_store import RecordsStore
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.ledger.events import RecordAppended, decode_event


class Sharing:
    """Gives out what this institution holds for others."""

    def __init__(
        self,
        node: NodeServices,
        judge: Judge,
        held: HeldStore,
        own: RecordsStore,
        blobs: BlobStore,
        kek: Kek,
        placer: Placer,
        threads: Executor,
    ) -> None:
        self._node = node
        self._judge = judge
        self._held = held
        self._own = own
        self._blobs = blobs
        self._kek = kek
        self._placer = placer
        self._threads = threads

    async def answer(self, peer: int, method: str, payload: bytes) -> bytes | None:
        """The answer to institution `peer`; None for what is not asked of a holder. Raises named errors."""
        if method == SHARE:
            return encode(await self.share(peer, decode(ShareRequest, payload)))
        if method == LACKING:
            return encode(await self.lacking(decode(LackingRequest, payload)))
        if method == SEALED:
            return encode(await self.sealed(peer, decode(SealedRequest, payload)))
        if method == BLOB:
            request = decode(BlobRequest, payload)
            if await self._held.get(request.chart, [request.record]):
                return encode(await self.blob(peer, request))
        return None

    async def holds(self, chart: int, record: int) -> bool:
        """Whether this institution holds that record for another."""
        return bool(await self._held.get(chart, [record]))

    async def share(self, reader: int, request: ShareRequest) -> ShareAnswer:
        """Shares, details and small blobs of as many of the records, from the first, as an answer holds; at least one.
        Raises as `Judge.check`, `NotHeld`, and storage's errors."""
        judged = await self._judge.check(reader, request.chart, request.asking, request.records, request.height)
        judged.check_recipient(request.public)
        with self._kek.keys.lease():
            return await self._share(request, judged)

    async def _share(self, request: ShareRequest, judged: Judged) -> ShareAnswer:
        chart = request.chart
        held = await self._stored(chart, request.records)
        shared: list[Shared] = []
        size = 0
        for one in held:
            handed = one.handed
            small = request.blobs and handed.blob_bytes <= INLINE_BYTES
            size += handed.blob_bytes if small else 0
            if shared and size > ANSWER_BYTES:
                break
            blob = await self._blobs.get(handed.blob_id) if small else None
            shared.append(Shared(one.event, handed.details, handed.blob_bytes, blob))
        answered = held[: len(shared)]
        commitments = [judged.records[one.event].entry.commitment for one in answered]

        def seal() -> bytes:
            shares = tuple(
                self._kek.open_shares(one.handed.share, chart, commitment)[0]
                for one, commitment in zip(answered, commitments, strict=True)
            )
            info = envelope_info(self._node.chain, chart, batch_digest(commitments), judged.key_digest)
            return seal_envelope(judged.suite, request.public, info, encode(Shares(shares)))

        envelope = await asyncio.get_running_loop().run_in_executor(self._threads, seal)
        return ShareAnswer(envelope, tuple(shared))

    async def blob(self, reader: int, request: BlobRequest) -> BlobPiece:
        """A piece of a large blob; judged as a share is, so that what ended meanwhile ends here too."""
        await self._judge.check(reader, request.chart, request.disclosure, [request.record])
        held = await self._stored(request.chart, [request.record])
        return BlobPiece(await self._blobs.part(held[0].handed.blob_id, request.offset, ANSWER_BYTES))

    async def lacking(self, request: LackingRequest) -> LackingAnswer:
        """Which of these records this institution does not hold whole, as far as its rows say. Tells nothing that the
        ledger does not: who asks could hand them over again."""
        held = await self._held.get(request.chart, request.records)
        known = await self._blobs.known([one.handed.blob_id for one in held.values()])
        whole = {number for number, one in held.items() if one.handed.blob_id in known}
        return LackingAnswer(tuple(number for number in request.records if number not in whole))

    async def sealed(self, peer: int, request: SealedRequest) -> BlobPiece:
        """Sealed bytes for a copy. Raises `NotHeld` unless `peer` is being asked to hold them, or the record is named
        and the ledger knows `peer` for its writer, a holder or the chart's custodian."""
        if not self._placer.is_offered(peer, request.blob_id):
            await self._check_copy(peer, request)
        return await self._placer.piece(request.blob_id, request.offset)

    async def _check_copy(self, peer: int, request: SealedRequest) -> None:
        chart, record = request.chart, request.record
        nothing = NotHeld("there are no sealed bytes of that record here for that institution")
        if record is None:
            raise nothing
        raw = await self._node.events_at(chart, [record])
        event = decode_event(raw[record]) if record in raw else None
        leaf = await self._node.chart(chart)
        if not isinstance(event, RecordAppended) or leaf is None:
            raise nothing
        own, held = await self._own.get(chart, [record]), await self._held.get(chart, [record])
        here = {one.blob_id for one in own.values()} | {one.handed.blob_id for one in held.values()}
        copies = {copy.holder for one in own.values() for copy in one.copies}
        if request.blob_id not in here or peer not in {event.institution, leaf.custodian, *event.holders, *copies}:
            raise nothing
        if await any_erased(self._node, chart, [record]):
            raise nothing

    async def _stored(self, chart: int, records: Sequence[int]) -> list[HeldRecord]:
        found = await self._held.get(chart, records)
        missing = [number for number in records if number not in found]
        if missing:
            raise NotHeld(f"record {missing[0]} of chart {chart} is not held by institution {self._node.institution}")
        return [found[number] for number in records]
