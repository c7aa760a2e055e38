"""What is still to be done about what was erased, and how far it is. Tables of `ledger.db`.

Each record's tombstone moves through `tombstones.State`, one step at a time and each durable before the next begins;
where a crash leaves it, it goes on. The jobs here delete rows and seal the others anew; in which order, and what
besides the database must go, is for `node.records.erase`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct

from node.storage import held_store, records_store
from node.storage.database import Database
from node.storage.held_store import held_mark, held_record
from node.storage.lookup import rows_in
from node.storage.records_store import chart_secret_mark, record_mark, stored_record
from node.storage.schema import place, places, unplace
from node.storage.tombstones import State, beaten, bury
from protocol import limits
from protocol.ledger import keys
from protocol.ledger.leaves import ErasedPage, Erasure, decode_leaf
from protocol.ledger.reading import is_erased

Rewrap = Callable[[bytes], bytes | None]
"""A sealed row under the key-encryption key in force; None if it may stay as it is."""

_KEK: Final = "kek"


class Doomed(Struct, frozen=True):
    """A record that is to be deleted here. `state` is DUE or DELETED."""

    chart: int
    record: int
    state: State
    blob_id: bytes | None


class ErasureCounts(Struct, frozen=True):
    """Records whose deletion here has not come to its end, and erasures that this node is not done with."""

    records: int
    erasures: int


class ErasureStore:
    """What this node remembers of erasures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reconcile(self, institution: int) -> None:
        """Hold what lies here against the ledger: what was erased gets its tombstone back, whatever a restored file
        brought is doomed again, and receipts that `institution` owes are due again."""
        await self._database.write(partial(_reconcile, institution=institution))

    async def doomed(self, count: int) -> list[Doomed]:
        """Up to `count` records that are to be deleted."""
        # the order alone would have SQLite walk through all that was ever erased
        query = """SELECT place, state, blob_id FROM tombstone INDEXED BY tombstone_due
            WHERE state < 4 AND state <= ? ORDER BY place LIMIT ?"""
        rows = await self._database.read(lambda c: c.execute(query, (State.DELETED, count)).fetchall())
        return [Doomed(*unplace(at), State(state), blob) for at, state, blob in rows]

    async def delete(self, doomed: Sequence[Doomed]) -> list[Doomed]:
        """Delete the rows of these; those of them that had any, or whose blob is known, with its id. The others are
        clean with that."""
        return await self._database.write(partial(_delete, doomed=doomed))

    async def move(self, doomed: Sequence[Doomed], state: State) -> None:
        """Note how far these are."""
        rows = [(state, place(one.chart, one.record)) for one in doomed]
        update = "UPDATE tombstone SET state = ? WHERE place = ?"
        await self._database.write(lambda connection: connection.executemany(update, rows).rowcount)

    async def any_in(self, *states: State) -> bool:
        """Whether some record is in one of these states."""
        query = f"SELECT 1 FROM tombstone WHERE state < 4 AND state IN ({','.join('?' * len(states))}) LIMIT 1"  # noqa: S608  # marks only
        return bool(await self._database.read(lambda connection: connection.execute(query, states).fetchall()))

    async def move_all(self, before: State, after: State) -> None:
        """All that are in state `before` come to `after`."""
        update = "UPDATE tombstone SET state = ? WHERE state < 4 AND state = ?"
        await self._database.write(lambda connection: connection.execute(update, (after, before)).rowcount)

    async def again(self, blob_ids: Collection[bytes]) -> None:
        """These blobs of erased records are here again: their records are doomed again."""
        rows = [(State.DUE, blob[:8], blob) for blob in blob_ids]
        update = """UPDATE tombstone SET state = ?
            WHERE blob_id IS NOT NULL AND substr(blob_id, 1, 8) = ? AND blob_id = ?"""
        await self._database.write(lambda connection: connection.executemany(update, rows).rowcount)

    async def blobs_after(self, after: int, count: int) -> list[tuple[int, bytes]]:
        """Up to `count` (place, blob id) of tombstones behind place `after`, ascending."""
        query = "SELECT place, blob_id FROM tombstone WHERE place > ? AND blob_id IS NOT NULL ORDER BY place LIMIT ?"
        return await self._database.read(lambda connection: connection.execute(query, (after, count)).fetchall())

    async def buried(self, chart: int, records: Collection[int]) -> set[int]:
        """Those of the records that have a tombstone here."""
        return await self._database.read(partial(_buried, chart=chart, records=records))

    # --- erasures as a whole -----------------------------------------------------------------------------------

    async def due(self) -> list[tuple[int, int]]:
        """(chart, event number) of the erasures that this node is not done with."""
        query = "SELECT place FROM erasure_due ORDER BY place"
        rows = await self._database.read(lambda connection: connection.execute(query).fetchall())
        return [unplace(at) for (at,) in rows]

    async def done(self, chart: int, event: int) -> None:
        """This node owes nothing any more for this erasure."""
        at = place(chart, event)
        await self._database.write(lambda c: c.execute("DELETE FROM erasure_due WHERE place = ?", (at,)).rowcount)

    async def clean(self, chart: int, records: Collection[int]) -> bool:
        """Whether all of these have come to their end here."""
        wanted = places((chart, record) for record in records)

        def job(connection: sqlite3.Connection) -> bool:
            rows = rows_in(connection, "SELECT state FROM tombstone WHERE place IN", wanted)
            states = [state for (state,) in rows]
            return len(states) == len(wanted) and all(state == State.CLEAN for state in states)

        return await self._database.read(job)

    async def counts(self) -> ErasureCounts:
        """How much is left to do."""

        def job(connection: sqlite3.Connection) -> ErasureCounts:
            records = connection.execute("SELECT count(*) FROM tombstone WHERE state < 4").fetchall()[0][0]
            erasures = connection.execute("SELECT count(*) FROM erasure_due").fetchall()[0][0]
            return ErasureCounts(records, erasures)

        return await self._database.read(job)

    # --- renewal of the key-encryption key ---------------------------------------------------------------------

    async def rewrap(self, table: Table, after: int, count: int, rewrap: Rewrap) -> int | None:
        """Seal up to `count` rows behind `after` anew, where `rewrap` says so; the last one's key, None at the end."""
        return await self._database.write(partial(_rewrap, table=table, after=after, count=count, rewrap=rewrap))

    async def count_sealed(
        self, table: Table, after: int, count: int, wanted: Callable[[bytes], bool]
    ) -> tuple[int, int | None]:
        """Of up to `count` rows behind `after`: how many sealed values are `wanted`, and the last one's key,
        None at the end."""
        rows = await self._database.read(partial(_rows_after, table=table, after=after, count=count))
        found = sum(wanted(one) for row in rows for one in _sealed_of(table, row))
        return found, rows[-1][0] if len(rows) == count else None

    async def last_kek(self) -> bytes | None:
        """The name of the key-encryption key that was in force when this file was last written to."""
        query = "SELECT value FROM meta WHERE name = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (_KEK,)).fetchall())
        return rows[0][0] if rows else None

    async def set_last_kek(self, identity: bytes) -> None:
        insert = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
        await self._database.write(lambda connection: connection.execute(insert, (_KEK, identity)).rowcount)

    async def checkpoint(self) -> bool:
        """As `Database.checkpoint`."""
        return await self._database.checkpoint()


