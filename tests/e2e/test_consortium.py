"""A consortium that changes while it runs, on real daemons and by the commands that its operators type: one more
institution is accredited, votes and is suspended; a node that lost its journal votes again with a new key."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.cli.client import Session, connect
from node.devnet import free_ports
from node.storage.journal import journals
from tests.e2e.conftest import Network

pytestmark = pytest.mark.processes


def run(*arguments: object, code: int = 0, **env: object) -> Any:
    """`chartledger ARGUMENTS --json`, and its document."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments), "--json"]
    variables = os.environ | {name: str(value) for name, value in env.items()}
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout) if code == 0 else done.stderr


def authorities(session: Session) -> list[int]:
    return [one["number"] for one in session.client.get("/v1/institutions") if one["authority"]]


def answers(path: Path) -> bool:
    """Whether somebody listens there: the file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def daemon(home: Path, passphrase: Path) -> Iterator[Session]:
    """The node in a folder that no devnet made."""
    config, path = home / "node.toml", home / "s"
    command = [
        sys.executable,
        "-m",
        "node.cli.main",
        "node",
        "run",
        "--config",
        config,
        "--passphrase-file",
        passphrase,
    ]
    with (home / "node.log").open("ab") as log:
        child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not answers(path):
            assert child.poll() is None, (home / "node.log").read_text()[-2_000:]
            time.sleep(0.05)
        with connect(path) as session:
            yield session
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def apply(network: Network, home: Path, passphrase: Path) -> int:
    """The commands of the candidate and of the authorities; the number that it got."""
    devnet, application = network.devnet, home.parent / "application.json"
    at = [{"CHARTLEDGER_SOCKET": devnet.socket(number)} for number in devnet.numbers]
    applied = run(
        "institution", "apply", home, "--name", "Fifth Hospital", "--genesis", devnet.genesis, "--out", application,
        "--passphrase-file", passphrase,
    )  # fmt: skip
    motion = run("motion", "propose", "accredit", application, **at[0])["motion"]
    network.same_height()
    received = run("motion", "show", motion, **at[1])["change"]["applicant"]
    for kind in ("operation_keys", "vote_key", "encryption_key"):
        assert applied[kind] == received[kind], "both sides have on their screens what they compare by telephone"
    run("motion", "vote", motion, "yes", **at[1])
    network.same_height()
    assert run("motion", "vote", motion, "yes", **at[2])["state"] == "passed"
    number: int = run("motion", "show", motion, **at[2])["assigned"]
    (port,) = free_ports(1)
    peers = [f"--peer={node.number}=127.0.0.1:{node.port}" for node in devnet.plan.nodes]
    run(
        "node", "init", home, "--genesis", devnet.genesis, "--number", number, "--socket", home / "s",
        "--listen", f"127.0.0.1:{port}", *peers,
    )  # fmt: skip
    return number


def test_one_more_institution_comes_votes_and_is_suspended(network: Network) -> None:
    home = network.devnet.folder.parent / "fifth"
    passphrase = network.devnet.folder.parent / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("a horse again\n")
    assert apply(network, home, passphrase) == 4
    with daemon(home, passphrase) as fifth:
        network.eventually("it has caught up", lambda: fifth.status()["height"] >= network.same_height())
        network.pass_change({"kind": "give-authority", "institution": 4})
        network.eventually("it has authority", lambda: authorities(fifth) == [0, 1, 2, 3, 4])
        network.devnet.kill(3)  # four of five are a quorum only with the newcomer
        network.open_chart(0)
        network.devnet.start([3])
        network.pass_change({"kind": "suspend", "institution": 4}, (0, 1, 2, 3))
        network.open_chart(1)
        network.same_height()
    assert authorities(network.session(0)) == [0, 1, 2, 3]
    assert network.session(0).status()["epoch"] == 2


def test_a_node_that_lost_its_journal_votes_again_with_a_new_key(network: Network) -> None:
    devnet = network.devnet
    network.open_chart(0)
    devnet.kill(3)
    (old,) = journals(devnet.data(3))
    old.unlink()
    devnet.start([3])
    session = network.session(3)
    assert "chartledger keys rotate vote" in json.dumps(session.status())
    network.eventually(
        "it is connected", lambda: all(one["state"] == "connected" for one in session.client.get("/v1/peers"))
    )
    run("keys", "rotate", "vote", "--config", devnet.config(3))
    network.same_height()
    devnet.kill(2)  # three of four are a quorum only with the new key
    network.open_chart(0, "q")
    keys = run("keys", "show", "--config", devnet.config(3))
    assert all(one["here"] for one in keys)
    network.eventually("the old journal is gone", lambda: len(journals(devnet.data(3))) == 1)
    assert not old.exists()
    devnet.kill(3)
    devnet.start([3])  # and with nothing but what is on disk
    network.open_chart(0, "r")
