"""The reader's side: ask for what a final asking allows, open it, and check it against the ledger.

Whoever wrote a record is asked first, and if that does not help, its holders, who release its key together. Nothing
that they say is believed: the commitment on the ledger decides whether bytes are the record. Sealed bytes of large
records rest in an unnamed file meanwhile; plain bytes rest nowhere.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from itertools import takewhile
from pathlib import Path
from typing import IO, TypeVar

from msgspec import Struct

from node.logs import get_logger
from node.network.interface import RequestFailed, RequestRefused
from node.records import consent, errors
from node.records.collecting import HOLDERS_LEAST, Collector, Fetched, Source, Wanted, order_of_holders
from node.records.envelope_key import EnvelopeKey, EnvelopeKeys
from node.records.judge import Judge
from node.records.messages import (
    BLOB,
    INLINE_BYTES,
    RECORD_BYTES,
    RECORDS_PER_RELEASE,
    RELEASE,
    BlobPiece,
    BlobRequest,
    ReleaseAnswer,
    Released,
    ReleasedKey,
    ReleaseRequest,
)
from node.records.opening import Content, Key, checked, open_whole, sealed_bytes_most
from node.records.release import Releaser
from node.records.sharing import Sharing
from node.services import NodeServices
from node.storage import errors as storage_errors
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, open_envelope
from protocol.errors import ChartledgerError, CryptoError, DecodeError, NotAccredited, SealBroken, UnknownChart
from protocol.ledger.events import decode_event

log = get_logger("reading")

A = TypeVar("A", ReleaseAnswer, BlobPiece)

WAIT_S = 15.0
FILE_PIECE_BYTES = 1024 * 1024
_TEMPORARY = "passing-"

REFUSALS: dict[str, type[ChartledgerError]] = {
    kind.code: kind
    for kind in (
        errors.NotCustodian,
        errors.NotWriter,
        errors.NotHeld,
        errors.RecordUnknownHere,
        errors.RecordErased,
        errors.ReleaseDenied,
        errors.NotDisclosed,
        errors.GrantEnded,
        errors.ReleaseOverdue,
        errors.NotFresh,
        storage_errors.BlobMissing,
        storage_errors.BlobCorrupt,
        storage_errors.StorageFailed,
        NotAccredited,
    )
}
"""What a writer or holder may answer, by code; anything else becomes `CustodianRefused`."""
DENIALS = (
    errors.RecordErased,
    errors.ReleaseDenied,
    errors.NotDisclosed,
    errors.GrantEnded,
    errors.ReleaseOverdue,
    NotAccredited,
)
"""Refusals that claim that the ledger does not permit it."""
FAILURES = (
    errors.CustodianUnreachable,
    errors.CustodianRefused,
    errors.NotCustodian,
    errors.NotWriter,
    errors.NotHeld,
    errors.RecordUnknownHere,
    errors.NotFresh,
    storage_errors.StorageError,
    CryptoError,
)
"""What leaves the question open: the writer is away, behind, broken, or sent what is not the record."""


class Opened(Struct, frozen=True):
    """One record read, checked."""

    record: int
    media_type: str
    data: bytes


class Reader:
    """Reads records of any institution's charts under this institution's askings, its own charts the same way."""

    def __init__(
        self,
        node: NodeServices,
        judge: Judge,
        releaser: Releaser,
        sharing: Sharing,
        envelope_keys: EnvelopeKeys,
        folder: Path,
        threads: Executor,
    ) -> None:
        """`folder` takes sealed bytes in passing."""
        self._node = node
        self._judge = judge
        self._releaser = releaser
        self._sharing = sharing
        self._envelope_keys = envelope_keys
        self._folder = folder
        self._threads = threads
        self.collector = Collector(node, sharing, threads)

    async def named_by(self, chart: int, disclosure: int) -> tuple[int, ...]:
        """The records that this institution's final asking names. Raises `NotDisclosed` or `ReleaseDenied`."""
        found = await self._node.events_at(chart, [disclosure])
        event = decode_event(found[disclosure]) if disclosure in found else None
        return consent.check_asking(event, self._node.institution, ()).records

    async def read(self, chart: int, disclosure: int, record: int, mine: EnvelopeKey | None = None) -> Content:
        """One record of any size, with a key other than this institution's for a delegate's. Raises as
        `consent.check_asking`, what the writer refuses, `CustodianUnreachable`, `TooFewHolders`, `SealBroken` or
        `CommitmentMismatch`."""
        wanted = await self._wanted(chart, disclosure, [record], for_delegate=mine is not None)
        mine = mine or self._envelope_keys.current
        tried: ChartledgerError | None = None
        try:
            return await self._content(wanted, (await self._from_writer(wanted, mine))[0])
        except ChartledgerError as error:
            tried = await self._way_on(wanted, error)
        found = (await self._from_holders(wanted, mine, tried))[0]
        return await self._content(wanted, found)

    async def read_some(
        self, chart: int, disclosure: int, records: Sequence[int], mine: EnvelopeKey | None = None
    ) -> list[Opened]:
        """As many of the records, from the first, as are sent at once; a large one alone is left out, so an empty list
        means that the first must be read by itself."""
        wanted = await self._wanted(chart, disclosure, records[:RECORDS_PER_RELEASE], for_delegate=mine is not None)
        mine = mine or self._envelope_keys.current
        try:
            return await self._open_all(await self._from_writer(wanted, mine))
        except ChartledgerError as error:
            tried = await self._way_on(wanted, error)
        return await self._open_all(await self._from_holders(wanted, mine, tried), skip_wrong=True)

    async def _way_on(self, wanted: Wanted, error: ChartledgerError) -> ChartledgerError:
        """The error itself if there is a way on past it, to the holders; raises it if there is none. Where the entry
        names none because none were found in time, repair may have found some since.

        A refusal for want of consent counts: this node looks itself, and if it finds the same, that is the end. If it
        finds that the ledger permits it, the writer is behind or lies, and the holders, who judge for themselves at
        this node's height or above, are asked.
        """
        first = wanted.appended[wanted.records[0]]
        if len(order_of_holders(self._node, wanted.chart, first)) < HOLDERS_LEAST:
            raise error
        if isinstance(error, DENIALS):
            await self._judge.check(self._node.institution, wanted.chart, wanted.asking, wanted.records)
            log.warning("refused what the ledger permits", institution=first.institution, code=error.code)
        elif not isinstance(error, FAILURES):
            raise error
        return error

    async def _from_holders(self, wanted: Wanted, mine: EnvelopeKey, tried: ChartledgerError) -> list[Fetched]:
        """Raises `TooFewHolders`, or `tried` of records that have no holders at all."""
        try:
            return await self.collector.collect(wanted, mine, str(tried))
        except errors.TooFewHolders:
            if wanted.appended[wanted.records[0]].holders:
                raise
            raise tried from None

    async def _wanted(
        self, chart: int, disclosure: int, records: Sequence[int], *, for_delegate: bool = False
    ) -> Wanted:
        """The ledger's entries of the first records that have one writer and the same holders; refuses what they would
        without asking them."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        raw = await self._node.events_at(chart, [disclosure, *records])
        events = {number: decode_event(found) for number, found in raw.items()}
        asked = events.get(disclosure)
        # Anybody may carry a delegate's: what is released opens with the delegate's own key alone.
        reader = asked.institution if for_delegate and asked is not None else self._node.institution
        consent.check_asking(asked, reader, records, for_delegate=for_delegate)
        await consent.refuse_erased(self._node, chart, records)
        appended = {number: consent.record_of(events.get(number), number) for number in records}
        first = appended[records[0]]
        alike = takewhile(
            lambda number: (
                (appended[number].institution, appended[number].holders) == (first.institution, first.holders)
            ),
            records,
        )
        return Wanted(chart, disclosure, tuple(alike), appended)

    # --- from the writer -----------------------------------------------------------------------------------------

    async def _from_writer(self, wanted: Wanted, mine: EnvelopeKey) -> list[Fetched]:
        writer = wanted.appended[wanted.records[0]].institution
        request = ReleaseRequest(wanted.chart, wanted.asking, wanted.records, mine.public)
        if writer == self._node.institution:
            released = (await self._releaser.release(writer, request)).released
        else:
            released = (await self._request(writer, RELEASE, encode(request), ReleaseAnswer)).released
        if tuple(one.record for one in released) != wanted.records[: len(released)]:
            raise errors.CustodianRefused("the custodian answered with other records than those asked for")

        def open_keys() -> list[Fetched]:
            return [self._open_key(wanted, one, mine, writer) for one in released]

        return await asyncio.get_running_loop().run_in_executor(self._threads, open_keys)

    def _open_key(self, wanted: Wanted, released: Released, mine: EnvelopeKey, writer: int) -> Fetched:
        entry = wanted.appended[released.record].entry
        info = envelope_info(self._node.chain, wanted.chart, entry.commitment, mine.digest)
        opened = open_envelope(mine.suite, mine.private, info, released.envelope)
        try:
            secret = decode(ReleasedKey, opened)
        except DecodeError:
            raise errors.CustodianRefused("the custodian released what is no key") from None
        if secret.length > RECORD_BYTES:
            raise errors.CustodianRefused(f"the custodian states a record above {RECORD_BYTES} bytes")
        key = Key(secret.key, secret.opening, secret.length, entry.commitment)
        if released.blob_bytes > sealed_bytes_most(key.length):
            raise errors.CustodianRefused("the custodian states a blob larger than its record can be")
        source = Source(writer, released.blob_bytes)
        return Fetched(released.record, secret.media_type, key, released.blob, (source,))

    async def _request(self, institution: int, method: str, payload: bytes, kind: type[A]) -> A:
        try:
            return decode(kind, await self._node.ask(institution, method, payload, WAIT_S))
        except DecodeError as error:
            raise errors.CustodianRefused(
                f"institution {institution} answered with what is no answer: {error}"
            ) from None
        except RequestRefused as refused:
            known = REFUSALS.get(refused.refusal)
            if known is None:
                raise errors.CustodianRefused(f"institution {institution} refused ({refused.refusal})") from None
            raise known(str(refused)) from None
        except RequestFailed as failed:
            raise errors.CustodianUnreachable(f"institution {institution} did not answer: {failed}") from None

    # --- opening -------------------------------------------------------------------------------------------------

    async def _open_all(self, found: Sequence[Fetched], *, skip_wrong: bool = False) -> list[Opened]:
        """With `skip_wrong`, sealed bytes that are not the record end the list: by itself, it has other sources."""

        def open_all() -> list[Opened]:
            opened = []
            for one in found:
                if one.blob is None:
                    break
                try:
                    data = open_whole(one.key, one.blob)
                except CryptoError:
                    if not skip_wrong:
                        raise
                    break
                opened.append(Opened(one.record, one.media_type, data))
            return opened

        return await asyncio.get_running_loop().run_in_executor(self._threads, open_all)

    async def _content(self, wanted: Wanted, found: Fetched) -> Content:
        """The record, from the first source whose sealed bytes open to what the ledger has."""
        if found.blob is not None:
            blob = found.blob
            try:
                return await checked(found.media_type, found.key, lambda: _in_memory(blob), self._threads)
            except CryptoError:
                if len(found.sources) < 2:
                    raise
        failed: ChartledgerError | None = None
        for source in found.sources[found.blob is not None :]:
            try:
                return await self._large(wanted, found, source)
            except FAILURES as error:
                failed = error
        assert failed is not None, "there is a source"
        raise failed

    async def _large(self, wanted: Wanted, found: Fetched, source: Source) -> Content:
        file: IO[bytes] = await asyncio.to_thread(
            tempfile.TemporaryFile, dir=self._folder, prefix=_TEMPORARY, buffering=0
        )
        try:
            first = BlobRequest(wanted.chart, wanted.asking, found.record, 0)
            await self._fetch(source.institution, first, source.blob_bytes, file)
            content = await checked(found.media_type, found.key, lambda: _in_file(file), self._threads)
        except BaseException:
            file.close()
            raise
        return Content(content.media_type, content.length, _closing(content.chunks, file))

    async def _fetch(self, source: int, first: BlobRequest, size: int, file: IO[bytes]) -> None:
        """The sealed bytes into the file, piece by piece."""
        offset = 0
        while offset < size:
            request = BlobRequest(first.chart, first.disclosure, first.record, offset)
            if source == self._node.institution:
                piece = await self._own_piece(request)
            else:
                piece = await self._request(source, BLOB, encode(request), BlobPiece)
            if not min(INLINE_BYTES, size - offset) <= len(piece.data) <= size - offset:
                raise SealBroken("a blob of another size was sent than was said, or in crumbs")
            await asyncio.to_thread(_write_all, file, piece.data)
            offset += len(piece.data)

    async def _own_piece(self, request: BlobRequest) -> BlobPiece:
        own = self._node.institution
        if await self._sharing.holds(request.chart, request.record):
            return await self._sharing.blob(own, request)
        return await self._releaser.blob(own, request)


def clear(folder: Path) -> None:
    """At a start: files that have names here are what a crash between two calls left, where the file system makes no
    unnamed ones."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


async def _in_memory(blob: bytes) -> AsyncIterator[bytes]:
    yield blob


async def _in_file(file: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, 0)
    while piece := await asyncio.to_thread(file.read, FILE_PIECE_BYTES):
        yield piece


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise storage_errors.StorageFailed(f"cannot keep a large record in passing: {error.strerror}") from error


async def _closing(chunks: AsyncIterator[bytes], file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        file.close()
