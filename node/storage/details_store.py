"""What was said in confidence when somebody asked to read: kept by the asker, and for the owner at the custodian.

An asker's own details lie here sealed under its key-encryption key, durable before the operation that commits to them
leaves, until their copy for the owner was delivered and ever after, since the asker answers for them. What others said
to an owner lies here sealed to that owner: the custodian cannot open it. Also what this node noticed by itself about
its own readers. Tables of `ledger.db`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from node.storage.database import Database
from node.storage.lookup import rows_in
from node.storage.schema import place, prefix, span, unplace


class KeptDetails(Struct, frozen=True):
    """Details that this institution stated: what they are committed to by, and the opening under its own key.

    `event` is None until it is known where the operation came to stand on `chart`: at `since` or above, if it became
    final by `valid_until` (ledger ms). `recipient` is the digest of the owner's key that the copy which the custodian
    has is sealed to; None until it has one.
    """

    commitment: bytes
    chart: int
    since: int
    valid_until: int
    sealed: bytes
    event: int | None = None
    recipient: bytes | None = None


class ForOwner(Struct, frozen=True):
    """What `institution` said to a chart's owner about its asking `event`, sealed to the owner."""

    event: int
    institution: int
    sealed: bytes


class DetailsStore:
    """Details that this institution stated, and details that it keeps for the owners of its charts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, kept: KeptDetails) -> None:
        """Make durable what an operation that is about to leave commits to."""
        await self._database.write(partial(_keep, kept=kept))

    async def placed(self, commitment: bytes, event: int) -> None:
        """Note where the operation stands."""
        await self._database.write(partial(_set, commitment=commitment, column="event", value=event))

    async def delivered(self, commitment: bytes, recipient: bytes) -> None:
        """Note that the owner's copy is at the custodian, sealed to the key with this digest."""
        await self._database.write(partial(_set, commitment=commitment, column="recipient", value=recipient))

    async def recipients(self, charts: Collection[int] | None = None) -> set[tuple[int, bytes]]:
        """(chart, digest of the owner's key) of all that was delivered, or of what was delivered for these charts."""
        return await self._database.read(partial(_recipients, charts=charts))

    async def deliver_again(self, chart: int) -> None:
        """The chart's owner has another key: what was delivered is to be sealed to it."""
        query = "UPDATE details SET recipient = NULL WHERE chart = ?"
        await self._database.write(lambda connection: connection.execute(query, (chart,)) and None)

    async def drop(self, commitment: bytes) -> None:
        """Forget details whose operation never became final."""
        await self._database.write(partial(_drop, commitment=commitment))

    async def waiting(self, count: int, skip: int = 0) -> list[KeptDetails]:
        """Up to `count` of those that are not delivered, the oldest first, without the first `skip` of them."""
        return await self._database.read(
            partial(_kept, where="recipient IS NULL", arguments=(), count=count, skip=skip)
        )

    async def unplaced(self, count: int, skip: int = 0) -> list[KeptDetails]:
        """As `waiting`, of those alone of which it is not known where the operation stands."""
        where = "recipient IS NULL AND event IS NULL"
        return await self._database.read(partial(_kept, where=where, arguments=(), count=count, skip=skip))

    async def stated(self, chart: int, event: int) -> KeptDetails | None:
        """What this institution stated about that asking of its own."""
        found = await self._database.read(
            partial(_kept, where="chart = ? AND event = ?", arguments=(chart, event), count=1)
        )
        return found[0] if found else None

    async def by_commitment(self, commitments: Collection[bytes]) -> list[KeptDetails]:
        """What this institution stated and committed to so; what it did not is left out."""
        return await self._database.read(partial(_by_commitment, commitments=commitments))

    async def put_for_owner(self, chart: int, found: ForOwner) -> None:
        """Keep what was said to the owner of one of this custodian's charts. Said again, it replaces."""
        await self._database.write(partial(_put_for_owner, chart=chart, found=found))

    async def for_owner(self, chart: int, first: int, count: int) -> list[ForOwner]:
        """Up to `count`, of askings from event number `first` on, ascending."""
        return await self._database.read(partial(_for_owner, chart=chart, first=first, count=count))

    async def notice(self, chart: int, event: int, time_ms: int) -> None:
        """Note that a reader under this asking bears the patient's family name."""
        row = (place(chart, event), time_ms)
        await self._database.write(lambda connection: _notice(connection, row))

    async def noticed(self, since_ms: int, count: int) -> list[tuple[int, int, int]]:
        """(chart, event, time_ms) of what was noted from `since_ms` on, the newest first."""
        query = "SELECT place, time_ms FROM namesake WHERE time_ms >= ? ORDER BY time_ms DESC LIMIT ?"
        rows = await self._database.read(lambda connection: connection.execute(query, (since_ms, count)).fetchall())
        return [(*unplace(at), time_ms) for at, time_ms in rows]


