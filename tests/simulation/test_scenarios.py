"""What broke others, and what must be quick or quiet, each as one history that everybody can read."""

from __future__ import annotations

from statistics import median

import msgspec
import pytest

from node.simulation.oracles.records import BlockFinal, ClientTold, Restarted, Sent, VoteLeft
from node.simulation.plan import ClockJump, Crash, Move, Partition, Submit
from node.simulation.traitors import KINDS
from node.simulation.traitors.equivocator import Equivocator
from node.simulation.world import World
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Proposal
from tests.simulation.play import DELAY_MS, Lossy, Notes, all_down, calm, chain_of, one_chain, played, submits, vote_in

HOUR_MS = 3_600_000


# --- quick and quiet ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorities", [1, 4, 7, 40])
def test_finality_takes_three_delays_from_the_proposal_and_then_all_is_quiet(authorities: int) -> None:
    world = World(calm(authorities, Submit(1_000, 0)))
    notes = Notes.on(world, Sent, BlockFinal)
    history = played(world)
    assert len(history.stats.from_proposal_ms) == authorities
    assert max(history.stats.from_proposal_ms) <= 3 * DELAY_MS
    assert history.stats.from_submission_ms[0] <= 4 * DELAY_MS
    last = max(record.at_ms for record in notes.of(BlockFinal))
    assert not [record for record in notes.of(Sent) if record.at_ms > last], "something was sent after all was final"
    assert len(one_chain(world)) == 1, "a block was made without need"


def test_half_of_all_transactions_are_final_within_four_and_a_half_delays() -> None:
    """Submitted anywhere, whosever turn it is."""
    for authorities in (4, 40):
        world = World(calm(authorities, *submits(40, 513, range(authorities)), heal_ms=30_000))
        history = played(world)
        assert median(history.stats.from_proposal_ms) <= 3.5 * DELAY_MS
        assert median(history.stats.from_submission_ms) <= 4.5 * DELAY_MS


def test_without_work_nothing_is_sent_and_no_timer_runs() -> None:
    world = World(calm())
    notes = Notes.on(world, Sent)
    history = played(world)
    assert not notes.records
    assert history.stats.messages == 0


def test_an_idle_chain_beats_its_heart_and_sleeps_in_between() -> None:
    world = World(calm(4, heartbeat_ms=60_000, heal_ms=600_000))
    history = played(world)
    blocks = one_chain(world)
    assert 9 <= len(blocks) <= 10
    assert not any(block.transactions for block in blocks)
    assert history.stats.events < 2_000, "idle time was not skipped"


@pytest.mark.parametrize("authorities", [4, 7])
def test_what_only_one_authority_knows_becomes_final(authorities: int) -> None:
    """Nobody is told of it: its own turn comes."""
    world = Lossy(calm(authorities, Submit(1_000, 0), gossip=0.0))
    for host in world.hosts:
        host.tell = lambda *_: None  # nor reminded
    played(world)
    assert sum(len(block.transactions) for block in one_chain(world)) == 1


def test_a_large_transaction_outlives_the_small_blocks_after_a_slow_time() -> None:
    """Rule 10 halves blocks while views pass without finality; a transaction that is larger then waits for an empty
    block to become final, and nobody else has a reason to propose one."""
    chart, slow = Submit(1_000, 1), Partition(2_000, ((0, 1), (2, 3)), 60_000)
    world = World(calm(4, chart, slow, Submit(2_500, 0), Submit(20_000, 1, 1, 1_000), heal_ms=62_500))
    notes = Notes.on(world, ClientTold)
    played(world)
    assert any(len(raw) > 80_000 for block in one_chain(world) for raw in block.transactions)
    assert len(notes.of(ClientTold)) == 3


# --- dead nodes --------------------------------------------------------------------------------------------------


def test_one_of_four_dead_does_not_stop_the_chain() -> None:
    """Its turns cost a wait at first, and none once its silence was noticed."""
    world = World(calm(4, Crash(0, 1, 220_000), *submits(400, 500, (0, 2, 3)), heal_ms=220_000))
    history = played(world)
    times = sorted(history.stats.from_submission_ms)
    assert len(times) == 400
    assert median(times) <= 4.5 * DELAY_MS
    assert times[int(len(times) * 0.99)] < 1_500
    assert max(times) < 3_000


