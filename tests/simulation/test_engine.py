"""The world itself: one plan is one history, what is remembered changes nothing, and a crash leaves what was synced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.sansio.stepping import Step, Stepping
from node.simulation import keyring
from node.simulation.chainstate import State, run_block
from node.simulation.clock import HostClock
from node.simulation.driver import Driver, Watched
from node.simulation.links import Links
from node.simulation.memory import Memory
from node.simulation.oracles import Oracle
from node.simulation.oracles.base import Failure
from node.simulation.oracles.records import BlockFinal, EpochBegan, MessageArrived, VoteLeft
from node.simulation.plan import (
    CHANGES,
    PROFILES,
    BlackHole,
    Crash,
    Move,
    OneWay,
    Partition,
    Plan,
    SlowDisk,
    Submit,
    draw,
)
from node.simulation.traitors import KINDS
from node.simulation.world import World
from protocol.consensus.machine import Machine
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import SigningKey, verify
from protocol.errors import InvalidBlock
from protocol.types.votes import Vote
from tests.simulation.play import Notes, calm, chain_of, one_chain, played, submits

ROOT = Path(__file__).parents[2]
HASH_SEEDS = ("0", "1", "4242")
SCRIPT = """
import json, sys
from node.simulation.plan import draw
from node.simulation.world import World
print(json.dumps([World(draw(seed), remember=seed % 2 == 0).run().event_hash for seed in map(int, sys.argv[1:])]))
"""


# --- one plan, one history ---------------------------------------------------------------------------------------


def test_one_seed_is_one_history_whatever_order_sets_have() -> None:
    """Bytes hash differently in each process, so whatever depends on the order of a set shows here."""
    seeds = ["7", "8", "10", "39"]

    def hashes(hash_seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *seeds],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    first, *others = [hashes(hash_seed) for hash_seed in HASH_SEEDS]
    assert all(other == first for other in others)
    assert len(set(first)) == len(seeds)


@pytest.mark.parametrize("seed", [4, 7, 16])
def test_what_the_nodes_remember_changes_nothing(seed: int) -> None:
    plan = draw(seed, profile="chaos")
    assert World(plan).run().event_hash == World(plan, remember=False).run().event_hash


def test_watching_changes_nothing() -> None:
    plan = draw(5, profile="chaos")
    assert World(plan).run().event_hash == World(plan, observers=()).run().event_hash


def test_a_plan_is_a_document() -> None:
    for seed in range(200):
        plan = draw(seed)
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_each_link_draws_for_itself_so_that_taking_an_action_out_leaves_the_rest() -> None:
    plan = calm(4, delay_ms=(10, 500), loss=0.2, duplication=0.2, reordering=0.1)
    busy, idle = Links(plan, 4), Links(plan, 4)
    for now_us in range(50):
        busy.arrivals(0, 1, now_us)
    assert [busy.arrivals(0, 2, t) for t in range(100)] == [idle.arrivals(0, 2, t) for t in range(100)]


def test_a_calm_link_keeps_its_order_and_loses_nothing() -> None:
    links = Links(calm(4, delay_ms=(10, 900)), 2)
    arrivals = [links.arrivals(0, 1, now_us) for now_us in range(0, 2_000_000, 10_000)]
    assert all(len(copies) == 1 for copies in arrivals)
    assert arrivals == sorted(arrivals)


def test_a_cut_is_mended_as_often_as_it_was_cut() -> None:
    links = Links(calm(4), 3)
    links.cut([(0, 1), (0, 2)])
    links.cut([(0, 1)])
    assert links.arrivals(0, 1, 0) == ()
    assert links.mend([(0, 1), (0, 2)]) == [(0, 2)]
    assert not links.linked(0, 1)
    assert links.mend([(0, 1)]) == [(0, 1)]
    assert links.linked(0, 1)


def test_a_black_hole_swallows_what_is_large_until_it_closes_or_all_heals() -> None:
    links = Links(calm(4), 2)
    links.most_bytes = 200
    assert links.arrivals(0, 1, 0, 201) == ()
    assert len(links.arrivals(0, 1, 0, 200)) == 1
    links.mend_all()
    assert len(links.arrivals(0, 1, 0, 201)) == 1


def test_behind_a_black_hole_views_pass_and_nothing_becomes_final_until_it_is_gone() -> None:
    """And within seconds of that, however long it was there: the waits have not grown with it."""
    world = World(calm(4, Submit(100, 0), BlackHole(50, 150_000), heal_ms=200_000))
    seen: list[tuple[int, int]] = []
    for at_us in (149_000_000, 160_000_000):
        world.at(at_us, lambda: seen.append((world.hosts[0].machine.view, len(world.hosts[0].disk.blocks))))
    played(world)
    (views, none), (_, some) = seen
    assert views > 20
    assert (none, some > 0) == (0, True)


# --- plans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("nodes", [1, 4, 7, 10])
def test_no_plan_asks_for_more_traitors_than_the_protocol_bears(profile: str, nodes: int) -> None:
    for seed in range(100):
        plan = draw(seed, nodes, None, profile)
        assert (plan.profile, plan.authorities) == (profile, nodes)
        assert len(plan.traitors) <= (nodes - 1) // 3
        assert all(kind in KINDS and node < nodes for node, kind in plan.traitors)
        assert all(0 <= action.at_ms < plan.heal_ms for action in plan.actions)
        away = {a.target for a in plan.actions if isinstance(a, Move) and a.change in ("suspend", "take", "remove")}
        lost = {a.node for a in plan.actions if isinstance(a, Crash) and a.journal != "kept"}
        left = nodes - len(away)
        assert left >= 1
        assert len(plan.traitors) + len(lost) <= max((left - 1) // 3, (nodes - 1) // 3 if not away else 0)


def test_seeds_draw_every_fault_every_traitor_and_every_change() -> None:
    kinds: set[str] = set()
    traitors: set[str] = set()
    changes: set[str] = set()
    for seed in range(3_000):
        plan = draw(seed)
        kinds |= {type(action).__name__ for action in plan.actions}
        traitors |= {kind for _, kind in plan.traitors}
        changes |= {action.change for action in plan.actions if isinstance(action, Move)}
    assert kinds == {
        "Submit",
        "Crash",
        "Partition",
        "OneWay",
        "SlowDisk",
        "SlowNet",
        "BlackHole",
        "ClockJump",
        "Move",
        "Act",
    }
    assert traitors == set(KINDS)
    assert changes == set(CHANGES)


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"nodes": 4, "traitors": 2}, {"profile": "moon"}])
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        draw(1, **wrong)  # type: ignore[arg-type]


def test_the_number_of_traitors_asked_for_is_drawn() -> None:
    assert all(len(draw(seed, 10, 3).traitors) == 3 for seed in range(20))
    assert all(not draw(seed, 10, 0).traitors for seed in range(20))


# --- what breaks is said -----------------------------------------------------------------------------------------


class Never(Oracle):
    """Holds every final block to be wrong."""

    name, wants = "never", (BlockFinal,)

    def __init__(self, scene) -> None:  # type: ignore[no-untyped-def]  # as the base
        super().__init__(scene, None)  # type: ignore[arg-type]  # looks at no chronicle

    def event(self, record) -> None:  # type: ignore[no-untyped-def]
        self.demand(False, "a block is final", record.at_ms)


def test_a_broken_promise_ends_the_history_and_does_not_raise() -> None:
    history = World(calm(4, Submit(1_000, 0)), observers=(Never,)).run()
    assert history.failure == Failure("safety", "never", "a block is final", 1_400)
    assert history.simulated_ms == 1_400
    assert any("final" in line for line in history.trace_tail)


def test_an_exception_inside_a_node_is_a_crash_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(self: Machine, *_: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr(Machine, "_notarize", burst)
    failure = World(calm(4, Submit(1_000, 0)), observers=()).run().failure
    assert failure is not None
    assert failure.kind == "crash"
    assert "KeyError: 'inside'" in failure.sentence
    assert "in burst" in failure.sentence


def test_safety_tells_more_than_a_crash() -> None:
    world = World(calm(4), observers=())
    world.fail(Failure("crash", "engine", "first", 1))
    world.fail(Failure("safety", "agreement", "second", 2))
    world.fail(Failure("crash", "engine", "third", 3))
    assert world.failure == Failure("safety", "agreement", "second", 2)


# --- disks -------------------------------------------------------------------------------------------------------


def test_nothing_leaves_before_it_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by hand as one of the mutants: the oracle sees it at the first vote."""

    def careless(self: Driver, step: Step) -> bool:
        return self._written()

    monkeypatch.setattr(Driver, "_write", careless)
    failure = World(calm(4, Submit(1_000, 0))).run().failure
    assert failure is not None
    assert "S5" in failure.sentence