class Table(Struct, frozen=True):
    """A table with values sealed under the key-encryption key. `columns` are what `mark` is told of a row, the first
    being its integer key; without `mark` its rows carry no checksum. `sealed` may be empty byte strings."""

    name: str
    columns: tuple[str, ...]
    sealed: tuple[str, ...]
    mark: Callable[[Sequence[Any]], bytes] | None = None


SEALED_TABLES: Final = (
    Table("staged", ("position", "sealed", "shares"), ("sealed", "shares")),
    Table("held_staged", ("position", "share"), ("share",)),
    Table(
        "record",
        ("place", "blob_id", "blob_bytes", "sealed", "owner_envelope", "shares", "copies", "lacking"),
        ("sealed", "shares"),
        lambda row: record_mark(stored_record(row)),
    ),
    Table(
        "held",
        ("place", "writer", "blob_id", "blob_bytes", "share", "details", "owner_envelope"),
        ("share",),
        lambda row: held_mark(held_record(row)),
    ),
    Table("chart_secret", ("chart", "sealed"), ("sealed",), lambda row: chart_secret_mark(*row)),
    Table("details", ("position", "sealed"), ("sealed",)),
    Table("write_permit", ("position", "sealed"), ("sealed",)),
)
"""In the order in which they are sealed anew: rows move from the staged ones to the others, never back."""


