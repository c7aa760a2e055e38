"""A damaged copy of the chain is fetched again, epoch by epoch, and nothing that only this node has is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from node.config import load_config
from node.doctor import examine

pytestmark = pytest.mark.processes


def rebuild(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli.main", "node", "rebuild", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_damaged_ledger_is_rebuilt_and_keeps_its_records(network) -> None:
    chart = network.open_chart(0)
    session = network.session(0)
    record = session.submit_record(chart, b"only its custodian has the key", "text/plain")["records"][0]
    network.pass_change({"kind": "take-authority", "institution": 3})
    network.pass_change({"kind": "give-authority", "institution": 3})
    session.submit_record(chart, b"in the third epoch", "text/plain")
    network.same_height()
    config = network.devnet.config(0)
    refused = rebuild(config)
    assert refused.returncode == 1, "a running node's ledger is not touched"
    assert "another process is using" in refused.stderr
    network.devnet.stop([0])
    with sqlite3.connect(network.devnet.data(0) / "ledger.db") as database:
        database.execute("UPDATE event SET raw = zeroblob(length(raw)) WHERE place = (SELECT max(place) FROM event)")
    database.close()
    assert [one for one in examine(load_config(config)) if one.check == "ledger" and one.wrong]
    assert rebuild(config).returncode == 0
    network.devnet.start([0])
    network.same_height()
    session = network.session(0)
    assert session.read_own(chart, record) == b"only its custodian has the key"
    assert session.status()["epoch"] == 2, "it followed the authorities from the genesis on"
    network.devnet.kill(1)
    later = session.submit_record(chart, b"it votes again: without it three are not enough", "text/plain")
    assert later["height"] > 2
    network.devnet.stop([0])
    assert not [one for one in examine(load_config(config)) if one.wrong]
