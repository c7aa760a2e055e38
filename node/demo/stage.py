"""The demo's stage: the nodes, a session with each, one wallet a patient, and what everybody knows of the charts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from node.cli.chart import open_with
from node.cli.client import Document, Session, connect
from node.demo.input import Patient
from node.demo.report import expect
from node.devnet import PASSPHRASE_COST, Devnet
from node.wallet import Wallet, WalletChart

WAIT_SECONDS = 60


class Chart(Struct):
    """A chart of the demo. `records` are event numbers, in the order of the patient's resources."""

    number: int
    custodian: int
    owner: Wallet
    key: WalletChart
    patient: Patient
    records: list[int] = []


class Stage:
    """Everything that steps act on. Hospitals are institutions 0 and 1, the others only read."""

    def __init__(self, devnet: Devnet, sessions: list[Session], wallets: Path) -> None:
        self.devnet = devnet
        self.sessions = sessions
        self.wallets = wallets
        self.charts: list[Chart] = []

    def name(self, number: int) -> str:
        """An institution's name."""
        return self.devnet.plan.nodes[number].name

    def wallet(self, name: str) -> Wallet:
        """A new patient's wallet. Its passphrase is forgotten with the demo."""
        return Wallet.create(self.wallets / name, secrets.token_bytes(16), cost=PASSPHRASE_COST)

    def open_chart(self, wallet: Wallet, custodian: int, patient: Patient) -> Chart:
        """Open a chart and remember it."""
        session = self.sessions[custodian]
        number = open_with(session, wallet)["chart"]
        chart = Chart(number, custodian, wallet, wallet.chart(session.chain(), number), patient)
        self.charts.append(chart)
        return chart

    def heights(self) -> list[int]:
        """Each node's final height."""
        return [session.status()["height"] for session in self.sessions]

    def wait_for_height(self, height: int, numbers: list[int] | None = None) -> None:
        """Wait until these nodes have final block `height`. Raises `StepFailed` after a minute."""
        until = time.monotonic() + WAIT_SECONDS
        for number in range(len(self.sessions)) if numbers is None else numbers:
            while self.sessions[number].status()["height"] < height:
                expect(time.monotonic() < until, f"node {number} did not reach block {height} in {WAIT_SECONDS} s")
                time.sleep(0.05)

    def wait_until_healthy(self) -> None:
        """Wait until every node calls itself healthy. Raises `StepFailed` with what one says after a minute."""
        until = time.monotonic() + WAIT_SECONDS
        for number, session in enumerate(self.sessions):
            while not (status := session.status())["healthy"]:
                expect(time.monotonic() < until, f"node {number} still says: {status['summary']}")
                time.sleep(0.05)

    def same_everywhere(self, chart: int) -> Document:
        """A chart, after checking that every node says the same of it, once all are as far as the first."""
        self.wait_for_height(max(self.heights()))
        found = [session.chart(chart) for session in self.sessions]
        for one in found:
            one.pop("held_here")
        expect(all(one == found[0] for one in found), f"the nodes disagree about chart {chart}")
        return found[0]

    def same_state(self) -> int:
        """The greatest height that all nodes have, after checking that its state root is the same everywhere."""
        height = min(self.heights())
        roots = {session.client.get(f"/v1/blocks/{height}")["state_root"] for session in self.sessions}
        expect(len(roots) == 1, f"the nodes disagree about the state after block {height}")
        return height


@contextmanager
def set_stage(devnet: Devnet) -> Iterator[Stage]:
    """A stage on running nodes; its sessions are closed afterwards."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(connect(devnet.socket(number))) for number in devnet.numbers]
        wallets = devnet.folder / "wallets"
        wallets.mkdir(mode=0o700, exist_ok=True)
        yield Stage(devnet, sessions, wallets)