def test_events_that_come_while_the_disk_syncs_wait_and_are_stepped_together() -> None:
    plan = calm(4, SlowDisk(0, 2, 9_000, 400), *submits(10, 300, (0, 1, 2, 3)), sync_ms=(5, 10))
    world = World(plan)
    steps: list[int] = []
    step = Stepping.step

    def counted(self: Watched, now_ms: int) -> Step | None:
        found = step(self, now_ms)
        if self._driver.number == 2 and found is not None:
            steps.append(len(found.records))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepping, "step", counted)
        played(world)
    assert max(steps) > 3


# --- clocks ------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_right_shows_the_time_and_its_monotonic_side_never_goes_back() -> None:
    clock = HostClock(1_000_000, 777, -3_000, 200)
    before = [clock.monotonic_ms(us) for us in range(0, 10_000_000, 500_000)]
    assert clock.wall_ms(10_000_000) == 1_000_000 - 3_000 + 10_002
    clock.set_right(10_000_000)
    after = [clock.monotonic_ms(us) for us in range(10_000_000, 20_000_000, 500_000)]
    assert before + after == sorted(before + after)
    assert clock.wall_ms(10_000_000) == 1_010_000


@pytest.mark.parametrize("drift", [-150_000, -1, 0, 1, 333_333])
def test_a_timer_fires_at_the_first_moment_at_which_its_clock_shows_the_time(drift: int) -> None:
    clock = HostClock(0, 123, 0, drift)
    for at_ms in range(123, 5_000, 37):
        when = clock.when_us(at_ms, 0)
        assert clock.monotonic_ms(when) >= at_ms
        assert when == 0 or clock.monotonic_ms(when - 1) < at_ms


