"""The custodian's side of its charts: for each record its blob's id, its sealed key material and the owner's envelope.

Everything that bears content arrives sealed; nothing here could be read by who steals the disk. What belongs to an
entry is *staged* under its transaction's id before the transaction leaves, and moves to its place, chart and event
number, in the very SQLite transaction that stores the final block. Tables of `ledger.db`.

No digest on the ledger covers these bytes, so each row carries a checksum, by which `doctor` names a row that changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b

from msgspec import Struct

from node.storage.database import Database
from node.storage.lookup import rows_in
from node.storage.schema import place, places, prefix, span, unplace
from node.storage.types import Settled

_COUNT = "records"
_MARK_BYTES = 8


class StagedRecord(Struct, frozen=True):
    """For entry `entry` of operation `operation`: `blob_bytes` is the blob's size, `sealed` the record's key, opening,
    media type and labels under the key-encryption key, `owner_envelope` the same sealed to the owner."""

    operation: int
    entry: int
    blob_id: bytes
    blob_bytes: int
    sealed: bytes
    owner_envelope: bytes


class StagedSecret(Struct, frozen=True):
    """For the chart that operation `operation` opens: its secret under the key-encryption key."""

    operation: int
    sealed: bytes


Staged = StagedRecord | StagedSecret


class StoredRecord(Struct, frozen=True):
    """A record of this custodian: chart, event number, and what was staged for it."""

    chart: int
    event: int
    blob_id: bytes
    blob_bytes: int
    sealed: bytes
    owner_envelope: bytes


class RecordsStore:
    """Records and chart secrets that this custodian keeps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stage(self, batch: Mapping[bytes, Sequence[Staged]]) -> None:
        """Make durable, with one sync, what belongs to transactions that are about to leave, by transaction id.

        Staging for an id again replaces what was staged.
        """
        await self._database.write(partial(_stage, batch=batch))

    async def unstage(self, ids: Collection[bytes]) -> Sequence[bytes]:
        """Forget what was staged for transactions that will never be final; the ids of the blobs that belonged to it.

        What is in the outbox keeps what was staged for it, whatever the caller believes.
        """
        return await self._database.write(partial(_unstage, ids=ids))

    async def staged(self) -> set[bytes]:
        """Ids of all transactions that something is staged for."""
        query = "SELECT DISTINCT id FROM staged"
        rows = await self._database.read(lambda connection: connection.execute(query).fetchall())
        return {found for (found,) in rows}

    async def get(self, chart: int, events: Collection[int]) -> dict[int, StoredRecord]:
        """Records of a chart by event number; absent ones are left out."""
        return await self._database.read(partial(_get, chart=chart, events=events))

    async def list(self, chart: int, first: int, count: int) -> Sequence[StoredRecord]:
        """Up to `count` records of a chart from event number `first` on, ascending."""
        return await self._database.read(partial(_list, chart=chart, first=first, count=count))

    async def after(self, chart: int, event: int, count: int) -> Sequence[StoredRecord]:
        """Up to `count` records of all charts behind event number `event` of `chart`, ascending. -1 is before all."""
        return await self._database.read(partial(_after, chart=chart, event=event, count=count))

    async def chart_secret(self, chart: int) -> bytes | None:
        """The chart's secret under the key-encryption key; None if this institution does not keep the chart."""
        query = "SELECT sealed FROM chart_secret WHERE chart = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (chart,)).fetchall())
        return rows[0][0] if rows else None

    async def count(self) -> int:
        """How many records this custodian keeps."""
        return await self._database.read(_count)


# --- jobs ---------------------------------------------------------------------------------------------------


def promote(connection: sqlite3.Connection, settled: Iterable[Settled]) -> None:
    """Move what was staged for final transactions to where the ledger put it. The rest staged for them is dropped."""
    records: list[tuple[int, bytes, bytes, int, bytes, bytes]] = []
    secrets = []
    done = []
    for one in settled:
        if not one.places:
            continue
        done.append(one.id)
        placed = {at.operation: at for at in one.places}
        query = """SELECT operation, entry, blob_id, blob_bytes, sealed, owner_envelope FROM staged
                   WHERE prefix = ? AND id = ?"""
        for operation, entry, blob_id, size, sealed, envelope in connection.execute(query, (prefix(one.id), one.id)):
            at = placed.get(operation)
            if at is None:
                continue
            if blob_id is None:
                secrets.append((at.chart, chart_secret_mark(at.chart, sealed), sealed))
            else:
                record = StoredRecord(at.chart, at.event + entry, blob_id, size, sealed, envelope)
                where = place(record.chart, record.event)
                records.append((where, record_mark(record), blob_id, size, sealed, envelope))
    if not done:
        return
    records.sort()
    connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", records)
    connection.executemany("INSERT OR REPLACE INTO chart_secret VALUES (?, ?, ?)", secrets)
    if records:
        total = _count(connection) + len(records)
        connection.execute("INSERT OR REPLACE INTO tally VALUES (?, ?)", (_COUNT, total))
    delete_staged(connection, done)


