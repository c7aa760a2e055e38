"""A writer's side of its records: for each its blob's id, its sealed key material, the owner's envelope, its copies.

Everything that bears content arrives sealed; nothing here could be read by who steals the disk. What belongs to an
entry is *staged* under its transaction's id before the transaction leaves, and moves to its place, chart and event
number, in the very SQLite transaction that stores the final block. Tables of `ledger.db`.

No digest on the ledger covers these bytes, so each row carries a checksum, by which `doctor` names a row that changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from node.storage import tombstones
from node.storage.database import Database
from node.storage.lookup import rows_in
from node.storage.schema import place, places, prefix, span, unplace
from node.storage.types import Copy, Settled
from protocol.codec.canonical import decode, encode

if TYPE_CHECKING:
    from node.storage.owner_keys import OwnerKeyRows
    from node.storage.permit_rows import PermitRows

_COUNT = "records"
HELD_COUNT = "held"
_MARK_BYTES = 8
_Row = tuple[int, bytes, bytes, int, bytes, bytes, bytes, bytes, int]


class StagedRecord(Struct, frozen=True):
    """For entry `entry` of operation `operation`: `blob_bytes` is the blob's size, `sealed` the record's key, opening,
    media type and labels under the key-encryption key, `owner_envelope` the same sealed to the owner. `shares` are all
    shares of the record's key, sealed likewise (empty without holders); `lacking` is how many copies fewer than wanted
    there are."""

    operation: int
    entry: int
    blob_id: bytes
    blob_bytes: int
    sealed: bytes
    owner_envelope: bytes
    shares: bytes = b""
    copies: tuple[Copy, ...] = ()
    lacking: int = 0


class StagedSecret(Struct, frozen=True):
    """For the chart that operation `operation` opens: its secret under the key-encryption key."""

    operation: int
    sealed: bytes


Staged = StagedRecord | StagedSecret


class StoredRecord(Struct, frozen=True):
    """A record that this institution wrote: chart, event number, and what was staged for it."""

    chart: int
    event: int
    blob_id: bytes
    blob_bytes: int
    sealed: bytes
    owner_envelope: bytes
    shares: bytes = b""
    copies: tuple[Copy, ...] = ()
    lacking: int = 0


class RecordsStore:
    """Records that this institution wrote, and secrets of the charts that it keeps."""

    def __init__(self, database: Database, owner_keys: OwnerKeyRows, permits: PermitRows) -> None:
        self.owner_keys = owner_keys
        self.permits = permits
        self._database = database

    async def stage(self, batch: Mapping[bytes, Sequence[Staged]]) -> None:
        """Make durable, with one sync, what belongs to transactions that are about to leave, by transaction id.

        Staging for an id again replaces what was staged.
        """
        await self._database.write(partial(_stage, batch=batch))

    async def restage(
        self, before: bytes, counts: Sequence[tuple[bytes, int]], copies: tuple[Copy, ...], lacking: int
    ) -> None:
        """What was staged as one under id `before` belongs to these transactions, (id, number of entries), in order."""
        await self._database.write(
            partial(_restage, before=before, counts=counts, copies=encode(copies) if copies else b"", lacking=lacking)
        )

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

    async def lacking(self, chart: int, event: int, count: int) -> Sequence[StoredRecord]:
        """As `after`, of the records that have fewer copies than wanted."""
        return await self._database.read(partial(_after, chart=chart, event=event, count=count, lacking=True))

    async def count_lacking(self) -> int:
        """How many records have fewer copies than wanted."""
        query = "SELECT count(*) FROM record WHERE lacking > 0"
        rows = await self._database.read(lambda connection: connection.execute(query).fetchall())
        found: int = rows[0][0]
        return found

    async def set_copies(self, records: Sequence[StoredRecord]) -> None:
        """Note `copies` and `lacking` of these records as they are now; those that are gone meanwhile stay gone."""
        await self._database.write(partial(_set_copies, records=records))

    async def chart_secret(self, chart: int) -> bytes | None:
        """The chart's secret under the key-encryption key; None if this institution does not keep the chart."""
        query = "SELECT sealed FROM chart_secret WHERE chart = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (chart,)).fetchall())
        return rows[0][0] if rows else None

    async def keep_chart_secret(self, chart: int, sealed: bytes) -> None:
        """Keep the secret of a chart that came from another custodian."""
        row = (chart, chart_secret_mark(chart, sealed), sealed)
        query = "INSERT OR REPLACE INTO chart_secret VALUES (?, ?, ?)"
        await self._database.write(lambda connection: connection.execute(query, row) and None)

    async def count(self) -> int:
        """How many records of its own this institution keeps."""
        return await self._database.read(_count)