def test_two_of_four_dead_stops_the_chain_and_their_return_resumes_it() -> None:
    dead = (Crash(0, 2, 60_000), Crash(0, 3, 60_000))
    world = World(calm(4, *dead, *submits(5, 1_000, (0, 1)), heal_ms=60_000))
    notes = Notes.on(world, BlockFinal, Sent)
    played(world)
    finals = [record.at_ms for record in notes.of(BlockFinal)]
    assert min(finals) > 60_000
    assert max(finals) < 65_000
    sent = [record for record in notes.of(Sent) if 30_000 < record.at_ms < 60_000]
    assert sum(record.copies for record in sent) < 30 * 2 * 3 * 4, "resending is not capped"


def test_all_crash_after_they_nullified_and_none_votes_for_that_view_again() -> None:
    """The leader of view 1 is dead, so all nullify; what they forgot of that would let them notarize in view 1."""
    begin, dead = Submit(1_000, 0), Crash(0, 1, 3_000)
    world = World(calm(4, dead, begin, *all_down(4, 2_150, 1_500), heal_ms=6_000))
    notes = Notes.on(world, VoteLeft, Restarted)
    played(world)
    nullified = {
        r.host for r in notes.votes() if r.vote.subject.kind == NULLIFY and r.vote.subject.view == 1 and r.at_ms < 2_150
    }
    assert nullified == {0, 2, 3}
    again = [r for r in notes.of(Restarted) if r.at_ms > 2_150 and r.host in nullified]
    assert all(any(record.subject.kind == NULLIFY for record in r.durable) for r in again)
    assert not [
        r for r in notes.votes() if r.vote.subject.view == 1 and r.vote.subject.kind != NULLIFY and r.host in nullified
    ]
    assert len(one_chain(world)) >= 1


@pytest.mark.parametrize("at_ms", range(1_000, 1_450, 50))
@pytest.mark.parametrize("torn", [True, False])
def test_a_power_cut_of_the_whole_cluster_loses_nothing_that_a_client_was_told(at_ms: int, torn: bool) -> None:
    load = (*submits(10, 40, (0, 1, 2, 3), 900), *all_down(4, at_ms, 2_000, torn=torn))
    world = World(calm(4, *load, sync_ms=(5, 30), store_ms=(5, 200)))
    notes = Notes.on(world, ClientTold)
    played(world)
    assert len({record.id for record in notes.of(ClientTold)}) == 10


def test_a_power_cut_in_the_middle_of_a_step() -> None:
    for effects in range(4):
        load = (*submits(6, 100, (0, 1, 2, 3)), *all_down(4, 1_100, 2_000, after=effects))
        played(World(calm(4, *load, sync_ms=(5, 30))))


# --- who is late, or believes to be ------------------------------------------------------------------------------


def test_one_authority_hours_behind_catches_up_and_votes() -> None:
    """Three hours of blocks, then it comes back and counts: another one goes down, and its vote is needed."""
    load = submits(120, 90_000, (0, 1, 2))
    away, needed = Crash(500, 3, 3 * HOUR_MS), Crash(3 * HOUR_MS + 60_000, 0, HOUR_MS)
    last = Submit(3 * HOUR_MS + 120_000, 1)
    world = World(calm(4, away, needed, *load, last, heal_ms=4 * HOUR_MS))
    notes = Notes.on(world, VoteLeft, ClientTold)
    history = played(world)
    assert len(chain_of(world, 3)) == len(one_chain(world)) >= 120
    assert max(history.stats.from_submission_ms) < 60_000
    assert [r for r in notes.votes() if r.host == 3 and r.vote.subject.kind == FINALIZE and r.at_ms < 4 * HOUR_MS]


@pytest.mark.parametrize("hours", [-3, 3])
def test_one_authority_whose_clock_is_hours_off_stops_nobody(hours: int) -> None:
    world = World(calm(4, *submits(30, 1_500, (0, 1, 3)), skew_ms=(0, 0, hours * HOUR_MS, 0), heal_ms=60_000))
    notes = Notes.on(world, ClientTold)
    played(world)
    told = [record for record in notes.of(ClientTold) if record.at_ms < 60_000]
    assert len(told) == 30
    times = [block.header.timestamp for block in one_chain(world)]
    assert max(times) - min(times) < HOUR_MS, "a clock that is off set the ledger's time"


