"""No statement of the node reads a whole table that grows, unless it is listed here with the reason why it may.

Statements are found in the source, not by running it: one that is added is planned the next time that this runs. What
a statement is put together from is filled in as its module names it, or as `FILLED` says.
"""

from __future__ import annotations

import ast
import importlib
import re
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from node.storage import schema
from node.storage.erasures import SEALED_TABLES

NODE = Path(schema.__file__).parents[1]
STATEMENT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)\s.*\b(FROM|INTO|SET)\b", re.DOTALL)
ONLY_DOCTOR = {"node.storage.integrity", "node.storage.integrity_charts"}
"""`chartledger doctor` reads everything: that is what it is for."""

DETAILS = "commitment, chart, since, valid_until, sealed, event, recipient"
FILLED = {
    "where": ["recipient IS NULL", "recipient IS NULL AND event IS NULL", "chart = ? AND event = ?"],
    "column": ["event", "recipient"],
    "table": ["record", "held", "staged", "held_staged"],
    "only": ["", "AND lacking > 0"],
    "key": ["rowid"],
    "table.columns[0]": ["rowid"],
    "', '.join(table.columns)": ["sealed", "share"],
    "table.name": [table.name for table in SEALED_TABLES],
    "assignments": ["sealed = ?", "share = ?"],
    "','.join('?' * len(states))": ["?, ?"],
}
"""What the parts of statements that only running code knows can be. What fits no table together is passed over."""

IN_ORDER = "walks from one end in the order of the key and ends at its limit"
FEW = "there are as many rows as there is to do, and all of it is wanted"
A_DAY = "answers of one day; housekeeping and erasures, not requests, look through them"
MAY_SCAN: dict[str, str] = {
    "SELECT header, certificate FROM block ORDER BY height DESC LIMIT 1": IN_ORDER,
    "SELECT position, valid_until FROM receipt ORDER BY position LIMIT ?": IN_ORDER,
    "SELECT 1 FROM held_staged LIMIT 1": IN_ORDER,
    "SELECT 1 FROM tombstone LIMIT 1": IN_ORDER,
    f"SELECT {DETAILS} FROM details WHERE recipient IS NULL ORDER BY position LIMIT ? OFFSET ?": FEW,
    f"SELECT {DETAILS} FROM details WHERE recipient IS NULL AND event IS NULL ORDER BY position LIMIT ? OFFSET ?": FEW,
    "SELECT place FROM erasure_due ORDER BY place": FEW,
    "SELECT count(*) FROM erasure_due": FEW,
    "SELECT id, institution, key, number, valid_until, raw FROM outbox ORDER BY position": FEW,
    "SELECT DISTINCT id FROM staged": FEW,
    "SELECT count(*) FROM record WHERE lacking > 0": FEW,
    "SELECT chart, suite, public, resealed, since FROM owner_key ORDER BY chart, key": FEW,
    "SELECT key FROM idempotency WHERE expires_at < ? LIMIT ?": A_DAY,
    "SELECT key, body FROM idempotency": A_DAY,
    "SELECT DISTINCT chart, recipient FROM details WHERE recipient IS NOT NULL": "an index alone; at start",
    "SELECT name, value FROM tally": "two rows",
    "SELECT count(*) FROM sqlite_master": "the schema; at start",
    "INSERT INTO asking (place) SELECT place FROM event WHERE substr(raw, 2, 1) IN (x'05', x'0c') ORDER BY place": (
        "a migration, once"
    ),
    "SELECT id, data FROM blob WHERE data IS NOT NULL ORDER BY position DESC LIMIT 1": "the demo; " + IN_ORDER,
}
"""Each statement that may read a whole table, and why."""


def statements() -> Iterator[tuple[str, int, list[str]]]:
    """(module, line, what it can be) of each statement in the node's source."""
    for path in sorted(NODE.rglob("*.py")):
        module = ".".join(path.relative_to(NODE.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(one) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for one in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts:
                text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in pieces(node))
                if module not in ONLY_DOCTOR and STATEMENT.match(text):
                    yield module, node.lineno, spelt(importlib.import_module(module), node)


def pieces(node: ast.JoinedStr | ast.Constant) -> list[ast.Constant | ast.FormattedValue]:
    if isinstance(node, ast.JoinedStr):
        return node.values  # type: ignore[return-value]  # typeshed says expressions; there are only these two
    return [node] if isinstance(node.value, str) else []


def spelt(module: ModuleType, node: ast.JoinedStr | ast.Constant) -> list[str]:
    """The statement in all ways in which it can be put together; a list to look in gets two members."""
    choices: list[list[str]] = []
    for part in pieces(node):
        if isinstance(part, ast.Constant):
            choices.append([str(part.value)])
            continue
        source = ast.unparse(part.value)
        choices.append(FILLED[source] if source in FILLED else [str(eval(source, vars(module)))])
    made = [" ".join("".join(one).split()) for one in product(*choices)]
    return [f"{one} (?, ?)" if one.endswith(" IN") else one for one in made]


@pytest.fixture(scope="module")
def empty() -> Iterator[sqlite3.Connection]:
    """Both databases' tables side by side; `tally` is the same in both."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for kind in (schema.LEDGER, schema.BLOBS):
        for migration in kind.migrations:
            for statement in migration:
                if kind is schema.LEDGER or "TABLE tally" not in statement:
                    connection.execute(statement)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, statement: str) -> list[str] | None:
    """The steps of SQLite's plan; None for what names a column that the table does not have."""
    marks = [None] * (1 if "?1" in statement else statement.count("?"))
    try:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", marks)]
    except sqlite3.OperationalError as error:
        if "no such column" in str(error):
            return None
        raise


def test_no_statement_reads_a_whole_table_that_grows(empty: sqlite3.Connection) -> None:
    scanning: dict[str, list[str]] = {}
    for module, line, spellings in statements():
        plans = {one: found for one in spellings if (found := plan(empty, one)) is not None}
        assert plans, f"{module}:{line}: say in FILLED what this statement is put together from"
        for statement, steps in plans.items():
            scans = [step for step in steps if step.startswith("SCAN")]
            if scans:
                scanning[statement] = scans
    assert {one: scans for one, scans in scanning.items() if one not in MAY_SCAN} == {}
    assert set(MAY_SCAN) <= set(scanning), "these read no whole table any more"


def test_what_is_looked_up_by_its_digest_is_found_by_it(empty: sqlite3.Connection) -> None:
    """And not among all that one institution handed over, as with an index by writer beside that by digest: each
    handover of a burst then went through all that the burst had brought before."""
    checked = 0
    for _, _, spellings in statements():
        for one in spellings:
            steps = (plan(empty, one) or []) if "prefix = ?" in one.partition(" WHERE ")[2] else []
            assert all("(prefix=?" in step for step in steps), (one, steps)
            checked += bool(steps)
    assert checked > 8


def test_what_is_sealed_anew_is_found_by_the_key_of_its_table(empty: sqlite3.Connection) -> None:
    """As `FILLED` has it."""
    for table in SEALED_TABLES:
        (key,) = (row for row in empty.execute(f"PRAGMA table_info({table.name})") if row[5])
        assert (key[1], key[2]) == (table.columns[0], "INTEGER")


def test_a_scan_is_seen(empty: sqlite3.Connection) -> None:
    """The plans' wording is SQLite's, and could change."""
    assert plan(empty, "SELECT place FROM event WHERE raw = ?") == ["SCAN event"]
    assert plan(empty, "SELECT raw FROM event WHERE place IN (?, ?)") != ["SCAN event"]