# --- jobs ---------------------------------------------------------------------------------------------------


def promote(connection: sqlite3.Connection, settled: Iterable[Settled]) -> None:
    """Move what was staged for final transactions to where the ledger put it. The rest staged for them is dropped."""
    records: list[_Row] = []
    secrets = []
    done = []
    for one in settled:
        if not one.places:
            continue
        done.append(one.id)
        placed = {at.operation: at for at in one.places}
        query = """SELECT operation, entry, sealed, blob_id, blob_bytes, owner_envelope, shares, copies, lacking
                   FROM staged WHERE prefix = ? AND id = ?"""
        for operation, entry, sealed, *rest in connection.execute(query, (prefix(one.id), one.id)):
            at = placed.get(operation)
            if at is None:
                continue
            blob_id, size, envelope, shares, copies, lacking = rest
            if blob_id is None:
                secrets.append((at.chart, chart_secret_mark(at.chart, sealed), sealed))
            else:
                where = place(at.chart, at.event + entry)
                mark = _record_mark(at.chart, at.event + entry, size, (blob_id, sealed, envelope), (shares, copies))
                records.append((where, mark, blob_id, size, sealed, envelope, shares, copies, lacking))
    if not done:
        return
    records = _unless_erased(connection, records)
    connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", records)
    connection.executemany("INSERT OR REPLACE INTO chart_secret VALUES (?, ?, ?)", secrets)
    add_tally(connection, _COUNT, len(records))
    delete_staged(connection, done)


def _unless_erased(connection: sqlite3.Connection, records: list[_Row]) -> list[_Row]:
    """In order of place, without those that have a tombstone: these are doomed, with their blobs."""
    buried = tombstones.beaten(connection, [row[0] for row in records])
    tombstones.doom_late(connection, [(row[0], row[2]) for row in records if row[0] in buried])
    return sorted(row for row in records if row[0] not in buried)


def record_mark(record: StoredRecord) -> bytes:
    """The checksum of a record's row."""
    parts = (record.blob_id, record.sealed, record.owner_envelope)
    copies = encode(record.copies) if record.copies else b""
    return _record_mark(record.chart, record.event, record.blob_bytes, parts, (record.shares, copies))


def _record_mark(chart: int, event: int, size: int, parts: Sequence[bytes], copied: Sequence[bytes]) -> bytes:
    """Rows from before there were copies have a mark without them."""
    return row_mark((chart, event, size), (*parts, *copied) if any(copied) else parts)


def chart_secret_mark(chart: int, sealed: bytes) -> bytes:
    """The checksum of a chart secret's row."""
    return row_mark((chart,), (sealed,))


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


def row_mark(numbers: Sequence[int], parts: Sequence[bytes]) -> bytes:
    """The checksum of a row that no digest on the ledger covers."""
    state = blake2b(digest_size=_MARK_BYTES)
    for number in numbers:
        state.update(number.to_bytes(8, "big"))
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def _restage(
    connection: sqlite3.Connection, before: bytes, counts: Sequence[tuple[bytes, int]], copies: bytes, lacking: int
) -> None:
    first = 0
    for id_, count in counts:
        connection.execute(
            """UPDATE staged SET prefix = ?, id = ?, entry = entry - ?, copies = ?, lacking = ?
               WHERE prefix = ? AND id = ? AND entry >= ? AND entry < ?""",
            (prefix(id_), id_, first, copies, lacking, prefix(before), before, first, first + count),
        )
        first += count