# --- what is remembered ------------------------------------------------------------------------------------------


def test_what_was_not_signed_here_is_verified_and_what_is_forged_stays_so() -> None:
    memory, key = Memory(True), SigningKey(bytes(range(32)))
    other = SigningKey(bytes(32))
    signature = memory.sign(key, b"message")
    assert memory.verify(key.public, b"message", signature) is verify(key.public, b"message", signature) is True
    foreign = other.sign(b"message")
    for _ in range(2):
        assert memory.verify(other.public, b"message", foreign)
        assert not memory.verify(key.public, b"message", foreign)
        assert not memory.verify(key.public, b"other", signature)
        assert not memory.verify(key.public, b"message", bytes(64))


def test_an_invalid_block_stays_invalid_and_a_state_is_what_executing_leads_to() -> None:
    world = World(calm(4, *submits(5, 500, (0, 1))), observers=())
    world.run()
    memory, state = Memory(True), world.genesis_state
    for block in one_chain(world):
        digest = block_digest(block.header)
        false = msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, state_root=bytes(32)))
        for _ in range(2):
            with pytest.raises(InvalidBlock, match="state_root"):
                memory.execute(state, false, block_digest(false.header))
        executed = memory.execute(state, block, digest)
        assert memory.execute(state, block, digest) is executed
        assert isinstance(executed.state, State)
        assert run_block(Memory(False), state, block, digest).state.leaves == executed.state.leaves
        state = executed.state
    assert state.leaves == world.hosts[3].disk.state.leaves


