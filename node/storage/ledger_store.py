"""The ledger on this node's disk: final blocks, the state after the last of them, and every chart's events.

One SQLite file, `ledger.db`. A finalization is stored in one transaction with everything that follows from it:
blocks, events, state leaves, tree nodes, what leaves the outbox, receipts, staged records, and how far the journal of
votes must reach. So a crash finds all of it or none. Nothing here knows the ledger's rules; it keeps bytes and finds
them again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from node.storage import held_store as held_tables
from node.storage import outbox as outbox_tables
from node.storage import records_store as record_tables
from node.storage import tombstones
from node.storage.database import Database
from node.storage.details_store import DetailsStore
from node.storage.erasures import ErasureStore
from node.storage.errors import OutOfOrder
from node.storage.held_store import HeldStore
from node.storage.lookup import rows_in
from node.storage.outbox import Idempotency, Outbox
from node.storage.owner_keys import OwnerKeyRows
from node.storage.permit_rows import PermitRows
from node.storage.records_store import RecordsStore
from node.storage.schema import LEDGER, place, places, span, unplace
from node.storage.types import Asking, CommittedBlock, EpochEnd, Head, StoredBlock
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.ledger.events import ChartMoved, decode_event
from protocol.ledger.keys import authorities as authorities_key
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import Certificate

_GENESIS: Final = "genesis"
_JOURNAL_MARK: Final = "journal mark"
ASKING_TAGS: Final = (b"\x05", b"\x0c")
MOVED_TAG: Final = b"\x13"
"""The second byte of a canonical `Disclosed` or `GlassBroken`: their tags (the first is the array's length)."""
LAST_POSITION: Final = (1 << 63) - 1
EVENTS_BYTES: Final = 1024 * 1024
"""Of a chart's events that are read at once: one that names 10,000 records is of 50 kB here, and of more as JSON."""


class LedgerStore:
    """The open ledger database. `outbox`, `idempotency`, `records`, `held`, `details`, `erasures`: its other tables, in
    the same file."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.idempotency = Idempotency(database)
        self.records = RecordsStore(database, OwnerKeyRows(database), PermitRows(database))
        self.held = HeldStore(database)
        self.details = DetailsStore(database)
        self.erasures = ErasureStore(database)

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False) -> LedgerStore:
        """Open or create. Raises as `Database.open` does."""
        return cls(await Database.open(path, LEDGER, read_only=read_only))

    async def close(self) -> None:
        """Finish writing and close the file."""
        await self.database.close()

    # --- where the chain stands ------------------------------------------------------------------------------

    async def init_genesis(self, genesis_raw: bytes, genesis: CommittedBlock) -> None:
        """Start a chain in an empty database: the canonical `Genesis` and the block of height 0 with its state."""
        decode(Genesis, genesis_raw)
        await self.database.write(partial(_init_genesis, genesis_raw=genesis_raw, genesis=genesis))

    async def forget_chain(self) -> None:
        """Drop everything that follows from the chain, in one transaction; what is this node's alone stays: outbox,
        receipts, records, tombstones, chart secrets and details, and the journal mark. The node fetches it again from
        its peers."""
        await self.database.write(_forget_chain)

    async def genesis(self) -> bytes | None:
        """The canonical `Genesis` that this database began with; None for an empty one."""
        return await self.database.read(partial(_meta, name=_GENESIS))

    async def head(self) -> Head | None:
        """The last final block; None before `init_genesis`."""
        row = await self.database.read(_head)
        if row is None:
            return None
        return Head(decode(Header, row[0]), None if row[1] is None else decode(Certificate, row[1]))

    async def journal_mark(self) -> bytes | None:
        """What `commit` was last given: how far the journal of votes must reach. None if it never was."""
        return await self.database.read(partial(_meta, name=_JOURNAL_MARK))

    async def set_journal_mark(self, mark: bytes) -> None:
        """Store a mark by itself, as when a new journal begins."""
        await self.database.write(partial(_set_meta, name=_JOURNAL_MARK, value=mark))

    # --- the state -------------------------------------------------------------------------------------------

    async def read_leaves(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """State leaves by key; absent ones are left out."""
        return await self.database.read(partial(_leaves, keys=keys))

    async def last_leaves(self, kind: int, count: int) -> list[tuple[bytes, bytes]]:
        """Up to `count` (key, leaf) of the leaves whose key begins with byte `kind`, the highest keys first."""
        query = "SELECT key, value FROM leaf WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"
        arguments = (bytes([kind]), bytes([kind + 1]), count)
        return await self.database.read(lambda connection: connection.execute(query, arguments).fetchall())

    async def read_events(self, refs: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Canonical events by (chart, number); absent ones are left out."""
        return await self.database.read(partial(_events, refs=refs))

    async def read_nodes(self, paths: Collection[bytes]) -> dict[bytes, bytes]:
        """State tree nodes by path; absent ones are left out."""
        return await self.database.read(partial(_nodes, paths=paths))

    async def read_set(
        self, keys: Collection[bytes], refs: Collection[tuple[int, int]]
    ) -> tuple[dict[bytes, bytes], dict[tuple[int, int], bytes]]:
        """What a block's transactions may read (`protocol.ledger.view.ReadSet`), of one snapshot, in one hop.

        Events that are too large for a record are left out.
        """
        return await self.database.read(lambda connection: (_leaves(connection, keys), _records(connection, refs)))

    # --- storing what is final -------------------------------------------------------------------------------

    async def commit(self, blocks: Sequence[CommittedBlock], journal_mark: bytes | None = None) -> None:
        """Store final blocks, oldest first, that follow the head, in one transaction; durable when this returns.

        The last of them carries the certificate. `journal_mark` is `Journal.mark()`. Raises `OutOfOrder` or
        `StorageFailed`, and then nothing was stored.
        """
        await self.database.write(partial(_commit, blocks=blocks, journal_mark=journal_mark))

    # --- looking things up -----------------------------------------------------------------------------------

    async def blocks(self, first: int, count: int, max_bytes: int) -> list[StoredBlock]:
        """Up to `count` blocks from height `first` on, ascending; stops before `max_bytes` but gives at least one."""
        return await self.database.read(partial(_blocks, first=first, count=count, max_bytes=max_bytes))

    async def headers_to_certificate(self, first: int, count: int) -> tuple[list[bytes], bytes | None]:
        """Canonical headers from height `first` on, up to the next that has a certificate, and that certificate; None
        if none of `count` has."""
        return await self.database.read(partial(_headers_to_certificate, first=first, count=count))

    async def epoch_end(self, height: int) -> int | None:
        """The height of the last block of the epoch that the block at `height` is of; None while that goes on."""
        return await self.database.read(partial(_epoch_end, height=height))

    async def epoch_ends(self, first_epoch: int, count: int) -> list[EpochEnd]:
        """How up to `count` epochs from `first_epoch` on ended, ascending; an epoch that goes on is none of them."""
        return await self.database.read(partial(_epoch_ends, first=first_epoch, count=count))

    async def headers(self, first: int, count: int) -> list[Header]:
        """Up to `count` headers from height `first` on, ascending."""
        query = "SELECT header FROM block WHERE height >= ? ORDER BY height LIMIT ?"
        rows = await self.database.read(lambda connection: connection.execute(query, (first, count)).fetchall())
        return [decode(Header, raw) for (raw,) in rows]

    async def chart_events(self, chart: int, first: int, count: int) -> list[tuple[int, bytes]]:
        """Up to `count` (number, canonical event) of a chart from number `first` on, ascending; stops before
        `EVENTS_BYTES` but gives at least one."""
        rows = await self.database.read(partial(_chart_events, chart=chart, first=first, count=count))
        return [(unplace(at)[1], raw) for at, raw in rows]

    async def charts_of(self, custodian: int, first: int, count: int) -> list[int]:
        """Up to `count` numbers of the charts that this institution keeps, from `first` on, ascending."""
        query = "SELECT chart FROM custody WHERE custodian = ? AND chart >= ? ORDER BY chart LIMIT ?"
        arguments = (custodian, first, count)
        rows = await self.database.read(lambda connection: connection.execute(query, arguments).fetchall())
        return [chart for (chart,) in rows]

    async def askings(self, before: int | None, count: int) -> list[Asking]:
        """Up to `count` events by which somebody asked to read, of all charts, the last to become final first; those
        before position `before`, or the last ones. Stops before `EVENTS_BYTES` but gives at least one."""
        return await self.database.read(partial(_askings, before=before, count=count))


# --- jobs: each runs whole in a database thread -----------------------------------------------------------------


def _meta(connection: sqlite3.Connection, name: str) -> bytes | None:
    rows = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchall()
    return rows[0][0] if rows else None


def _set_meta(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _head(connection: sqlite3.Connection) -> tuple[bytes, bytes | None] | None:
    rows = connection.execute("SELECT header, certificate FROM block ORDER BY height DESC LIMIT 1").fetchall()
    return rows[0] if rows else None


def _forget_chain(connection: sqlite3.Connection) -> None:
    for table in ("block", "epoch", "event", "leaf", "node", "custody", "asking"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    connection.execute("DELETE FROM meta WHERE name = ?", (_GENESIS,))


def _init_genesis(connection: sqlite3.Connection, genesis_raw: bytes, genesis: CommittedBlock) -> None:
    if _meta(connection, _GENESIS) is not None:
        raise OutOfOrder("this database holds a chain already")
    if genesis.header.height != 0:
        raise OutOfOrder(f"a chain starts at height 0, not {genesis.header.height}")
    _set_meta(connection, _GENESIS, genesis_raw)
    _store(connection, [genesis])


def _commit(connection: sqlite3.Connection, blocks: Sequence[CommittedBlock], journal_mark: bytes | None) -> None:
    rows = connection.execute("SELECT max(height) FROM block").fetchall()
    head = rows[0][0]
    if head is None:
        raise OutOfOrder("this database has no genesis yet")
    for offset, block in enumerate(blocks, start=1):
        if block.header.height != head + offset:
            raise OutOfOrder(f"height {block.header.height} does not follow height {head + offset - 1}")
    if blocks and blocks[-1].certificate is None:
        raise OutOfOrder(f"height {blocks[-1].header.height} has no certificate, and nothing after it has one")
    for block in blocks:
        if block.header.ends_epoch and block.certificate is None:
            raise OutOfOrder(f"height {block.header.height} ends an epoch and has no certificate of its own")
    _store(connection, blocks)
    if journal_mark is not None:
        _set_meta(connection, _JOURNAL_MARK, journal_mark)


def _store(connection: sqlite3.Connection, blocks: Sequence[CommittedBlock]) -> None:
    """Keys are written in ascending order, so that neighbours share the work on a page."""
    connection.executemany("INSERT INTO block VALUES (?, ?, ?, ?, ?)", [_block_row(block) for block in blocks])
    ends = [(block.header.epoch, block.header.height) for block in blocks if block.header.ends_epoch]
    connection.executemany("INSERT INTO epoch VALUES (?, ?)", ends)
    events = sorted((place(chart, number), raw) for block in blocks for chart, number, raw in block.events)
    connection.executemany("INSERT INTO event VALUES (?, ?)", events)
    tombstones.mark_erased(connection, events)  # before what was staged may move to a record's place
    held_tables.settle(connection, events)
    opened = [(at, raw) for at, raw in events if unplace(at)[1] == 0]
    connection.executemany(
        "INSERT INTO custody VALUES (?, ?)",
        [(decode_event(raw).institution, unplace(at)[0]) for at, raw in opened],
    )
    moves = [(chart, decode_event(raw)) for block in blocks for chart, _, raw in block.events if raw[1:2] == MOVED_TAG]
    for chart, move in moves:  # one after another: the last of several counts
        assert isinstance(move, ChartMoved)
        connection.execute("DELETE FROM custody WHERE custodian = ? AND chart = ?", (move.former, chart))
        connection.execute("INSERT INTO custody VALUES (?, ?)", (move.institution, chart))
    asked = [
        (place(chart, number),) for block in blocks for chart, number, raw in block.events if raw[1:2] in ASKING_TAGS
    ]
    connection.executemany("INSERT INTO asking (place) VALUES (?)", asked)
    leaves: dict[bytes, bytes] = {}
    nodes: dict[bytes, bytes] = {}
    for block in blocks:
        leaves.update(block.leaves)
        nodes.update(block.nodes)
    connection.executemany(
        "INSERT INTO leaf VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", sorted(leaves.items())
    )
    connection.executemany(
        "INSERT INTO node VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET value = excluded.value", sorted(nodes.items())
    )
    for block in blocks:
        if block.settled:
            outbox_tables.settle(connection, block.header.height, block.header.timestamp, block.settled)
            record_tables.promote(connection, block.settled)


def _askings(connection: sqlite3.Connection, before: int | None, count: int) -> list[Asking]:
    query = """SELECT position, asking.place, raw FROM asking JOIN event ON event.place = asking.place
        WHERE position < ? ORDER BY position DESC LIMIT ?"""
    found: list[Asking] = []
    size = 0
    for position, at, raw in connection.execute(query, (LAST_POSITION if before is None else before, count)):
        size += len(raw)
        if found and size > EVENTS_BYTES:
            break
        found.append(Asking(position, *unplace(at), raw))
    return found


def _block_row(block: CommittedBlock) -> tuple[int, bytes, bytes | None, bytes | None, bytes]:
    return (
        block.header.height,
        encode(block.header),
        None if block.certificate is None else encode(block.certificate),
        encode(block.nullifications) if block.nullifications else None,
        encode(block.transactions),
    )


def _leaves(connection: sqlite3.Connection, keys: Collection[bytes]) -> dict[bytes, bytes]:
    return dict(rows_in(connection, "SELECT key, value FROM leaf WHERE key IN", keys))


def _nodes(connection: sqlite3.Connection, paths: Collection[bytes]) -> dict[bytes, bytes]:
    return dict(rows_in(connection, "SELECT path, value FROM node WHERE path IN", paths))


def _events(connection: sqlite3.Connection, refs: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    rows = rows_in(connection, "SELECT place, raw FROM event WHERE place IN", places(refs))
    return {unplace(at): raw for at, raw in rows}


_SELECT_RECORDS = f"SELECT place, raw FROM event WHERE length(raw) <= {limits.RECORD_EVENT_BYTES} AND place IN"  # noqa: S608 - ours


def _records(connection: sqlite3.Connection, refs: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    # SQLite tells a value's length from the row's header, so what is left out is not read.
    return {unplace(at): raw for at, raw in rows_in(connection, _SELECT_RECORDS, places(refs))}


def _blocks(connection: sqlite3.Connection, first: int, count: int, max_bytes: int) -> list[StoredBlock]:
    query = "SELECT height, header, transactions, certificate, nullifications FROM block WHERE height >= ? LIMIT ?"
    found: list[StoredBlock] = []
    size = 0
    for row in connection.execute(query, (first, count)):
        block = StoredBlock(*row)
        size += sum(len(part) for part in row[1:] if part is not None)
        if found and size > max_bytes:
            break
        found.append(block)
    return found


def _headers_to_certificate(connection: sqlite3.Connection, first: int, count: int) -> tuple[list[bytes], bytes | None]:
    query = "SELECT header, certificate FROM block WHERE height >= ? ORDER BY height LIMIT ?"
    headers: list[bytes] = []
    for header, certificate in connection.execute(query, (first, count)):
        headers.append(header)
        if certificate is not None:
            return headers, certificate
    return headers, None


def _epoch_end(connection: sqlite3.Connection, height: int) -> int | None:
    row = connection.execute("SELECT min(height) FROM epoch WHERE height >= ?", (height,)).fetchone()
    end: int | None = row[0]
    return end


def _epoch_ends(connection: sqlite3.Connection, first: int, count: int) -> list[EpochEnd]:
    query = """SELECT epoch, header, certificate FROM epoch JOIN block USING (height)
        WHERE epoch >= ? ORDER BY epoch LIMIT ?"""
    rows = connection.execute(query, (first, count)).fetchall()
    sets = _leaves(connection, [authorities_key(epoch + 1) for epoch, _, _ in rows])
    return [
        EpochEnd(
            decode(Header, header),
            decode(Certificate, certificate),
            decode(AuthoritySet, sets[authorities_key(epoch + 1)]),
        )
        for epoch, header, certificate in rows
    ]


def _chart_events(connection: sqlite3.Connection, chart: int, first: int, count: int) -> list[tuple[int, bytes]]:
    query = "SELECT place, raw FROM event WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
    found: list[tuple[int, bytes]] = []
    size = 0
    for at, raw in connection.execute(query, (*span(chart, first), count)):
        size += len(raw)
        if found and size > EVENTS_BYTES:
            break
        found.append((at, raw))
    return found