def _stage(connection: sqlite3.Connection, batch: Mapping[bytes, Sequence[Staged]]) -> None:
    delete_staged(connection, batch.keys())
    rows: list[tuple[object, ...]] = []
    for transaction, items in batch.items():
        for item in items:
            if isinstance(item, StagedSecret):
                tail: tuple[object, ...] = (0, None, 0, item.sealed, b"", b"", b"", 0)
            else:
                copies = encode(item.copies) if item.copies else b""
                tail = (item.entry, item.blob_id, item.blob_bytes, item.sealed, item.owner_envelope)
                tail += (item.shares, copies, item.lacking)
            rows.append((prefix(transaction), transaction, item.operation, *tail))
    connection.executemany(
        """INSERT INTO staged (prefix, id, operation, entry, blob_id, blob_bytes, sealed, owner_envelope, shares,
           copies, lacking) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        rows,
    )


def _set_copies(connection: sqlite3.Connection, records: Sequence[StoredRecord]) -> None:
    for one in records:

        def change(row: StoredRecord, to: StoredRecord = one) -> StoredRecord | None:
            if row.owner_envelope != to.owner_envelope:  # what was handed over is not what is kept by now
                return None
            return replace(row, copies=to.copies, lacking=to.lacking)

        change_record(connection, one.chart, one.event, change)


def change_record(
    connection: sqlite3.Connection, chart: int, event: int, change: Callable[[StoredRecord], StoredRecord | None]
) -> None:
    """Put what `change` makes of a record as it is now in its place, with its checksum; nothing for None, or where the
    record is gone. Whoever read it before may have read another: rows are sealed anew with each renewal."""
    row = _get(connection, chart, [event]).get(event)
    new = None if row is None else change(row)
    if new is None or new == row:
        return
    connection.execute(
        """UPDATE record SET mark = ?, sealed = ?, owner_envelope = ?, shares = ?, copies = ?, lacking = ?
           WHERE place = ?""",
        (
            record_mark(new),
            new.sealed,
            new.owner_envelope,
            new.shares,
            encode(new.copies) if new.copies else b"",
            new.lacking,
            place(chart, event),
        ),
    )


def forget(connection: sqlite3.Connection, chart: int, events: Collection[int]) -> Sequence[bytes]:
    """Delete all that is kept of these records, written here or held for others: keys, shares, envelopes. The ids of
    the blobs that belonged to them, for the caller to discard."""
    wanted = places((chart, event) for event in events)
    blobs: list[bytes] = []
    for table, name in (("record", _COUNT), ("held", HELD_COUNT)):
        query = f"SELECT place, blob_id FROM {table} WHERE place IN"  # noqa: S608  # our own names
        found = list(rows_in(connection, query, wanted))
        connection.executemany(f"DELETE FROM {table} WHERE place = ?", [(at,) for at, _ in found])  # noqa: S608
        add_tally(connection, name, -len(found))
        blobs += [blob for _, blob in found]
    return blobs


_COLUMNS = "place, blob_id, blob_bytes, sealed, owner_envelope, shares, copies, lacking"


def stored_record(row: Sequence[Any]) -> StoredRecord:
    """The record in a row of these columns: place, blob_id, blob_bytes, sealed, owner_envelope, shares, copies,
    lacking."""
    at, blob_id, size, sealed, envelope, shares, copies, lacking = row
    listed = decode(tuple[Copy, ...], copies) if copies else ()
    return StoredRecord(*unplace(at), blob_id, size, sealed, envelope, shares, listed, lacking)


def _get(connection: sqlite3.Connection, chart: int, events: Collection[int]) -> dict[int, StoredRecord]:
    wanted = places((chart, event) for event in events)
    rows = rows_in(connection, f"SELECT {_COLUMNS} FROM record WHERE place IN", wanted)  # noqa: S608  # a constant
    return {unplace(row[0])[1]: stored_record(row) for row in rows}


def _list(connection: sqlite3.Connection, chart: int, first: int, count: int) -> list[StoredRecord]:
    query = f"SELECT {_COLUMNS} FROM record WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"  # noqa: S608  # a constant
    rows = connection.execute(query, (*span(chart, first), count)).fetchall()
    return [stored_record(row) for row in rows]


def _after(
    connection: sqlite3.Connection, chart: int, event: int, count: int, lacking: bool = False
) -> list[StoredRecord]:
    only = "AND lacking > 0" if lacking else ""
    query = f"SELECT {_COLUMNS} FROM record WHERE place > ? {only} ORDER BY place LIMIT ?"  # noqa: S608  # constants
    behind = place(chart, event) if event >= 0 else place(chart, 0) - 1
    rows = connection.execute(query, (behind, count)).fetchall()
    return [stored_record(row) for row in rows]


def _count(connection: sqlite3.Connection) -> int:
    return tally(connection, _COUNT)


def tally(connection: sqlite3.Connection, name: str) -> int:
    """A running total."""
    rows = connection.execute("SELECT value FROM tally WHERE name = ?", (name,)).fetchall()
    return rows[0][0] if rows else 0


def add_tally(connection: sqlite3.Connection, name: str, more: int) -> None:
    """Count so many more, or less."""
    if more:
        total = tally(connection, name) + more
        connection.execute("INSERT OR REPLACE INTO tally VALUES (?, ?)", (name, total))