# --- jobs ---------------------------------------------------------------------------------------------------


def _buried(connection: sqlite3.Connection, chart: int, records: Collection[int]) -> set[int]:
    return {unplace(at)[1] for at in beaten(connection, places((chart, record) for record in records))}


def _delete(connection: sqlite3.Connection, doomed: Sequence[Doomed]) -> list[Doomed]:
    left: list[Doomed] = []
    for one in doomed:
        at = place(one.chart, one.record)
        blobs = [*records_store.forget(connection, one.chart, [one.record]), *held_store.forget_staged(connection, at)]
        blob = blobs[0] if blobs else one.blob_id
        state = State.CLEAN if blob is None else State.DELETED
        update = "UPDATE tombstone SET state = ?, blob_id = ? WHERE place = ?"
        connection.execute(update, (state, blob, at))
        if blob is not None:
            left.append(Doomed(one.chart, one.record, state, blob))
        # Written here, held here and handed over here are the same blob, unless its writer handed over rubbish.
        left += [Doomed(one.chart, one.record, state, more) for more in dict.fromkeys(blobs) if more != blob]
    return left


def _reconcile(connection: sqlite3.Connection, institution: int) -> None:
    for key, raw in _leaves(connection, keys.KIND_ERASED):
        page = decode_leaf(key, raw)
        assert isinstance(page, ErasedPage)
        chart, first = _chart_of(key), int.from_bytes(key[6:8], "big") * limits.ERASED_PAGE_EVENTS
        for event in range(first, first + 8 * len(page.bitmap)):
            if is_erased(page.bitmap, event):
                at = place(chart, event)
                bury(connection, at, -1)
                here = "SELECT 1 FROM record WHERE place = ?1 UNION ALL SELECT 1 FROM held WHERE place = ?1"
                if connection.execute(here, (at,)).fetchall():
                    connection.execute("UPDATE tombstone SET state = ? WHERE place = ?", (State.DUE, at))
    for key, raw in _leaves(connection, keys.KIND_ERASURE):
        erasure = decode_leaf(key, raw)
        assert isinstance(erasure, Erasure)
        if institution in erasure.owed and all(by != institution for by, _ in erasure.receipts):
            at = place(_chart_of(key), int.from_bytes(key[6:9], "big"))
            connection.execute("INSERT OR IGNORE INTO erasure_due VALUES (?)", (at,))


def _leaves(connection: sqlite3.Connection, kind: int) -> list[tuple[bytes, bytes]]:
    bounds = (bytes([kind]), bytes([kind + 1]))
    return connection.execute("SELECT key, value FROM leaf WHERE key >= ? AND key < ?", bounds).fetchall()


def _chart_of(key: bytes) -> int:
    return int.from_bytes(key[1:6], "big")


def _rows_after(connection: sqlite3.Connection, table: Table, after: int, count: int) -> list[tuple[Any, ...]]:
    key = table.columns[0]
    query = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {key} > ? ORDER BY {key} LIMIT ?"  # noqa: S608  # our own names
    return connection.execute(query, (after, count)).fetchall()


def _sealed_of(table: Table, row: Sequence[Any]) -> list[bytes]:
    values = dict(zip(table.columns, row, strict=True))
    return [values[name] for name in table.sealed if values[name]]


def _rewrap(connection: sqlite3.Connection, table: Table, after: int, count: int, rewrap: Rewrap) -> int | None:
    rows = _rows_after(connection, table, after, count)
    for row in rows:
        values = dict(zip(table.columns, row, strict=True))
        anew = {name: rewrap(values[name]) for name in table.sealed if values[name]}
        changed: dict[str, Any] = {name: value for name, value in anew.items() if value is not None}
        if not changed:
            continue
        if table.mark is not None:
            changed["mark"] = table.mark([*(values | changed).values()])
        assignments = ", ".join(f"{name} = ?" for name in changed)
        update = f"UPDATE {table.name} SET {assignments} WHERE {table.columns[0]} = ?"  # noqa: S608  # our own names
        connection.execute(update, (*changed.values(), row[0]))
    return rows[-1][0] if len(rows) == count else None
