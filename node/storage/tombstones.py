"""Tombstones: which records were erased, so that nothing that comes late finds its place free.

The commit that makes an erasure final also sets a tombstone for each record that it names, so no crash can forget one,
and whatever comes afterwards (a staged row, a share from another institution, a restored file) is beaten by it.
Tombstones stay for ever: they name chart, event number and the digest of the sealed bytes, all of which open nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from node.storage.lookup import rows_in
from node.storage.schema import place, unplace
from protocol.ledger.events import Erased, decode_event

_HEAD_OF_ERASED: Final = bytes([0x96, 15])  # an array of six that begins with the event's tag


class State(IntEnum):
    """How far a record's erasure is at this node."""

    DUE = 0  # final on the ledger; what is here of it is to be deleted
    DELETED = 1  # the rows are gone; blob, and pages of the write-ahead logs, may not be
    WIPED = 2  # all of that is gone; the key-encryption key that it lay under is in force
    RENEWING = 3  # that key is being replaced
    CLEAN = 4


def mark_erased(connection: sqlite3.Connection, events: Iterable[tuple[int, bytes]]) -> None:
    """Tombstones for what these events, (place, canonical bytes), erase; to be called in the commit of their block."""
    for at, raw in events:
        if not raw.startswith(_HEAD_OF_ERASED):
            continue
        event = decode_event(raw)
        if not isinstance(event, Erased):
            continue
        chart, number = unplace(at)
        connection.execute("INSERT OR IGNORE INTO erasure_due VALUES (?)", (at,))
        for record in event.records:
            bury(connection, place(chart, record), number)


def beaten(connection: sqlite3.Connection, found: Sequence[int]) -> set[int]:
    """Those of the places that have a tombstone. Costs nothing where nothing was ever erased."""
    if not connection.execute("SELECT 1 FROM tombstone LIMIT 1").fetchall():
        return set()
    return {at for (at,) in rows_in(connection, "SELECT place FROM tombstone WHERE place IN", found)}


def doom_late(connection: sqlite3.Connection, late: Iterable[tuple[int, bytes]]) -> None:
    """Blobs of (place, blob id) came after their tombstones: they are to be deleted."""
    update = "UPDATE tombstone SET state = ?, blob_id = ? WHERE place = ?"
    connection.executemany(update, [(State.DUE, blob, at) for at, blob in late])


def bury(connection: sqlite3.Connection, at: int, erasure: int) -> None:
    """Set the tombstone of the record at this place, unless it has one."""
    insert = "INSERT OR IGNORE INTO tombstone (place, erasure, state) VALUES (?, ?, ?)"
    connection.execute(insert, (at, erasure, State.DUE))
