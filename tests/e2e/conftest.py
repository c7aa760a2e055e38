"""Networks of real daemons for the end-to-end tests: one folder each, ended by their own pids whatever happens."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from node.cli.chart import open_with
from node.cli.client import Session, connect
from node.devnet import PASSPHRASE_COST, Devnet
from node.wallet import Wallet

PATIENCE_S = 60


class Network:
    """A devnet with a session to each node and a way to wait that ends."""

    def __init__(self, devnet: Devnet) -> None:
        self.devnet = devnet
        self._stack = ExitStack()

    def session(self, number: int) -> Session:
        """A fresh session with one node; closed with the network."""
        return self._stack.enter_context(connect(self.devnet.socket(number)))

    def wallet(self, name: str) -> Wallet:
        return Wallet.create(self.devnet.folder / f"wallet-{name}", secrets.token_bytes(16), cost=PASSPHRASE_COST)

    def open_chart(self, custodian: int, name: str = "p") -> int:
        """A chart of a new patient with this custodian."""
        number: int = open_with(self.session(custodian), self.wallet(f"{name}-{custodian}"))["chart"]
        return number

    def eventually(self, what: str, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Poll a real daemon until something holds: there is no other way to wait for another process."""
        until = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < until, f"not within {patience_s} s: {what}"
            time.sleep(0.05)

    def same_height(self) -> int:
        """Wait until all running nodes have the height of the furthest; returns it.

        What one node has answered, another may know a block later: wait here before asking another.
        """
        running = [n for n in self.devnet.numbers if self.devnet.pid(n) is not None]
        sessions = [self.session(n) for n in running]
        goal = max(s.status()["height"] for s in sessions)
        self.eventually(f"all at block {goal}", lambda: all(s.status()["height"] >= goal for s in sessions))
        return goal

    def pass_change(self, change: dict[str, Any], voters: tuple[int, ...] = (0, 1, 2)) -> None:
        """Move a change at the first of these, vote for it at the others, a quorum together; then all nodes know it."""
        first, *others = voters
        motion = self.session(first).propose(change)["motion"]
        for voter in others:
            session = self.session(voter)
            self.eventually(
                f"motion {motion} at {voter}", lambda s=session: motion in [m["motion"] for m in s.motions(every=True)]
            )
            state = session.vote(motion, favour=True)["state"]
        assert state == "passed"
        self.same_height()

    def close(self) -> None:
        self._stack.close()
        for number in self.devnet.numbers:
            self.devnet.kill(number)


@pytest.fixture
def network() -> Iterator[Network]:
    """Four running daemons in a folder with a short path (a socket's path is bounded)."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    devnet = Devnet.create(folder / "net")
    net = Network(devnet)
    try:
        devnet.start()
        yield net
    finally:
        net.close()
        shutil.rmtree(folder, ignore_errors=True)
