"""Erasure with real daemons: all who stored a record delete it and say so, and no file of any node holds a trace."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

import pytest

from node.cli.chart import open_with
from node.cli.erasure import dispute_with, erase_with, standing_of
from protocol.chart_errors import OnHold
from protocol.errors import ChartledgerError

pytestmark = pytest.mark.processes

TEXT = b"a finding that its patient wants gone: quite unmistakable 4711. " * 40


def windows(data: bytes) -> list[bytes]:
    """Of a small piece, any 63 bytes in a row hold one of these; of a large one, any page of a database does."""
    return [data[i : i + 32] for i in range(0, len(data) - 32, max(32, len(data) // 200))]


def kept_by(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def found(net, traces: list[bytes], numbers=None) -> list[str]:
    return [
        f"node {number}: {name}"
        for number in (net.numbers if numbers is None else numbers)
        for name, content in kept_by(net.home(number)).items()
        if any(trace in content for trace in traces)
    ]


def test_an_erased_record_leaves_no_trace_at_any_node(network, tmp_path) -> None:
    net, hospital = network.devnet, network.session(0)
    wallet = network.wallet("p")
    number = open_with(hospital, wallet)["chart"]
    chart = wallet.chart(hospital.chain(), number)
    large = secrets.token_bytes(300_000)
    stays = hospital.submit_record(number, b"stays", "text/plain")["records"][0]
    gone = [
        hospital.submit_record(number, data, "text/plain", sensitivities="none")["records"][0] for data in (TEXT, large)
    ]
    network.same_height()
    place = f"/v1/charts/{number}/records"
    blobs = [hospital.client.read(f"{place}/{record}/sealed") for record in gone]
    envelopes = [hospital.client.read(f"{place}/{record}/owner-envelope") for record in gone]
    holders = hospital.client.get(f"/v1/charts/{number}/erasure-holders", records=",".join(map(str, gone)))["holders"]
    traces = [window for data in (*blobs, *envelopes, large, TEXT) for window in windows(data)]
    before = found(net, traces)
    assert {name.split(":")[0] for name in before} == {f"node {n}" for n in (0, *holders)}, "the search finds them"
    keks = {n: (net.home(n) / "data" / "kek").read_bytes() for n in (0, *holders)}

    basis = "ab" * 32
    hold = hospital.submit_json(f"/v1/charts/{number}/holds", {"basis": basis, "records": [gone[0]]})["hold"]
    with pytest.raises(OnHold):
        erase_with(hospital, wallet, chart, gone)
    hospital.submit_json(f"/v1/charts/{number}/holds/{hold}/release", None)
    done = erase_with(hospital, wallet, chart, gone)
    assert done["owed"] == sorted({0, *holders})
    network.same_height()
    other = network.session(3)

    def complete() -> bool:
        (erasure,) = other.client.get(f"/v1/charts/{number}/erasures")
        return bool(erasure["complete"])

    network.eventually("all have answered", complete)
    assert found(net, traces) == []
    for n, old in keks.items():
        assert (net.home(n) / "data" / "kek").read_bytes() != old, "the key-encryption key was made anew"
    for record in gone:
        with pytest.raises(ChartledgerError) as caught:
            hospital.read_own(number, record)
        assert caught.value.code == "record-erased"
    assert hospital.read_own(number, stays) == b"stays"
    assert "was erased" in standing_of(hospital, number, gone[0])["sentences"][0]

    backup = tmp_path / "backup"
    backup.mkdir()
    for name in ("ledger.db", "blobs.db"):
        source, copy = sqlite3.connect(net.home(0) / "data" / name), sqlite3.connect(backup / name)
        source.backup(copy)
        source.close()
        copy.close()
    assert not [name for name, content in kept_by(backup).items() if any(trace in content for trace in traces)]

    note = dispute_with(hospital, wallet, chart, stays, b"I say otherwise", "text/plain")["records"][0]
    assert hospital.read_own(number, note) == b"I say otherwise"
    assert standing_of(hospital, number, stays)["disputed_by"] == [note]
    net.kill(0)
    net.start()
    network.eventually("node 0 is back", lambda: network.session(0).read_own(number, stays) == b"stays")
    assert found(net, traces) == []
    assert network.session(0).status()["erasures"] == {"records": 0, "receipts": 0, "blocked": None, "lost": 0}
