"""One writer, many readers, nothing half-done: design, section 7."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.storage import schema
from node.storage.database import Database
from node.storage.errors import DatabaseTooNew, DatabaseTooOld, NumberTaken, StorageFailed, WrongDatabase

KIND = schema.Schema("test", 77, (("CREATE TABLE thing (n INTEGER PRIMARY KEY, text TEXT)",),))
GROWN = replace(KIND, migrations=(*KIND.migrations, ("ALTER TABLE thing ADD COLUMN more TEXT",)))


def insert(connection: sqlite3.Connection, n: int) -> int:
    connection.execute("INSERT INTO thing (n) VALUES (?)", (n,))
    return n


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM thing ORDER BY n")]


def columns(connection: sqlite3.Connection) -> list[str]:
    return [row[1] for row in connection.execute("PRAGMA table_info(thing)")]


async def opened(path: Path, kind: schema.Schema = KIND) -> Database:
    return await Database.open(path / "test.db", kind)


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await database.write(partial(insert, n=1))
    for name in ("test.db", "test.db-wal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600

    def settings(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "secure_delete")
        return [connection.execute(f"PRAGMA {name}").fetchall()[0][0] for name in names]

    assert await database.write(settings) == ["wal", 2, 1]
    await database.close()


async def test_migrations_apply_once_and_keep_what_is_there(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await database.write(partial(insert, n=1))
    await database.close()
    for _ in range(3):
        database = await opened(tmp_path, GROWN)
        assert await database.read(columns) == ["n", "text", "more"]
        assert await database.read(numbers) == [1]
        await database.close()


async def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    broken = replace(KIND, migrations=(*KIND.migrations, ("CREATE TABLE other (n)", "CREATE NONSENSE")))
    with pytest.raises(StorageFailed):
        await opened(tmp_path, broken)
    database = await opened(tmp_path, KIND)
    assert await database.read(lambda c: c.execute("SELECT name FROM sqlite_master").fetchall()) == [("thing",)]
    await database.close()


async def test_a_newer_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    await (await opened(tmp_path, GROWN)).close()
    before = (tmp_path / "test.db").read_bytes()
    with pytest.raises(DatabaseTooNew, match="has schema version 2, and this version of chartledger knows 1"):
        await opened(tmp_path, KIND)
    assert (tmp_path / "test.db").read_bytes() == before


async def test_an_older_file_is_not_read_before_it_is_migrated(tmp_path: Path) -> None:
    await (await opened(tmp_path, KIND)).close()
    with pytest.raises(DatabaseTooOld):
        await Database.open(tmp_path / "test.db", GROWN, read_only=True)


@pytest.mark.parametrize("kind", [schema.BLOBS, schema.LEDGER])
async def test_another_database_is_refused_untouched(tmp_path: Path, kind: schema.Schema) -> None:
    await (await opened(tmp_path)).close()
    before = (tmp_path / "test.db").read_bytes()
    with pytest.raises(WrongDatabase):
        await opened(tmp_path, kind)
    assert (tmp_path / "test.db").read_bytes() == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.db").write_bytes(b"not a database at all" * 300)
    with pytest.raises(StorageFailed, match="cannot open"):
        await opened(tmp_path)


async def test_reading_only_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        await Database.open(tmp_path / "test.db", KIND, read_only=True)
    assert list(tmp_path.iterdir()) == []


async def test_a_failing_job_leaves_no_trace_and_reaches_its_caller(tmp_path: Path) -> None:
    database = await opened(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        insert(connection, 1)
        raise NumberTaken

    def twice(connection: sqlite3.Connection) -> None:
        insert(connection, 2)
        insert(connection, 2)

    with pytest.raises(NumberTaken):
        await database.write(half)
    with pytest.raises(StorageFailed, match="UNIQUE"):
        await database.write(twice)
    assert await database.read(numbers) == []
    await database.close()


async def test_jobs_that_share_a_transaction_fail_one_by_one(tmp_path: Path) -> None:
    database = await opened(tmp_path)

    def bug(connection: sqlite3.Connection) -> int:
        insert(connection, 100)
        raise ZeroDivisionError

    jobs = [partial(insert, n=n) for n in (1, 2, 2, 3)] + [bug, partial(insert, n=4)]
    outcomes = await asyncio.gather(*(database.write(job) for job in jobs), return_exceptions=True)
    assert [one if isinstance(one, int) else type(one) for one in outcomes] == [
        1,
        2,
        StorageFailed,
        3,
        ZeroDivisionError,
        4,
    ]
    assert await database.read(numbers) == [1, 2, 3, 4]
    await database.close()


async def test_waiting_jobs_share_one_transaction(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    begun: list[str] = []
    await database.write(lambda c: c.set_trace_callback(lambda text: begun.append(text) if "BEGIN" in text else None))
    await asyncio.gather(*(database.write(partial(insert, n=n)) for n in range(100)))
    assert len(begun) == 1
    await database.close()


async def test_cancelled_tasks_leave_no_open_transaction_and_undo_nothing(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        insert(connection, 1)
        entered.set()
        go_on.wait(10)
        insert(connection, 2)

    task = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(entered.wait, 10)
    waiting = asyncio.create_task(database.write(partial(insert, n=3)))
    await asyncio.sleep(0)
    task.cancel()
    waiting.cancel()
    results = await asyncio.gather(task, waiting, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in results)
    go_on.set()
    await database.write(partial(insert, n=4))
    assert await database.read(numbers) == [1, 2, 3, 4]
    await database.close()
    other = sqlite3.connect(tmp_path / "test.db", timeout=0)
    other.execute("BEGIN EXCLUSIVE")  # fails if anything were still open
    other.close()


async def test_a_cancelled_reader_leaves_its_connection_fit_for_use(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "test.db", KIND, readers=1)
    await database.write(partial(insert, n=1))
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> list[int]:
        entered.set()
        go_on.wait(10)
        return numbers(connection)

    task = asyncio.create_task(database.read(slow))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.read(numbers) == [1]
    await database.close()


async def test_a_reader_sees_one_snapshot(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await database.write(partial(insert, n=1))
    loop = asyncio.get_running_loop()

    def twice(connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
        before = numbers(connection)
        asyncio.run_coroutine_threadsafe(database.write(partial(insert, n=2)), loop).result(10)
        return before, numbers(connection)

    assert await database.read(twice) == ([1], [1])
    assert await database.read(numbers) == [1, 2]
    await database.close()


async def test_closing_finishes_what_was_begun_and_ends_the_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # of which some, of other tests, may end meanwhile
    database = await opened(tmp_path)
    tasks = [asyncio.create_task(database.write(partial(insert, n=n))) for n in range(50)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*tasks) == list(range(50))
    await database.close()
    for left in set(threading.enumerate()) - before:  # one that has answered for the last time may be about to end
        left.join(30)
        assert not left.is_alive()
    with pytest.raises(StorageFailed):
        await database.write(partial(insert, n=99))
    with pytest.raises(StorageFailed):
        await database.read(numbers)


def test_an_error_that_nobody_cleans_up_after_ends_the_process(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from node.storage.ledger_store import LedgerStore\n"
        "async def main():\n"
        "    kept.append(await LedgerStore.open(Path(sys.argv[1]) / 'ledger.db')); raise SystemExit(7)\n"
        "kept = []; asyncio.run(main())"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=root, timeout=60)
    assert ended.returncode == 7


async def test_a_full_disk_fails_the_write_and_keeps_what_was_there(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await database.write(partial(insert, n=1))
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 3").fetchall())

    def large(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO thing VALUES (2, ?)", ("x" * 100_000,))

    with pytest.raises(StorageFailed, match="full"):
        await database.write(large)
    assert await database.read(numbers) == [1]
    await database.write(partial(insert, n=3))
    assert await database.read(numbers) == [1, 3]
    await database.close()


def test_places_are_distinct_ordered_and_reversible() -> None:
    refs = [(0, 0), (0, 1), (0, (1 << 24) - 1), (1, 0), ((1 << 39) - 1, (1 << 24) - 1)]
    places = [schema.place(*ref) for ref in refs]
    assert places == sorted(set(places))
    assert [schema.unplace(at) for at in places] == refs
    for bad in [(0, 1 << 24), (1 << 39, 0), (-1, 0), (0, -1)]:
        with pytest.raises(OverflowError):
            schema.place(*bad)
