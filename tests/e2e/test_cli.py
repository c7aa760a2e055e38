"""The command line against real daemons: what a patient, a hospital and an operator type, and what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from node.demo.generator import generate
from node.devnet import Devnet, Wish

pytestmark = pytest.mark.processes


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


def run(*arguments, code: int = 0, env: dict[str, str] | None = None, stdin: str = "") -> Ended:
    """Run `chartledger` as a process and check how it exits; never with a traceback."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, input=stdin, env=os.environ | (env or {}), timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def folder():
    """A folder with a short path, since a socket's path is bounded."""
    path = Path(tempfile.mkdtemp(prefix="cl-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def solo(folder):
    """A network of one, not started: enough to see how a start is refused."""
    devnet = Devnet.create(folder / "net", Wish(institutions=("Only One",)))
    yield devnet
    devnet.kill(0)


def socket_of(network, number: int) -> dict[str, str]:
    return {"CHARTLEDGER_SOCKET": str(network.devnet.socket(number))}


def consent_and_its_end(network, csv: Path, mine: tuple, chart: int, plain: int, note: int) -> None:
    """Grant, read, be denied, revoke, be denied again; and the patient sees all of it."""
    hospital, reader, stranger = (socket_of(network, number) for number in (0, 2, 3))
    grant = run(
        "grant", chart, *mine, "--to", "Lakeside Laboratory", "--category", "Observation", "--until", "30d", "--json",
        env=hospital,
    ).json()["grant"]  # fmt: skip
    network.same_height()
    exact = json.loads(run("record", "read", chart, plain, "--grant", grant, env=reader).out)
    assert exact["resourceType"] == "Observation"
    for who, arguments in (
        (reader, (note, "--grant", grant)),
        (reader, (plain, "--grant", grant, "--purpose", "HMARKT")),
        (stranger, (plain, "--grant", grant)),
    ):
        assert "denied" in run("record", "read", chart, *arguments, env=who, code=1).err
    run("revoke", chart, grant, *mine, env=hospital)
    network.same_height()
    run("record", "read", chart, plain, "--grant", grant, env=reader, code=1)
    asked = run("disclosures", chart, "--csv", csv, "--json", env=hospital).json()
    assert [one["outcome"] for one in asked] == ["disclosed", "denied", "denied", "denied", "denied"]
    assert asked[0]["institution_name"] == "Lakeside Laboratory"
    assert len(csv.read_text().splitlines()) == 6


def test_a_patients_day_by_command_line(network, tmp_path, passphrase) -> None:
    net = network.devnet
    hospital, reader, stranger = (socket_of(network, number) for number in (0, 2, 3))
    wallet = tmp_path / "my.wallet"
    mine = ("--wallet", wallet, "--passphrase-file", passphrase)

    words = run("wallet", "new", wallet, "--passphrase-file", passphrase, "--json").json()["words"]
    assert len(words.split()) == 24
    chart = run("chart", "open", *mine, "--json", env=hospital).json()["chart"]

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    bundle = generate(1, seed=3)[0].raw
    (inbox / "a.json").write_bytes(bundle)
    (inbox / "b.txt").write_text("Zoë's note\n")
    (inbox / "broken.json").write_bytes(bundle[:-20])
    (inbox / "empty.json").write_bytes(b"")
    submitted = run("record", "submit", chart, inbox, "--json", env=hospital, code=3).json()
    assert [Path(one["file"]).name for one in submitted["skipped"]] == ["broken.json", "empty.json"]
    note = next(one for one in submitted["files"] if one["file"].endswith("b.txt"))["records"][0]
    records = [number for one in submitted["files"] for number in one["records"]]
    network.same_height()
    assert len(run("record", "list", chart, "--json", env=reader).json()) == len(records)
    held = run("record", "list", chart, "--held", "--json", env=hospital).json()
    assert {one["blob_state"] for one in held} == {"ok"}
    plain = next(r["record"] for r in held if r["category"] == "Observation")

    labelled = ("--sensitivity", "PSY", "--json")
    told = run("record", "submit", chart, inbox / "a.json", *labelled, env=hospital, code=3).json()
    assert "--whole" in told["skipped"][0]["why"], "labels that a Bundle's records would not get are not dropped"
    assert (
        "is not a year"
        in run("grant", chart, *mine, "--to", "2", "--until", "1d", "--year", "24", env=hospital, code=1).err
    )

    out = tmp_path / "out"
    run("record", "read", chart, note, "-o", out, env=hospital)
    assert out.read_text() == "Zoë's note\n"
    assert out.stat().st_mode & 0o777 == 0o600

    consent_and_its_end(network, tmp_path / "d.csv", mine, chart, plain, note)

    again = tmp_path / "again.wallet"
    nowhere = ("--socket", tmp_path / "none")
    run("wallet", "restore", again, "--passphrase-file", passphrase, *nowhere, stdin=words, code=4)
    assert not again.exists(), "what failed can be given again"
    listed = run("wallet", "restore", again, "--passphrase-file", passphrase, "--json", env=hospital, stdin=words)
    assert [one["chart"] for one in listed.json()["charts"]] == [chart]
    restored = ("--wallet", again, "--passphrase-file", passphrase)
    assert run("record", "read", chart, note, *restored, env=hospital).out == "Zoë's note\n"
    # A restored wallet knows no number that was used: it must go on above what the ledger saw.
    run("grant", chart, *restored, "--to", "2", "--until", "2099-01-01", env=hospital)

    proof = tmp_path / "proof"
    run("proof", chart, note, "-o", proof, *restored, env=hospital)
    shown = run("verify", proof, "--genesis", net.genesis, "--record", inbox / "b.txt", "--json").json()
    assert shown["record_shown"] is True
    (inbox / "b.txt").write_text("Zoe's note\n")
    assert "record" in run("verify", proof, "--genesis", net.genesis, "--record", inbox / "b.txt", code=1).err
    amended = run("record", "amend", chart, note, inbox / "b.txt", "--json", env=hospital).json()
    network.same_height()
    history = run("chart", "history", chart, "--json", env=stranger).json()
    assert history[-1]["number"] == amended["records"][0]
    assert history[-1]["supersedes"] == note
    assert run("chart", "show", chart, "--json", env=stranger).json()["grants"] == 2

    assert run("doctor", "--config", net.config(0), "--json").json()["healthy"] is True
    status = run("status", "--json", env=hospital).json()
    assert status["healthy"]
    assert status["blobs"]["bad"] == 0
    assert len(run("peers", "--json", env=hospital).json()) == 3
    assert "height" in run("peers", env=hospital).out, "what `keys rotate network` tells to look for before `retire`"
    assert "healthy" in run("status", env=hospital).out
    assert "error" in run("status", "--socket", tmp_path / "none", code=4).err


def test_a_network_from_cards(folder, passphrase) -> None:
    """Each institution makes its keys; the cards become a genesis; each node finds its number in it."""
    secret = ("--passphrase-file", passphrase)
    homes = [folder / name for name in ("a", "b")]
    for home in homes:
        run("node", "init", home, "--name", home.name.upper(), *secret)
    assert (homes[0] / "keystore").stat().st_mode & 0o777 == 0o600
    genesis = folder / "genesis.json"
    cards = [home / "institution.json" for home in homes]
    made = run("genesis", "new", *cards, "--name", "two", "-o", genesis, "--follower", "1", "--json").json()
    assert made["authorities"] == [0]
    assert run("genesis", "show", genesis, "--json").json()["chain"] == made["chain"]
    wrong = [("--peer", "x=127.0.0.1:9"), ("--peer", "0=127.0.0.1:9"), ("--listen", "nowhere")]
    for arguments in wrong:
        run("node", "init", homes[0], "--genesis", genesis, *arguments, code=1)
        assert not (homes[0] / "node.toml").exists(), "what was refused can be given again, mended"
    for number, home in enumerate(homes):
        told = run("node", "init", home, "--genesis", genesis, "--peer", f"{1 - number}=127.0.0.1:9", "--json").json()
        assert told["institution"] == number
    run("node", "init", homes[0], "--name", "again", *secret, code=1)
    for name in ("", " ", "x" * 81, "a\nb"):
        run("node", "init", folder / "c", "--name", name, *secret, code=1)
        run("genesis", "new", *cards, "--name", name, "-o", folder / "other.json", code=1)
    assert not (folder / "c").exists()
    assert not (folder / "other.json").exists()
    # Another genesis of the same institutions: refused before a ledger begins from it.
    run("genesis", "new", *cards, "--name", "two", "-o", folder / "other.json")
    config = (homes[0] / "node.toml").read_text()
    (homes[0] / "node.toml").write_text(config.replace("genesis.json", "other.json"))
    refused = run("node", "run", "--config", homes[0] / "node.toml", *secret, code=1)
    assert "[genesis-mismatch]" in refused.err
    (homes[0] / "node.toml").write_text(config)
    findings = run("doctor", "--config", homes[0] / "node.toml", *secret, "--json").json()["findings"]
    assert (
        next(f for f in findings if f["check"] == "keystore")["sentence"]
        == "it opens, and its keys are those on the ledger"
    )


def refused_start(devnet: Devnet) -> str:
    """Start the node, which must be refused in one sentence on one line; returns it."""
    ended = run("node", "run", "--config", devnet.config(0), code=1)
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ended.err
    return lines[0]


def test_starts_that_are_refused_in_one_sentence(solo) -> None:
    home = solo.home(0)
    keystore, secret = home / "keystore", home / "passphrase"

    keystore.chmod(0o644)
    assert "chmod 600" in refused_start(solo)
    keystore.chmod(0o600)

    right = secret.read_text()
    secret.write_text("wrong")
    assert "passphrase does not open" in refused_start(solo)
    secret.write_text(right)

    keystore.rename(home / "elsewhere")
    assert "cannot read" in refused_start(solo)
    (home / "elsewhere").rename(keystore)

    genesis = solo.genesis.read_text()
    solo.genesis.write_text(genesis.replace("Only One", "Only Two"))
    assert "genesis" in refused_start(solo)
    solo.genesis.write_text(genesis)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", solo.plan.nodes[0].port))
        taken.listen()
        assert str(solo.plan.nodes[0].port) in refused_start(solo)

    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(solo.socket(0)))
        taken.listen()
        assert str(solo.socket(0)) in refused_start(solo)

    solo.start()
    solo.stop()
    database = solo.data(0) / "ledger.db"
    with sqlite3.connect(database) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    assert "database-too-new" in refused_start(solo)


def test_another_network_s_ledger_is_refused(solo, folder) -> None:
    solo.start()
    solo.stop()
    other = Devnet.create(folder / "other", Wish(institutions=("Only One",)))
    shutil.copytree(solo.data(0), other.data(0), dirs_exist_ok=True)
    assert "another genesis" in refused_start(other)


def test_two_nodes_never_share_a_data_folder(solo) -> None:
    solo.start()
    (solo.home(0) / "second.toml").write_text(solo.config(0).read_text().replace('socket = "s"', 'socket = "t"'))
    ended = run("node", "run", "--config", solo.home(0) / "second.toml", code=1)
    assert "another process is using" in ended.err


def test_a_stop_is_graceful(solo) -> None:
    """SIGTERM ends the process with 0, and the log says so."""
    solo.start()
    pid = solo.pid(0)
    assert pid is not None
    child = solo._started[0]
    os.kill(pid, signal.SIGTERM)
    assert child.wait(30) == 0
    assert json.loads(solo.last_words(0))["event"] == "stopped"
