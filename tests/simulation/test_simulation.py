"""Many histories, each from one seed. `CHARTLEDGER_SEEDS` sets how many, `CHARTLEDGER_SEED` the first."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.simulation.faults import Faults
from tests.simulation.world import DELTA_MS, World

SEEDS = int(os.environ.get("CHARTLEDGER_SEEDS", "60"))
FIRST = int(os.environ.get("CHARTLEDGER_SEED", "0"))
CALM = Faults(
    authorities=4,
    delay_ms=(100, 100),
    loss=0.0,
    duplication=0.0,
    straggler=0.0,
    crash=0.0,
    gossip=1.0,
    validation_ms=(0, 0),
    partitions=False,
    traitors=(),
    compaction=0.0,
    transactions=5,
    faulty_ms=10_000,
)


@pytest.mark.parametrize("block", range(FIRST, FIRST + SEEDS, 10))
def test_no_history_breaks_a_promise(block: int) -> None:
    for seed in range(block, min(block + 10, FIRST + SEEDS)):
        try:
            World(seed).run()
        except Exception as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken


def test_real_signatures_make_the_same_history_possible() -> None:
    World(3, signatures="ed25519").run()


def test_one_seed_is_one_history() -> None:
    first, second, other = World(11), World(11), World(12)
    for world in (first, second, other):
        world.run()
    assert first.trace.digest() == second.trace.digest() != other.trace.digest()


@pytest.mark.parametrize("authorities", [1, 4, 7, 40])
def test_finality_takes_three_delays_from_the_proposal_and_then_all_is_quiet(authorities: int) -> None:
    world = World(1, faults=replace(CALM, authorities=authorities, transactions=1))
    world.run()
    submitted, finals = world.submit_log[0], [at_ms for at_ms, _, _ in world.final_log]
    assert len(finals) == authorities
    # at most one delay to the leader, one to propose, one to notarize, one to finalize
    assert max(finals) - submitted <= 4 * 100
    after = [at_ms for at_ms in world.sent_log if max(finals) < at_ms < CALM.faulty_ms]
    assert not after, "something was sent after the block was final everywhere"
    assert all(len(node.store) == 1 for node in world.nodes), "a block was made without need"


def test_without_work_nothing_is_sent_and_no_timer_runs() -> None:
    world = World(1, faults=replace(CALM, transactions=0))
    world.run()
    assert not world.sent_log
    assert world.now_ms == CALM.faulty_ms


@pytest.mark.parametrize("authorities", [4, 7])
def test_what_only_one_authority_knows_becomes_final(authorities: int) -> None:
    world = World(2, faults=replace(CALM, authorities=authorities, gossip=0.0))
    world.run()
    assert {raw for block in world.nodes[0].store for raw in block.transactions} == set(world.submitted)


def test_one_of_four_dead_does_not_stop_the_chain() -> None:
    world = World(4, faults=replace(CALM, transactions=30, faulty_ms=30_000))
    world.asleep = {1}
    world.run()
    before = {node for at_ms, node, _ in world.final_log if at_ms < 30_000}
    assert before == {0, 2, 3}
    # the dead one's turns cost a wait at first, and none once its silence was noticed
    waits = sorted(min(final for final, _, _ in world.final_log if final > at_ms) - at_ms for at_ms in world.submit_log)
    assert waits[len(waits) // 2] < 2 * DELTA_MS


def test_two_of_four_dead_stops_the_chain_and_their_return_resumes_it() -> None:
    world = World(5, faults=replace(CALM, faulty_ms=60_000))
    world.asleep = {2, 3}
    world.run()
    assert min(at_ms for at_ms, _, _ in world.final_log) > 60_000
    assert max(at_ms for at_ms, _, _ in world.final_log) < 60_000 + 10 * DELTA_MS
    sent = [at_ms for at_ms in world.sent_log if 30_000 < at_ms < 60_000]
    assert len(sent) < 30 * 2 * 3 * 4, "resending is not capped"


def test_equivocation_is_found() -> None:
    found = 0
    for seed in range(5):
        world = World(seed, faults=replace(CALM, traitors=("equivocator",), transactions=10))
        world.run()
        found += sum(len(node.found) for node in world.honest)
    assert found


def test_a_large_transaction_outlives_the_small_blocks_after_a_slow_time() -> None:
    """Rule 10 halves blocks while views pass without finality; a transaction that is larger then waits for an empty
    block to become final, and nobody else has a reason to propose one."""
    slow = replace(CALM, delay_ms=(4_000, 4_000), transactions=0, faulty_ms=30_000)
    world = World(6, faults=slow)
    large = b"L" * 300_000
    world.after(0, lambda: world.submit(world.nodes[0], large))
    world.after(slow.faulty_ms, lambda: setattr(world, "faults", replace(CALM, transactions=1)))
    world.run()
    assert all(large in [raw for block in node.store for raw in block.transactions] for node in world.nodes)
