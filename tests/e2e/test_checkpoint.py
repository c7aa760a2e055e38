"""Proofs and checkpoints at a terminal, across the end of an epoch, from real daemons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes


def run(network: Any, number: int, *arguments: object, code: int = 0) -> str:
    """`chartledger` at one institution; its output, or what it said on standard error if it failed as expected."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    env = os.environ | {"CHARTLEDGER_SOCKET": str(network.devnet.socket(number))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_a_checkpoint_from_before_an_epochs_end_checks_proofs_from_after_it(network: Any, tmp_path: Path) -> None:
    genesis, proof = network.devnet.genesis, tmp_path / "proof"
    first, second, third = (tmp_path / f"checkpoint-{n}" for n in range(3))
    chart = network.open_chart(0)
    run(network, 0, "checkpoint", "-o", first, "--genesis", genesis)
    network.pass_change({"kind": "take-authority", "institution": 3})
    network.session(0).submit_record(chart, b"in the second epoch", "text/plain")
    run(network, 0, "proof", chart, 1, "-o", proof)
    network.same_height()

    shown = json.loads(run(network, 0, "verify", proof, "--genesis", genesis, "--json"))
    assert (shown["epoch"], shown["authorities"], len(shown["epochs_passed"])) == (1, [0, 1, 2], 1)
    assert "1 epoch was passed" in run(network, 0, "verify", proof, "--checkpoint", first)
    run(network, 0, "verify", proof, "--checkpoint", first, "--genesis", genesis)
    assert "nothing is given to check by" in run(network, 0, "verify", proof, code=1)

    # Another institution's node shows the very block of the checkpoint, and leads on from it.
    later = json.loads(run(network, 1, "checkpoint", "-o", second, "--checkpoint", first, "--json"))
    assert later["epoch"] == 1
    run(network, 0, "proof", chart, 1, "-o", proof, "--checkpoint", second)
    assert "passed" not in run(network, 0, "verify", proof, "--checkpoint", second)
    needs_it = run(network, 0, "verify", proof, "--genesis", genesis, code=1)
    assert "begins in epoch 1" in needs_it

    other = json.loads(network.devnet.genesis.read_text())
    strange = tmp_path / "strange.json"
    strange.write_text(json.dumps(other | {"name": "another network"}))
    assert run(network, 0, "checkpoint", "-o", third, "--genesis", strange, code=1)
    assert not third.exists()
