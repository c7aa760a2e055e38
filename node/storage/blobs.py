"""Blobs: sealed records, found by the digest of their bytes.

Below 64 kB they are packed in an SQLite file, `blobs.db`; larger ones lie in an object store: the folder `objects`
beside it, or whatever S3-compatible store the configuration names by URL. Either way a row in `blobs.db` says that the
blob must be there, and a blob is durable when `put` returns: for a folder that takes syncing the file and the folders
above it, which the object store library leaves to us. The library is imported when it is first needed, since it is
large.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from node.storage.database import Database
from node.storage.errors import BlobCorrupt, BlobMissing, StorageFailed
from node.storage.lookup import rows_in
from node.storage.object_folder import remove_files, remove_objects, sync_file
from node.storage.schema import BLOBS, prefix
from protocol.crypto.hashing import DIGEST_BYTES, Domain, blob_id

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PACKED_BYTES: Final = 64 * 1024
"""A blob of this size or more goes to the object store."""

_PART_BYTES: Final = 5 * 1024 * 1024  # the least that S3 takes as a part of an upload
_PARTS_AT_ONCE: Final = 2
_STREAM_BYTES: Final = 256 * 1024
_SCANNED_AT_ONCE: Final = 64
_INCOMING: Final = "incoming"

State = Literal["ok", "missing", "corrupt"]
Before = Callable[[bytes, int], Awaitable[None]]
"""Told a blob's id and size in bytes."""


class BlobProblem(Struct, frozen=True):
    """A blob that is not as it must be, and where."""

    id: bytes
    state: State
    place: str


class BlobTotals(Struct, frozen=True):
    """How many blobs are kept, and their size."""

    count: int
    size_bytes: int


class _Row(Struct, frozen=True):
    position: int
    id: bytes
    size_bytes: int
    data: bytes | None


