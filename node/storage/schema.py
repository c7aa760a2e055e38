"""All tables and how they came to be: numbered migrations, each a list of statements applied in one transaction.

A migration is never edited after a release; a change is a new one at the end. `PRAGMA user_version` counts those that
were applied, `PRAGMA application_id` tells which of our files this is. Relies on sqlite3 alone.

How the tables are laid out, and why:

- Keys are positions that the ledger assigns. An event or record is found by one integer, its `place`: chart number
  times 2**24 plus event number, so that rows of a chart lie together and the tree above them stays shallow.
- What is looked up by a digest (a transaction's id, a blob's) is indexed by the first 8 bytes of that digest as an
  integer, its `prefix`, or, in rows that were there before, by these bytes; the row holds the whole digest, which is
  compared. Such an index grows with the own transactions of the last day and the blobs that lie here, never with the
  ledger.
- Tables are STRICT: SQLite's own check then finds a changed type, and no query meets a value that it cannot handle.
- `tally` holds running totals of what would take a pass over a large table to count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from node.storage.errors import DatabaseTooNew, DatabaseTooOld, WrongDatabase
from protocol import limits

Migration = tuple[str, ...]

EVENT_BITS: Final = 24
CHARTS: Final = 1 << (63 - EVENT_BITS)

_LEDGER_1: Migration = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT",
    "CREATE TABLE tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    # transactions stand last: a header is read without touching the pages of a long block
    """CREATE TABLE block (
        height INTEGER PRIMARY KEY, header BLOB NOT NULL, certificate BLOB, nullifications BLOB,
        transactions BLOB NOT NULL) STRICT""",
    "CREATE TABLE event (place INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT",
    "CREATE TABLE leaf (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT",
    "CREATE TABLE node (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT",
    # projection of the events numbered 0: which charts an institution keeps
    "CREATE TABLE custody (custodian INTEGER, chart INTEGER, PRIMARY KEY (custodian, chart)) WITHOUT ROWID, STRICT",
    # own transactions until final, and what became of them
    """CREATE TABLE outbox (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, id BLOB NOT NULL, institution INTEGER NOT NULL,
        key INTEGER NOT NULL, number INTEGER NOT NULL, valid_until INTEGER NOT NULL, raw BLOB NOT NULL,
        UNIQUE (institution, key, number)) STRICT""",
    "CREATE INDEX outbox_prefix ON outbox (prefix)",
    """CREATE TABLE receipt (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, id BLOB NOT NULL, height INTEGER NOT NULL,
        timestamp INTEGER NOT NULL, valid_until INTEGER NOT NULL, receipt BLOB NOT NULL) STRICT""",
    "CREATE INDEX receipt_prefix ON receipt (prefix)",
    """CREATE TABLE number_mark (
        institution INTEGER, key INTEGER, next INTEGER NOT NULL, PRIMARY KEY (institution, key))
        WITHOUT ROWID, STRICT""",
    """CREATE TABLE idempotency (
        key BLOB PRIMARY KEY, request BLOB NOT NULL, expires_at INTEGER NOT NULL, status INTEGER, body BLOB NOT NULL)
        WITHOUT ROWID, STRICT""",
    # the custodian's side; `mark` is a checksum, since no digest on the ledger covers these bytes
    """CREATE TABLE staged (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, id BLOB NOT NULL, operation INTEGER NOT NULL,
        entry INTEGER NOT NULL, blob_id BLOB, blob_bytes INTEGER NOT NULL, sealed BLOB NOT NULL,
        owner_envelope BLOB NOT NULL) STRICT""",
    "CREATE INDEX staged_prefix ON staged (prefix)",
    """CREATE TABLE record (
        place INTEGER PRIMARY KEY, mark BLOB NOT NULL, blob_id BLOB NOT NULL, blob_bytes INTEGER NOT NULL,
        sealed BLOB NOT NULL, owner_envelope BLOB NOT NULL) STRICT""",
    "CREATE TABLE chart_secret (chart INTEGER PRIMARY KEY, mark BLOB NOT NULL, sealed BLOB NOT NULL) STRICT",
)

_LEDGER_2: Migration = (
    # projection of the blocks that end an epoch: `height` is that of its last one
    "CREATE TABLE epoch (epoch INTEGER PRIMARY KEY, height INTEGER NOT NULL UNIQUE) STRICT",
)

_LEDGER_3: Migration = (
    # what a writer knows of its records' copies: all shares of the key, sealed; who holds one or did; how many lack
    *(
        f"ALTER TABLE {table} ADD COLUMN {column}"
        for table in ("staged", "record")
        for column in (
            "shares BLOB NOT NULL DEFAULT x''",
            "copies BLOB NOT NULL DEFAULT x''",
            "lacking INTEGER NOT NULL DEFAULT 0",
        )
    ),
    "CREATE INDEX record_lacking ON record (place) WHERE lacking > 0",
    # what this institution holds for others, found by commitment until its entry is final
    """CREATE TABLE held_staged (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, commitment BLOB NOT NULL, chart INTEGER NOT NULL,
        holder INTEGER NOT NULL, writer INTEGER NOT NULL, staged_ms INTEGER NOT NULL, blob_id BLOB NOT NULL,
        blob_bytes INTEGER NOT NULL, share BLOB NOT NULL, details BLOB NOT NULL, owner_envelope BLOB NOT NULL)
        STRICT""",
    "CREATE INDEX held_staged_prefix ON held_staged (prefix)",
    """CREATE TABLE held (
        place INTEGER PRIMARY KEY, mark BLOB NOT NULL, writer INTEGER NOT NULL, blob_id BLOB NOT NULL,
        blob_bytes INTEGER NOT NULL, share BLOB NOT NULL, details BLOB NOT NULL, owner_envelope BLOB NOT NULL)
        STRICT""",
    # the owner's public envelope key, of which the ledger has the digest only
    """CREATE TABLE held_owner (
        chart INTEGER PRIMARY KEY, suite INTEGER NOT NULL, public BLOB NOT NULL) STRICT""",
)

_LEDGER_4: Migration = (
    # owners' new envelope keys, by their digests, until all that is kept for the owner is sealed to them
    """CREATE TABLE owner_key (
        chart INTEGER, key BLOB, suite INTEGER NOT NULL, public BLOB NOT NULL, resealed INTEGER NOT NULL,
        since INTEGER NOT NULL, PRIMARY KEY (chart, key)) WITHOUT ROWID, STRICT""",
)

_LEDGER_5: Migration = (
    # what this institution stated in confidence, under its key-encryption key
    """CREATE TABLE details (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, commitment BLOB NOT NULL, chart INTEGER NOT NULL,
        since INTEGER NOT NULL, valid_until INTEGER NOT NULL, sealed BLOB NOT NULL, event INTEGER,
        recipient BLOB) STRICT""",
    "CREATE INDEX details_prefix ON details (prefix)",
    "CREATE INDEX details_asking ON details (chart, event)",
    "CREATE INDEX details_waiting ON details (position) WHERE recipient IS NULL",
    # what askers said to the owners of this custodian's charts, sealed to these
    """CREATE TABLE details_for_owner (
        place INTEGER PRIMARY KEY, institution INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT""",
    # own askings under which somebody of the patient's family name read
    "CREATE TABLE namesake (place INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL) STRICT",
    # projection of the events: who asked to read, in the order in which it became final
    "CREATE TABLE asking (position INTEGER PRIMARY KEY, place INTEGER NOT NULL) STRICT",
    "INSERT INTO asking (place) SELECT place FROM event WHERE substr(raw, 2, 1) IN (x'05', x'0c') ORDER BY place",
)

_LEDGER_6: Migration = (
    # what was erased, and how far its deletion here is (`node.storage.erasures`); the index holds what is left to do
    """CREATE TABLE tombstone (
        place INTEGER PRIMARY KEY, erasure INTEGER NOT NULL, state INTEGER NOT NULL, blob_id BLOB) STRICT""",
    "CREATE INDEX tombstone_due ON tombstone (state) WHERE state < 4",
    # places of erasures that this node is not done with
    "CREATE TABLE erasure_due (place INTEGER PRIMARY KEY) STRICT",
)

_LEDGER_7: Migration = (
    # what owners gave this institution to write to their charts with, under its key-encryption key
    """CREATE TABLE write_permit (
        position INTEGER PRIMARY KEY, chart INTEGER NOT NULL, number INTEGER NOT NULL, sealed BLOB NOT NULL,
        UNIQUE (chart, number)) STRICT""",
)

_LEDGER_8: Migration = (
    # which rows name a blob: a holder is asked that by whoever hands one over, and a sweep asks it of each it drops
    *(
        f"CREATE INDEX {table}_blob ON {table} (substr(blob_id, 1, 8))"
        for table in ("staged", "record", "held_staged", "held")
    ),
    "CREATE INDEX tombstone_blob ON tombstone (substr(blob_id, 1, 8)) WHERE blob_id IS NOT NULL",
    # how much a writer has handed over that waits, which every further handover asks; and what waits for too long
    "CREATE INDEX held_staged_writer ON held_staged (writer, blob_bytes)",
    # with two columns, or SQLite would rather go through all that the writer has staged
    "DROP INDEX held_staged_prefix",
    "CREATE INDEX held_staged_prefix ON held_staged (prefix, writer)",
    "CREATE INDEX held_staged_age ON held_staged (staged_ms)",
    # to whom details were delivered, by chart: its owner may have another key
    "CREATE INDEX details_delivered ON details (chart, recipient) WHERE recipient IS NOT NULL",
    "CREATE INDEX namesake_time ON namesake (time_ms)",
)

_BLOBS_1: Migration = (
    "CREATE TABLE tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT",
    # data is NULL for a blob that lies in the object store
    """CREATE TABLE blob (
        position INTEGER PRIMARY KEY, prefix INTEGER NOT NULL, id BLOB NOT NULL, bytes INTEGER NOT NULL, data BLOB)
        STRICT""",
    "CREATE INDEX blob_prefix ON blob (prefix)",
)


class Schema(Struct, frozen=True):
    """One of our database files: its `PRAGMA application_id` and its migrations in order."""

    name: str
    application_id: int
    migrations: tuple[Migration, ...]


LEDGER: Final = Schema(
    "ledger",
    0x434C4C31,
    (_LEDGER_1, _LEDGER_2, _LEDGER_3, _LEDGER_4, _LEDGER_5, _LEDGER_6, _LEDGER_7, _LEDGER_8),
)
BLOBS: Final = Schema("blobs", 0x434C4231, (_BLOBS_1,))


def check_version(connection: sqlite3.Connection, schema: Schema, path: str) -> int:
    """How many migrations the file has. Raises `WrongDatabase` or `DatabaseTooNew`."""
    application: int = connection.execute("PRAGMA application_id").fetchall()[0][0]
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0]
    if application != schema.application_id and (application or version or tables):
        raise WrongDatabase(f"{path} is not a chartledger {schema.name} database")
    if version > len(schema.migrations):
        raise DatabaseTooNew(
            f"{path} has schema version {version}, and this version of chartledger knows {len(schema.migrations)}"
        )
    return version


def require_current(connection: sqlite3.Connection, schema: Schema, path: str) -> None:
    """Raise `DatabaseTooOld` for a file that lacks migrations and may not be written, besides `check_version`."""
    version = check_version(connection, schema, path)
    if version < len(schema.migrations):
        raise DatabaseTooOld(f"{path} has schema version {version}, and {len(schema.migrations)} is needed")


def migrate(connection: sqlite3.Connection, schema: Schema, path: str) -> None:
    """Apply what the file lacks, each migration in one transaction; nothing if it is up to date.

    `connection` is in autocommit mode (`isolation_level=None`). A crash in between leaves whole migrations only.
    """
    for number in range(check_version(connection, schema, path), len(schema.migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in schema.migrations[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def place(chart: int, number: int) -> int:
    """The integer by which event `number` of `chart` is found. `number` is below `limits.EVENTS_PER_CHART`."""
    if not (0 <= chart < CHARTS and 0 <= number < limits.EVENTS_PER_CHART):
        raise OverflowError(f"chart {chart} has no place for event {number}")
    return chart << EVENT_BITS | number


def places(refs: Iterable[tuple[int, int]]) -> list[int]:
    """The places of those (chart, event number) that can exist: whoever asks may have it from a stranger."""
    return [place(*ref) for ref in refs if 0 <= ref[0] < CHARTS and 0 <= ref[1] < limits.EVENTS_PER_CHART]


def span(chart: int, first: int) -> tuple[int, int]:
    """(from, until before) of the places of a chart's events from number `first` on; empty for what cannot exist."""
    if not 0 <= chart < CHARTS or first >= limits.EVENTS_PER_CHART:
        return 0, 0
    return place(chart, max(first, 0)), place(chart, limits.EVENTS_PER_CHART - 1) + 1


def unplace(value: int) -> tuple[int, int]:
    """(chart, event number) of a place."""
    return value >> EVENT_BITS, value & ((1 << EVENT_BITS) - 1)


def prefix(digest: bytes) -> int:
    """The first 8 bytes of a digest as SQLite's signed integer."""
    return int.from_bytes(digest[:8], "big", signed=True)