def test_without_remembering_nodes_read_messages_from_their_bytes() -> None:
    world = World(calm(4, Submit(1_000, 0)), remember=False)
    notes = Notes.on(world, MessageArrived)
    played(world)
    arrived = [record for record in notes.records if isinstance(record, MessageArrived)]
    votes = [r.message for r in arrived if isinstance(r.message, Vote)]
    assert any(a == b and a is not b for a in votes for b in votes)


# --- the consortium changes --------------------------------------------------------------------------------------


def test_a_new_institution_joins_gets_authority_and_votes() -> None:
    moves = (Move(1_000, 0, "accredit", 4), Move(6_000, 1, "give", 4))
    world = World(calm(4, *moves, *submits(10, 1_500, (0, 1, 2, 3)), joiners=1, heal_ms=20_000))
    notes = Notes.on(world, VoteLeft, EpochBegan)
    played(world)
    assert {r.vote.subject.epoch for r in notes.votes() if r.host == 4} == {1}
    assert len(chain_of(world, 4)) == len(one_chain(world))
    assert world.scene.institutions[4] == 4


def test_who_was_suspended_is_cut_off_and_comes_back_when_reinstated() -> None:
    moves = (Move(1_000, 0, "suspend", 3), Move(8_000, 1, "reinstate", 3))
    world = World(calm(4, *moves, *submits(14, 1_000, (0, 1, 2)), heal_ms=20_000))
    notes = Notes.on(world, BlockFinal)
    played(world)
    own = [r.at_ms for r in notes.of(BlockFinal) if r.host == 3]
    assert not [at_ms for at_ms in own if 4_000 < at_ms < 8_000]
    assert [at_ms for at_ms in own if at_ms > 8_000]
    assert len(chain_of(world, 3)) == len(one_chain(world))


def test_a_rotated_vote_key_signs_from_the_next_epoch_on() -> None:
    world = World(calm(4, Move(1_000, 2, "rotate", 2), *submits(6, 1_000, (0, 1, 2, 3)), heal_ms=15_000))
    notes = Notes.on(world, VoteLeft)
    played(world)
    authorities = world.hosts[0].authorities
    assert authorities.epoch == 1
    assert authorities.members[2].vote_key == keyring.vote_key(2, 1).public
    assert [r for r in notes.votes() if r.host == 2 and r.vote.subject.epoch == 1]


def test_new_parameters_hold_from_the_next_epoch_on() -> None:
    world = World(calm(4, Move(1_000, 0, "set", 0, "delta_ms", 700), Submit(8_000, 0)))
    played(world)
    assert {host.machine.config.delta_ms for host in world.hosts} == {700}


def test_two_instances_with_one_key_are_two_nodes_of_one_institution() -> None:
    plan = msgspec.structs.replace(calm(4, *submits(10, 500, (0, 2, 3)), heal_ms=10_000), traitors=((1, "twins"),))
    world = World(plan)
    played(world)
    assert [host.node for host in world.hosts] == [0, 1, 2, 3, 1]
    assert world.addresses[1] == (1, 4)
    assert world.honest == {0, 2, 3}


def test_what_an_action_says_of_nodes_that_a_plan_does_not_have_is_passed_over() -> None:
    """A plan whose nodes were taken out while it was made small is still a plan."""
    pairs, groups = ((0, 9), (9, 0)), ((0, 1), (2, 9))
    played(World(calm(4, Submit(100, 9), Crash(200, 9, 100), OneWay(300, pairs, 50), Partition(400, groups, 100))))
