"""What this institution holds for others: of each record the sealed blob's id, its own share of the key, and what only
who has the key, or the owner, can open.

A share lies here sealed under this institution's key-encryption key; the rest came sealed. What a writer handed over
before its entry was final is *staged* by the entry's commitment and moves to its place, chart and event number, in the
very SQLite transaction that stores the final block. What the ledger then does not name this institution for, or what
never becomes final, is swept. Tables of `ledger.db`; rows carry a checksum, as those of own records do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from node.storage import tombstones
from node.storage.database import Database
from node.storage.lookup import rows_in
from node.storage.records_store import HELD_COUNT, add_tally, row_mark, tally
from node.storage.schema import place, places, prefix, unplace
from protocol.ledger.events import RecordAppended, decode_event


class Handed(Struct, frozen=True):
    """What a writer handed over of one record: `share` under the key-encryption key of this institution, `details` and
    `owner_envelope` as they came."""

    blob_id: bytes
    blob_bytes: int
    share: bytes
    details: bytes
    owner_envelope: bytes


class StagedHeld(Struct, frozen=True):
    """A record of `chart` whose entry is not final yet, handed over by institution `writer` to `holder`, this one, at
    `staged_ms` (ledger time)."""

    commitment: bytes
    chart: int
    holder: int
    writer: int
    staged_ms: int
    handed: Handed


class HeldRecord(Struct, frozen=True):
    """A record that this institution holds: chart, event number, whose it is, and what was handed over."""

    chart: int
    event: int
    writer: int
    handed: Handed


class StagedTotals(Struct, frozen=True):
    """What one writer handed over that is not final."""

    count: int
    size_bytes: int


class HeldStore:
    """Records held for other institutions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stage(self, rows: Sequence[StagedHeld]) -> None:
        """Make durable, with one sync; what was staged for the same commitment by the same writer is replaced."""
        await self._database.write(partial(_stage, rows=rows))

    async def put(self, rows: Sequence[HeldRecord], commitments: Sequence[bytes]) -> None:
        """Make durable what belongs to entries that are final, with these commitments; what was held of them, or
        staged by the same writer, is replaced. What was erased is not taken: its blob is doomed."""
        await self._database.write(partial(_replace, rows=rows, commitments=commitments))

    async def staged(self, writer: int, commitments: Collection[bytes]) -> dict[bytes, Handed]:
        """What this writer has staged here, by commitment; absent ones are left out."""
        return await self._database.read(partial(_staged, writer=writer, commitments=commitments))

    async def staged_by(self, writer: int) -> StagedTotals:
        """How much of this writer waits to become final."""
        query = "SELECT count(*), coalesce(sum(blob_bytes), 0) FROM held_staged WHERE writer = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (writer,)).fetchall())
        return StagedTotals(*rows[0])

    async def sweep(self, before_ms: int) -> Sequence[bytes]:
        """Forget what was staged before this ledger time, or was found to be no longer wanted; the ids of its blobs."""
        return await self._database.write(partial(_sweep, before_ms=before_ms))

    async def get(self, chart: int, events: Collection[int]) -> dict[int, HeldRecord]:
        """Held records of a chart by event number; absent ones are left out."""
        return await self._database.read(partial(_get, chart=chart, events=events))

    async def after(self, chart: int, event: int, count: int) -> Sequence[HeldRecord]:
        """Up to `count` held records behind event number `event` of `chart`, ascending. -1 is before all."""
        return await self._database.read(partial(_after, chart=chart, event=event, count=count))

    async def refers(self, blob: bytes) -> bool:
        """Whether any row at all names this blob."""
        return await self._database.read(partial(_refers, blob=blob))

    async def referred(self, blobs: Collection[bytes]) -> set[bytes]:
        """Those of these blobs that some row names."""
        return await self._database.read(partial(_referred, blobs=blobs))

    async def set_owner(self, chart: int, suite: int, public: bytes) -> None:
        """Note the owner's public envelope key, which the caller compared with the ledger's digest."""
        query = "INSERT OR REPLACE INTO held_owner VALUES (?, ?, ?)"
        await self._database.write(lambda connection: connection.execute(query, (chart, suite, public)).rowcount)

    async def owner(self, chart: int) -> tuple[int, bytes] | None:
        """(suite, public bytes) of the owner's envelope key as it was last told; None if this chart is not held."""
        query = "SELECT suite, public FROM held_owner WHERE chart = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (chart,)).fetchall())
        return rows[0] if rows else None

    async def count(self) -> int:
        """How many records this institution holds for others."""
        return await self._database.read(partial(tally, name=HELD_COUNT))


