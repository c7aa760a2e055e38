"""Integrity of charts and of what only this node has: events against histories, records against their checksums.

The part of `integrity` below the state: a chart's leaf, which the state root vouches for, commits to every event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby

from msgspec import Struct

from node.storage.held_store import held_mark, held_record
from node.storage.records_store import HELD_COUNT, chart_secret_mark, record_mark, stored_record, tally
from node.storage.schema import place, unplace
from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.hashing import transaction_id
from protocol.crypto.signing import Verifier, transaction_message
from protocol.errors import ChartledgerError
from protocol.ledger import history, keys
from protocol.ledger.events import Event, RecordAppended, event_digest
from protocol.ledger.leaves import Chart
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import Genesis, Institution
from protocol.types.operations import AppendRecords
from protocol.types.transaction import Transaction, TransactionBody

Progress = Callable[[str, int], None]
"""Told what is being checked, in a word, and how much of it is done. Called from another thread."""


class Problem(Struct, frozen=True):
    """What is wrong, and where: `place` names table and position."""

    place: str
    sentence: str


class Fault(ChartledgerError):
    """What a check found."""


# --- charts: events against their histories -------------------------------------------------------------------


def check_charts(connection: sqlite3.Connection, progress: Progress) -> Iterator[Problem]:
    """Both tables in order of chart number, side by side."""
    bounds = (bytes([keys.KIND_CHART]), bytes([keys.KIND_CHART + 1]))
    charts = connection.execute("SELECT key, value FROM leaf WHERE key >= ? AND key < ? ORDER BY key", bounds)
    events = connection.execute("SELECT place, raw FROM event ORDER BY place")
    groups = groupby(events, key=lambda row: unplace(row[0])[0])
    group = next(groups, None)
    custody = 0
    for done, (key, raw) in enumerate(charts, start=1):
        number = int.from_bytes(key[1:], "big")
        while group is not None and group[0] < number:
            yield Problem(f"ledger.db, events of chart {group[0]}", "the state has no such chart")
            group = next(groups, None)
        found = []
        if group is not None and group[0] == number:
            found = list(group[1])
            group = next(groups, None)
        try:
            leaf = decode(Chart, raw)
        except ChartledgerError as error:
            yield Problem(f"ledger.db, state leaf chart {number}", str(error))
            continue
        yield from _history(connection, number, leaf, found)
        query = "SELECT count(*) FROM custody WHERE custodian = ? AND chart = ?"
        if connection.execute(query, (leaf.custodian, number)).fetchall()[0][0] != 1:
            yield Problem(f"ledger.db, custody of chart {number}", f"institution {leaf.custodian} is not listed for it")
        custody = done
        progress("charts", done)
    if group is not None:
        yield Problem(f"ledger.db, events of chart {group[0]}", "the state has no such chart")
    listed: int = connection.execute("SELECT count(*) FROM custody").fetchall()[0][0]
    if listed > custody:
        yield Problem("ledger.db, custody", f"{listed} charts are listed, and the state has {custody}")


def _history(
    connection: sqlite3.Connection, chart: int, leaf: Chart, rows: list[tuple[int, bytes]]
) -> Iterator[Problem]:
    numbers = [unplace(at)[1] for at, _ in rows]
    if numbers != list(range(leaf.events)):
        gone = sorted(set(range(leaf.events)) ^ set(numbers))
        named = ", ".join(str(number) for number in gone[:10])
        yield Problem(f"ledger.db, events of chart {chart}", f"missing or too many: {named}")
        return
    leaves = [event_digest(chart, number, raw) for number, (_, raw) in enumerate(rows)]
    peaks = history.append_all((), 0, leaves)
    first = 0
    sizes = [1 << bit for bit in reversed(range(leaf.events.bit_length())) if leaf.events >> bit & 1]
    for size, ours, theirs in zip(sizes, peaks, leaf.peaks, strict=False):
        if ours != theirs:
            yield from _suspects(connection, chart, range(first, first + size), rows)
        first += size
    if len(peaks) != len(leaf.peaks):
        yield Problem(f"ledger.db, state leaf chart {chart}", "it has too few or too many peaks")


def _suspects(
    connection: sqlite3.Connection, chart: int, numbers: range, rows: list[tuple[int, bytes]]
) -> Iterator[Problem]:
    """Which of these events it is that does not fit: the one that its own block does not know, or else all."""
    named = False
    for number in numbers:
        fault = _against_block(connection, chart, rows[number][1])
        if fault is not None:
            named = True
            yield Problem(f"ledger.db, event {number} of chart {chart}", fault)
    if not named:
        some = f"event {numbers[0]}" if len(numbers) == 1 else f"one of the events {numbers[0]} to {numbers[-1]}"
        yield Problem(f"ledger.db, {some} of chart {chart}", "not what the chart's history commits to")


def _against_block(connection: sqlite3.Connection, chart: int, raw: bytes) -> str | None:
    """Why the event cannot come from the block that it names; None if that block may well have made it."""
    try:
        event: Event = decode(Event, raw)  # type: ignore[arg-type]  # a union: `decode` takes it, its type cannot say so
    except ChartledgerError as error:
        return str(error)
    query = "SELECT header, transactions FROM block WHERE height = ?"
    rows = connection.execute(query, (min(event.height, limits.U53),)).fetchall()
    if not rows:
        return f"it names block {event.height}, which is not stored"
    try:
        header = decode(Header, rows[0][0])
        bodies = [decode(Transaction, one).body for one in decode(tuple[bytes, ...], rows[0][1])]
    except ChartledgerError:
        return None  # told with the blocks
    operations = [one.operation for body in bodies if body.institution == event.institution for one in body.operations]
    appended = [one.entries for one in operations if isinstance(one, AppendRecords) and one.chart == chart]
    fault = None
    if event.time_ms != header.timestamp:
        fault = f"its time is not that of block {event.height}"
    elif not operations:
        fault = f"block {event.height} has no transaction of institution {event.institution}"
    elif isinstance(event, RecordAppended) and not any(event.entry in entries for entries in appended):
        fault = f"block {event.height} has no such entry"
    return fault


# --- what only this node has ----------------------------------------------------------------------------------


def check_records(connection: sqlite3.Connection, progress: Progress) -> Iterator[Problem]:
    query = """SELECT mark, place, blob_id, blob_bytes, sealed, owner_envelope, shares, copies, lacking
               FROM record ORDER BY place"""
    count = 0
    for mark, *row in connection.execute(query):
        at: int = row[0]
        record = stored_record(row)
        count += 1
        where = f"ledger.db, record {record.event} of chart {record.chart}"
        if record_mark(record) != mark:
            yield Problem(where, "its bytes are not those that were stored")
        known = connection.execute("SELECT 1 FROM event WHERE place = ?", (at,)).fetchall()
        if not known:
            yield Problem(where, "the ledger has no such event")
        progress("records", count)
    rows = connection.execute("SELECT value FROM tally WHERE name = 'records'").fetchall()
    total = rows[0][0] if rows else 0
    if total != count:
        yield Problem("ledger.db, records", f"{count} are stored, and {total} should be")
    for chart, mark, sealed in connection.execute("SELECT chart, mark, sealed FROM chart_secret"):
        if chart_secret_mark(chart, sealed) != mark:
            yield Problem(f"ledger.db, secret of chart {chart}", "its bytes are not those that were stored")
        if not connection.execute("SELECT 1 FROM event WHERE place = ?", (place(chart, 0),)).fetchall():
            yield Problem(f"ledger.db, secret of chart {chart}", "the ledger has no such chart")


def check_held(connection: sqlite3.Connection, progress: Progress) -> Iterator[Problem]:
    query = """SELECT mark, place, writer, blob_id, blob_bytes, share, details, owner_envelope
               FROM held ORDER BY place"""
    count = 0
    for mark, *row in connection.execute(query):
        record = held_record(row)
        count += 1
        where = f"ledger.db, held record {record.event} of chart {record.chart}"
        if held_mark(record) != mark:
            yield Problem(where, "its bytes are not those that were stored")
        if not connection.execute("SELECT 1 FROM event WHERE place = ?", (row[0],)).fetchall():
            yield Problem(where, "the ledger has no such event")
        progress("held records", count)
    total = tally(connection, HELD_COUNT)
    if total != count:
        yield Problem("ledger.db, held records", f"{count} are stored, and {total} should be")


def check_outbox(connection: sqlite3.Connection, verifier: Verifier) -> Iterator[Problem]:
    query = "SELECT position, id, institution, key, number, valid_until, raw FROM outbox"
    for position, identity, institution, key, number, valid_until, raw in connection.execute(query):
        try:
            transaction = decode(Transaction, raw)
            body = transaction.body
            if transaction_id(body) != identity:
                raise Fault("the transaction is not the one of its id")
            if (body.institution, body.key, body.number, body.valid_until) != (institution, key, number, valid_until):
                raise Fault("its columns are not those of its transaction")
            if not _signed(connection, transaction, verifier) and not _keys_changed(connection, body):
                raise Fault("its signature is not the institution's")
        except ChartledgerError as error:
            yield Problem(f"ledger.db, outbox row {position}", str(error))


def _signed(connection: sqlite3.Connection, transaction: Transaction, verifier: Verifier) -> bool:
    """Whether it is signed with the key that the state has at its index."""
    body = transaction.body
    known = _operation_keys(connection, body.institution)
    return body.key < len(known) and verifier(known[body.key], transaction_message(body), transaction.signature)


def _keys_changed(connection: sqlite3.Connection, body: TransactionBody) -> bool:
    """Whether it may be signed with a key that is not in the state, which knows none that was replaced since, and none
    from above its head, where the row is from if the ledger is being fetched anew. The node lets go of the one, and
    waits for the key of the other: neither is damage."""
    rows = connection.execute("SELECT value FROM meta WHERE name = 'genesis'").fetchall()
    rows += connection.execute("SELECT header FROM block ORDER BY height DESC LIMIT 1").fetchall()
    rows += connection.execute("SELECT value FROM leaf WHERE key = ?", (keys.PARAMS,)).fetchall()
    if len(rows) != 3:
        return False  # told with what is missing
    genesis, head, params = decode(Genesis, rows[0][0]), decode(Header, rows[1][0]), decode(Params, rows[2][0])
    if body.valid_until > head.timestamp + params.valid_until_max_ms or body.institution >= len(genesis.institutions):
        return True
    return _operation_keys(connection, body.institution) != genesis.institutions[body.institution].operation_keys


def _operation_keys(connection: sqlite3.Connection, institution: int) -> tuple[bytes, ...]:
    """As they stand in the state; none if it has no such institution."""
    key = keys.institution(institution)
    rows = connection.execute("SELECT value FROM leaf WHERE key = ?", (key,)).fetchall()
    return decode(Institution, rows[0][0]).operation_keys if rows else ()
