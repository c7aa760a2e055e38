"""The way in at a writer: charts opened, records sealed and stored, then entries prepared for the ledger. A chart's
custodian writes with the chart's secret, another institution under a grant, with the permit that came with it.

Everything that an entry relies on is durable before its transaction may leave: first at the holders that the entry
will name, then here, the sealed secrets, staged under the transaction's id, which move to their place in the commit
that makes it final; then the blobs (one sync a request). In that order no blob is ever without a row that names it, so
what was staged for a transaction that never left, or can never be final, is swept up together with its blobs: at a
start, and from time to time. A large blob is fetched from here by its holders, so it comes first, under a provisional
id.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from node.records.errors import BadRecord, ChartUnknownHere, NotCustodian, NothingCovered
from node.records.judge import erased_of
from node.records.messages import INLINE_BYTES
from node.records.owner_keys import current_secret, recovery_of
from node.records.permits import Permits
from node.records.placing import Offer, Owner, Placer
from node.records.seal import ChartSealer, ChartSecret, Kek, Plain, Sealed, batched, seal_all
from node.services import Dead, NodeServices, Prepared, Waiting
from node.storage.blobs import BlobStore
from node.storage.errors import StorageFailed
from node.storage.records_store import RecordsStore, StagedRecord, StagedSecret
from node.storage.types import Copy
from node.write_permits import PermittedTags
from protocol import limits
from protocol.crypto.envelopes import check_public
from protocol.crypto.hashing import blob_id, encryption_key_digest
from protocol.crypto.tags import Labels, tags_of
from protocol.errors import BadTerms, CryptoError, UnknownChart, UnknownGrant
from protocol.ledger import keys
from protocol.ledger.decisions import Asked, barred, covered
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import PolicyLeaf, decode_leaf
from protocol.types.operations import AppendRecords, Cosignature, Disclose, OpenChart, SignedOperation

ENTRIES_PER_TRANSACTION = 500
EVENTS_AT_ONCE = 2_000


class ChartOpening(Struct, frozen=True):
    """What the patient's wallet hands over to open a chart."""

    owner_key: bytes
    encryption_suite: int
    encryption_public: bytes
    chart_secret: bytes
    cosignature: Cosignature

    def __repr__(self) -> str:
        return "ChartOpening(hidden)"


