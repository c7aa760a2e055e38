"""The durable outbox: this node's own transactions until they are final, their receipts, and answers already given.

A transaction is in the outbox from before it leaves the node until the commit of the block that holds it, which turns
it into a receipt in the same SQLite transaction; so after any crash each is in exactly one of the two, or was never
submitted. Tables of `ledger.db`; `settle` is called by the ledger store inside its commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from node.storage.database import Database
from node.storage.errors import NumberTaken
from node.storage.lookup import rows_in
from node.storage.schema import prefix
from node.storage.types import Settled

_PRUNED_AT_ONCE = 2_000
_ids = msgspec.msgpack.Decoder(tuple[bytes, ...])


class Outgoing(Struct, frozen=True):
    """A signed transaction of this node: id, what its anti-replay window knows it by, canonical bytes.

    `valid_until` is milliseconds of ledger time.
    """

    id: bytes
    institution: int
    key: int
    number: int
    valid_until: int
    raw: bytes


class StoredReceipt(Struct, frozen=True):
    """What became of a transaction: the block's height and time (ledger ms), and the driver's encoding of the rest."""

    height: int
    timestamp: int
    receipt: bytes


class Answer(Struct, frozen=True):
    """What the socket once began under an idempotency key. `status` is None until it was answered.

    `request` tells the same request from another under the same key; `body` is, while unanswered, whatever the caller
    needs to find out how it went, and afterwards the response.
    """

    request: bytes
    expires_at: int
    status: int | None
    body: bytes


class Outbox:
    """Own transactions that are not final yet, and the receipts of those that are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Sequence[Outgoing]) -> None:
        """Make all durable with one sync, or none. What is in the outbox or final already is left as it is.

        Raises `NumberTaken` if another transaction with the same institution, key and number waits.
        """
        await self._database.write(partial(_add, batch=batch))

    async def pending(self) -> list[Outgoing]:
        """All that wait, in the order of their adding."""
        query = "SELECT id, institution, key, number, valid_until, raw FROM outbox ORDER BY position"
        rows = await self._database.read(lambda connection: connection.execute(query).fetchall())
        return [Outgoing(*row) for row in rows]

    async def waiting(self, ids: Collection[bytes]) -> set[bytes]:
        """Those of the ids that are in the outbox."""
        return await self._database.read(partial(_waiting, ids=ids))

    async def receipts(self, ids: Collection[bytes]) -> dict[bytes, StoredReceipt]:
        """Receipts by id, of those that are final and not pruned."""
        return await self._database.read(partial(_receipts, ids=ids))

    async def standing(self, ids: Collection[bytes]) -> tuple[set[bytes], dict[bytes, StoredReceipt]]:
        """`waiting` and `receipts` of one snapshot: an id is in at most one of them."""
        return await self._database.read(lambda connection: (_waiting(connection, ids), _receipts(connection, ids)))

    async def drop(self, ids: Collection[bytes]) -> None:
        """Forget transactions that can never become final. What was staged for them stays for the next sweep, which
        has their blobs to remove as well."""
        await self._database.write(partial(_drop, ids=ids))

    async def reserve_numbers(self, institution: int, key: int, count: int, at_least: int) -> int:
        """The first of `count` numbers of this operations key that were never handed out before, from `at_least` on.

        Durable when it returns: after a crash, unused ones are skipped and none is given twice.
        """
        return await self._database.write(
            partial(_reserve, institution=institution, key=key, count=count, at_least=at_least)
        )

    async def prune_receipts(self, before: int) -> int:
        """Forget up to 2,000 of the oldest receipts with `valid_until` before this ledger time; how many went.

        Until then a client that submits the same transaction again gets its receipt; afterwards it is expired.
        """
        return await self._database.write(partial(_prune_receipts, before=before))


