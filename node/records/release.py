"""The custodian's answer to a reader: keys and blobs, against a final disclosure that still holds.

Every request is checked anew on this node's newest final state: that the disclosure is the asker's, final and granted,
names the records, is within its deadline, that its grant is in force, and that the state itself is fresh. Only then is
a record's key taken from under the key-encryption key and sealed to the asker's key, whose digest stands on the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from node.logs import get_logger
from node.network.interface import Refuse
from node.records import consent
from node.records.errors import NotCustodian, NotDisclosed, NotFresh, RecordUnknownHere
from node.records.messages import (
    ANSWER_BYTES,
    BLOB,
    INLINE_BYTES,
    RELEASE,
    BlobPiece,
    BlobRequest,
    ReleaseAnswer,
    Released,
    ReleasedKey,
    ReleaseRequest,
)
from node.records.seal import Kek
from node.records.told import Told
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.records_store import RecordsStore, StoredRecord
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import ChartledgerError, DecodeError
from protocol.ledger.events import GlassBroken, RecordAppended, decode_event
from protocol.ledger.leaves import decode_leaf
from protocol.types.institutions import Institution

log = get_logger("release")

CATCH_UP_S = 5.0
AHEAD_EVENTS = 2_000
"""How long, and how many events of a chart, a reader's node may be ahead of its custodian's."""


class Releaser:
    """Answers the requests of other institutions' nodes, and of this one's own reader."""

    def __init__(
        self, node: NodeServices, store: RecordsStore, blobs: BlobStore, kek: Kek, threads: Executor, told: Told
    ) -> None:
        self._node = node
        self._told = told
        self._store = store
        self._blobs = blobs
        self._kek = kek
        self._threads = threads

    async def answer(self, reader: int, method: str, payload: bytes) -> bytes:
        """The answer to institution `reader`. Raises `Refuse` with a named error's code and sentence, or `DecodeError`
        for what is no request."""
        try:
            if method == RELEASE:
                return encode(await self.release(reader, decode(ReleaseRequest, payload)))
            if method == BLOB:
                return encode(await self.blob(reader, decode(BlobRequest, payload)))
        except DecodeError:
            raise
        except ChartledgerError as error:
            raise Refuse(error.code, str(error)) from None
        raise Refuse("unknown-method", "this node does not know that request")

    async def release(self, reader: int, request: ReleaseRequest) -> ReleaseAnswer:
        """Keys and small blobs of as many of the records, from the first, as an answer holds; at least one."""
        entries = await self.check(reader, request.chart, request.disclosure, request.records)
        leaf = await self._node.institution_leaf(reader)
        if leaf is None or encryption_key_digest(leaf.encryption_suite, request.public) != leaf.encryption_key:
            raise NotDisclosed(
                "the envelope key sent along is not the one that stands on the ledger for this institution"
            )
        with self._kek.keys.lease():
            return await self._release(request, entries, leaf)

    async def _release(
        self, request: ReleaseRequest, entries: Mapping[int, RecordAppended], leaf: Institution
    ) -> ReleaseAnswer:
        stored = await self._stored(request.chart, request.records)
        blobs: list[bytes | None] = []
        size = 0
        for one in stored:
            inline = one.blob_bytes <= INLINE_BYTES
            size += one.blob_bytes if inline else 0
            if blobs and size > ANSWER_BYTES:
                break
            blobs.append(await self._blobs.get(one.blob_id) if inline else None)

        def seal() -> tuple[Released, ...]:
            return tuple(
                self._released(one, entries[one.event], leaf.encryption_suite, request.public, blob)
                for one, blob in zip(stored, blobs, strict=False)
            )

        return ReleaseAnswer(await asyncio.get_running_loop().run_in_executor(self._threads, seal))

    async def blob(self, reader: int, request: BlobRequest) -> BlobPiece:
        """A piece of a large blob; checked as a release is, so that what ended meanwhile ends here too."""
        await self.check(reader, request.chart, request.disclosure, [request.record])
        stored = await self._stored(request.chart, [request.record])
        return BlobPiece(await self._blobs.part(stored[0].blob_id, request.offset, ANSWER_BYTES))

    async def check(
        self, reader: int, chart: int, disclosure: int, records: Sequence[int], *, for_delegate: bool = False
    ) -> dict[int, RecordAppended]:
        """The records as they stand on the ledger, if `reader` may have them now; raises as `node.records.consent`.

        By an emergency nothing is released before those who watch the chart have been told of it.
        """
        node = self._node
        await self._catch_up(chart, disclosure)
        leaf = await node.chart(chart)
        if leaf is None or leaf.custodian != node.institution:
            raise NotCustodian(f"institution {node.institution} is not the custodian of chart {chart}")
        raw = await node.events_at(chart, [disclosure, *records])
        events = {number: decode_event(found) for number, found in raw.items()}
        asking = consent.check_asking(events.get(disclosure), reader, records, for_delegate=for_delegate)
        head, now_ms = node.head(), node.now_ms()
        consent.check_fresh(head, now_ms, node.params)
        appended = {number: consent.record_of(events.get(number), number) for number in records}
        found = await node.leaves(consent.leaves_needed(chart, disclosure, asking, records))
        leaves = {key: decode_leaf(key, leaf) for key, leaf in found.items()}
        consent.check_in_force(chart, disclosure, asking, leaves, appended, max(head.timestamp, now_ms))
        if isinstance(asking, GlassBroken):
            await self._tell(chart, asking, head.height)
        return appended

    async def _tell(self, chart: int, asking: GlassBroken, height: int) -> None:
        """Storage knows an event a moment before subscribers are told: wait for that moment, too."""
        if height < asking.height:
            raise NotFresh("the emergency is not final here yet")
        if not await self._told.everybody(chart, height):
            log.warning("released by an emergency although somebody who watches the chart took nothing", chart=chart)

    async def _catch_up(self, chart: int, event: int) -> None:
        """Wait a little if the event is not final here yet: what just became final elsewhere is a moment away, and a
        reader asks at once."""
        if not await self._is_ahead(chart, event):
            return
        async with self._node.subscribe() as blocks:
            if await self._is_ahead(chart, event):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CATCH_UP_S):
                        async for block in blocks:
                            if any(at == chart and number >= event for at, number, _ in block.events):
                                return

    async def _is_ahead(self, chart: int, event: int) -> bool:
        leaf = await self._node.chart(chart)
        return leaf is not None and leaf.events <= event < leaf.events + AHEAD_EVENTS

    async def _stored(self, chart: int, records: Sequence[int]) -> list[StoredRecord]:
        found = await self._store.get(chart, records)
        missing = [number for number in records if number not in found]
        if missing:
            raise RecordUnknownHere(f"record {missing[0]} of chart {chart} is not stored at its custodian")
        return [found[number] for number in records]

    def _released(
        self, stored: StoredRecord, appended: RecordAppended, suite: int, public: bytes, blob: bytes | None
    ) -> Released:
        commitment = appended.entry.commitment
        secret = self._kek.open_secret(stored.sealed, stored.chart, commitment)
        key = ReleasedKey(secret.key, secret.opening, secret.media_type, secret.length)
        recipient = encryption_key_digest(suite, public)
        info = envelope_info(self._node.chain, stored.chart, commitment, recipient)
        return Released(stored.event, seal_envelope(suite, public, info, encode(key)), stored.blob_bytes, blob)
