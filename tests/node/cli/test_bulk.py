"""Much at once: a folder goes on where a crash stopped it, and no file is ever half there."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from node.cli import bulk
from node.cli import record as command
from node.cli.bulk import Denied, FolderInUse, OtherDisclosure
from node.cli.exits import BadArgument
from node.cli.files import write_whole
from node.client import Unreachable
from node.keystore import KeyfileRefused, write_private
from node.records.errors import SensitivitiesUnstated

CHAIN = bytes(range(32))
RECORDS = [number for number in range(3, 1_203) if number % 7]  # event numbers have gaps


def content(record: int) -> bytes:
    return b'{"resourceType":"Basic","n":%d}' % record


class FakeNode:
    """What `bulk` asks of a session: a disclosure of RECORDS, answered at most 100 records at once."""

    def __init__(self, breaks_after: int | None = None, outcome: str = "disclosed") -> None:
        self.client = self
        self.breaks_after = breaks_after
        self.outcome = outcome
        self.asked = 0
        self.silent = False
        self.keys: list[str] = []
        self.given: list[int] = []

    def chain(self) -> bytes:
        return CHAIN

    def disclose(
        self, chart: int, grant: int | None, purpose: str, details: Any = None, key: str | None = None
    ) -> dict[str, Any]:
        assert key is not None
        self.asked += 1
        self.keys.append(key)
        if self.silent:
            raise Unreachable("the node is gone")
        return {"disclosure": 1_500, "outcome": self.outcome, "sentence": "You had withdrawn your permission."}

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        assert path == "/v1/charts/5/events"
        return {"events": [{"number": query["first"], "records": RECORDS}]}

    def read_page(self, chart: int, disclosure: int, first: int, count: int) -> dict[str, Any]:
        if self.breaks_after is not None and len(self.given) >= self.breaks_after:
            raise Unreachable("the node is gone")
        page = RECORDS[first : first + min(count, 100)]
        self.given += page
        items = [
            {"record": one, "media_type": "application/fhir+json", "data": base64.b64encode(content(one)).decode()}
            for one in page
        ]
        return {"records": items, "next": None}


def read(node: FakeNode, folder: Path, **options: Any) -> tuple[int, int]:
    with bulk.alone_in(folder):
        grant, named, details = (options.get(name) for name in ("grant", "disclosure", "details"))
        disclosure = bulk.begin(node, 5, folder, grant, "TREAT", named, details)  # type: ignore[arg-type]
        return bulk.read_all(node, 5, disclosure, folder, quiet=True)  # type: ignore[arg-type]


def here(folder: Path) -> dict[int, bytes]:
    return {int(path.stem): path.read_bytes() for path in folder.glob("*.json") if path.name != bulk.STATE}


def test_every_record_is_a_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert read(FakeNode(), folder, grant=2) == (len(RECORDS), 0)
    assert here(folder) == {record: content(record) for record in RECORDS}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("after", [0, 1, 100, 500, 1_000])
def test_it_goes_on_where_it_stopped_and_asks_the_patient_once(tmp_path: Path, after: int) -> None:
    with pytest.raises(Unreachable):
        read(FakeNode(breaks_after=after), tmp_path, grant=2)
    before = here(tmp_path)
    again = FakeNode()
    assert read(again, tmp_path) == (len(RECORDS), len(before))
    assert again.asked == 0
    assert sorted([*again.given, *before]) == RECORDS
    assert here(tmp_path) == {record: content(record) for record in RECORDS}
    assert read(FakeNode(breaks_after=0), tmp_path) == (len(RECORDS), len(RECORDS))


def test_who_gives_up_waiting_and_comes_back_asks_the_patient_once(tmp_path: Path) -> None:
    """The node may have the question, and the ledger, though nobody waited for the answer: its key is the same then."""
    silent, again, other = FakeNode(), FakeNode(), FakeNode()
    silent.silent = True
    for details in (None, {"reason": "referral"}):
        with pytest.raises(Unreachable):
            read(silent, tmp_path, grant=2, details=details)
    with pytest.raises(Unreachable):
        read(silent, tmp_path, grant=2, details={"reason": "referral"})
    assert read(again, tmp_path, grant=2, details={"reason": "referral"}) == (len(RECORDS), 0)
    assert silent.keys[1:] == again.keys * 2
    assert silent.keys[0] != again.keys[0], "another question is another"
    assert not (tmp_path / bulk.QUESTION).exists()
    assert read(other, tmp_path / "other", grant=2) == (len(RECORDS), 0)
    assert other.keys[0] not in silent.keys


def test_a_denied_question_may_be_asked_again(tmp_path: Path) -> None:
    node = FakeNode(outcome="denied")
    for _ in range(2):
        with pytest.raises(Denied):
            read(node, tmp_path, grant=2)
    assert len(set(node.keys)) == 2


def test_a_folder_is_one_commands(tmp_path: Path) -> None:
    """Two would each remove what the other has half written, and give it the name of a whole one."""
    with bulk.alone_in(tmp_path / "out"), pytest.raises(FolderInUse):
        read(FakeNode(), tmp_path / "out", grant=2)
    assert read(FakeNode(), tmp_path / "out", grant=2) == (len(RECORDS), 0)


def test_what_a_crash_left_half_written_is_no_record(tmp_path: Path) -> None:
    read(FakeNode(), tmp_path, grant=2)
    whole = tmp_path / f"{RECORDS[10]}.json"
    whole.unlink()
    whole.with_name(whole.name + ".part").write_bytes(b"{")
    again = FakeNode()
    assert read(again, tmp_path) == (len(RECORDS), len(RECORDS) - 1)
    assert again.given == [RECORDS[10]]
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_belongs_to_one_disclosure(tmp_path: Path) -> None:
    read(FakeNode(), tmp_path, grant=2)
    with pytest.raises(OtherDisclosure):
        read(FakeNode(), tmp_path, disclosure=1_501)
    (tmp_path / bulk.STATE).write_bytes(b"{}")
    with pytest.raises(OtherDisclosure):
        read(FakeNode(), tmp_path)


def test_nothing_is_begun_without_a_grant_or_when_denied(tmp_path: Path) -> None:
    with pytest.raises(BadArgument):
        read(FakeNode(), tmp_path)
    with pytest.raises(Denied, match="withdrawn"):
        read(FakeNode(outcome="denied"), tmp_path, grant=2)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    class Answer:
        headers = {"content-length": "10"}

        def read(self, count: int) -> bytes:
            raise Unreachable("the connection broke")

    class Client:
        @contextmanager
        def stream(self, place: str) -> Any:
            yield Answer()

    class Node:
        client = Client()

    target = tmp_path / "scan.dcm"
    target.write_bytes(b"an older one")
    with pytest.raises(Unreachable):
        bulk.download(Node(), "/v1/anything", target, quiet=True)  # type: ignore[arg-type]
    assert target.read_bytes() == b"an older one"
    assert list(tmp_path.iterdir()) == [target]


def test_a_counted_file_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    steps: list[int] = []
    with path.open("rb") as file:
        counted = bulk._Counted(file, steps.append)
        assert counted.read(7) == bytes(7)
        counted.seek(0)
        assert counted.read() == bytes(10)
    assert sum(steps) == 10


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """What commands send of files: how, the name, and the label."""
    found: list[tuple[str, str, str | None]] = []

    def upload(session: Any, chart: int, path: Path, kind: str, grant: Any, *, quiet: bool, **labels: Any) -> Any:
        found.append(("in pieces", path.name, labels.get("sensitivities") or labels.get("supersedes")))
        return {"records": [1], "height": 1}

    def whole(session: Any, chart: int, path: Path, grant: Any, **options: Any) -> Any:
        found.append(("whole", path.name, options["labels"]["sensitivities"]))
        return {"records": [1], "height": 1}

    @contextmanager
    def connect(socket: Path) -> Iterator[None]:
        yield

    monkeypatch.setattr(command, "BUNDLE_BYTES", 1_000)
    monkeypatch.setattr(command, "WHOLE_BYTES", 100)
    monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setattr(command, "_submit", whole)
    monkeypatch.setattr(bulk, "upload", upload)
    return found


def test_what_nobody_looks_into_is_sent_in_pieces(tmp_path: Path, sent: list[tuple[str, str, str | None]]) -> None:
    """FHIR beyond what a Bundle may be took four times its size of memory to be refused for what it was not."""
    for name, size in (("large.json", 1_001), ("bundle.json", 1_000), ("scan.dcm", 101), ("letter.pdf", 100)):
        (tmp_path / name).write_bytes(b"x" * size)
    command.submit(5, [tmp_path], sensitivity=["none"])
    assert sent == [
        ("whole", "bundle.json", "none"),
        ("in pieces", "large.json", "none"),
        ("whole", "letter.pdf", "none"),
        ("in pieces", "scan.dcm", "none"),
    ]
    sent.clear()
    command.submit(5, [tmp_path / "bundle.json"], whole=True)
    command.amend(5, 3, tmp_path / "scan.dcm")
    assert sent == [("in pieces", "bundle.json", None), ("in pieces", "scan.dcm", "3")]


def test_a_file_that_is_skipped_is_told_with_what_to_do(
    tmp_path: Path, sent: list[tuple[str, str, str | None]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise SensitivitiesUnstated("FHIR of this size is not looked into")

    monkeypatch.setattr(bulk, "upload", refused)
    (tmp_path / "large.json").write_bytes(b"x" * 1_001)
    with pytest.raises(typer.Exit):
        command.submit(5, [tmp_path])
    assert "not looked into. State --sensitivity CODE" in capsys.readouterr().err


def test_what_is_no_file_keeps_its_name(tmp_path: Path) -> None:
    """Whoever may would have made a file of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as threads:
        read_ = threads.submit(pipe.read_bytes)
        write_whole(pipe, b"as it is", private=True)
        assert read_.result() == b"as it is"
    assert pipe.is_fifo()
    with pytest.raises(KeyfileRefused, match="not a regular file"):
        write_private(pipe, b"a key")
    assert pipe.is_fifo()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("private", [True, False])
def test_what_cannot_be_written_whole_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    """A checkpoint that was kept for years is not lost to a full disk."""
    write_whole(tmp_path / "kept", b"old", private=private)
    assert bool(stat.S_IMODE((tmp_path / "kept").stat().st_mode) & 0o044) is not private

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "kept", b"new", private=private)
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]
