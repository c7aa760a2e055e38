"""One SQLite file: a single writer, a few readers, and nothing ever half-done.

Relies on aiosqlite for a thread per connection. Work is a *job*: a function of the plain `sqlite3.Connection` that runs
whole in that thread. A job has no await inside, so a cancelled task cannot leave a transaction open, and it costs one
hop between threads (about 70 us) however many statements it has.

Durability: WAL with `synchronous=FULL`; when `write` returns, the change survives a power cut. Jobs that wait while
another is being written share the next transaction and its sync (group commit), and still succeed or fail one by one.
`secure_delete` overwrites what is deleted; temporary tables and journals of statements stay in memory. The files have
mode 0600.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import aiosqlite

from node.storage import schema
from node.storage.errors import StorageFailed
from protocol.errors import ChartledgerError

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

CHECKPOINT_PAGES = 2_000  # the log is folded into the file about every 8 MB
LOG_BYTES = 8 * 1024 * 1024  # what the log is cut back to afterwards
WRITER_CACHE_KIB = 8_192
READER_CACHE_KIB = 1_024
BUSY_MS = 10_000
CHECKPOINT_BUSY_MS = 100


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, with a way to run a whole job in its thread.

    The thread is a daemon: a node that ends with an error must end, even where nobody got to close its files. SQLite
    takes that as it takes a crash.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self._thread.daemon = True

    async def run(self, job: Job[T]) -> T:
        execute = cast(Callable[..., Awaitable[Any]], self._execute)
        return cast(T, await execute(job, self._conn))


class _Outcome:
    """What became of one job: its value, or the error that it is answered with."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error


class Database:
    """An open database file. Make one with `open`."""

    def __init__(self, path: Path, writer: _Connection | None, readers: list[_Connection]) -> None:
        self.path = path
        self._writer = writer
        self._readers = readers
        self._next_reader = 0
        self._jobs: deque[tuple[Job[Any], asyncio.Future[Any]]] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, kind: schema.Schema, *, readers: int = 2, read_only: bool = False) -> Database:
        """Open or create the file and bring its schema up to date.

        `read_only` neither creates nor migrates: for looking while the node may be running. Raises `DatabaseTooNew`,
        `WrongDatabase`, `StorageFailed`, and `DatabaseTooOld` when only reading.
        """
        opened: list[_Connection] = []
        try:
            writer = None
            # what the system refuses is found here, before any thread is begun
            flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
            os.close(os.open(path, flags | os.O_CLOEXEC, 0o600))
            if not read_only:
                writer = await _connect(str(path), opened)
                await writer.run(partial(_prepare_writer, kind=kind, path=str(path)))
            pool = []
            for _ in range(readers):
                reader = await _connect(f"file:{quote(str(path))}?mode=ro", opened)
                await reader.run(partial(_prepare_reader, kind=kind, path=str(path)))
                pool.append(reader)
        except BaseException as error:
            for connection in opened:
                await connection.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise StorageFailed(f"cannot open {path}: {error}") from error
            raise
        return cls(path, writer, pool)

    async def read(self, job: Job[T]) -> T:
        """Run a job on a reader, in one snapshot. Raises `StorageFailed` if the file cannot be read."""
        if self._closed:
            raise StorageFailed(f"{self.path} is closed")
        reader = self._readers[self._next_reader]
        self._next_reader = (self._next_reader + 1) % len(self._readers)
        try:
            return await reader.run(partial(_in_snapshot, job))
        except sqlite3.Error as error:
            raise StorageFailed(f"cannot read {self.path}: {error}") from error

    async def write(self, job: Job[T]) -> T:
        """Run a job in a write transaction and return once it is durable.

        The job may run more than once, so it touches nothing but the connection. Whatever it raises reaches the
        caller and leaves no trace in the file; SQLite's own errors arrive as `StorageFailed`. A caller that is
        cancelled meanwhile does not stop the write.
        """
        if self._closed or self._writer is None:
            raise StorageFailed(f"{self.path} is not open for writing")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._write_all(self._writer), name=f"writer of {self.path.name}")
        return await future

    async def checkpoint(self) -> bool:
        """Fold the write-ahead log into the file and cut it to nothing; whether that was done. It is not while somebody
        reads an older state, this process or another: then what was deleted since may stand in the log."""
        if self._writer is None or self._closed:
            return False
        return await self._writer.run(_truncate_log)

    async def close(self) -> None:
        """Finish what was begun, then close all connections and end their threads. Once is enough."""
        if self._closed:
            return
        self._closed = True
        if self._drain is not None:
            await asyncio.wait([self._drain])
        for reader in self._readers:
            await reader.close()
        if self._writer is not None:
            await self._writer.close()

    async def _write_all(self, writer: _Connection) -> None:
        """The writer task: lives while there are jobs, takes all that wait, and answers each."""
        try:
            while self._jobs:
                batch = list(self._jobs)
                self._jobs.clear()
                jobs = [job for job, _ in batch]
                try:
                    outcomes = await writer.run(partial(_transact, jobs=jobs, path=self.path))
                except Exception as error:  # not swallowed: every caller of the batch is told
                    outcomes = [_Outcome(error=error)] * len(jobs)
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    if future.done():
                        continue
                    if outcome.error is None:
                        future.set_result(outcome.value)
                    else:
                        future.set_exception(outcome.error)
        finally:
            self._drain = None


