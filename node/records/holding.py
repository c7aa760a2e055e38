"""A holder's way in: copies and key shares are taken from their writers.

What a writer hands over is checked against this node's own final state, opened, sealed again under the key-encryption
key, and durable before it is acknowledged: first the rows, then the blobs, so that no blob is ever without a row that
names it. What never becomes final is swept. The way out is `node.records.sharing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from node.network.interface import RequestFailed
from node.records.envelope_key import EnvelopeKeys
from node.records.errors import HoldRefused, TooMuchHeld
from node.records.holding_messages import (
    HOLD,
    HOLDER_KEY,
    SEALED,
    Handover,
    HoldAnswer,
    HolderKeyAnswer,
    HolderKeyRequest,
    HoldRequest,
    SealedRequest,
    Shares,
    batch_digest,
)
from node.records.judge import Judge, any_erased
from node.records.messages import INLINE_BYTES, RECORD_BYTES, BlobPiece
from node.records.opening import sealed_bytes_most
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.held_store import Handed, HeldRecord, HeldStore, StagedHeld
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, open_envelope
from protocol.crypto.hashing import blob_id, encryption_key_digest
from protocol.errors import NotAccredited, SealBroken, UnknownChart
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import Chart, decode_grant_head
from protocol.types.institutions import STATUS_ACCREDITED
from protocol.types.operations import ACCESS_WRITE

STAGED_MOST = 100_000
STAGED_BYTES_MOST = 64 * 1024 * 1024 * 1024
"""Of one writer, waiting to become final."""
SWEEP_MARGIN_MS = 60 * 60 * 1_000
PIECE_S = 30.0
GRANTS_LOOKED_AT = 1_024
GRANTS_AT_ONCE = 64


class Holding:
    """Takes, keeps and gives out what this institution holds for others."""

    def __init__(
        self,
        node: NodeServices,
        judge: Judge,
        store: HeldStore,
        blobs: BlobStore,
        kek: Kek,
        envelope_keys: EnvelopeKeys,
    ) -> None:
        self._node = node
        self._judge = judge
        self._store = store
        self._blobs = blobs
        self._kek = kek
        self._envelope_keys = envelope_keys
        self._sweeping = asyncio.Lock()

    async def answer(self, peer: int, method: str, payload: bytes) -> bytes | None:
        """The answer to institution `peer`; None for what is not asked of a holder. Raises named errors."""
        if method == HOLD:
            return encode(await self.hold(peer, decode(HoldRequest, payload)))
        if method == HOLDER_KEY:
            decode(HolderKeyRequest, payload)
            return encode(HolderKeyAnswer(self._envelope_keys.current.suite, self._envelope_keys.current.public))
        return None

    async def sweep(self) -> int:
        """Forget what can no longer become final, or was not wanted in the end, with its blobs. How many."""
        params = self._node.params
        before_ms = self._node.head().timestamp - 2 * params.valid_until_max_ms - SWEEP_MARGIN_MS
        count = 0
        while True:
            async with self._sweeping:
                gone = await self._store.sweep(max(before_ms, 1))
                # Whoever named another's blob before that came here takes nothing with it.
                kept = await self._store.referred(gone) if gone else set()
                await self._blobs.discard([one for one in gone if one not in kept])
            count += len(gone)
            if not gone:
                return count

    async def hold(self, writer: int, request: HoldRequest) -> HoldAnswer:
        """Take records to hold. Raises `HoldRefused`, `TooMuchHeld`, `UnknownChart`, `NotAccredited`, or `SealBroken`
        for shares that are not sealed to this institution."""
        leaf = await self._check_writer(writer, request)
        self._check_forms(request.records)
        shares = self._open_shares(request)
        final = [one for one in request.records if one.record is not None]
        await self._check_final(writer, request.chart, final)
        await self._check_room(writer, request)
        chart = request.chart
        async with self._sweeping:
            known = await self._blobs.known([one.blob_id for one in request.records])
            await self._check_owned(writer, chart, request.records, known)
            with self._kek.keys.lease():
                await self._keep(writer, chart, request.records, shares)
        await self._take_blobs(writer, chart, [one for one in request.records if one.blob_id not in known])
        await self._drop_erased(writer, chart, request.records)
        if encryption_key_digest(request.owner_suite, request.owner_public) == leaf.encryption_key:
            owner = await self._store.owner(chart)
            if owner != (request.owner_suite, request.owner_public):
                await self._store.set_owner(chart, request.owner_suite, request.owner_public)
        return HoldAnswer(len(request.records))

    async def _check_writer(self, writer: int, request: HoldRequest) -> Chart:
        """The chart, if `writer` may write to it at all; that the entry is valid is for the ledger to say."""
        await self._judge.catch_up(request.chart, 0)
        leaf = await self._node.chart(request.chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {request.chart}")
        institution = await self._node.institution_leaf(writer)
        if institution is None or institution.status != STATUS_ACCREDITED:
            raise NotAccredited("the institution that hands over is not accredited")
        if leaf.custodian != writer and not await self._may_write(writer, request.chart, leaf):
            raise HoldRefused(f"institution {writer} neither keeps chart {request.chart} nor may write to it")
        return leaf

    async def _may_write(self, writer: int, chart: int, leaf: Chart) -> bool:
        """Some of the grants are looked at at a time, and none taken apart: all of them may be of 38 MB, anybody who is
        accredited may ask, sixteen times at once, and a chart of such grants be of their own making."""
        grants = range(min(leaf.grants, GRANTS_LOOKED_AT))
        for first in grants[::GRANTS_AT_ONCE]:
            wanted = [keys.grant(chart, number) for number in grants[first : first + GRANTS_AT_ONCE]]
            for raw in (await self._node.leaves(wanted)).values():
                terms = decode_grant_head(raw).terms
                if writer in terms.grantees and terms.access & ACCESS_WRITE:
                    return True
        return False

    def _check_forms(self, records: Sequence[Handover]) -> None:
        for one in records:
            if one.blob is not None and (len(one.blob) != one.blob_bytes or blob_id(one.blob) != one.blob_id):
                raise HoldRefused("a sealed record is not the one of its digest")
            if one.blob is None and not INLINE_BYTES < one.blob_bytes <= sealed_bytes_most(RECORD_BYTES):
                raise HoldRefused("a sealed record that is small, or larger than any can be, is not fetched")
        if len({one.commitment for one in records}) != len(records):
            raise HoldRefused("one record is handed over twice")

    def _open_shares(self, request: HoldRequest) -> Shares:
        batch = batch_digest([one.commitment for one in request.records])
        for key in self._envelope_keys.all():
            info = envelope_info(self._node.chain, request.chart, batch, key.digest)
            try:
                shares = decode(Shares, open_envelope(key.suite, key.private, info, request.envelope))
            except SealBroken:
                continue
            if len(shares.shares) != len(request.records):
                raise HoldRefused("there are more or fewer shares than records")
            return shares
        raise SealBroken("the shares are not sealed to this institution, for these records")

    async def _check_final(self, writer: int, chart: int, records: Sequence[Handover]) -> None:
        """Records whose entries are final must be the writer's own, and not erased: a tombstone beats every repair."""
        numbers = [one.record for one in records if one.record is not None]
        raw = await self._node.events_at(chart, numbers)
        for one in records:
            assert one.record is not None
            event = decode_event(raw[one.record]) if one.record in raw else None
            if not isinstance(event, RecordAppended) or event.entry.commitment != one.commitment:
                raise HoldRefused(f"event {one.record} of chart {chart} is not that record")
            if event.institution != writer:
                raise HoldRefused(f"institution {event.institution} wrote record {one.record}")
        if numbers and await any_erased(self._node, chart, numbers):
            raise HoldRefused("a record that was erased is not stored again")

    async def _check_room(self, writer: int, request: HoldRequest) -> None:
        if all(one.record is not None for one in request.records):
            return
        before = await self._store.staged_by(writer)
        size = before.size_bytes + sum(one.blob_bytes for one in request.records)
        if before.count + len(request.records) > STAGED_MOST or size > STAGED_BYTES_MOST:
            raise TooMuchHeld()

    async def _check_owned(self, writer: int, chart: int, records: Sequence[Handover], known: set[bytes]) -> None:
        """Sealed records that are here already must be of these very records: each belongs to one, or the sweep of the
        one would take what another rests on. And a record that is here already keeps the sealed bytes that it has: with
        others in their place, these would lie here for ever, named by no row, counted by no limit, erased by nobody."""
        staged = await self._store.staged(writer, [one.commitment for one in records])
        held = await self._store.get(chart, [one.record for one in records if one.record is not None])
        for one in records:
            at = held.get(one.record) if one.record is not None else None
            before = [
                handed
                for handed in (staged.get(one.commitment), None if at is None else at.handed)
                if handed is not None
            ]
            if any((handed.blob_id, handed.blob_bytes) != (one.blob_id, one.blob_bytes) for handed in before):
                raise HoldRefused("that record is here already, with other sealed bytes")
            if not before and one.blob_id in known and await self._store.refers(one.blob_id):
                raise HoldRefused("that sealed record is here already, as another's")

    async def _keep(self, writer: int, chart: int, records: Sequence[Handover], shares: Shares) -> None:
        now = self._node.head().timestamp
        rows: list[StagedHeld] = []
        placed: list[HeldRecord] = []
        for one, share in zip(records, shares.shares, strict=True):
            sealed = self._kek.seal_shares((share,), chart, one.commitment)
            handed = Handed(one.blob_id, one.blob_bytes, sealed, one.details, one.owner_envelope)
            if one.record is None:
                rows.append(StagedHeld(one.commitment, chart, self._node.institution, writer, now, handed))
            else:
                placed.append(HeldRecord(chart, one.record, writer, handed))
        if rows:
            await self._store.stage(rows)
        if placed:
            await self._store.put(placed, [one.commitment for one in records if one.record is not None])

    async def _take_blobs(self, writer: int, chart: int, records: Sequence[Handover]) -> None:
        await self._blobs.put_many([one.blob for one in records if one.blob is not None])
        for one in records:
            if one.blob is None:
                await self._fetch(writer, chart, one)

    async def _drop_erased(self, writer: int, chart: int, records: Sequence[Handover]) -> None:
        """An erasure may have become final while blobs were on their way: its rows are gone then, and so must these."""
        held = await self._store.get(chart, [one.record for one in records if one.record is not None])
        staged = await self._store.staged(writer, [one.commitment for one in records if one.record is None])
        gone = []
        for one in records:
            if one.record is not None:
                here = one.record in held
            else:  # not staged any more: it became final meanwhile, and is held, or was erased at once
                here = one.commitment in staged or await self._store.refers(one.blob_id)
            if not here:
                gone.append(one.blob_id)
        if gone:
            await self._blobs.discard(gone)
            await self._blobs.checkpoint()
            raise HoldRefused("a record that was erased is not stored again")

    async def _fetch(self, writer: int, chart: int, wanted: Handover) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            offset = 0
            while offset < wanted.blob_bytes:
                request = encode(SealedRequest(chart, wanted.record, wanted.blob_id, offset))
                piece = decode(BlobPiece, await self._node.ask(writer, SEALED, request, PIECE_S)).data
                if not min(INLINE_BYTES, wanted.blob_bytes - offset) <= len(piece) <= wanted.blob_bytes - offset:
                    raise HoldRefused("the sealed record has another size than was said, or comes in crumbs")
                offset += len(piece)
                yield piece

        async def check(identity: bytes, _: int) -> None:
            if identity != wanted.blob_id:
                raise HoldRefused("the sealed record is not the one of its digest")

        try:
            await self._blobs.put(pieces(), check)
        except RequestFailed as error:
            raise HoldRefused(f"the sealed record could not be fetched: {error}") from None
