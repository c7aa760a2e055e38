"""The demo's trouble: a node is killed under load, and bytes are changed on one node's disk."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from node.config import load_config
from node.demo.generator import generate
from node.demo.report import StepFailed, expect
from node.demo.stage import Chart, Stage
from node.doctor import Finding, examine
from protocol.errors import ChartledgerError

VICTIM = 3
LOAD_BUNDLES = 12


class Trouble:
    """Steps that break something on purpose, each of which leaves the network whole again."""

    def __init__(self, stage: Stage, chart: Chart) -> None:
        self.stage = stage
        self.chart = chart
        self.tampered = chart.custodian
        """Whose disk is tampered with: an institution that holds records whatever the demo is played with."""

    def kill_under_load(self) -> str:
        """kill -9 while records come in; the others go on; the node comes back and catches up by itself."""
        stage = self.stage
        load = _Load(stage, self.chart)
        load.start()
        load.wait_for(1)
        stage.devnet.kill(VICTIM)
        others = [number for number in stage.devnet.numbers if number != VICTIM]
        before = max(stage.sessions[number].status()["height"] for number in others)
        load.wait_for(load.done + 2)
        after = min(stage.sessions[number].status()["height"] for number in others)
        expect(after > before, "the chain stood still with one node of four dead")
        stage.devnet.start([VICTIM])
        records = load.finish()
        stage.wait_for_height(max(stage.sessions[number].status()["height"] for number in others))
        listed = {one["number"] for one in stage.sessions[VICTIM].events(self.chart.number, "records")}
        expect(records <= listed, f"{len(records - listed)} records are missing on the node that was killed")
        stage.same_everywhere(self.chart.number)
        stage.wait_until_healthy()
        return (
            f"{stage.name(VICTIM)} was killed at block {before} while {len(records)} records came in; none was lost, "
            f"and it is back at block {stage.same_state()}"
        )

    def change_a_byte(self) -> str:
        """One byte in one node's database, one in a blob: `doctor` and `status` say which."""
        devnet = self.stage.devnet
        said = []
        for what, spoil in (("a ledger event", self._spoil_event), ("a sealed record", self._spoil_blob)):
            devnet.stop([self.tampered])
            undo, place = spoil()
            try:
                devnet.start([self.tampered])
                said.append(f"{what}: {self._found(place)}")
            finally:
                devnet.stop([self.tampered])
                undo()
                devnet.start([self.tampered])
        findings = examine(load_config(devnet.config(self.tampered)))
        expect(not [f for f in findings if f.wrong], "doctor still finds fault after the bytes were put back")
        self.stage.wait_until_healthy()
        return "; ".join(said)

    def _found(self, place: str) -> str:
        config = load_config(self.stage.devnet.config(self.tampered))
        wrong = [finding for finding in examine(config) if finding.wrong]
        named = [finding for finding in wrong if place in finding.sentence]
        expect(bool(named), f"doctor does not name {place}, but: {_listed(wrong)}")
        status = self.stage.sessions[self.tampered].status()
        expect(not status["healthy"], "status calls a damaged node healthy")
        expect(place in status["summary"], f"status does not name {place}, but says: {status['summary']}")
        return named[0].sentence

    def _spoil_event(self) -> tuple[Callable[[], None], str]:
        """Flip a bit in the stored bytes of one event, where they lie in the database file."""
        path = self.stage.devnet.data(self.tampered) / "ledger.db"
        chart = self.chart.number
        event = self.stage.sessions[VICTIM].event(chart, 0)
        return _flip_in_file(path, event), f"chart {chart}"

    def _spoil_blob(self) -> tuple[Callable[[], None], str]:
        """Flip a bit in the middle of the last sealed record, where it is packed. The running node comes to that last
        of all: what it finds damaged it heals from another copy, before `doctor` could say so."""
        path = self.stage.devnet.data(self.tampered) / "blobs.db"
        query = "SELECT id, data FROM blob WHERE data IS NOT NULL ORDER BY position DESC LIMIT 1"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            identity, data = connection.execute(query).fetchone()
        finally:
            connection.close()
        return _flip_in_file(path, data), identity.hex()[:16]


class _Load:
    """Bundles submitted one after the other by a thread, as an EHR would."""

    def __init__(self, stage: Stage, chart: Chart) -> None:
        self._stage = stage
        self._chart = chart
        self._records: set[int] = set()
        self._error: ChartledgerError | None = None
        self._step = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="load")
        self.done = 0

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        session = self._stage.sessions[self._chart.custodian]
        try:
            for bundle in generate(LOAD_BUNDLES, seed=1):
                answer = session.submit_bundle(self._chart.number, bundle.raw)
                with self._step:
                    self._records.update(answer["records"])
                    self.done += 1
                    self._step.notify_all()
        except ChartledgerError as error:
            with self._step:
                self._error = error
                self._step.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until `count` Bundles are final. Raises what went wrong."""
        with self._step:
            self._step.wait_for(lambda: self.done >= min(count, LOAD_BUNDLES) or self._error is not None, timeout=60)
            if self._error is not None:
                raise self._error
            expect(self.done >= min(count, LOAD_BUNDLES), "records under load did not become final within a minute")

    def finish(self) -> set[int]:
        """Wait for the rest; the event numbers of all records."""
        self.wait_for(LOAD_BUNDLES)
        self._thread.join()
        return self._records


def _flip_in_file(path: Path, content: bytes) -> Callable[[], None]:
    """Flip one bit of `content` where it lies in the file; returns what puts it back. Raises `StepFailed`."""
    # A long value is spread over pages, of which only the first stretch is in one piece.
    piece = content[: min(len(content), 64)]
    raw = path.read_bytes()
    at = raw.find(piece)
    if at < 0:
        raise StepFailed(f"the bytes to be changed are not in {path.name}")
    place = at + len(piece) // 2
    old = raw[place]

    def write(value: int) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, bytes([value]), place)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def put_back() -> None:
        now = path.read_bytes()[at : at + len(piece)]
        if now == piece[: place - at] + bytes([old ^ 1]) + piece[place - at + 1 :]:  # else the node healed it
            write(old)

    write(old ^ 1)
    return put_back


def _listed(findings: list[Finding]) -> str:
    return "; ".join(one.sentence for one in findings) or "nothing"
