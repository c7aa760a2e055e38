"""Owners' new envelope keys at the custodian: handed in while a change waits, in use once it took effect. Also at other
writers of a chart, who get them with a write permit.

A row lives from the hand-over until every envelope of its chart is sealed to that key, those included that were on
their way to the ledger meanwhile. Nothing in it is secret: the ledger has the key's digest. A table of `ledger.db`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from node.storage.database import Database
from node.storage.records_store import StoredRecord, change_record, chart_secret_mark
from protocol.crypto.hashing import encryption_key_digest


class HandedKey(Struct, frozen=True):
    """A public envelope key of a chart's owner, or of who is to become it. Envelopes of events below `resealed` are
    sealed to it; `since` is when it was found in force (this node's clock, ms), 0 before."""

    chart: int
    suite: int
    public: bytes
    resealed: int = 0
    since: int = 0

    @property
    def digest(self) -> bytes:
        """What the ledger has of it."""
        return encryption_key_digest(self.suite, self.public)


class OwnerKeyRows:
    """The table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hand_in(self, key: HandedKey) -> None:
        """Keep a key; one that is here already stays as it is."""
        row = (key.chart, key.digest, key.suite, key.public, key.resealed, key.since)
        query = "INSERT OR IGNORE INTO owner_key VALUES (?, ?, ?, ?, ?, ?)"
        await self._database.write(lambda connection: connection.execute(query, row) and None)

    async def all(self) -> list[HandedKey]:
        """Every row, ascending by chart."""
        query = "SELECT chart, suite, public, resealed, since FROM owner_key ORDER BY chart, key"
        rows = await self._database.read(lambda connection: connection.execute(query).fetchall())
        return [HandedKey(*row) for row in rows]

    async def find(self, chart: int, digest: bytes) -> HandedKey | None:
        """The key of that chart with that digest."""
        query = "SELECT chart, suite, public, resealed, since FROM owner_key WHERE chart = ? AND key = ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (chart, digest)).fetchall())
        return HandedKey(*rows[0]) if rows else None

    async def drop(self, key: HandedKey) -> None:
        """Forget a key: nothing is left to do for it."""
        query, row = "DELETE FROM owner_key WHERE chart = ? AND key = ?", (key.chart, key.digest)
        await self._database.write(lambda connection: connection.execute(query, row) and None)

    async def take_up(self, key: HandedKey, sealed: bytes | None, now_ms: int) -> None:
        """The key is in force: `sealed`, which names it, becomes what is kept of the chart; None where nothing is."""
        await self._database.write(partial(_take_up, key=key, sealed=sealed, now_ms=now_ms))

    async def reseal(self, key: HandedKey, records: Sequence[StoredRecord], envelopes: Mapping[int, bytes]) -> None:
        """Replace the owner's envelopes of these records, by event number, and note how far it went, in one step."""
        await self._database.write(partial(_reseal, key=key, records=records, envelopes=envelopes))


def _take_up(connection: sqlite3.Connection, key: HandedKey, sealed: bytes | None, now_ms: int) -> None:
    if sealed is not None:
        row = (key.chart, chart_secret_mark(key.chart, sealed), sealed)
        connection.execute("INSERT OR REPLACE INTO chart_secret VALUES (?, ?, ?)", row)
    connection.execute("UPDATE owner_key SET since = ? WHERE chart = ? AND key = ?", (now_ms, key.chart, key.digest))


def _reseal(
    connection: sqlite3.Connection, key: HandedKey, records: Sequence[StoredRecord], envelopes: Mapping[int, bytes]
) -> None:
    for record in records:
        before, after = record.owner_envelope, envelopes[record.event]

        def change(row: StoredRecord, before: bytes = before, after: bytes = after) -> StoredRecord | None:
            if row.owner_envelope != before or before == after:
                return None
            # Holders have the envelope of before: they are handed the record again.
            copies = tuple(replace(copy, held=False) for copy in row.copies)
            lacking = row.lacking + sum(copy.held for copy in row.copies)
            return replace(row, owner_envelope=after, copies=copies, lacking=lacking)

        # A record that was erased while its envelope was made is not brought back by it.
        change_record(connection, record.chart, record.event, change)
    upto = max((record.event for record in records), default=-1) + 1
    connection.execute(
        "UPDATE owner_key SET resealed = max(resealed, ?) WHERE chart = ? AND key = ?", (upto, key.chart, key.digest)
    )