class BlobStore:
    """The open blob store of one node."""

    def __init__(self, database: Database, folder: Path, url: str | None) -> None:
        self._database = database
        self._folder = folder
        self._url = url
        self._objects: ObjectStore | None = None

    @classmethod
    async def open(cls, folder: Path, url: str | None = None, *, read_only: bool = False) -> BlobStore:
        """Open or create `blobs.db` in `folder`. `url` names an object store (`s3://bucket/prefix`) for large blobs.

        Raises as `Database.open` does, and `StorageFailed` for a URL that names no store. The object store is first
        reached when a large blob is put or read.
        """
        store = cls(await Database.open(folder / "blobs.db", BLOBS, read_only=read_only), folder / "objects", url)
        if url is not None:
            try:
                await store._store()
            except StorageFailed:
                await store.close()
                raise
        return store

    async def close(self) -> None:
        """Finish writing and close."""
        await self._database.close()

    # --- in -------------------------------------------------------------------------------------------------

    async def clean(self) -> None:
        """At start: remove what uploads that a crash cut short have left. An object store of its own keeps nothing of
        an upload that did not end."""
        if self._url is None:
            await asyncio.to_thread(remove_files, self._folder / _INCOMING, "*")

    async def put(self, data: bytes | AsyncIterable[bytes], before: Before | None = None) -> bytes:
        """Store a blob, whole or as it comes, in bounded memory; its id (32 bytes). Durable when this returns.

        `before` is awaited once the id is known and before anything is kept under it; if it raises, nothing is kept.
        Storing the same bytes again changes nothing. Raises `StorageFailed`.
        """
        if isinstance(data, bytes):
            return (await self.put_many([data]))[0]
        head = bytearray()
        parts = aiter(data)
        async for part in parts:
            head += part
            if len(head) >= PACKED_BYTES:
                return await self._put_stream(bytes(head), parts, before)
        if before is not None:
            await before(blob_id(bytes(head)), len(head))
        return (await self.put_many([bytes(head)]))[0]

    async def put_many(self, blobs: Sequence[bytes]) -> list[bytes]:
        """Store many blobs with one sync of `blobs.db`; their ids in order."""
        ids = [blob_id(blob) for blob in blobs]
        rows: list[tuple[bytes, int, bytes | None]] = []
        for identity, blob in zip(ids, blobs, strict=True):
            if len(blob) < PACKED_BYTES:
                rows.append((identity, len(blob), blob))
            else:
                if await self._row(identity) is None:
                    await self._put_object(_key(identity), blob)
                rows.append((identity, len(blob), None))
        await self._database.write(partial(_insert, rows=rows))
        return ids

    async def discard(self, ids: Sequence[bytes]) -> None:
        """Forget blobs that nothing refers to any more, wherever they lie, whole or in part; absent ones are passed
        over. The caller answers for it that nothing does. Raises `StorageFailed`."""
        packed = await self._database.write(partial(_delete, ids=ids))
        apart = [_key(one) for one in ids if one not in packed]
        if self._url is None:
            await asyncio.to_thread(remove_objects, self._folder, apart)
        else:
            for key in apart:
                await self._remove(key)

    async def present(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that there is anything of here: a row, or a file in the folder of large ones. An object
        store of its own is not asked."""
        found = await self.known(ids)
        if self._url is None:
            found |= await asyncio.to_thread(_lying, self._folder, [one for one in ids if one not in found])
        return found

    async def checkpoint(self) -> bool:
        """As `Database.checkpoint`."""
        return await self._database.checkpoint()

    async def _put_stream(self, head: bytes, rest: AsyncIterable[bytes], before: Before | None) -> bytes:
        """The id is known only at the end, so the bytes go under a name of their own first."""
        state = blake2b(digest_size=DIGEST_BYTES, person=Domain.BLOB)
        size = 0

        async def through() -> AsyncIterator[bytes]:
            nonlocal size
            state.update(head)
            size += len(head)
            yield head
            async for part in rest:
                state.update(part)
                size += len(part)
                yield part

        incoming = f"{_INCOMING}/{secrets.token_hex(16)}"
        try:
            await self._put_object(incoming, through())
            identity = state.digest()
            if before is not None:
                await before(identity, size)
            if await self._row(identity) is None:
                await self._move(incoming, _key(identity))
            else:
                await self._remove(incoming)
        except BaseException:
            with contextlib.suppress(StorageFailed):  # what went wrong first is what counts
                await self._remove(incoming)
            raise
        await self._database.write(partial(_insert, rows=[(identity, size, None)]))
        return identity

    # --- out ------------------------------------------------------------------------------------------------

    async def get(self, identity: bytes) -> bytes:
        """The blob, whole and checked. Raises `BlobMissing`, `BlobCorrupt` or `StorageFailed`."""
        return b"".join([part async for part in self.stream(identity)])

    async def stream(self, identity: bytes) -> AsyncIterator[bytes]:
        """The blob in parts, in bounded memory. Raises as `get`: `BlobCorrupt` only after the last part, so nothing may
        rest on what came until the iterator has ended."""
        row = await self._row(identity)
        if row is None:
            raise BlobMissing(f"blob {identity.hex()} is not stored here")
        state = blake2b(digest_size=DIGEST_BYTES, person=Domain.BLOB)
        async for part in self._parts(row):
            state.update(part)
            yield part
        if state.digest() != identity:
            raise BlobCorrupt(f"blob {identity.hex()} was changed where it lies: {self._place(row)}")

    async def part(self, identity: bytes, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on; none beyond the end. Not checked: that is for who joins the parts.

        Raises `BlobMissing` or `StorageFailed`.
        """
        row = await self._row(identity)
        if row is None:
            raise BlobMissing(f"blob {identity.hex()} is not stored here")
        length = min(length, row.size_bytes - offset)
        if row.data is not None or length <= 0:
            return (row.data or b"")[offset : offset + max(length, 0)]
        import obstore  # noqa: PLC0415  # large: see the module's text

        try:
            found = await obstore.get_range_async(await self._store(), _key(identity), start=offset, length=length)
        except FileNotFoundError:
            raise BlobMissing(f"blob {identity.hex()} is not where it must be: {self._place(row)}") from None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise StorageFailed(f"cannot read blob {identity.hex()}: {_why(error)}") from error
        return bytes(found)

    async def size(self, identity: bytes) -> int:
        """The size of a blob in bytes. Raises `BlobMissing` if it is not stored here."""
        row = await self._row(identity)
        if row is None:
            raise BlobMissing(f"blob {identity.hex()} is not stored here")
        return row.size_bytes

    # --- whether all is well --------------------------------------------------------------------------------

    async def check(self, identity: bytes) -> State:
        """Read the blob and say how it is."""
        row = await self._row(identity)
        return "missing" if row is None else await self._state(row)

    async def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that a row says are stored here; nothing is read."""
        wanted = set(ids)
        return await self._database.read(partial(_known, wanted=wanted))

    async def scan(self, progress: Callable[[int], None] = lambda _: None) -> AsyncIterator[BlobProblem]:
        """Read every blob and give those that are not as they must be. `progress` is told how many were read."""
        after, read = -1, 0
        while rows := await self._database.read(partial(_rows_after, after=after)):
            for row in rows:
                state = await self._state(row)
                if state != "ok":
                    yield BlobProblem(row.id, state, self._place(row))
            after = rows[-1].position
            read += len(rows)
            progress(read)

    async def totals(self) -> BlobTotals:
        """Count and bytes of all blobs, from running totals."""
        return await self._database.read(_totals)

    async def _state(self, row: _Row) -> State:
        try:
            state = blake2b(digest_size=DIGEST_BYTES, person=Domain.BLOB)
            size = 0
            async for part in self._parts(row):
                state.update(part)
                size += len(part)
        except BlobMissing:
            return "missing"
        return "ok" if state.digest() == row.id and size == row.size_bytes else "corrupt"

    def _place(self, row: _Row) -> str:
        if row.data is not None:
            return f"row {row.position} of {self._database.path}"
        return f"{self._url or self._folder}/{_key(row.id)}"

    async def _row(self, identity: bytes) -> _Row | None:
        return await self._database.read(partial(_find, identity=identity))

    async def _parts(self, row: _Row) -> AsyncIterator[bytes]:
        if row.data is not None:
            yield row.data
            return
        import obstore  # noqa: PLC0415  # large: see the module's text

        store = await self._store()
        try:
            found = await obstore.get_async(store, _key(row.id))
            async for part in found.stream(min_chunk_size=_STREAM_BYTES):
                yield bytes(part)
        except FileNotFoundError:
            raise BlobMissing(f"blob {row.id.hex()} is not where it must be: {self._place(row)}") from None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise StorageFailed(f"cannot read blob {row.id.hex()}: {_why(error)}") from error

    # --- the object store -----------------------------------------------------------------------------------

    async def _store(self) -> ObjectStore:
        if self._objects is None:
            import obstore  # noqa: PLC0415  # large: see the module's text
            from obstore.store import LocalStore, from_url  # noqa: PLC0415

            try:
                if self._url is not None:
                    self._objects = from_url(self._url)
                else:
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                    self._objects = LocalStore(self._folder)
            except (obstore.exceptions.BaseError, OSError, ValueError) as error:
                raise StorageFailed(f"cannot use {self._url or self._folder} for blobs: {_why(error)}") from error
        return self._objects

    async def _put_object(self, key: str, data: bytes | AsyncIterator[bytes]) -> None:
        import obstore  # noqa: PLC0415  # large: see the module's text

        store = await self._store()
        try:
            await obstore.put_async(store, key, data, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            await self._make_durable(key)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise StorageFailed(f"cannot store a blob in {self._url or self._folder}: {_why(error)}") from error

    async def _move(self, source: str, target: str) -> None:
        import obstore  # noqa: PLC0415  # large: see the module's text

        try:
            await obstore.rename_async(await self._store(), source, target)
            await self._make_durable(target)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise StorageFailed(f"cannot store a blob in {self._url or self._folder}: {_why(error)}") from error

    async def _remove(self, key: str) -> None:
        """Remove an object, or what there is of it."""
        if self._url is None:
            await asyncio.to_thread(remove_objects, self._folder, [key])
            return
        import obstore  # noqa: PLC0415  # large: see the module's text

        try:
            await obstore.delete_async(await self._store(), key)
        except FileNotFoundError:
            return
        except (obstore.exceptions.BaseError, OSError) as error:
            raise StorageFailed(f"cannot remove a blob from {self._url}: {_why(error)}") from error

    async def _make_durable(self, key: str) -> None:
        """A remote store is durable when it answers; a folder is when file and folders are synced."""
        if self._url is None:
            await asyncio.to_thread(sync_file, self._folder / key, self._folder)


def _why(error: Exception) -> str:
    """The library's sentence, without what it has to say to who debugs it."""
    return str(error).partition("\n")[0]


def _key(identity: bytes) -> str:
    text = identity.hex()
    return f"{text[:2]}/{text}"


def _lying(top: Path, ids: Sequence[bytes]) -> set[bytes]:
    return {one for one in ids if (top / _key(one)).exists()}


# --- jobs ---------------------------------------------------------------------------------------------------


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[bytes, int, bytes | None]]) -> None:
    known = _known(connection, {identity for identity, _, _ in rows})
    fresh = []
    for identity, size, data in rows:
        if identity not in known:
            known.add(identity)
            fresh.append((prefix(identity), identity, size, data))
    if not fresh:
        return
    connection.executemany("INSERT INTO blob (prefix, id, bytes, data) VALUES (?, ?, ?, ?)", fresh)
    before = _totals(connection)
    connection.executemany(
        "INSERT OR REPLACE INTO tally VALUES (?, ?)",
        [("count", before.count + len(fresh)), ("bytes", before.size_bytes + sum(row[2] for row in fresh))],
    )