def test_round_timers_that_drift_apart() -> None:
    """Clocks that go at very different speeds, and delays that differ by link: views begin apart, and meet again."""
    drift = (-150_000, -50_000, 50_000, 150_000)
    quiet = Partition(5_000, ((0, 1), (2, 3)), 30_000)
    load = submits(40, 2_000, (0, 1, 2, 3))
    plan = calm(4, quiet, *load, drift_ppm=drift, delay_ms=(20, 400), geographic=True, heal_ms=100_000)
    world = World(plan)
    notes = Notes.on(world, ClientTold)
    played(world)
    assert len([record for record in notes.of(ClientTold) if record.at_ms < 100_000]) == 40


def test_a_clock_that_jumps_in_the_middle_of_everything() -> None:
    jumps = (ClockJump(2_000, 1, 50_000), ClockJump(4_000, 2, -50_000), ClockJump(6_000, 1, -50_000))
    played(World(calm(4, *jumps, *submits(30, 300, (0, 1, 2, 3)), heal_ms=12_000)))


# --- split views -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [{0, 1}, {0, 2}, {0, 3}])
def test_split_views_do_not_lock_up(half: set[int]) -> None:
    """In every view, half see the proposal in time and notarize, the others nullify, over and over: neither lacks a
    quorum for ever, and nobody is locked on a block that the rest has left behind."""

    def drop(sender: int, to: int, message: object) -> bool:
        across = (sender in half) != (to in half)
        return (
            across and isinstance(message, Proposal | Body) and world.faulty and world.hosts[to].machine.view % 3 != 0
        )

    world = Lossy(calm(4, *submits(10, 500, (0, 1, 2, 3)), heal_ms=60_000), drop)
    notes = Notes.on(world, VoteLeft, ClientTold)
    played(world)
    split = {
        (r.vote.subject.kind, r.host in half)
        for r in notes.votes()
        if r.vote.subject.view == 1 and r.vote.subject.kind in (NOTARIZE, NULLIFY)
    }
    assert (NOTARIZE, 1 in half) in split
    assert (NULLIFY, 1 not in half) in split
    assert len([record for record in notes.of(ClientTold) if record.at_ms < 60_000]) == 10


# --- epochs ------------------------------------------------------------------------------------------------------

GIVE = (Move(1_000, 0, "give", 4),)
"""The follower gets authority: the block in which the last ballot stands ends the epoch."""


def last_of_epoch(world: World) -> int:
    """The height of the block that ended epoch 0."""
    return next(block.header.height for block in one_chain(world) if block.header.ends_epoch)


def test_a_follower_gets_authority_and_votes() -> None:
    world = World(calm(4, *GIVE, Submit(8_000, 0), followers=1))
    notes = Notes.on(world, VoteLeft)
    history = played(world)
    assert history.stats.epochs == 1
    assert [r for r in notes.votes() if r.host == 4 and r.vote.subject.epoch == 1]
    assert not [r for r in notes.votes() if r.host == 4 and r.vote.subject.epoch == 0]


@pytest.mark.parametrize("side", [(0, 1), (0, 1, 2), (2, 3), (1, 2, 3)])
@pytest.mark.parametrize("begin_ms", range(1_400, 4_400, 500))
def test_a_partition_that_heals_in_the_middle_of_an_epoch_change(side: tuple[int, ...], begin_ms: int) -> None:
    others = tuple(node for node in range(5) if node not in side)
    world = World(calm(4, *GIVE, Partition(begin_ms, (side, others), 4_000), Submit(9_000, 1), followers=1))
    history = played(world)
    assert history.stats.epochs == 1
    assert len(chain_of(world, 4)) == len(one_chain(world))