class Submitter:
    """Prepares transactions of this institution; the caller submits them once it has noted their ids."""

    def __init__(
        self,
        node: NodeServices,
        store: RecordsStore,
        blobs: BlobStore,
        kek: Kek,
        placer: Placer,
        permits: Permits,
        threads: Executor,
    ) -> None:
        self._node = node
        self._store = store
        self._owner_keys = store.owner_keys
        self._permits = permits
        self._blobs = blobs
        self._kek = kek
        self._placer = placer
        self._threads = threads
        self._suspects: set[bytes] = set()
        self._provisional: set[bytes] = set()

    async def sweep(self, *, at_start: bool = False) -> int:
        """Forget what was staged for transactions that never left, or can never be final, with its blobs. How many.

        Only at a start is nobody about to submit; later, what is forgotten must have looked lost at the sweep before
        too, which no request takes long enough for.
        """
        ids = sorted(await self._store.staged() - self._provisional)
        outcomes = await self._node.outcomes(ids, 0) if ids else []
        lost = {i for i, o in zip(ids, outcomes, strict=True) if o is Waiting.UNKNOWN or isinstance(o, Dead)}
        gone = lost if at_start else lost & self._suspects
        self._suspects = lost - gone
        if gone:
            await self._blobs.discard(await self._store.unstage(gone))
        return len(gone)

    async def open_chart(self, opening: ChartOpening) -> list[Prepared]:
        """Raises `BadRecord` for an unusable envelope key, and what the ledger has against it."""
        suite, public = opening.encryption_suite, opening.encryption_public
        try:
            check_public(suite, public)
        except CryptoError as error:
            raise BadRecord(f"encryption_public is not usable: {error}") from None
        encryption_key = encryption_key_digest(suite, public)
        operation = OpenChart(self._node.institution, opening.owner_key, suite, encryption_key)
        prepared = await self._node.prepare([[SignedOperation(operation, (opening.cosignature,))]])
        with self._kek.keys.lease():
            sealed = self._kek.seal_chart(ChartSecret(opening.chart_secret, suite, public))
            await self._store.stage({prepared[0].id: [StagedSecret(0, sealed)]})
        return prepared

    async def append(self, chart: int, plains: Sequence[Plain], grant: int | None = None) -> list[Prepared]:
        """Seal the records, hand them to their holders and store them; their entries in transactions of up to 500, in
        order. `grant`: under which this institution writes to another's chart. Raises as `sealer`, and `BeyondPermit`
        for a label that the permit does not cover."""
        async with self._provisionally() as provisional:
            with self._kek.keys.lease():
                sealer = await self.sealer(chart, grant)
                sealed = await seal_all(sealer, plains, self._threads)
                blobs = [(blob_id(one.blob), len(one.blob)) for one in sealed]
                if all(size <= INLINE_BYTES for _, size in blobs):
                    prepared, copies = await self._place(chart, grant, sealer, sealed, blobs)
                    await self._stage(prepared, sealed, blobs, copies)
                    await self._blobs.put_many([one.blob for one in sealed])
                    return prepared
                await self._store.stage({provisional: rows_of(sealed, blobs)})
            await self._blobs.put_many([one.blob for one in sealed])
            return await self._place_stored(chart, grant, sealer, sealed, blobs, provisional)

    async def append_stream(  # what is said of the record, under which grant, and its bytes
        self,
        chart: int,
        media_type: str,
        labels: Labels,
        supersedes: int | None,
        body: AsyncIterator[bytes],
        grant: int | None = None,
    ) -> list[Prepared]:
        """Seal and store one record while it comes in, in bounded memory, then have it held. Raises as `append`."""
        sealer = await self.sealer(chart, grant)
        stream = sealer.stream(media_type, labels, supersedes)
        loop = asyncio.get_running_loop()

        async def pieces() -> AsyncIterator[bytes]:
            yield stream.header
            async for piece in body:
                ready = await loop.run_in_executor(self._threads, stream.update, piece)
                if ready:
                    yield ready
            rest = stream.finish()
            while (chunk := await loop.run_in_executor(self._threads, _next_of, rest)) is not None:
                yield chunk

        sealed: list[Sealed] = []
        blobs: list[tuple[bytes, int]] = []
        async with self._provisionally() as provisional:

            async def named(identity: bytes, size: int) -> None:
                with self._kek.keys.lease():
                    sealed.append(await loop.run_in_executor(self._threads, stream.sealed))
                    blobs.append((identity, size))
                    await self._store.stage({provisional: rows_of(sealed, blobs)})

            await self._blobs.put(pieces(), named)
            return await self._place_stored(chart, grant, sealer, sealed, blobs, provisional)

    @asynccontextmanager
    async def _provisionally(self) -> AsyncIterator[bytes]:
        """An id to stage under until there is a transaction. Meanwhile no sweep takes what was; what is left of it when
        something goes wrong is forgotten with its blobs."""
        provisional = os.urandom(32)
        self._provisional.add(provisional)
        try:
            yield provisional
        except BaseException:
            with suppress(StorageFailed):  # what went wrong first is what counts; the sweep comes by
                await self._blobs.discard(await self._store.unstage([provisional]))
            raise
        finally:
            self._provisional.discard(provisional)

    async def disclose(
        self,
        chart: int,
        grant: int | None,
        purpose: str,
        records: Sequence[int] | None,
        *,
        practitioner: bytes | None = None,
        details: bytes | None = None,
    ) -> list[Prepared]:
        """Ask to read these records; None stands for all that the grant covers by its tags at the final head
        and that was neither erased nor barred here.

        Raises `UnknownChart`, `UnknownGrant`, `NothingCovered`, and what the ledger has against it. A want of consent
        is no error: the rules record it.
        """
        if records is None:
            records = await self._covered(chart, grant)
        operation = Disclose(chart, grant, tuple(sorted(set(records))), purpose, practitioner, details)
        return await self._node.prepare([[SignedOperation(operation)]])

    async def _covered(self, chart: int, grant: int | None) -> list[int]:
        if await self._node.chart(chart) is None:
            raise UnknownChart(f"there is no chart {chart}")
        leaf = None if grant is None else await self._node.grant(chart, grant)
        if leaf is None:
            raise UnknownGrant(f"chart {chart} has no such grant")
        found: dict[int, RecordAppended] = {}
        first = 0
        while page := await self._node.events(chart, first, EVENTS_AT_ONCE):
            for number, raw in page:
                event = decode_event(raw)
                if isinstance(event, RecordAppended) and covered(leaf.terms.tags, [event.entry.tags]):
                    found[number] = event
            first = page[-1][0] + 1
        erased = await erased_of(self._node, chart, list(found))  # naming one would have all of them denied
        left = [number for number in found if number not in erased]
        if not left:
            raise NothingCovered
        open_here = await self._not_barred(chart, {number: found[number] for number in left})
        left = open_here or left  # if all is barred, that is to be said, and to stand on the ledger
        if len(left) > limits.RECORDS_PER_DISCLOSURE:
            raise NothingCovered(f"the grant covers {len(left)} records, more than one disclosure may name")
        return left

    async def _not_barred(self, chart: int, records: dict[int, RecordAppended]) -> list[int]:
        """Those that no bar of the owner's keeps from this institution: like an erased one, one that is barred would
        have all of them denied."""
        key = keys.policy(chart)
        raw = (await self._node.leaves([key])).get(key)
        if raw is None:
            return list(records)
        policy = decode_leaf(key, raw)
        assert isinstance(policy, PolicyLeaf)
        alone = {number: Asked(self._node.institution, "", 0, None, [one]) for number, one in records.items()}
        return [number for number, asked in alone.items() if not barred(asked, policy, emergency=False)]

    async def sealer(self, chart: int, grant: int | None = None) -> ChartSealer:
        """What seals for this chart as it is now. Raises `UnknownChart`, `NotCustodian` or `ChartUnknownHere`; with a
        grant `BadTerms` at the custodian, else as `Permits.in_force`."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        if grant is not None:
            if leaf.custodian == self._node.institution:
                raise BadTerms("the custodian writes to its own chart under no grant")
            permit = await self._permits.in_force(chart, leaf, grant)
            owner = (permit.encryption_suite, permit.encryption_public)
            return ChartSealer(self._kek, self._node.chain, chart, PermittedTags(permit), owner, self._placer.split())
        if leaf.custodian != self._node.institution:
            raise NotCustodian(f"institution {leaf.custodian} is the custodian of chart {chart}")
        with self._kek.keys.lease():
            raw = await self._store.chart_secret(chart)
            if raw is None:
                raise ChartUnknownHere
            kept = self._kek.open_chart(raw)
        secret = await current_secret(self._owner_keys, kept, chart, leaf)
        if secret is None and not (await recovery_of(self._node, chart)).changes:
            raise ChartUnknownHere(f"what is stored here for chart {chart} belongs to another chart")
        # An owner whose new key was not handed in yet gets its envelopes once that was.
        owner = (leaf.encryption_suite, b"" if secret is None else secret.encryption_public)
        tags = partial(tags_of, kept.secret, leaf.generation)
        return ChartSealer(self._kek, self._node.chain, chart, tags, owner, self._placer.split())

    async def _place(
        self,
        chart: int,
        grant: int | None,
        sealer: ChartSealer,
        sealed: Sequence[Sealed],
        blobs: Sequence[tuple[bytes, int]],
    ) -> tuple[list[Prepared], tuple[Copy, ...]]:
        """Find holders, and prepare the transactions that name them. The whole append has the same holders."""
        copies = await self.hand_over(chart, sealer, sealed, blobs)
        holders = tuple(copy.holder for copy in copies if copy.held)
        batches = [
            [SignedOperation(AppendRecords(chart, tuple(one.entry for one in part), holders, grant))]
            for part in batched(sealed, ENTRIES_PER_TRANSACTION)
        ]
        return await self._node.prepare(batches), copies

    async def hand_over(
        self, chart: int, sealer: ChartSealer, sealed: Sequence[Sealed], blobs: Sequence[tuple[bytes, int]]
    ) -> tuple[Copy, ...]:
        """Find holders for these and hand each its share; those that took all of it, ascending."""
        offers = [
            Offer(
                one.entry.commitment,
                None,
                identity,
                size,
                one.blob if one.blob and size <= INLINE_BYTES else None,
                one.shares,
                one.details,
                one.owner_envelope,
            )
            for one, (identity, size) in zip(sealed, blobs, strict=True)
        ]
        return await self._placer.place(chart, Owner(*sealer.owner), offers)

    async def _place_stored(
        self,
        chart: int,
        grant: int | None,
        sealer: ChartSealer,
        sealed: Sequence[Sealed],
        blobs: Sequence[tuple[bytes, int]],
        provisional: bytes,
    ) -> list[Prepared]:
        """The same for what is staged already, where it may have been sealed anew meanwhile."""
        prepared, copies = await self._place(chart, grant, sealer, sealed, blobs)
        parts = batched(sealed, ENTRIES_PER_TRANSACTION)
        counts = [(one.id, len(part)) for one, part in zip(prepared, parts, strict=True)]
        await self._store.restage(provisional, counts, copies, _lacking(sealed, copies))
        return prepared

    async def _stage(
        self,
        prepared: Sequence[Prepared],
        sealed: Sequence[Sealed],
        blobs: Sequence[tuple[bytes, int]],
        copies: tuple[Copy, ...],
    ) -> None:
        parts = batched(rows_of(sealed, blobs, copies), ENTRIES_PER_TRANSACTION)
        await self._store.stage(
            {
                one.id: [replace(row, entry=entry) for entry, row in enumerate(part)]
                for one, part in zip(prepared, parts, strict=True)
            }
        )


def _lacking(sealed: Sequence[Sealed], copies: Sequence[Copy]) -> int:
    return max(0, len(sealed[0].shares) - sum(copy.held for copy in copies)) if sealed else 0


def rows_of(
    sealed: Sequence[Sealed], blobs: Sequence[tuple[bytes, int]], copies: tuple[Copy, ...] = ()
) -> list[StagedRecord]:
    lacking = _lacking(sealed, copies)
    return [
        StagedRecord(0, at, *blob, one.secret, one.owner_envelope, one.sealed_shares, copies, lacking)
        for at, (one, blob) in enumerate(zip(sealed, blobs, strict=True))
    ]


def _next_of(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
