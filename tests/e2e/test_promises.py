"""What the product promises, shown with real daemons that are killed with kill -9.

The waits here poll other processes' sockets; nothing asserts how long anything took.
"""

from __future__ import annotations

import hashlib
import random
import threading

import pytest

from node.cli.client import Session
from node.client import Unreachable
from protocol.errors import ChartledgerError

pytestmark = pytest.mark.processes

KILLS = 10
SEED = 20_240_229


class Writer(threading.Thread):
    """Submits records to one chart as long as it may, and remembers what was acknowledged as final."""

    def __init__(self, open_session: object, chart: int, custodian: int) -> None:
        super().__init__(daemon=True)
        self.chart = chart
        self.custodian = custodian
        self.final: dict[int, bytes] = {}
        self.errors: list[str] = []
        self.ended = threading.Event()
        self._open = open_session
        self._count = 0

    def run(self) -> None:
        while not self.ended.is_set():
            data = (
                f"chart {self.chart} record {self._count} ".encode()
                + hashlib.sha256(bytes([self._count % 256])).digest()
            )
            self._count += 1
            try:
                session: Session = self._open(self.custodian)  # type: ignore[operator]
                answer = session.submit_record(self.chart, data, "application/octet-stream", sensitivities="none")
                self.final[answer["records"][0]] = data
            except Unreachable:
                self.ended.wait(0.05)  # its node was just killed
            except ChartledgerError as error:
                self.errors.append(f"{error.code}: {error}")


def test_what_was_final_survives_ten_kills_under_load(network) -> None:
    """No acknowledged entry is missing on any node, and no blob at its custodian, after kill -9 at random moments."""
    rng = random.Random(SEED)
    charts = {custodian: network.open_chart(custodian) for custodian in network.devnet.numbers}
    writers = [Writer(network.session, chart, custodian) for custodian, chart in charts.items()]
    for writer in writers:
        writer.start()
    for kill in range(KILLS):
        victim = rng.randrange(4)
        witness = writers[(victim + 1 + rng.randrange(3)) % 4]
        goal = len(witness.final) + rng.randrange(1, 8)
        network.eventually(f"writes before kill {kill}", lambda w=witness, g=goal: len(w.final) >= g)
        network.devnet.kill(victim)
        goal = len(witness.final) + rng.randrange(1, 8)
        network.eventually(f"writes with node {victim} dead", lambda w=witness, g=goal: len(w.final) >= g)
        network.devnet.start([victim])
    for writer in writers:
        writer.ended.set()
        writer.join(60)
        assert not writer.is_alive()
    assert not [e for w in writers for e in w.errors], [w.errors[:3] for w in writers]
    network.same_height()
    for writer in writers:
        assert len(writer.final) >= KILLS // 4
        for node in network.devnet.numbers:
            held = {e["number"] for e in network.session(node).events(writer.chart, "records")}
            assert set(writer.final) <= held, f"node {node} lost entries of chart {writer.chart}"
        session = network.session(writer.custodian)
        for record, data in writer.final.items():
            assert session.read_own(writer.chart, record) == data
    roots(network)


def roots(network) -> None:
    """Every node says the same of every block."""
    height = network.same_height()
    for first in range(0, height + 1, 100):
        pages = []
        for node in network.devnet.numbers:
            page = network.session(node).client.get("/v1/blocks", first=first, count=min(100, height + 1 - first))
            pages.append([(b["height"], b["state_root"]) for b in page])
        assert all(page == pages[0] for page in pages)


def test_one_dead_goes_on_two_dead_stop_and_say_so(network) -> None:
    chart = network.open_chart(0)
    session = network.session(0)
    network.devnet.kill(3)
    before = session.submit_record(chart, b"with three", "text/plain")["height"]
    network.devnet.kill(2)
    network.eventually("status says stalled", lambda: "stalled" in session.status()["summary"])
    status = session.status()
    assert status["healthy"] is False
    assert network.devnet.plan.nodes[2].name in status["summary"]
    assert network.devnet.plan.nodes[3].name in status["summary"]
    assert "3 are needed" in status["summary"]
    done: list[int] = []
    waiting = threading.Thread(
        target=lambda: done.append(network.session(0).submit_record(chart, b"patient", "text/plain")["height"]),
        daemon=True,
    )
    waiting.start()
    network.eventually("it waits in the outbox", lambda: session.status()["outbox"] >= 1)
    assert session.status()["height"] == before
    network.devnet.start([2, 3])
    waiting.join(60)
    assert done, "what waited became final by itself when the others returned"
    assert done[0] > before
    network.eventually("healthy again", lambda: session.status()["healthy"])
    roots(network)
