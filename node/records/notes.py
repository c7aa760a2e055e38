"""Notes of dispute: what a chart's owner wants to stand beside a record, in the owner's own words.

A note is a record whose entry names the record that it disputes, and takes the owner's co-signature. So it goes in two
steps: this custodian seals it, hands it to its holders and says what there is to sign, and carries it once that is
signed. In between it waits in memory, for a while; holders forget in time what never becomes final.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import Executor

from msgspec import Struct
from msgspec.structs import replace

from node.records.errors import NoSuchDraft
from node.records.seal import Kek, Plain, Sealed
from node.records.submit import Submitter, rows_of
from node.services import NodeServices, Prepared
from node.storage.blobs import BlobStore
from node.storage.records_store import RecordsStore
from node.storage.types import Copy
from protocol.crypto.hashing import blob_id
from protocol.types.operations import AppendRecords, Cosignature, SignedOperation

LIFE_MS = 10 * 60 * 1_000
DRAFTS_MOST = 64
NOTE_BYTES = 256 * 1024


class Draft(Struct, frozen=True):
    """A sealed note that waits for its owner's co-signature. `kek` names the key that its secret lies under."""

    number: int
    operation: AppendRecords
    sealed: Sealed
    copies: tuple[Copy, ...]
    kek: bytes
    until_ms: int


class Notes:
    """Notes on their way in at a custodian."""

    def __init__(
        self,
        node: NodeServices,
        submitter: Submitter,
        store: RecordsStore,
        blobs: BlobStore,
        kek: Kek,
        threads: Executor,
    ) -> None:
        self._node = node
        self._submitter = submitter
        self._store = store
        self._blobs = blobs
        self._kek = kek
        self._threads = threads
        self._drafts: dict[int, Draft] = {}

    async def draft(self, chart: int, disputes: int, plain: Plain) -> Draft:
        """Seal a note. Raises as an append does; the oldest draft goes when there are too many."""
        with self._kek.keys.lease():
            sealer = await self._submitter.sealer(chart)
            kek = self._kek.keys.present
            loop = asyncio.get_running_loop()
            sealed = await loop.run_in_executor(self._threads, sealer.seal, plain)
        copies = await self._submitter.hand_over(chart, sealer, [sealed], [_blob(sealed)])
        entry = replace(sealed.entry, disputes=disputes)
        now = self._node.now_ms()
        self._drafts = {n: one for n, one in self._drafts.items() if one.until_ms > now}
        while len(self._drafts) >= DRAFTS_MOST:
            del self._drafts[next(iter(self._drafts))]
        number = secrets.randbits(48)
        operation = AppendRecords(chart, (entry,), tuple(copy.holder for copy in copies if copy.held))
        made = Draft(number, operation, replace(sealed, entry=entry), copies, kek, now + LIFE_MS)
        self._drafts[number] = made
        return made

    async def carry(self, chart: int, number: int, cosignature: Cosignature) -> list[Prepared]:
        """Prepare the draft with its owner's co-signature. Raises `NoSuchDraft`, and what the ledger has against it."""
        draft = self._drafts.get(number)
        with self._kek.keys.lease():
            if (
                draft is None
                or draft.operation.chart != chart
                or draft.until_ms <= self._node.now_ms()
                or draft.kek != self._kek.keys.present
            ):
                raise NoSuchDraft
            # Taken once: of two transactions one never becomes final, and its sweep would take the blob of both.
            del self._drafts[number]
            prepared: list[Prepared] = []
            try:
                prepared = await self._node.prepare([[SignedOperation(draft.operation, (cosignature,))]])
            finally:
                if not prepared:
                    self._drafts[number] = draft
            sealed = draft.sealed
            await self._store.stage({prepared[0].id: rows_of([sealed], [_blob(sealed)], draft.copies)})
        await self._blobs.put_many([sealed.blob])
        return prepared


def _blob(sealed: Sealed) -> tuple[bytes, int]:
    return blob_id(sealed.blob), len(sealed.blob)
