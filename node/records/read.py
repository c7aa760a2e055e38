"""The reader's side: ask the custodian for what a final disclosure allows, open it, and check it against the ledger.

Nothing that the custodian says is believed: the commitment on the ledger decides whether bytes are the record. Sealed
bytes of large records rest in an unnamed file meanwhile; plain bytes rest nowhere.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from msgspec import Struct

from node.network.interface import RequestFailed, RequestRefused
from node.records import consent, errors
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
from node.records.seal import RecordKeys
from node.services import NodeServices
from node.storage import errors as storage_errors
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import PrivateKey, envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import ChartledgerError, DecodeError, NotAccredited, SealBroken, UnknownChart
from protocol.ledger.events import decode_event
from protocol.types.operations import RecordEntry

A = TypeVar("A", ReleaseAnswer, BlobPiece)

WAIT_S = 30.0
FILE_PIECE_BYTES = 1024 * 1024
_TEMPORARY = "passing-"

REFUSALS: dict[str, type[ChartledgerError]] = {
    kind.code: kind
    for kind in (
        errors.NotCustodian,
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
"""What a custodian may answer, by code; anything else becomes `CustodianRefused`."""


class Opened(Struct, frozen=True):
    """One record read, checked."""

    record: int
    media_type: str
    data: bytes


class _Recipient(NamedTuple):
    """A key that what is released is sealed to; `digest` is what the ledger has of it."""

    suite: int
    private: PrivateKey
    public: bytes
    digest: bytes


class Reader:
    """Reads records of other institutions' charts (and of this one's, the same way)."""

    def __init__(
        self, node: NodeServices, releaser: Releaser, keys: RecordKeys, folder: Path, threads: Executor
    ) -> None:
        """`folder` takes sealed bytes in passing."""
        self._node = node
        self._releaser = releaser
        self._folder = folder
        self._threads = threads
        self.set_key(keys.encryption_suite, keys.encryption_seed)

    def set_key(self, suite: int, seed: bytes) -> None:
        """The key that stands on the ledger for this institution from now on: what is released is sealed to it. What
        was asked for before is opened with the key that it was asked for with."""
        private, public = keypair_from_seed(suite, seed)
        self._key = _Recipient(suite, private, public, encryption_key_digest(suite, public))

    async def named_by(self, chart: int, disclosure: int) -> tuple[int, ...]:
        """The records that this institution's final disclosure names. Raises `NotDisclosed` or `ReleaseDenied`."""
        found = await self._node.events_at(chart, [disclosure])
        event = decode_event(found[disclosure]) if disclosure in found else None
        return consent.check_asking(event, self._node.institution, ()).records

    async def read(self, chart: int, disclosure: int, record: int) -> Content:
        """One record of any size. Raises as `consent.check_asking`, what the custodian refuses,
        `CustodianUnreachable`, `SealBroken` or `CommitmentMismatch`."""
        custodian, entries = await self._entries(chart, disclosure, [record])
        entry = entries[record]
        mine = self._key
        released = (await self._ask(custodian, chart, disclosure, [record], mine))[0]
        secret, key = self._open_key(chart, entry, released, mine)
        if released.blob_bytes > sealed_bytes_most(key.length):
            raise errors.CustodianRefused("the custodian states a blob larger than its record can be")
        if released.blob is not None:
            blob = released.blob
            return await checked(secret.media_type, key, lambda: _in_memory(blob), self._threads)
        file: IO[bytes] = await asyncio.to_thread(
            tempfile.TemporaryFile, dir=self._folder, prefix=_TEMPORARY, buffering=0
        )
        try:
            await self._fetch(custodian, BlobRequest(chart, disclosure, record, 0), released.blob_bytes, file)
            content = await checked(secret.media_type, key, lambda: _in_file(file), self._threads)
        except BaseException:
            file.close()
            raise
        return Content(content.media_type, content.length, _closing(content.chunks, file))

    async def read_some(self, chart: int, disclosure: int, records: Sequence[int]) -> list[Opened]:
        """As many of the records, from the first, as the custodian sends at once; a large one alone is left out, so an
        empty list means that the first must be read by itself."""
        records = records[:RECORDS_PER_RELEASE]
        custodian, entries = await self._entries(chart, disclosure, records)
        mine = self._key
        released = await self._ask(custodian, chart, disclosure, records, mine)

        def open_all() -> list[Opened]:
            opened = []
            for one in released:
                if one.blob is None:
                    break
                secret, key = self._open_key(chart, entries[one.record], one, mine)
                opened.append(Opened(one.record, secret.media_type, open_whole(key, one.blob)))
            return opened

        return await asyncio.get_running_loop().run_in_executor(self._threads, open_all)

    async def _entries(self, chart: int, disclosure: int, records: Sequence[int]) -> tuple[int, dict[int, RecordEntry]]:
        """The custodian, and the ledger's entries; refuses what the custodian would without asking it."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        raw = await self._node.events_at(chart, [disclosure, *records])
        events = {number: decode_event(found) for number, found in raw.items()}
        consent.check_asking(events.get(disclosure), self._node.institution, records)
        await consent.refuse_erased(self._node, chart, records)
        return leaf.custodian, {number: consent.record_of(events.get(number), number).entry for number in records}

    async def _ask(
        self, custodian: int, chart: int, disclosure: int, records: Sequence[int], mine: _Recipient
    ) -> Sequence[Released]:
        request = ReleaseRequest(chart, disclosure, tuple(records), mine.public)
        if custodian == self._node.institution:
            released = (await self._releaser.release(custodian, request)).released
        else:
            released = (await self._request(custodian, RELEASE, encode(request), ReleaseAnswer)).released
        if [one.record for one in released] != list(records[: len(released)]):
            raise errors.CustodianRefused("the custodian answered with other records than those asked for")
        return released

    async def _request(self, custodian: int, method: str, payload: bytes, kind: type[A]) -> A:
        try:
            return decode(kind, await self._node.ask(custodian, method, payload, WAIT_S))
        except DecodeError as error:
            raise errors.CustodianRefused(f"institution {custodian} answered with what is no answer: {error}") from None
        except RequestRefused as refused:
            known = REFUSALS.get(refused.refusal)
            if known is None:
                raise errors.CustodianRefused(f"the custodian refused ({refused.refusal})") from None
            raise known(str(refused)) from None
        except RequestFailed as failed:
            raise errors.CustodianUnreachable(f"institution {custodian} did not answer: {failed}") from None

    def _open_key(
        self, chart: int, entry: RecordEntry, released: Released, mine: _Recipient
    ) -> tuple[ReleasedKey, Key]:
        info = envelope_info(self._node.chain, chart, entry.commitment, mine.digest)
        opened = open_envelope(mine.suite, mine.private, info, released.envelope)
        try:
            secret = decode(ReleasedKey, opened)
        except DecodeError:
            raise errors.CustodianRefused("the custodian released what is no key") from None
        if secret.length > RECORD_BYTES:
            raise errors.CustodianRefused(f"the custodian states a record above {RECORD_BYTES} bytes")
        return secret, Key(secret.key, secret.opening, secret.length, entry.commitment)

    async def _fetch(self, custodian: int, first: BlobRequest, size: int, file: IO[bytes]) -> None:
        """The sealed bytes into the file, piece by piece."""
        offset = 0
        while offset < size:
            request = BlobRequest(first.chart, first.disclosure, first.record, offset)
            if custodian == self._node.institution:
                piece = await self._releaser.blob(custodian, request)
            else:
                piece = await self._request(custodian, BLOB, encode(request), BlobPiece)
            if not min(INLINE_BYTES, size - offset) <= len(piece.data) <= size - offset:
                raise SealBroken("the custodian sent a blob of another size than it said, or in crumbs")
            await asyncio.to_thread(_write_all, file, piece.data)
            offset += len(piece.data)


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