def test_the_epochs_last_block_with_one_finalize_missing_is_proposed_again_and_not_extended() -> None:
    """In the view in which it is notarized, one finalize is too few."""
    seen: set[tuple[int, bytes]] = set()

    def drop(sender: int, to: int, message: object) -> bool:
        if isinstance(message, Proposal) and message.block.header.ends_epoch and not seen:
            seen.add((message.vote.subject.view, message.vote.subject.block))
        vote = vote_in(message)  # type: ignore[arg-type]
        if vote is None or vote.subject.kind != FINALIZE:
            return False
        return (vote.subject.view, vote.subject.block) in seen and sender in (0, 1, 3)

    world = Lossy(calm(4, *GIVE, Submit(2_500, 2), followers=1, heal_ms=30_000), drop)
    notes = Notes.on(world, Sent)
    played(world)
    ((view, digest),) = seen
    last = last_of_epoch(world)
    again = [p for _, _, p in notes.proposals() if p.vote.subject.block == digest and p.vote.subject.view > view]
    assert again, "the last block was not proposed again"
    for _, _, proposal in notes.proposals():
        header = proposal.block.header
        if header.epoch == 0:
            assert header.height < last or proposal.vote.subject.block == digest, (
                "something else at its height or above"
            )
            assert header.parent != digest, "the last block was extended before it was final"
    assert history_epochs(world) == 1


def history_epochs(world: World) -> int:
    return max(host.machine.config.epoch for host in world.hosts)


@pytest.mark.parametrize("copies", [0, 1])
def test_the_leader_of_the_epochs_last_block_dies_with_it(copies: int) -> None:
    """Right after it sent its proposal, to all or to one node only."""
    struck: list[int] = []

    def drop(sender: int, to: int, message: object) -> bool:
        ends = isinstance(message, Proposal) and message.block.header.ends_epoch
        return bool(ends and copies and (not struck or sender in struck) and to != (sender + 1) % 4)

    def after(world: World, sender: int, message: object) -> None:
        if isinstance(message, Proposal) and message.block.header.ends_epoch and not struck:
            struck.append(sender)
            world.at(0, world.actions.take_down, (world.hosts[sender], 40_000, True))

    world = Lossy(calm(4, *GIVE, Submit(4_000, 3), Submit(4_000, 1), followers=1, heal_ms=40_000), drop, after)
    notes = Notes.on(world, ClientTold)
    played(world)
    assert struck
    assert history_epochs(world) == 1
    assert [r for r in notes.of(ClientTold) if r.at_ms < 40_000 and r.host != struck[0]], "nothing went on without it"


class EquivocatorInFirstViews(Equivocator):
    """Lies in the first view of an epoch that is not the genesis', and nowhere else."""

    kind = "first_views"

    def outgoing(self, message, to):  # type: ignore[no-untyped-def]  # as in the base
        if self.host.epoch == 0 or self.host.view > 1:
            return [(address, message) for address in to]
        return super().outgoing(message, to)


def test_an_equivocator_in_the_first_view_of_an_epoch_forks_nothing_and_loses_its_seat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KINDS, "first_views", EquivocatorInFirstViews)
    found = 0
    for seed in range(8):
        plan = calm(4, *GIVE, *submits(20, 300, (0, 2, 3), 1_500), followers=1, heal_ms=20_000, seed=seed)
        world = World(plan_with_traitor(plan, 1, "first_views"))
        played(world)
        authorities = world.hosts[0].authorities
        found += all(member.institution != 1 for member in authorities.members)
    assert found, "nobody reported it"


def plan_with_traitor(plan, node: int, kind: str):  # type: ignore[no-untyped-def]  # msgspec's replace is untyped
    return msgspec.structs.replace(plan, traitors=((node, kind),))


def test_a_journal_that_was_lost_is_cured_by_a_new_vote_key() -> None:
    """It follows without a vote, rotates, and votes again from the next epoch on."""
    world = World(calm(4, Crash(2_000, 3, 500, journal="lost"), *submits(20, 500, (0, 1, 2, 3)), heal_ms=20_000))
    notes = Notes.on(world, VoteLeft)
    played(world)
    later = [r for r in notes.votes() if r.host == 3 and r.at_ms > 2_000]
    assert {r.vote.subject.epoch for r in later} == {1}


@pytest.mark.parametrize("journal", ["old", "lost"])
def test_an_old_journal_is_not_voted_from(journal: str) -> None:
    world = World(calm(4, Crash(2_000, 3, 500, journal=journal), *submits(4, 400, (0, 1, 2)), heal_ms=20_000))  # type: ignore[arg-type]
    played(world)
    assert world.hosts[3].disk.vote_keys == 2