async def _connect(target: str, opened: list[_Connection]) -> _Connection:
    connection = _Connection(
        partial(sqlite3.connect, target, uri=target.startswith("file:"), isolation_level=None, cached_statements=64),
        iter_chunk_size=64,
    )
    await connection
    opened.append(connection)
    return connection


def _prepare_writer(connection: sqlite3.Connection, kind: schema.Schema, path: str) -> None:
    schema.check_version(connection, kind, path)  # before anything is written into a file that is not ours
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",  # a statement's own journal holds pages as they were
        "foreign_keys = ON",
        "trusted_schema = OFF",
        f"cache_size = -{WRITER_CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"journal_size_limit = {LOG_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    schema.migrate(connection, kind, path)


def _prepare_reader(connection: sqlite3.Connection, kind: schema.Schema, path: str) -> None:
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
        f"cache_size = -{READER_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    schema.require_current(connection, kind, path)


def _truncate_log(connection: sqlite3.Connection) -> bool:
    connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_BUSY_MS}").fetchall()  # commits wait meanwhile
    try:
        busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}").fetchall()
    return not busy


def _in_snapshot(job: Job[T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN")
    try:
        return job(connection)
    finally:
        connection.execute("ROLLBACK")


def _transact(connection: sqlite3.Connection, jobs: list[Job[Any]], path: Path) -> list[_Outcome]:
    """Run the jobs in one transaction; if anything fails, each in its own, so that one cannot fail another."""
    if len(jobs) > 1:
        try:
            return _commit(connection, jobs)
        except (sqlite3.Error, ChartledgerError, ValueError, TypeError, LookupError, ArithmeticError):
            pass  # run apart below, where the error finds its owner
    return [_alone(connection, job, path) for job in jobs]


def _alone(connection: sqlite3.Connection, job: Job[Any], path: Path) -> _Outcome:
    try:
        return _commit(connection, [job])[0]
    except sqlite3.Error as error:
        failure = StorageFailed(f"cannot write {path}: {error}")
        failure.__cause__ = error
        return _Outcome(error=failure)
    except Exception as error:  # not swallowed: it is raised where the job came from
        return _Outcome(error=error)


def _commit(connection: sqlite3.Connection, jobs: list[Job[Any]]) -> list[_Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [_Outcome(job(connection)) for job in jobs]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has ended it already after a full disk and the like
            connection.execute("ROLLBACK")
        raise
    return outcomes