# --- jobs ---------------------------------------------------------------------------------------------------


def settle(connection: sqlite3.Connection, events: Iterable[tuple[int, bytes]]) -> None:
    """Move what was staged for entries that are final now to their places. `events` are (place, canonical event). What
    an entry does not name this institution for is left to the next sweep."""
    if not connection.execute("SELECT 1 FROM held_staged LIMIT 1").fetchall():
        return
    appended: dict[tuple[bytes, int, int], tuple[int, RecordAppended]] = {}
    for at, raw in events:
        event = decode_event(raw)
        if isinstance(event, RecordAppended):
            # By chart and writer as well: whoever sees a commitment on its way can append it too, to another chart.
            appended[event.entry.commitment, unplace(at)[0], event.institution] = (at, event)
    if appended:
        _settle(connection, appended)


def _settle(
    connection: sqlite3.Connection, appended: Mapping[tuple[bytes, int, int], tuple[int, RecordAppended]]
) -> None:
    query = f"SELECT position, commitment, chart, holder, writer, {_HANDED} FROM held_staged WHERE prefix IN"  # noqa: S608
    rows = []
    done: list[tuple[int]] = []
    unwanted: list[tuple[int]] = []
    for position, commitment, chart, holder, writer, *handed in rows_in(
        connection, query, sorted({prefix(one) for one, _, _ in appended})
    ):
        found = appended.get((commitment, chart, writer))
        if found is None:
            continue
        at, event = found
        if holder in event.holders:
            rows.append(HeldRecord(*unplace(at), writer, Handed(*handed)))
            done.append((position,))
        else:
            unwanted.append((position,))
    _put(connection, sorted(rows, key=lambda row: (row.chart, row.event)))
    connection.executemany("DELETE FROM held_staged WHERE position = ?", done)
    connection.executemany("UPDATE held_staged SET staged_ms = 0 WHERE position = ?", unwanted)


def held_mark(record: HeldRecord) -> bytes:
    """The checksum of a held record's row."""
    handed = record.handed
    parts = (handed.blob_id, handed.share, handed.details, handed.owner_envelope)
    return row_mark((record.chart, record.event, record.writer, handed.blob_bytes), parts)


def held_record(row: Sequence[Any]) -> HeldRecord:
    """The record in a row of these columns: place, writer, blob_id, blob_bytes, share, details, owner_envelope."""
    return HeldRecord(*unplace(row[0]), row[1], Handed(*row[2:]))


_HANDED = "blob_id, blob_bytes, share, details, owner_envelope"
_COLUMNS = f"place, writer, {_HANDED}"


def _parts(handed: Handed) -> tuple[object, ...]:
    return handed.blob_id, handed.blob_bytes, handed.share, handed.details, handed.owner_envelope


