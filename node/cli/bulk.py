"""Much at once on the command line: files of any size in bounded memory, and all records of a disclosure into a folder.

What goes into a folder goes on after a crash where it stopped: a file carries its name only once it is whole and on
disk, and the folder remembers its disclosure, and before that what it asks for, so that nothing is asked for, or shown
to the patient, twice. One command at a time writes into a folder.
"""

from __future__ import annotations

import base64
import fcntl
import mimetypes
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec

from node.cli.client import Document, Session, fresh_key
from node.cli.exits import BadArgument
from node.cli.files import written_whole
from node.cli.output import progress
from node.records.fhir import FHIR_JSON
from protocol.errors import ChartledgerError

PIECE_BYTES = 1024 * 1024
PAGES_AHEAD = 2
"""So many pages are under way while others are written: both nodes have work meanwhile."""
WRITERS = 8
PAGE = 256  # what a node answers at most
STATE = "disclosure.json"
QUESTION = "question.json"


class Denied(ChartledgerError):
    """The rules denied the disclosure."""

    advice = "Ask the patient for a grant that covers it."

    @classmethod
    def of(cls, answer: Document, *, advice: str | None = None) -> Denied:
        """What an answered disclosure's denial is; its sentence is addressed to the chart's owner."""
        event, sentence = answer["disclosure"], answer["sentence"]
        return cls(f"denied, and recorded as event {event}, where the patient reads: {sentence}", advice=advice)


class OtherDisclosure(ChartledgerError):
    """The folder holds what another disclosure opened."""

    advice = "Name another folder, or leave the options out to go on with what this one holds."


class FolderInUse(ChartledgerError):
    """Another command is writing into the folder."""

    advice = "Wait for it, or name another folder."


class FolderState(msgspec.Struct, frozen=True):
    """What a folder was begun for."""

    chain: str
    chart: int
    disclosure: int


class Question(msgspec.Struct, frozen=True):
    """What a folder is about to ask for, and the key under which that counts once."""

    chain: str
    chart: int
    grant: int
    purpose: str
    details: dict[str, str] | None
    key: str


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there (mode 0700), for this command alone: two would put halves of files under
    each other's names. Raises `FolderInUse`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"another command is reading into {folder}") from None
        yield
    finally:
        os.close(descriptor)


def upload(  # where to, what, under which grant, and its labels
    session: Session,
    chart: int,
    path: Path,
    media_type: str,
    grant: int | None = None,
    *,
    custom: bool = False,
    quiet: bool,
    **labels: str | None,
) -> Any:
    """Submit one file as it is, of any size, to another's chart under a grant, and wait until it is final."""
    length = path.stat().st_size
    with path.open("rb") as file, progress(f"sending {path.name}", length, quiet) as step:
        return session.submit_file(chart, _Counted(file, step), length, media_type, grant, custom=custom, **labels)


def download(session: Session, place: str, output: Path, *, quiet: bool) -> int:
    """What stands at `place` on the socket into a file, which appears when it is whole. How many bytes."""
    done = 0
    with session.client.stream(place) as answer:
        total = int(answer.headers.get("content-length", "0"))
        with progress(f"writing {output.name}", total, quiet) as step, written_whole(output) as file:
            while piece := answer.read(PIECE_BYTES):
                done += file.write(piece)
                step(len(piece))
    return done


def begin(
    session: Session,
    chart: int,
    folder: Path,
    grant: int | None,
    purpose: str,
    disclosure: int | None,
    details: dict[str, str] | None = None,
) -> int:
    """The disclosure that `folder`, which this command has to itself, is read under: what it remembers, the one named,
    or a new one under `grant`, with `details` for the patient alone."""
    chain = session.chain().hex()
    path = folder / STATE
    if path.exists():
        try:
            known = msgspec.json.decode(path.read_bytes(), type=FolderState)
        except msgspec.DecodeError:
            raise OtherDisclosure(f"{path} is not what this command wrote") from None
        if (known.chain, known.chart) != (chain, chart) or disclosure not in (None, known.disclosure):
            raise OtherDisclosure(f"{folder} was begun for disclosure {known.disclosure} of chart {known.chart}")
        return known.disclosure
    if disclosure is None:
        if grant is None:
            raise BadArgument(
                "say under which grant to ask", advice="Add --grant, or --disclosure for one made before."
            )
        key = _asked_before(folder, Question(chain, chart, grant, purpose, details, fresh_key()))
        answer = session.disclose(chart, grant, purpose, details=details, key=key)
        disclosure = int(answer["disclosure"])
        if answer["outcome"] != "disclosed":
            (folder / QUESTION).unlink()
            raise Denied.of(answer)
    with written_whole(path) as file:
        file.write(msgspec.json.encode(FolderState(chain, chart, disclosure)))
    (folder / QUESTION).unlink(missing_ok=True)
    return disclosure


