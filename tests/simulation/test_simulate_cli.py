"""`chartledger simulate`: how it ends, what it prints, that a seed is one history, and that failures become small."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.cli.exits import ExitCode
from node.simulation import plot, report, runner, shrink
from node.simulation.history import History
from node.simulation.oracles.base import Failure
from node.simulation.plan import Crash, Partition, Plan, Submit, draw

ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    command = [sys.executable, "-m", "node.cli.main", "simulate", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
        cwd=ROOT,
    )


# --- the command -------------------------------------------------------------------------------------------------


def test_seeds_are_played_on_several_processes_and_added_up():
    told = run("--seeds", 4, "--from", 7, "--nodes", 4, "--profile", "lan", "--jobs", 2, "--json")
    assert told.returncode == ExitCode.DONE, told.stderr
    totals = json.loads(told.stdout)["totals"]
    assert (totals["first_seed"], totals["seeds"], totals["jobs"]) == (7, 4, 2)
    assert totals["simulated_s"] > 0
    assert totals["blocks"] > 0
    assert {row["profile"] for row in totals["finality"]} == {"lan"}
    assert totals["failures"] == []


def test_what_happened_to_charts_is_counted_and_patients_can_be_left_out():
    order = ("--seeds", 4, "--nodes", 4, "--profile", "lan", "--jobs", 1, "--json")
    some, none = (json.loads(run(*order, *more).stdout)["totals"] for more in ((), ("--no-patients",)))
    assert some["with_patients"] > 0
    assert some["happened"]["Granted"] > 0
    assert none["with_patients"] == 0
    assert set(none["happened"]) == {"ChartOpened", "RecordAppended"}


def test_one_seed_is_one_history_in_every_process():
    """Hash randomization differs between the two, and so would whatever leant on the order of a set."""
    told = [run("--replay", 11, "--json", PYTHONHASHSEED=str(seed)) for seed in (1, 2)]
    first, second = (json.loads(one.stdout) for one in told)
    assert first["event_hash"] == second["event_hash"]
    assert first["identical"] and second["identical"]
    assert re.fullmatch(r"[0-9a-f]{64}", first["event_hash"])


def test_what_is_remembered_changes_no_history():
    plan = draw(3, 4, None, "lan")
    from node.simulation.world import World

    assert World(plan, remember=True).run().event_hash == World(plan, remember=False).run().event_hash


def test_a_schedule_from_a_file_is_played(tmp_path):
    file = tmp_path / "plan.json"
    file.write_bytes(msgspec.json.encode({"shrunk": draw(5, 4, 0, "lan")}))
    told = json.loads(run("--replay", file, "--json").stdout)
    assert (
        told["event_hash"]
        == json.loads(run("--replay", 5, "--nodes", 4, "--traitors", 0, "--profile", "lan", "--json").stdout)[
            "event_hash"
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--nodes", "0"], ExitCode.USAGE, "--nodes"),
        (["--nodes", "41"], ExitCode.USAGE, "--nodes"),
        (["--seeds", "none"], ExitCode.USAGE, "--seeds"),
        (["--seeds", "0"], ExitCode.USAGE, "--seeds"),
        (["--from", "-1"], ExitCode.USAGE, "--from"),
        (["--profile", "moon"], ExitCode.USAGE, "--profile"),
        (["--nodes", "4", "--traitors", "2"], ExitCode.REFUSED, "bad-argument"),
        (["--replay", "1", "--seeds", "3"], ExitCode.REFUSED, "bad-argument"),
        (["--replay", "9" * 30], ExitCode.REFUSED, "bad-argument"),
        (["--replay", "no-such-file"], ExitCode.REFUSED, "No such file"),
        (["--replay", "pyproject.toml"], ExitCode.REFUSED, "bad-argument"),
        (["--from", "9" * 18], ExitCode.USAGE, "--from"),  # a seed that could be played and not replayed
        (["--plot", "no/such/folder/x.svg"], ExitCode.REFUSED, "cannot be written"),
    ],
)
def test_wrong_arguments_are_named(arguments, code, named):
    told = run(*arguments)
    assert told.returncode == code, told.stderr
    assert named in told.stderr
    assert "Traceback" not in told.stderr


def test_an_interrupt_reaches_the_parent_alone_which_then_ends_the_processes():
    outcomes = runner.play_all(itertools.count(), runner.Order(nodes=4, profile="lan"), 2)
    next(outcomes)
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        os.kill(child.pid, signal.SIGINT)  # as a terminal does to the whole group
    assert [next(outcomes).failure for _ in range(4)] == [None] * 4
    outcomes.close()
    assert all(child.exitcode is not None for child in children)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- failures ----------------------------------------------------------------------------------------------------

BROKEN = """
import sys
import pytest
from tests.simulation import mutants
from node.cli import main
patch = pytest.MonkeyPatch()
mutants.disarm(patch)
next(m for m in mutants.MUTANTS if m.name == {name!r}).breaks(patch)
sys.argv = ["chartledger", "simulate", *{arguments!r}]
main.main()
"""


def broken(name, *arguments):
    """The command, over a machine that a mutant broke; one process, since others would be sound."""
    code = BROKEN.format(name=name, arguments=[*map(str, arguments), "--jobs", "1"])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_failure_prints_seed_schedule_and_trace_and_exits_by_its_kind():
    told = broken("counts_one_too_few", "--seeds", 30, "--nodes", 4, "--shrink", 12)
    assert told.returncode == ExitCode.UNSAFE, told.stdout + told.stderr
    seed = re.search(r"seed (\d+) broke a promise", told.stdout)
    assert seed is not None
    assert "made as small as" in told.stdout
    assert "the last views:" in told.stdout
    assert f"chartledger simulate --replay {seed[1]} --nodes 4" in told.stdout


def test_a_stalled_chain_has_a_code_of_its_own():
    told = broken("asks_for_nothing", "--seeds", 60, "--nodes", 4, "--shrink", 0)
    assert told.returncode == ExitCode.STALLED, told.stdout + told.stderr


# --- shrinking ---------------------------------------------------------------------------------------------------


def history(plan, failure):
    return History.broken(plan, failure)


def fails_with(needed, also=None):
    """A network that breaks whenever the plan holds all that is needed, and breaks otherwise where `also` says."""

    def play(plan):
        if all(one(plan) for one in needed):
            return history(plan, Failure("safety", "agreement", "fork", 1))
        return history(plan, also(plan) if also else None)

    return play


def big():
    actions = tuple(Submit(at_ms, at_ms % 4, 8) for at_ms in range(0, 4_000, 100))
    actions += (Crash(500, 1, 4_000), Partition(900, ((0, 1), (2, 3)), 8_000), Crash(2_000, 2, 100))
    return Plan(
        seed=1, loss=0.3, skew_ms=(5, 5, 5, 5), heal_ms=10_000, actions=actions, traitors=((0, "nuller"), (1, "forger"))
    )


def of(plan, kind):
    return [action for action in plan.actions if isinstance(action, kind)]


def test_what_is_not_needed_is_taken_out_and_what_lasts_becomes_shorter():
    needed = [
        lambda plan: any(partition.ms >= 100 for partition in of(plan, Partition)),
        lambda plan: any(crash.node == 2 for crash in of(plan, Crash)),
        lambda plan: (1, "forger") in plan.traitors,
    ]
    play = fails_with(needed)
    small = shrink.Shrinker(play(big()), play).run()
    assert len(small.plan.actions) == 2
    assert of(small.plan, Partition)[0].ms < 200
    assert small.plan.traitors == ((1, "forger"),)
    assert small.plan.loss == 0.0
    assert small.plan.skew_ms == ()
    assert small.plan.heal_ms < 10_000
    assert small.plan.heal_ms >= max(action.at_ms for action in small.plan.actions)


def test_another_failure_is_not_what_is_looked_for():
    needed = [lambda plan: len(of(plan, Crash)) == 2]
    play = fails_with(needed, lambda plan: Failure("liveness", "liveness", "stands still", 1))
    small = shrink.Shrinker(play(big()), play).run()
    assert len(of(small.plan, Crash)) == 2
    assert small.history.failure.kind == "safety"


def test_trials_are_bounded():
    played = []
    play = fails_with([lambda plan: sum(map(len, [plan.actions])) >= 1])

    def counting(plan):
        played.append(plan)
        return play(plan)

    small = shrink.Shrinker(play(big()), counting, 7).run()
    assert small.trials == len(played) == 7


def test_only_a_failure_can_be_shrunk():
    with pytest.raises(ValueError, match="only what failed"):
        shrink.Shrinker(history(big(), None), lambda plan: history(plan, None))


# --- adding up ---------------------------------------------------------------------------------------------------


def test_times_are_added_up_in_bounded_room_and_quantiles_are_close():
    times = runner.Times()
    for _ in range(100):
        part = runner.Times()
        part.add(range(1, 1_001))
        times.merge(part.counts)
    assert times.quantile(0.5) == pytest.approx(500, rel=0.03)
    assert times.quantile(0.99) == pytest.approx(990, rel=0.03)
    assert len(times.counts) < 400
    assert runner.Times().quantile(0.5) is None


def test_the_worst_failure_comes_first():
    tally = report.Tally()
    for seed, kind in ((1, "crash"), (2, "liveness"), (3, "safety"), (4, "safety")):
        plan = msgspec.structs.replace(big(), seed=seed)
        tally.add(runner.outcome(history(plan, Failure(kind, "x", "y", 0)), 1.0))
    assert tally.worst.seed == 3
    assert tally.totals(0, 1, 1.0).failed == {"safety": 2, "liveness": 1, "crash": 1}


def test_a_process_that_dies_is_an_outcome_of_its_seed(monkeypatch):
    outcomes = list(runner.play_all([1, 2], Dying(nodes=4), 2))
    assert sorted(outcome.seed for outcome in outcomes) == [1, 2]
    assert {outcome.failure.oracle for outcome in outcomes} == {"process"}


class Dying(runner.Order, frozen=True):
    """An order whose plans kill whoever draws them in another process."""

    parent: int = os.getpid()

    def plan(self, seed):
        if os.getpid() != self.parent:
            os._exit(9)
        return draw(seed, self.nodes, self.traitors, self.profile)


def test_schedules_are_lines_in_order_of_time():
    lines = list(report.schedule(big()))
    assert "traitor: authority 1, forger" in lines
    crash = next(line for line in lines if "Crash" in line)
    assert "500 ms" in crash and "down_ms 4000" in crash
    times = [int(line.split(" ms")[0].replace(",", "")) for line in lines if " ms  " in line]
    assert times == sorted(times)


# --- figures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorities", [4, 40])
def test_finality_takes_few_delays(authorities):
    """What the consortium is promised: 3.5 one-way delays from the proposal, 4.5 from the submission, at the median."""
    measured = plot.point(plot.calm(authorities, 100))
    assert measured.proposal_delays <= 3.5
    assert measured.submission_delays <= 4.5


def test_the_picture_is_complete_in_itself():
    points = tuple(plot.Point(n, d, 3.0 * d, 4.0 * d) for n in plot.AUTHORITIES for d in plot.DELAYS_MS)
    drawn = plot.svg(plot.Figures(points, tuple(plot.Point(n, 100, 300.0, 400.0) for n in plot.SIZES)))
    assert drawn.startswith("<svg")
    assert "<script" not in drawn
    assert "authorities" in drawn


def test_without_what_draws_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "leather", None)
    with pytest.raises(plot.CannotDraw, match="leather") as caught:
        plot.load()
    assert "chartledger[plot]" in caught.value.advice