class Idempotency:
    """Answers already given, so that a client's retry never writes twice. Keys are digests made by the caller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, key: bytes, answer: Answer, now: int) -> Answer | None:
        """Remember that a request has begun. None: it is new, and `answer` is stored. Otherwise what stands there,
        unless that expired before `now` (milliseconds of the node's clock), and then it is replaced."""
        return await self._database.write(partial(_begin, key=key, answer=answer, now=now))

    async def put(self, key: bytes, answer: Answer) -> None:
        """Replace what stands under the key: more to find out by, or the response."""
        await self._database.write(partial(_put, key=key, answer=answer))

    async def get(self, key: bytes) -> Answer | None:
        """What stands under the key."""
        return await self._database.read(partial(_get, key=key))

    async def forget(self, key: bytes) -> None:
        """The request failed and left nothing: the key may be used again."""
        query = "DELETE FROM idempotency WHERE key = ?"
        await self._database.write(lambda connection: connection.execute(query, (key,)).rowcount)

    async def blind(self, ids: Collection[bytes]) -> None:
        """Forget what the requests were that became these transactions: a request's mark would tell whoever has its
        bytes that it was made. Repeated under its key, it is then taken for another one, and refused."""
        await self._database.write(partial(_blind, ids=frozenset(ids)))

    async def prune(self, now: int) -> int:
        """Forget up to 2,000 answers that expired before `now`; how many went. The table is searched by a reader, so
        that nobody who writes waits for it."""
        found = await self._database.read(partial(_expired, now=now))
        return await self._database.write(partial(_forget_expired, keys=found, now=now)) if found else 0


# --- jobs ---------------------------------------------------------------------------------------------------


def settle(connection: sqlite3.Connection, height: int, timestamp: int, settled: Sequence[Settled]) -> None:
    """Turn what is final from outgoing into receipts. Ids that are not in the outbox are passed over."""
    connection.executemany(
        """INSERT INTO receipt (prefix, id, height, timestamp, valid_until, receipt)
           SELECT prefix, id, ?, ?, valid_until, ? FROM outbox WHERE prefix = ? AND id = ?""",
        [(height, timestamp, one.receipt, prefix(one.id), one.id) for one in settled],
    )
    connection.executemany(
        "DELETE FROM outbox WHERE prefix = ? AND id = ?", [(prefix(one.id), one.id) for one in settled]
    )


def _add(connection: sqlite3.Connection, batch: Sequence[Outgoing]) -> None:
    ids = [one.id for one in batch]
    known = _waiting(connection, ids) | _receipts(connection, ids).keys()
    for one in batch:
        if one.id in known:
            continue
        known.add(one.id)
        try:
            connection.execute(
                """INSERT INTO outbox (prefix, id, institution, key, number, valid_until, raw)
                   VALUES (?, ?, ?, ?, ?, ?, ?)""",
                (prefix(one.id), one.id, one.institution, one.key, one.number, one.valid_until, one.raw),
            )
        except sqlite3.IntegrityError:
            raise NumberTaken(
                f"number {one.number} of key {one.key} of institution {one.institution} is taken"
            ) from None


def _waiting(connection: sqlite3.Connection, ids: Collection[bytes]) -> set[bytes]:
    wanted = set(ids)
    rows = rows_in(connection, "SELECT id FROM outbox WHERE prefix IN", [prefix(one) for one in wanted])
    return {found for (found,) in rows if found in wanted}


def _receipts(connection: sqlite3.Connection, ids: Collection[bytes]) -> dict[bytes, StoredReceipt]:
    wanted = set(ids)
    select = "SELECT id, height, timestamp, receipt FROM receipt WHERE prefix IN"
    rows = rows_in(connection, select, [prefix(one) for one in wanted])
    return {row[0]: StoredReceipt(*row[1:]) for row in rows if row[0] in wanted}


def _drop(connection: sqlite3.Connection, ids: Collection[bytes]) -> None:
    connection.executemany("DELETE FROM outbox WHERE prefix = ? AND id = ?", [(prefix(one), one) for one in ids])


def _reserve(connection: sqlite3.Connection, institution: int, key: int, count: int, at_least: int) -> int:
    query = "SELECT next FROM number_mark WHERE institution = ? AND key = ?"
    rows = connection.execute(query, (institution, key)).fetchall()
    first = max(at_least, rows[0][0] if rows else 0)
    connection.execute("INSERT OR REPLACE INTO number_mark VALUES (?, ?, ?)", (institution, key, first + count))
    return first


def _prune_receipts(connection: sqlite3.Connection, before: int) -> int:
    query = "SELECT position, valid_until FROM receipt ORDER BY position LIMIT ?"
    oldest = connection.execute(query, (_PRUNED_AT_ONCE,)).fetchall()
    gone = [(position,) for position, valid_until in oldest if valid_until < before]
    connection.executemany("DELETE FROM receipt WHERE position = ?", gone)
    return len(gone)


def _begin(connection: sqlite3.Connection, key: bytes, answer: Answer, now: int) -> Answer | None:
    found = _get(connection, key)
    if found is not None and found.expires_at >= now:
        return found
    _put(connection, key, answer)
    return None


def _put(connection: sqlite3.Connection, key: bytes, answer: Answer) -> None:
    row = (key, answer.request, answer.expires_at, answer.status, answer.body)
    connection.execute("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)", row)


def _get(connection: sqlite3.Connection, key: bytes) -> Answer | None:
    query = "SELECT request, expires_at, status, body FROM idempotency WHERE key = ?"
    rows = connection.execute(query, (key,)).fetchall()
    return Answer(*rows[0]) if rows else None


def _expired(connection: sqlite3.Connection, now: int) -> list[tuple[bytes]]:
    query = "SELECT key FROM idempotency WHERE expires_at < ? LIMIT ?"
    return connection.execute(query, (now, _PRUNED_AT_ONCE)).fetchall()


def _forget_expired(connection: sqlite3.Connection, keys: Sequence[tuple[bytes]], now: int) -> int:
    query = "DELETE FROM idempotency WHERE key = ? AND expires_at < ?"
    return connection.executemany(query, [(key, now) for (key,) in keys]).rowcount


def _blind(connection: sqlite3.Connection, ids: frozenset[bytes]) -> None:
    rows = connection.execute("SELECT key, body FROM idempotency").fetchall()
    found = [(key,) for key, body in rows if not ids.isdisjoint(_ids.decode(body))]
    connection.executemany("UPDATE idempotency SET request = zeroblob(32) WHERE key = ?", found)
