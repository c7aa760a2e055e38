"""Proofs of charts at a terminal, from real daemons, checked with nothing but the genesis file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes

VACCINATION = (
    '{"resourceType":"Immunization","status":"completed","occurrenceDateTime":"2026-03-14",'
    '"vaccineCode":{"text":"Yellow fever"},"lotNumber":"YF-88213"}'
)


def run(*arguments: object, at: Path | None = None, code: int = 0) -> str:
    """`chartledger`, at the node with this socket or at none; what it printed, or said if it failed as expected."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    env = os.environ | ({"CHARTLEDGER_SOCKET": str(at)} if at else {"CHARTLEDGER_SOCKET": "/nowhere"})
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_a_patient_and_two_hospitals_show_what_they_can(network: Any, tmp_path: Path) -> None:
    devnet = network.devnet
    hospital, other = devnet.socket(0), devnet.socket(1)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("sesame\n")
    passphrase.chmod(0o600)
    mine = ("--wallet", tmp_path / "my.wallet", "--passphrase-file", passphrase)
    run("wallet", "new", mine[1], "--passphrase-file", passphrase)
    chart = json.loads(run("chart", "open", *mine, "--json", at=hospital))["chart"]
    record_file = tmp_path / "vaccination.json"
    record_file.write_text(VACCINATION)
    record = json.loads(run("record", "submit", chart, record_file, "--json", at=hospital))["files"][0]["records"][0]
    granted = json.loads(run("grant", chart, *mine, "--to", "2", "--until", "30d", "--json", at=hospital))
    grant = granted["grant"]
    height = network.same_height()
    run("revoke", chart, grant, *mine, at=hospital)
    network.same_height()

    proof = tmp_path / "proof"

    def shown(*more: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("verify", proof, "--genesis", devnet.genesis, "--json", *more))
        return found

    # The owner, then the custodian: one field, and nothing else of the record in the file.
    for who in (mine, ()):
        said = run("proof", "field", chart, record, "/occurrenceDateTime", "-o", proof, *who, at=hospital)
        assert f"{proof.stat().st_size} bytes" in said
        assert proof.stat().st_mode & 0o777 == 0o600
        assert (shown()["pointer"], shown()["value"]) == ("/occurrenceDateTime", '"2026-03-14"')
        assert b"YF-88213" not in proof.read_bytes()
        assert b"Yellow" not in proof.read_bytes()
    no_field = run("proof", "field", chart, record, "/vaccineCode", "-o", proof, *mine, at=hospital, code=1)
    assert "/vaccineCode/text" in no_field

    run("proof", "record", chart, record, "--as-custodian", "-o", proof, at=hospital)
    assert shown("--record", record_file)["record_shown"] is True

    # Another institution's node shows the rest as well as the custodian's.
    run("proof", "history", chart, "-o", proof, at=other)
    history = shown()
    assert (history["complete"], [event["kind"] for event in history["events"]]) == (
        True, ["opened", "record", "granted", "revoked"],
    )  # fmt: skip
    run("proof", "grant", chart, grant, "-o", proof, at=other)
    assert (shown()["in_force"], shown()["against"], shown()["institution"]) == (False, "revoked", 2)
    run("proof", "grant", chart, grant, "--height", height, "-o", proof, at=other)
    assert (shown()["in_force"], shown()["height"]) == (True, height)
    run("proof", "grant", chart, 9, "-o", proof, at=other)
    assert shown()["against"] == "no-grant"
    run("proof", "grant", chart, grant, "--institution", 2, "--record", record, "-o", proof, at=other)
    assert shown()["against"] == "revoked"
    run("proof", "block", height, "-o", proof, at=other)
    assert (shown()["claim"], shown()["height"]) == ("block", height)

    # On paper: what a scanner writes down is a proof, too.
    text = tmp_path / "scanned.txt"
    picture = tmp_path / "date.svg"
    made = json.loads(
        run(
            "proof", "field", chart, record, "/occurrenceDateTime", *mine, "--qr", picture, "--json", at=hospital,
        )
    )  # fmt: skip
    assert [Path(one).exists() for one in made["qr"]] == [True]
    run("proof", "field", chart, record, "/occurrenceDateTime", *mine, "--qr", text, at=hospital)
    assert '"2026-03-14"' in run("verify", text, "--genesis", devnet.genesis)
    assert "nothing says where" in run("proof", chart, record, at=hospital, code=1)
