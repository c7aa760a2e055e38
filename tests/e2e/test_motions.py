"""Motions on real daemons through socket and command line: they pass, are refused with the reason, and what would leave
no quorum or no fault to spare within reach must be confirmed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.application_file import write_application
from node.cli.client import Session
from node.devnet import Devnet, Wish
from node.institution_keys import new_institution
from protocol.crypto.signing import SigningKey, apply_as
from protocol.errors import AlreadyVoted, Contradicted, MotionClosed, NotAnAuthority, UnknownInstitution
from tests.e2e.conftest import Network

pytestmark = pytest.mark.processes


@pytest.fixture
def one() -> Iterator[Network]:
    """A network of one daemon."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    net = Network(Devnet.create(folder / "net", Wish(institutions=("Only One",))))
    try:
        net.devnet.start()
        yield net
    finally:
        net.close()
        shutil.rmtree(folder, ignore_errors=True)


def run(net: Network, number: int, *arguments: object, code: int = 0) -> tuple[str, str]:
    """`chartledger` at one institution; its output and what it said on standard error."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    env = os.environ | {"CHARTLEDGER_SOCKET": str(net.devnet.socket(number))}
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def sessions(net: Network) -> list[Session]:
    return [net.session(number) for number in net.devnet.numbers]


def decide(net: Network, change: dict[str, object], *voters: int) -> str:
    """Move a change at institution 0 and let others vote for it, one after the other; where it stands in the end."""
    all_ = sessions(net)
    done = all_[0].propose(change)
    motion = done["motion"]
    for number in voters:
        net.eventually("the motion is known", lambda n=number: _knows(all_[n], motion))
        done = all_[number].vote(motion, favour=True)
    state: str = done["state"]
    return state


def _knows(session: Session, motion: int) -> bool:
    return any(one["motion"] == motion for one in session.motions(every=True))


def everywhere(net: Network, what: str, epoch: int) -> None:
    net.eventually(what, lambda: all(one.status()["epoch"] == epoch for one in sessions(net)))


def test_parameters_change_at_the_end_of_an_epoch_and_the_chain_goes_on(network: Network) -> None:
    assert decide(network, {"kind": "set", "parameters": {"delta_ms": 700}}, 1, 2) == "passed"
    everywhere(network, "epoch 1 has begun everywhere", 1)
    network.open_chart(0)
    network.same_height()
    for session in sessions(network):
        assert session.status()["healthy"]


def test_what_is_wrong_is_refused_with_the_reason(network: Network) -> None:
    one, two, three, four = sessions(network)
    with pytest.raises(UnknownInstitution):
        one.propose({"kind": "suspend", "institution": 9})
    assert decide(network, {"kind": "take-authority", "institution": 3}) == "open"
    with pytest.raises(AlreadyVoted):
        one.vote(0, favour=False)
    again = two.propose({"kind": "suspend", "institution": 3})["motion"]
    for session in (two, three):
        network.eventually("the motion is known", lambda s=session: _knows(s, 0))
        done = session.vote(0, favour=True)
    assert done["state"] == "passed"
    everywhere(network, "epoch 1 has begun everywhere", 1)
    assert [one["authority"] for one in one.client.get("/v1/institutions")] == [True, True, True, False]
    with pytest.raises(MotionClosed):
        two.vote(0, favour=True)
    with pytest.raises(NotAnAuthority):
        four.vote(again, favour=True)
    with pytest.raises(Contradicted):
        one.propose({"kind": "take-authority", "institution": 3})


def test_an_institution_comes_in_through_an_application_file(network: Network, tmp_path: Path) -> None:
    made = new_institution("Northern Clinic")
    signing = [SigningKey(seed) for seed in made.keystore.operations]
    chain = bytes.fromhex(network.devnet.plan.chain)
    applied = apply_as(chain, made.public, signing, SigningKey(made.keystore.votes[0]))
    file = tmp_path / "application.json"
    write_application(file, applied, chain)
    said, _ = run(network, 0, "motion", "propose", "accredit", file)
    assert "motion 0 (accredit Northern Clinic): open" in said
    network.eventually("the motion is known", lambda: _knows(network.session(1), 0))
    said, _ = run(network, 1, "motion", "show", 0)
    assert made.public.vote_key.hex() in said
    assert "it awaits your vote" in said
    for number in (1, 2):
        network.eventually("the motion is known", lambda n=number: _knows(network.session(n), 0))
        said, _ = run(network, number, "motion", "vote", 0, "yes")
    assert "it is institution 4" in said
    listed = json.loads(run(network, 2, "motion", "list", "--all", "--json")[0])
    assert [(one["state"], one["assigned"]) for one in listed["motions"]] == [("passed", 4)]
    assert "no open motions" in run(network, 2, "motion", "list")[0]
    network.same_height()
    _, said = run(network, 0, "motion", "propose", "accredit", file, code=1)
    assert "[claimed]" in said


def test_what_would_leave_no_fault_to_spare_must_be_confirmed(network: Network) -> None:
    _, said = run(network, 0, "motion", "propose", "take-authority", "University Hospital", code=1)
    assert "no fault to spare: all 3 of the 3 authorities" in said
    assert "--yes" in said
    assert list(network.session(0).motions(every=True)) == []
    said, warned = run(network, 0, "motion", "propose", "take-authority", 3, "--yes", "--until", "2d")
    assert "motion 0 (take authority from University Hospital (institution 3)): open" in said
    assert "no fault to spare" in warned
    network.eventually("the motion is known", lambda: _knows(network.session(1), 0))
    run(network, 1, "motion", "vote", 0, "yes", code=1)
    assert network.session(1).motion(0)["favour"] == [0]
    network.devnet.kill(2)
    network.eventually(
        "its absence is noticed",
        lambda: network.session(1).status()["authorities"][2]["state"] == "silent",
    )
    _, said = run(network, 1, "motion", "vote", 0, "yes", code=1)
    assert "this would stop the chain: 3 of 3 authorities would have to vote, and 2 can be reached" in said
    assert "Lakeside Laboratory" in said
    run(network, 1, "motion", "vote", 0, "no")
    assert network.session(1).motion(0)["against"] == [1]


def test_wrong_command_lines_and_a_quorum_of_one(one: Network) -> None:
    for arguments, word in (
        (("propose", "set", "delta_ms"), "NAME=VALUE"),
        (("propose", "set", "delta_ms=5", "delta_ms=6"), "NAME=VALUE"),
        (("propose", "set", "delta_ms=-5"), "NAME=VALUE"),
        (("propose", "suspend", "Nowhere"), "no institution is called"),
        (("propose", "suspend", "0"), "[last-authority]"),
        (("propose", "accredit", "/nonexistent"), "cannot read the application"),
        (("propose", "suspend", "0", "--until", "soon"), "is not a time"),
        (("vote", "0", "yes"), "[unknown-motion]"),
        (("show", "0"), "[unknown-motion]"),
    ):
        _, said = run(one, 0, "motion", *arguments, code=1)
        assert word in said, arguments
    run(one, 0, "motion", "vote", "0", "perhaps", code=2)
    said, _ = run(one, 0, "motion", "propose", "set", "delta_ms=700")
    assert "motion 0 (set delta_ms = 700): passed" in said
    everywhere(one, "epoch 1 has begun", 1)
