"""What an institution gives a chart's owner through another's node: as writer, holder, asker or custodian.

Each request is judged anew on this node's own final state (`node.records.owner_judge`). The writer of a record seals
all that opens it to the owner's key in force; a holder gives the envelope that it was handed, which may be for an
earlier key, and its share, which opens nothing alone; an asker what itself said in confidence.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial

from node.reading_pass import ReadingPass
from node.records.confidence import Confidence
from node.records.errors import NotHeld
from node.records.holding_messages import Shares, batch_digest
from node.records.messages import ANSWER_BYTES, PIECE_BYTES, BlobPiece
from node.records.owner_judge import OwnerJudge
from node.records.owner_messages import (
    OWNER_BLOB,
    OWNER_DETAILS,
    OWNER_SHARE,
    OwnerBlobRequest,
    OwnerDetailsAnswer,
    OwnerDetailsRequest,
    OwnerShareAnswer,
    OwnerShareRequest,
    SaidToOwner,
)
from node.records.seal import Kek, owner_plain
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.held_store import HeldRecord, HeldStore
from node.storage.records_store import RecordsStore, StoredRecord
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.ledger.leaves import Chart


class OwnerReleaser:
    """Answers owners' requests that other institutions' nodes, or this one itself, bring."""

    def __init__(
        self,
        node: NodeServices,
        judge: OwnerJudge,
        own: RecordsStore,
        held: HeldStore,
        blobs: BlobStore,
        confidence: Confidence,
        kek: Kek,
        threads: Executor,
    ) -> None:
        self._node = node
        self._judge = judge
        self._own = own
        self._held = held
        self._blobs = blobs
        self._confidence = confidence
        self._kek = kek
        self._threads = threads

    async def answer(self, peer: int, method: str, payload: bytes) -> bytes | None:
        """The answer to institution `peer`; None for what no owner asks. Raises named errors."""
        if method == OWNER_SHARE:
            return encode(await self.share(peer, decode(OwnerShareRequest, payload)))
        if method == OWNER_BLOB:
            return encode(await self.blob(peer, decode(OwnerBlobRequest, payload)))
        if method == OWNER_DETAILS:
            return encode(await self.details(peer, decode(OwnerDetailsRequest, payload)))
        return None

    async def share(self, by: int, request: OwnerShareRequest) -> OwnerShareAnswer:
        """What is here that lets the owner open one record. Raises as `OwnerJudge.record`, and `NotHeld`."""
        leaf, appended = await self._judge.record(by, request.shown, request.record)
        commitment = appended.entry.commitment
        with self._kek.keys.lease():
            found = await self._find(request.shown, request.record)
            public = request.shown.public
            if isinstance(found, StoredRecord):
                seal = partial(self._secret, found, leaf, public, commitment)
            else:
                seal = partial(self._share, found, leaf, public, commitment)
            return await asyncio.get_running_loop().run_in_executor(self._threads, seal)

    async def blob(self, by: int, request: OwnerBlobRequest) -> BlobPiece:
        """A piece of its sealed bytes. Raises as `share`."""
        await self._judge.record(by, request.shown, request.record)
        found = await self._find(request.shown, request.record)
        blob = found.blob_id if isinstance(found, StoredRecord) else found.handed.blob_id
        return BlobPiece(await self._blobs.part(blob, request.offset, PIECE_BYTES))

    async def details(self, by: int, request: OwnerDetailsRequest) -> OwnerDetailsAnswer:
        """What was said to the owner about these events, as far as it is here. Raises as `OwnerJudge.check`."""
        leaf = await self._judge.check(by, request.shown)
        said: list[SaidToOwner] = []
        size = 0
        for event in request.events:
            for sealed in await self._confidence.said_to_owner(request.shown.chart, event, leaf, request.shown.public):
                size += len(sealed)
                if size > ANSWER_BYTES:
                    return OwnerDetailsAnswer(tuple(said))
                said.append(SaidToOwner(event, sealed))
        return OwnerDetailsAnswer(tuple(said))

    async def _find(self, shown: ReadingPass, record: int) -> StoredRecord | HeldRecord:
        own = (await self._own.get(shown.chart, [record])).get(record)
        held = None if own is not None else (await self._held.get(shown.chart, [record])).get(record)
        found = own or held
        if found is None:
            raise NotHeld(f"institution {self._node.institution} stores nothing of record {record}")
        return found

    # --- sealing: CPU work ---------------------------------------------------------------------------------------

    def _secret(self, stored: StoredRecord, leaf: Chart, public: bytes, commitment: bytes) -> OwnerShareAnswer:
        secret = self._kek.open_secret(stored.sealed, stored.chart, commitment)
        info = envelope_info(self._node.chain, stored.chart, commitment, leaf.encryption_key)
        envelope = seal_envelope(leaf.encryption_suite, public, info, owner_plain(secret))
        return OwnerShareAnswer(envelope, b"", b"", stored.blob_bytes)

    def _share(self, held: HeldRecord, leaf: Chart, public: bytes, commitment: bytes) -> OwnerShareAnswer:
        share = self._kek.open_shares(held.handed.share, held.chart, commitment)[0]
        info = envelope_info(self._node.chain, held.chart, batch_digest([commitment]), leaf.encryption_key)
        envelope = seal_envelope(leaf.encryption_suite, public, info, encode(Shares((share,))))
        handed = held.handed
        return OwnerShareAnswer(handed.owner_envelope, envelope, handed.details, handed.blob_bytes)