def _delete(connection: sqlite3.Connection, ids: Sequence[bytes]) -> set[bytes]:
    """Drop the rows; those of the ids that were packed here, and so lie nowhere else."""
    rows = [row for one in dict.fromkeys(ids) if (row := _find(connection, one)) is not None]
    connection.executemany("DELETE FROM blob WHERE position = ?", [(row.position,) for row in rows])
    before = _totals(connection)
    connection.executemany(
        "INSERT OR REPLACE INTO tally VALUES (?, ?)",
        [("count", before.count - len(rows)), ("bytes", before.size_bytes - sum(row.size_bytes for row in rows))],
    )
    return {row.id for row in rows if row.data is not None}


def _known(connection: sqlite3.Connection, wanted: set[bytes]) -> set[bytes]:
    rows = rows_in(connection, "SELECT id FROM blob WHERE prefix IN", [prefix(one) for one in wanted])
    return {found for (found,) in rows if found in wanted}


def _find(connection: sqlite3.Connection, identity: bytes) -> _Row | None:
    query = "SELECT position, id, bytes, data FROM blob WHERE prefix = ? AND id = ?"
    rows = connection.execute(query, (prefix(identity), identity)).fetchall()
    return _Row(*rows[0]) if rows else None


def _rows_after(connection: sqlite3.Connection, after: int) -> list[_Row]:
    query = "SELECT position, id, bytes, data FROM blob WHERE position > ? ORDER BY position LIMIT ?"
    return [_Row(*row) for row in connection.execute(query, (after, _SCANNED_AT_ONCE)).fetchall()]


def _totals(connection: sqlite3.Connection) -> BlobTotals:
    found = dict(connection.execute("SELECT name, value FROM tally").fetchall())
    return BlobTotals(found.get("count", 0), found.get("bytes", 0))