# --- jobs ---------------------------------------------------------------------------------------------------

_COLUMNS = "commitment, chart, since, valid_until, sealed, event, recipient"


def _recipients(connection: sqlite3.Connection, charts: Collection[int] | None) -> set[tuple[int, bytes]]:
    query = "SELECT DISTINCT chart, recipient FROM details WHERE recipient IS NOT NULL"
    if charts is None:
        return set(connection.execute(query).fetchall())
    return set(
        rows_in(connection, "SELECT chart, recipient FROM details WHERE recipient IS NOT NULL AND chart IN", charts)
    )


def _keep(connection: sqlite3.Connection, kept: KeptDetails) -> None:
    connection.execute(
        f"INSERT INTO details (prefix, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # constants
        (
            prefix(kept.commitment),
            kept.commitment,
            kept.chart,
            kept.since,
            kept.valid_until,
            kept.sealed,
            kept.event,
            kept.recipient,
        ),
    )


def _set(connection: sqlite3.Connection, commitment: bytes, column: str, value: int | bytes) -> None:
    connection.execute(
        f"UPDATE details SET {column} = ? WHERE prefix = ? AND commitment = ?",  # noqa: S608  # our own names
        (value, prefix(commitment), commitment),
    )


def _drop(connection: sqlite3.Connection, commitment: bytes) -> None:
    connection.execute("DELETE FROM details WHERE prefix = ? AND commitment = ?", (prefix(commitment), commitment))


def _kept(
    connection: sqlite3.Connection, where: str, arguments: Sequence[int | bytes], count: int, skip: int = 0
) -> list[KeptDetails]:
    query = f"SELECT {_COLUMNS} FROM details WHERE {where} ORDER BY position LIMIT ? OFFSET ?"  # noqa: S608  # constants
    return [_of_row(row) for row in connection.execute(query, (*arguments, count, skip))]


def _by_commitment(connection: sqlite3.Connection, commitments: Collection[bytes]) -> list[KeptDetails]:
    query = f"SELECT {_COLUMNS} FROM details WHERE prefix IN"  # noqa: S608  # constants
    rows = rows_in(connection, query, [prefix(one) for one in commitments])
    wanted = set(commitments)
    return [_of_row(row) for row in rows if row[0] in wanted]


def _of_row(row: tuple[Any, ...]) -> KeptDetails:
    return KeptDetails(*row)


def _put_for_owner(connection: sqlite3.Connection, chart: int, found: ForOwner) -> None:
    row = (place(chart, found.event), found.institution, found.sealed)
    connection.execute("INSERT OR REPLACE INTO details_for_owner VALUES (?, ?, ?)", row)


def _for_owner(connection: sqlite3.Connection, chart: int, first: int, count: int) -> list[ForOwner]:
    query = """SELECT place, institution, sealed FROM details_for_owner
        WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"""
    rows = connection.execute(query, (*span(chart, first), count)).fetchall()
    return [ForOwner(unplace(at)[1], institution, sealed) for at, institution, sealed in rows]


def _notice(connection: sqlite3.Connection, row: Collection[int]) -> None:
    connection.execute("INSERT OR IGNORE INTO namesake VALUES (?, ?)", tuple(row))