def record_mark(record: StoredRecord) -> bytes:
    """The checksum of a record's row."""
    parts = (record.blob_id, record.sealed, record.owner_envelope)
    return _mark((record.chart, record.event, record.blob_bytes), parts)


def chart_secret_mark(chart: int, sealed: bytes) -> bytes:
    """The checksum of a chart secret's row."""
    return _mark((chart,), (sealed,))


def delete_staged(connection: sqlite3.Connection, ids: Collection[bytes]) -> None:
    """Drop all that is staged for these transactions."""
    connection.executemany("DELETE FROM staged WHERE prefix = ? AND id = ?", [(prefix(one), one) for one in ids])


def _unstage(connection: sqlite3.Connection, ids: Collection[bytes]) -> Sequence[bytes]:
    rows = rows_in(connection, "SELECT id FROM outbox WHERE prefix IN", [prefix(one) for one in ids])
    gone = set(ids) - {found for (found,) in rows}
    staged = rows_in(connection, "SELECT id, blob_id FROM staged WHERE prefix IN", [prefix(one) for one in gone])
    blobs = [blob for found, blob in staged if found in gone and blob is not None]
    delete_staged(connection, gone)
    return blobs


def _mark(numbers: Sequence[int], parts: Sequence[bytes]) -> bytes:
    state = blake2b(digest_size=_MARK_BYTES)
    for number in numbers:
        state.update(number.to_bytes(8, "big"))
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def _stage(connection: sqlite3.Connection, batch: Mapping[bytes, Sequence[Staged]]) -> None:
    delete_staged(connection, batch.keys())
    rows: list[tuple[int, bytes, int, int, bytes | None, int, bytes, bytes]] = []
    for transaction, items in batch.items():
        for item in items:
            if isinstance(item, StagedSecret):
                rows.append((prefix(transaction), transaction, item.operation, 0, None, 0, item.sealed, b""))
            else:
                tail = (item.blob_id, item.blob_bytes, item.sealed, item.owner_envelope)
                rows.append((prefix(transaction), transaction, item.operation, item.entry, *tail))
    connection.executemany(
        """INSERT INTO staged (prefix, id, operation, entry, blob_id, blob_bytes, sealed, owner_envelope)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )


_COLUMNS = "place, blob_id, blob_bytes, sealed, owner_envelope"


def _get(connection: sqlite3.Connection, chart: int, events: Collection[int]) -> dict[int, StoredRecord]:
    wanted = places((chart, event) for event in events)
    rows = rows_in(connection, f"SELECT {_COLUMNS} FROM record WHERE place IN", wanted)  # noqa: S608  # a constant
    return {unplace(row[0])[1]: StoredRecord(*unplace(row[0]), *row[1:]) for row in rows}


def _list(connection: sqlite3.Connection, chart: int, first: int, count: int) -> list[StoredRecord]:
    query = f"SELECT {_COLUMNS} FROM record WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"  # noqa: S608  # a constant
    rows = connection.execute(query, (*span(chart, first), count)).fetchall()
    return [StoredRecord(*unplace(row[0]), *row[1:]) for row in rows]


def _after(connection: sqlite3.Connection, chart: int, event: int, count: int) -> list[StoredRecord]:
    query = f"SELECT {_COLUMNS} FROM record WHERE place > ? ORDER BY place LIMIT ?"  # noqa: S608  # a constant
    behind = place(chart, event) if event >= 0 else place(chart, 0) - 1
    rows = connection.execute(query, (behind, count)).fetchall()
    return [StoredRecord(*unplace(row[0]), *row[1:]) for row in rows]


def _count(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT value FROM tally WHERE name = ?", (_COUNT,)).fetchall()
    return rows[0][0] if rows else 0
