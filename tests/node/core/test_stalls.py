"""What real nodes say when the chain stands still: who is missing, who can be reached and does not vote, whose clock is
off. Four nodes in one process, with short timers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from node.app import Node
from node.clock import SystemClock
from protocol.codec.canonical import encode
from protocol.crypto.signing import SigningKey, sign_vote
from protocol.ledger import keys
from protocol.params import Params
from protocol.types.governance import Motion, Parameter, ReportEquivocation, SetParameters
from protocol.types.institutions import STATUS_SUSPENDED
from protocol.types.operations import SignedOperation
from protocol.types.votes import NOTARIZE, VoteSubject
from tests.node.core.conftest import Devnet

PATIENCE_S = 60
QUICK = Params(delta_ms=50, timeout_cap_ms=5_000)


class Turned(SystemClock):
    """A clock whose date was set wrong, and whose time can be made to pass."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self._ahead_ms = ahead_ms
        self.passed_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self._ahead_ms + self.passed_ms

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.passed_ms


@pytest.fixture
async def quick() -> AsyncIterator[Devnet]:
    """Four nodes with short timers, not started."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    net = Devnet(folder, QUICK)
    try:
        yield net
    finally:
        await net.stop(0, 1, 2, 3)
        shutil.rmtree(folder)


async def start(net: Devnet, number: int, clock: Turned) -> None:
    node = Node(net.config(number), net.keys(number), clock)
    await node.start()
    net.nodes[number] = node


async def eventually(net: Devnet, number: int, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The node's status, once it says so: what it says depends on time that passes."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds(status := dict(await net.services(number).status())):
            await asyncio.sleep(0.02)  # a status has no event that a test could wait for
    return status


def states(status: dict[str, Any]) -> list[str]:
    return [one["state"] for one in status["authorities"]]


async def submit(net: Devnet, number: int) -> None:
    services = net.services(number)
    change = SetParameters((Parameter("delta_ms", 60),))
    operation = SignedOperation(Motion(change, services.now_ms() + 3_600_000))
    await services.submit(await services.prepare([[operation]]))


async def submit_evidence(net: Devnet) -> None:
    """Node 0 reports that 3 voted twice in view 5 of epoch 0."""
    traitor = SigningKey(net.keys(3).keystore.votes[0])
    votes = [sign_vote(traitor, VoteSubject(NOTARIZE, net.chain, 0, 5, 4, bytes([block]) * 32), 3) for block in (1, 2)]
    first, second = sorted(votes, key=encode)
    services = net.services(0)
    await services.submit(await services.prepare([[SignedOperation(ReportEquivocation(first, second))]]))


async def test_who_can_be_reached_and_does_not_vote_is_told_from_who_is_away(quick: Devnet) -> None:
    """Node 3 lost its journal, so it only follows; with node 2 away too, two of four are left."""
    quick.journal(3).unlink()
    clock = Turned()
    await start(quick, 0, clock)
    await quick.start(1)
    deaf = Turned()
    await start(quick, 3, deaf)
    for number in (1, 3):
        await eventually(quick, 0, lambda status, n=number: status["peers"][n - 1]["state"] == "connected")
    own = await eventually(quick, 3, lambda status: not status["healthy"])
    assert own["summary"].startswith("not voting: ")
    assert "chartledger keys rotate vote" in own["summary"]
    await submit(quick, 0)
    clock.passed_ms = 11_000  # who votes is heard again soon
    status = await eventually(quick, 0, lambda status: states(status) == ["voting", "voting", "silent", "not voting"])
    assert "1 of 4 authorities are silent (Hospital 2 since" in status["summary"]
    assert "1 do not vote although they can be reached (Hospital 3 since" in status["summary"]
    assert "3 are needed" in status["summary"]
    assert not status["healthy"]
    assert abs(status["authorities"][3]["since_ms"] - quick.services(0).now_ms()) < 60_000
    await eventually(quick, 3, lambda status: status["pending"] > 0)
    deaf.passed_ms = 11_000
    heard = states(dict(await quick.services(3).status()))
    assert heard == ["voting", "voting", "silent", "not voting"], "it takes in no votes, and blames nobody for that"
    await quick.start(2)
    status = await eventually(quick, 0, lambda status: status["healthy"] and status["height"] > 0)
    assert "motion 0 " not in status["summary"].lower(), "its own motion awaits its vote no more"


async def test_who_is_suspended_is_told_so_and_not_that_the_others_are_away(quick: Devnet) -> None:
    await quick.start(0)
    standing = quick.services(0).standing
    suspended = msgspec.structs.replace(standing.institutions[0], status=STATUS_SUSPENDED)
    standing.update({keys.institution(0): encode(suspended)})
    status = await quick.services(0).status()
    assert status["summary"].startswith("suspended: ")
    assert "stalled" not in status["summary"]
    assert not status["healthy"]


async def test_a_clock_that_is_off_is_named_by_all(quick: Devnet) -> None:
    for number in range(4):
        await start(quick, number, Turned(60_000 if number == 3 else 0))
    for number in range(4):
        await quick.met(number)
    own = await eventually(quick, 3, lambda status: status["clock"]["ahead_ms"] is not None)
    # A ping that is slow one way is a second off; the next one is not.
    said = "this node's clock is 60 s ahead of most authorities' clocks"
    own = await eventually(quick, 3, lambda status: said in status["summary"])
    assert not own["healthy"]
    said_of_it = "The clock of Hospital 3 is 60 s ahead of most authorities' clocks"
    other = await eventually(quick, 0, lambda status: said_of_it in status["summary"])
    assert abs(other["clock"]["ahead_ms"]) < 5_000


async def test_a_convicted_authority_loses_its_vote_and_is_shown(quick: Devnet) -> None:
    await quick.start(0, 1, 2, 3)
    await submit_evidence(quick)
    status = await eventually(quick, 1, lambda status: status["epoch"] == 1)
    assert [one["institution"] for one in status["authorities"]] == [0, 1, 2]
    assert [(one["institution"], one["epoch"], one["view"]) for one in status["convicted"]] == [(3, 0, 5)]
    own = await eventually(quick, 3, lambda status: status["epoch"] == 1)
    assert own["role"] == "follower"


async def test_a_status_is_of_what_is_on_disk_not_of_a_block_that_is_still_being_stored(quick: Devnet) -> None:
    """Its authorities and its height, too: in memory the epoch changes first."""
    await quick.start(0, 1, 2, 3)
    finality = quick.services(1).finality
    commit, reached, go_on = finality._store.commit, asyncio.Event(), asyncio.Event()

    async def held(blocks: Any, journal_mark: bytes | None = None) -> None:
        if any(block.header.ends_epoch for block in blocks):
            reached.set()
            await go_on.wait()
        await commit(blocks, journal_mark)

    finality._store.commit = held  # type: ignore[method-assign]  # the disk takes its time
    await submit_evidence(quick)
    async with asyncio.timeout(PATIENCE_S):
        await reached.wait()
    assert quick.services(1).standing.authorities.epoch == 1
    status = dict(await quick.services(1).status())
    assert (status["epoch"], len(status["authorities"]), status["convicted"]) == (0, 4, [])
    go_on.set()
    status = await eventually(quick, 1, lambda status: status["epoch"] == 1)
    assert [one["institution"] for one in status["convicted"]] == [3]


async def test_who_votes_from_the_epoch_on_that_is_about_to_begin_is_not_called_mute(quick: Devnet) -> None:
    """For a moment the ledger's set is the next epoch's and the machine that of the one before."""
    await quick.start(0, 1)
    await eventually(quick, 0, lambda status: status["peers"][0]["state"] == "connected")
    machine = quick.services(0).driver.machine
    machine.me = None
    machine.config = replace(machine.config, institutions=(3, 8, 9), index=None)
    status = await eventually(quick, 0, lambda _: True)
    assert states(status) == ["voting", "voting", "silent", "silent"]
    assert [one["last_view"] for one in status["authorities"]][1:3] == [None, None]


async def test_a_motion_that_awaits_this_institutions_vote_is_spoken_of(quick: Devnet) -> None:
    await quick.start(0, 1, 2, 3)
    await submit(quick, 0)
    status = await eventually(quick, 1, lambda status: status["motions"]["awaiting"] == [0])
    assert "Motion 0 (set delta_ms = 60) awaits this institution's vote" in status["summary"]
    status = await eventually(quick, 0, lambda status: status["motions"]["open"] == [0])
    assert status["motions"]["awaiting"] == []
    assert "awaits" not in status["summary"]
