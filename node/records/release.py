"""A writer's answer to a reader: keys and blobs, against a final asking that still holds.

Every request is judged anew on this node's newest final state (`node.records.judge`). Only then is a record's key taken
from under the key-encryption key and sealed to the reader's key, whose digest stands on the ledger. Whoever wrote a
record releases it alone, the chart's custodian or not; holders release shares (`node.records.holding`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from node.records.errors import NotWriter, RecordUnknownHere
from node.records.judge import Judge, Judged
from node.records.messages import (
    ANSWER_BYTES,
    BLOB,
    INLINE_BYTES,
    PIECE_BYTES,
    RELEASE,
    BlobPiece,
    BlobRequest,
    ReleaseAnswer,
    Released,
    ReleasedKey,
    ReleaseRequest,
)
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.records_store import RecordsStore, StoredRecord
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.ledger.events import RecordAppended, decode_event


class Releaser:
    """Answers the requests of other institutions' nodes, and of this one's own reader."""

    def __init__(
        self,
        node: NodeServices,
        judge: Judge,
        store: RecordsStore,
        blobs: BlobStore,
        kek: Kek,
        threads: Executor,
    ) -> None:
        self._node = node
        self._judge = judge
        self._store = store
        self._blobs = blobs
        self._kek = kek
        self._threads = threads

    async def answer(self, reader: int, method: str, payload: bytes) -> bytes | None:
        """The answer to institution `reader`; None for what is not asked of a writer. Raises named errors."""
        if method == RELEASE:
            return encode(await self.release(reader, decode(ReleaseRequest, payload)))
        if method == BLOB:
            return encode(await self.blob(reader, decode(BlobRequest, payload)))
        return None

    async def release(self, reader: int, request: ReleaseRequest) -> ReleaseAnswer:
        """Keys and small blobs of as many of the records, from the first, as an answer holds; at least one."""
        judged = await self._check(reader, request.chart, request.disclosure, request.records)
        judged.check_recipient(request.public)
        with self._kek.keys.lease():
            return await self._release(request, judged)

    async def _release(self, request: ReleaseRequest, judged: Judged) -> ReleaseAnswer:
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
                self._released(one, judged.records[one.event], judged.suite, request.public, blob)
                for one, blob in zip(stored, blobs, strict=False)
            )

        return ReleaseAnswer(await asyncio.get_running_loop().run_in_executor(self._threads, seal))

    async def blob(self, reader: int, request: BlobRequest) -> BlobPiece:
        """A piece of a large blob; checked as a release is, so that what ended meanwhile ends here too."""
        await self._check(reader, request.chart, request.disclosure, [request.record])
        stored = await self._stored(request.chart, [request.record])
        return BlobPiece(await self._blobs.part(stored[0].blob_id, request.offset, PIECE_BYTES))

    async def _check(self, reader: int, chart: int, asking: int, records: Sequence[int]) -> Judged:
        """Raises as `Judge.check`, and `NotWriter`."""
        await self._judge.catch_up(chart, asking)
        raw = await self._node.events_at(chart, records)
        for number, found in raw.items():
            event = decode_event(found)
            if isinstance(event, RecordAppended) and event.institution != self._node.institution:
                raise NotWriter(f"institution {event.institution} wrote record {number} of chart {chart}")
        return await self._judge.check(reader, chart, asking, records)

    async def _stored(self, chart: int, records: Sequence[int]) -> list[StoredRecord]:
        found = await self._store.get(chart, records)
        missing = [number for number in records if number not in found]
        if missing:
            raise RecordUnknownHere(f"record {missing[0]} of chart {chart} is not stored at its writer")
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
