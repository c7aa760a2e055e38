"""The records side of a node as one object: what `node.api` calls, and what peers' requests are routed to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from msgspec import Struct

from node.alerts.namesakes import Namesakes
from node.alerts.service import Alerts
from node.logs import get_logger
from node.network.interface import Refuse
from node.practitioners import Practitioners
from node.records import consent
from node.records.asking import Asker
from node.records.changes import Changes
from node.records.confidence import Confidence
from node.records.custody import Custody
from node.records.delegates import ForDelegates
from node.records.envelope_key import EnvelopeKeys
from node.records.erase import Erasures
from node.records.errors import RecordUnknownHere
from node.records.holding import Holding
from node.records.judge import Judge
from node.records.notes import Notes
from node.records.opening import Content, Key, checked
from node.records.owner_judge import OwnerJudge
from node.records.owner_keys import OwnerKeyMissing, OwnerKeys
from node.records.owner_release import OwnerReleaser
from node.records.owners import ForOwners
from node.records.permits import Permits
from node.records.placing import Placer
from node.records.read import Reader, clear
from node.records.release import Releaser
from node.records.repair import Repair
from node.records.seal import Kek, RecordKeys, Secret
from node.records.sharing import Sharing
from node.records.submit import Submitter
from node.records.told import Told
from node.services import NodeServices
from node.storage.blobs import BlobStore
from node.storage.details_store import DetailsStore
from node.storage.erasures import ErasureStore
from node.storage.errors import StorageError
from node.storage.held_store import Handed, HeldStore
from node.storage.outbox import Idempotency
from node.storage.records_store import RecordsStore, StoredRecord
from protocol import limits
from protocol.crypto.commitments import Committer, LeafProof
from protocol.errors import ChartledgerError, DecodeError, UnknownChart, UnknownRecord
from protocol.ledger.events import RecordAppended, decode_event
from protocol.proofs.field import FieldOpening, open_field

log = get_logger("records")


class OwnRecord(Struct, frozen=True):
    """A record at its writer: the event on the ledger, and what is stored here."""

    event: RecordAppended
    stored: StoredRecord
    secret: Secret
    blob_state: str


class Records:
    """The institution's side of its charts, and its reading of others'."""

    def __init__(
        self,
        node: NodeServices,
        *,
        store: RecordsStore,
        details: DetailsStore,
        erasures: ErasureStore,
        requests: Idempotency,
        held: HeldStore,
        blobs: BlobStore,
        keys: RecordKeys,
        folder: Path,
        threads: Executor,
        replicas: int = 3,
    ) -> None:
        """`folder` takes sealed bytes of large records in passing, and nothing else; `threads` carry the CPU work; each
        record written here is to have `replicas` holders besides."""
        self._node = node
        self._store = store
        self._held = held
        self._blobs = blobs
        self._threads = threads
        self._folder = folder
        self._kek = Kek(keys.kek)
        self.practitioners = Practitioners(keys.staff_seed or keys.encryption_seed, node.chain)
        self.owner_keys = OwnerKeys(node, store, self._kek, threads)
        self.changes = Changes(node, self.owner_keys)
        self.custody = Custody(node, store, self._kek)
        self.told = Told()
        self._envelope_keys = EnvelopeKeys(keys.encryption_suite, keys.encryption_seed)
        judge = Judge(node, self.told)
        self.placer = Placer(node, blobs, replicas)
        self.permits = Permits(node, store, self._kek)
        self.submitter = Submitter(node, store, blobs, self._kek, self.placer, self.permits, threads)
        self.confidence = Confidence(node, details, store, self._kek)
        self.asker = Asker(node, self.submitter, self.confidence, self.practitioners.pseudonym)
        self.holding = Holding(node, judge, held, blobs, self._kek, self._envelope_keys)
        self.sharing = Sharing(node, judge, held, store, blobs, self._kek, self.placer, threads)
        self.releaser = Releaser(node, judge, store, blobs, self._kek, threads)
        self.for_delegates = ForDelegates(node, judge, self.releaser, self.sharing)
        owner_judge = OwnerJudge(node, judge)
        self.owner_releaser = OwnerReleaser(node, owner_judge, store, held, blobs, self.confidence, self._kek, threads)
        self.for_owners = ForOwners(node, owner_judge, self.owner_releaser)
        self.namesakes = Namesakes(self.confidence, details)
        self.alerts = Alerts(node, self.confidence, details)
        self.notes = Notes(node, self.submitter, store, blobs, self._kek, threads)
        self.erasures = Erasures(node, erasures, requests, blobs, keys.kek)
        self.repair = Repair(node, store, held, blobs, self._kek, self.placer, self.permits)
        self.reader = Reader(node, judge, self.releaser, self.sharing, self._envelope_keys, folder, threads)

    def set_key(self, suite: int, seed: bytes) -> None:
        """The key that stands on the ledger for this institution from now on, which others seal to. What they sealed
        to the one before is still opened with that."""
        self._envelope_keys.set(suite, seed)

    async def start(self) -> None:
        """Once the core knows its outbox, before requests come in."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(clear, self._folder)
        await self._blobs.clean()
        await self.submitter.sweep(at_start=True)
        await self.erasures.start()

    async def answer(self, peer: int, method: str, payload: bytes) -> bytes:
        """The answer to another institution's request (`records.*`). Raises `Refuse` or `DecodeError`."""
        try:
            for part in (self.confidence, self.holding, self.sharing, self.releaser, self.owner_releaser):
                found = await part.answer(peer, method, payload)
                if found is not None:
                    return found
        except DecodeError:
            raise
        except StorageError as error:  # its sentence names places on this machine, which are nobody else's business
            log.warning("storage failed another institution's request", peer=peer, code=error.code, reason=str(error))
            raise Refuse(error.code, "its storage failed; its own log says how") from None
        except ChartledgerError as error:
            raise Refuse(error.code, str(error)) from None
        raise Refuse("unknown-method", "this node does not know that request")

    async def own(self, chart: int, record: int) -> OwnRecord:
        """Raises `RecordUnknownHere`, `RecordErased`, or `SealBroken` if what is stored does not open."""
        event, stored, secret = await self._own(chart, record)
        return OwnRecord(event, stored, secret, await self._blobs.check(stored.blob_id))

    async def content(self, chart: int, record: int) -> Content:
        """An own record's plain bytes, checked against the ledger. Raises as `own`, storage's `BlobMissing` and
        `BlobCorrupt`, and `CommitmentMismatch`."""
        event, stored, secret = await self._own(chart, record)
        key = Key(secret.key, secret.opening, secret.length, event.entry.commitment)
        return await checked(secret.media_type, key, partial(self._blobs.stream, stored.blob_id), self._threads)

    async def bytes_leaf(self, chart: int, record: int) -> LeafProof:
        """What shows an own record's bytes to who holds them, and opens nothing else. Raises as `content`."""
        _, _, secret = await self._own(chart, record)
        committer = Committer(secret.opening)
        loop = asyncio.get_running_loop()
        async for piece in (await self.content(chart, record)).chunks:
            await loop.run_in_executor(self._threads, committer.update, piece)
        return await loop.run_in_executor(self._threads, committer.bytes_proof)

    async def field_opening(self, chart: int, record: int, pointer: str) -> FieldOpening:
        """What shows one field of an own record. Raises as `content`, and `BadProof` if it has no such field."""
        _, _, secret = await self._own(chart, record)
        data = b""
        if secret.length <= limits.FIELDS_BYTES:  # what is larger has no fields
            data = b"".join([piece async for piece in (await self.content(chart, record)).chunks])
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, open_field, data, secret.opening, pointer)

    async def sealed(self, chart: int, record: int) -> tuple[int, AsyncIterator[bytes]]:
        """The blob as it lies here, written here or held, with its size: for the owner, who has the key in the
        envelope, and may ask a holder while the custodian is down."""
        held = await self._held_row(chart, record)
        if held is not None:
            return held.blob_bytes, self._blobs.stream(held.blob_id)
        stored = await self._row(chart, record)
        return stored.blob_bytes, self._blobs.stream(stored.blob_id)

    async def holders(self, chart: int, records: Sequence[int]) -> list[int]:
        """Who stores, or ever stored, any of these besides the custodian. Raises `UnknownChart` or `UnknownRecord`."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        raw = await self._node.events_at(chart, records)
        found: set[int] = set()
        for record in records:
            event = decode_event(raw[record]) if record in raw else None
            if not isinstance(event, RecordAppended):
                raise UnknownRecord(f"chart {chart} has no record {record}")
            found |= {event.institution, *event.holders}
        for stored in (await self._store.get(chart, records)).values():
            found |= {copy.holder for copy in stored.copies}
        return sorted(found - {leaf.custodian})

    async def owner_envelope(self, chart: int, record: int) -> bytes:
        """A `Secret` sealed to the chart's owner. Raises `OwnerKeyMissing` while its key is not here."""
        held = await self._held_row(chart, record)
        envelope = (await self._row(chart, record) if held is None else held).owner_envelope
        if not envelope:
            raise OwnerKeyMissing
        return envelope

    async def _held_row(self, chart: int, record: int) -> Handed | None:
        """What was handed over of a record that is held here. Raises `RecordErased`."""
        found = (await self._held.get(chart, [record])).get(record)
        if found is None:
            return None
        await consent.refuse_erased(self._node, chart, [record])
        return found.handed

    async def _own(self, chart: int, record: int) -> tuple[RecordAppended, StoredRecord, Secret]:
        raw = await self._node.events_at(chart, [record])
        event = decode_event(raw[record]) if record in raw else None
        with self._kek.keys.lease():
            stored = await self._row(chart, record)
            appended = consent.record_of(event, record)
            return appended, stored, self._kek.open_secret(stored.sealed, chart, appended.entry.commitment)

    async def _row(self, chart: int, record: int) -> StoredRecord:
        stored = (await self._store.get(chart, [record])).get(record)
        await consent.refuse_erased(self._node, chart, [record])
        if stored is None:
            raise RecordUnknownHere(f"record {record} of chart {chart} is not stored at this institution")
        return stored