def _stage(connection: sqlite3.Connection, rows: Sequence[StagedHeld]) -> None:
    connection.executemany(
        "DELETE FROM held_staged WHERE prefix = ? AND commitment = ? AND writer = ?",
        [(prefix(row.commitment), row.commitment, row.writer) for row in rows],
    )
    connection.executemany(
        f"""INSERT INTO held_staged (prefix, commitment, chart, holder, writer, staged_ms, {_HANDED})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",  # noqa: S608  # our own names
        [
            (
                prefix(row.commitment),
                row.commitment,
                row.chart,
                row.holder,
                row.writer,
                row.staged_ms,
                *_parts(row.handed),
            )
            for row in rows
        ],
    )


def _replace(connection: sqlite3.Connection, rows: Sequence[HeldRecord], commitments: Sequence[bytes]) -> None:
    connection.executemany(
        "DELETE FROM held_staged WHERE prefix = ? AND commitment = ? AND writer = ?",
        [(prefix(one), one, row.writer) for one, row in zip(commitments, rows, strict=True)],
    )
    _put(connection, rows)


def _put(connection: sqlite3.Connection, rows: Sequence[HeldRecord]) -> None:
    buried = tombstones.beaten(connection, [place(row.chart, row.event) for row in rows])
    late = [row for row in rows if place(row.chart, row.event) in buried]
    tombstones.doom_late(connection, [(place(row.chart, row.event), row.handed.blob_id) for row in late])
    rows = [row for row in rows if row not in late]
    if not rows:
        return
    at = [place(row.chart, row.event) for row in rows]
    known = list(rows_in(connection, "SELECT place FROM held WHERE place IN", at))
    connection.executemany(
        "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(where, held_mark(row), row.writer, *_parts(row.handed)) for where, row in zip(at, rows, strict=True)],
    )
    add_tally(connection, HELD_COUNT, len(rows) - len(known))


def forget_staged(connection: sqlite3.Connection, at: int) -> list[bytes]:
    """Delete what the writer of the record at this place handed over once more; the ids of its blobs."""
    raw = connection.execute("SELECT raw FROM event WHERE place = ?", (at,)).fetchall()
    event = decode_event(raw[0][0]) if raw else None
    if not isinstance(event, RecordAppended):
        return []
    commitment = event.entry.commitment
    query = "DELETE FROM held_staged WHERE prefix = ? AND commitment = ? AND writer = ? RETURNING blob_id"
    return [
        blob for (blob,) in connection.execute(query, (prefix(commitment), commitment, event.institution)).fetchall()
    ]


def _staged(connection: sqlite3.Connection, writer: int, commitments: Collection[bytes]) -> dict[bytes, Handed]:
    query = f"SELECT commitment, writer, {_HANDED} FROM held_staged WHERE prefix IN"  # noqa: S608  # our own names
    rows = rows_in(connection, query, [prefix(one) for one in commitments])
    return {row[0]: Handed(*row[2:]) for row in rows if row[0] in commitments and row[1] == writer}


def _sweep(connection: sqlite3.Connection, before_ms: int) -> Sequence[bytes]:
    rows = connection.execute(
        "SELECT position, blob_id FROM held_staged WHERE staged_ms < ? LIMIT 1024", (before_ms,)
    ).fetchall()
    connection.executemany("DELETE FROM held_staged WHERE position = ?", [(position,) for position, _ in rows])
    return [blob for _, blob in rows]


def _get(connection: sqlite3.Connection, chart: int, events: Collection[int]) -> dict[int, HeldRecord]:
    wanted = places((chart, event) for event in events)
    rows = rows_in(connection, f"SELECT {_COLUMNS} FROM held WHERE place IN", wanted)  # noqa: S608  # a constant
    return {unplace(row[0])[1]: held_record(row) for row in rows}


def _after(connection: sqlite3.Connection, chart: int, event: int, count: int) -> list[HeldRecord]:
    query = f"SELECT {_COLUMNS} FROM held WHERE place > ? ORDER BY place LIMIT ?"  # noqa: S608  # a constant
    behind = place(chart, event) if event >= 0 else place(chart, 0) - 1
    return [held_record(row) for row in connection.execute(query, (behind, count)).fetchall()]


def _referred(connection: sqlite3.Connection, blobs: Collection[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for table in ("staged", "record", "held_staged", "held"):
        query = f"SELECT blob_id FROM {table} WHERE substr(blob_id, 1, 8) IN"  # noqa: S608  # our own names
        found |= {blob for (blob,) in rows_in(connection, query, {blob[:8] for blob in blobs})}
    return found.intersection(blobs)


def _refers(connection: sqlite3.Connection, blob: bytes) -> bool:
    return bool(_referred(connection, [blob]))