def _asked_before(folder: Path, question: Question) -> str:
    """The key under which this very question was asked for this folder before, and not answered; else the new one, once
    the folder remembers it."""
    path = folder / QUESTION
    with suppress(OSError, msgspec.DecodeError):
        before = msgspec.json.decode(path.read_bytes(), type=Question)
        if msgspec.structs.replace(before, key=question.key) == question:
            return before.key
    with written_whole(path) as file:
        file.write(msgspec.json.encode(question))
    return question.key


def read_all(session: Session, chart: int, disclosure: int, folder: Path, *, quiet: bool) -> tuple[int, int]:
    """Every record of the disclosure as a file of its own, named by its number. How many there are, and how many were
    here before."""
    page = session.client.get(f"/v1/charts/{chart}/events", first=disclosure, count=1)["events"]
    records: list[int] = page[0]["records"]
    here = records_in(folder)
    missing = [place for place, record in enumerate(records) if record not in here]
    with progress("reading", len(records), quiet) as step, ThreadPoolExecutor(PAGES_AHEAD) as threads:
        step(len(records) - len(missing))
        with ThreadPoolExecutor(WRITERS) as writers:  # a disk syncs many files at once as fast as one
            for items in _pages(session, chart, disclosure, missing, threads):
                for _ in writers.map(partial(_write, folder), items):
                    step(1)
    return len(records), len(records) - len(missing)


def _write(folder: Path, item: dict[str, Any]) -> None:
    with written_whole(folder / name_of(item["record"], item["media_type"])) as file:
        file.write(base64.b64decode(item["data"]))


def records_in(folder: Path) -> set[int]:
    """The numbers of the records that are in the folder, whole."""
    return {int(path.name.partition(".")[0]) for path in folder.iterdir() if _is_record(path)}


def _is_record(path: Path) -> bool:
    return path.name.partition(".")[0].isdecimal() and path.suffix != ".part"


def name_of(record: int, media_type: str) -> str:
    """The name of a record's file."""
    return f"{record}{_suffix(media_type)}"


def _suffix(media_type: str) -> str:
    base = media_type.partition(";")[0].strip().lower()
    return ".json" if base == FHIR_JSON else mimetypes.guess_extension(base) or ".bin"


def _pages(
    session: Session, chart: int, disclosure: int, missing: list[int], threads: ThreadPoolExecutor
) -> Iterator[list[dict[str, Any]]]:
    """The records at the missing positions, a page at a time, each fetched while others are written."""
    waiting: deque[Future[list[dict[str, Any]]]] = deque()
    for first, count in _stretches(missing):
        waiting.append(threads.submit(_page, session, chart, disclosure, first, count))
        if len(waiting) > PAGES_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _stretches(missing: list[int]) -> Iterator[tuple[int, int]]:
    """(first position, how many) of neighbours, at most a page of them."""
    at = 0
    while at < len(missing):
        end = at + 1
        while end < len(missing) and end - at < PAGE and missing[end] == missing[end - 1] + 1:
            end += 1
        yield missing[at], end - at
        at = end


def _page(session: Session, chart: int, disclosure: int, first: int, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += session.read_page(chart, disclosure, first + len(found), count - len(found))["records"]
    return found


class _Counted:
    """A file that says how much of it was read, for a progress bar."""

    def __init__(self, file: IO[bytes], step: Any) -> None:
        self._file = file
        self._step = step

    def read(self, count: int = -1) -> bytes:
        piece = self._file.read(count)
        self._step(len(piece))
        return piece

    def seek(self, place: int) -> int:
        self._step(-self._file.tell())
        return self._file.seek(place)
