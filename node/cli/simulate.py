"""`chartledger simulate`: hostile histories of whole networks, as many as one likes, each from one seed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from node.cli.exits import BadArgument, ExitCode
from node.cli.options import JsonOption
from node.cli.output import counted, emit, facts, progress, say, table, warn
from node.simulation import plot, report, runner
from node.simulation.oracles.base import Failure
from node.simulation.plan import Plan
from node.simulation.shrink import TRIALS, Shrinker, Shrunk
from node.simulation.trace import last_views

SEEDS = 100
NODES_MAX = 40
SEED_DIGITS = 18
FIRST_MAX = 10 ** (SEED_DIGITS - 1)  # so that whatever seed is printed can be replayed
CODES = {"safety": ExitCode.UNSAFE, "liveness": ExitCode.STALLED, "crash": ExitCode.CRASHED}


class Profile(StrEnum):
    """What kind of network: docs/testing.md says what each draws."""

    WAN = "wan"
    LAN = "lan"
    CHAOS = "chaos"


class Replayed(msgspec.Struct, frozen=True):
    """One history, played twice."""

    seed: int
    event_hash: str
    identical: bool
    simulated_ms: float
    blocks: int
    plan: Plan
    failure: Failure | None
    trace: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """All histories, and the smallest schedule that was found to fail as the worst of them did."""

    totals: report.Totals
    shrunk: Plan | None = None
    shrunk_trials: int = 0
    trace: tuple[str, ...] = ()


def simulate(
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many histories.", show_default="100")] = None,
    first: Annotated[int, typer.Option("--from", min=0, max=FIRST_MAX, help="The first seed.")] = 0,
    *,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, max=NODES_MAX, help="Authorities at the start. Default: drawn.")
    ] = None,
    traitors: Annotated[
        int | None, typer.Option("--traitors", min=0, help="Authorities that lie. Default: drawn.")
    ] = None,
    profile: Annotated[Profile | None, typer.Option("--profile", help="The network. Default: drawn.")] = None,
    patients: Annotated[
        bool, typer.Option("--patients/--no-patients", help="Whether patients take part, where the seed says so.")
    ] = True,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes. Default: one a core.")] = None,
    replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="SEED|FILE", help="Play one seed, or a failure's schedule, again."),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option("--plot", help="Draw finality against network delay and authorities: an SVG file.")
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Do not stop at the first failure.")] = False,
    shrink: Annotated[int, typer.Option("--shrink", min=0, help="Trials to make a failure smaller.")] = TRIALS,
    as_json: JsonOption = False,
) -> None:
    """Play hostile histories of whole networks and check every promise in each.

    The real consensus, ledger, pool and sync of all nodes run in one thread on a virtual clock; each seed draws delays,
    faults, traitors, governance and what patients do. A failure prints its seed, a schedule made as small as possible,
    and what happened in the last views.
    """
    order = _order(nodes, traitors, profile, patients)
    if replay is not None:
        if seeds is not None or draw is not None:
            raise BadArgument("--replay plays one history: it goes with neither --seeds nor --plot")
        raise typer.Exit(_replay(replay, order, as_json))
    if draw is not None:
        _plot(draw, as_json)
        if seeds is None:
            return
    raise typer.Exit(_play(first, seeds or SEEDS, order, jobs or runner.cores(), keep_going, shrink, as_json))


def _order(nodes: int | None, traitors: int | None, profile: Profile | None, patients: bool) -> runner.Order:
    """What was asked for, if there are such histories. Raises `BadArgument`."""
    order = runner.Order(nodes, traitors, None if profile is None else profile.value, patients)
    try:
        order.plan(0)
    except ValueError as wrong:
        raise BadArgument(str(wrong), advice="No chain survives a third of traitors: give more --nodes.") from None
    return order


def _play(
    first: int, seeds: int, order: runner.Order, jobs: int, keep_going: bool, trials: int, as_json: bool
) -> ExitCode:
    """All seeds; returns how to exit."""
    tally, begun = report.Tally(), time.monotonic()
    jobs = min(jobs, seeds)
    numbers = iter(range(first, first + seeds))
    handed_out = _until_failed(numbers, tally, keep_going)
    with progress("simulate", seeds, as_json) as step, closing(runner.play_all(handed_out, order, jobs)) as outcomes:
        for outcome in outcomes:
            tally.add(outcome)
            step(1)
    totals = tally.totals(first, jobs, time.monotonic() - begun)
    worst = tally.worst
    if worst is None:
        emit(Report(totals), as_json, lambda: _show(totals))
        return ExitCode.DONE
    shrunk = _shrink(worst, order, trials, as_json)
    if shrunk is None:
        result = Report(totals, trace=worst.trace)
    else:
        result = Report(totals, shrunk.plan, shrunk.trials, last_views(shrunk.history.trace_tail))
    emit(result, as_json, lambda: _show_failed(result, worst, order))
    return CODES[worst.failure.kind]


def _until_failed(numbers: Iterator[int], tally: report.Tally, keep_going: bool) -> Iterator[int]:
    """Seeds to hand out: none any more once one failed."""
    for seed in numbers:
        if tally.failures and not keep_going:
            return
        yield seed


def _shrink(failed: report.Failed, order: runner.Order, trials: int, quiet: bool) -> Shrunk | None:
    """A smaller schedule that fails as this seed did; None without trials, or if it does not fail here."""
    if not trials:
        return None
    history = runner.play_plan(order.plan(failed.seed))
    if history.failure is None:  # it failed in another process: what differs there is a defect of its own
        warn(f"seed {failed.seed} failed once and not again: histories depend on something else than their seed")
        return None
    with progress(f"shrink seed {failed.seed}", trials, quiet) as step:
        return Shrinker(history, runner.play_plan, trials, step).run()


# --- replay ------------------------------------------------------------------------------------------------------


def _replay(what: str, order: runner.Order, as_json: bool) -> ExitCode:
    """One history, twice; returns how to exit."""
    plan = _plan_of(what, order)
    first, second = runner.play_plan(plan), runner.play_plan(plan)
    identical = first.event_hash == second.event_hash
    failure, trace = first.failure, last_views(first.trace_tail) if first.failure is not None else ()
    blocks = max(first.heights, default=0)
    played = Replayed(plan.seed, first.event_hash, identical, first.simulated_ms, blocks, plan, failure, trace)
    emit(played, as_json, lambda: _show_replayed(played))
    if not identical:
        return ExitCode.CRASHED
    return ExitCode.DONE if failure is None else CODES[failure.kind]


def _plan_of(what: str, order: runner.Order) -> Plan:
    """The plan of a seed, or of a file: a plan, or what `--json` printed of a failure. Raises `BadArgument`."""
    if what.isascii() and what.isdecimal():
        if len(what) > SEED_DIGITS:
            raise BadArgument(f"a seed has at most {SEED_DIGITS} digits")
        return order.plan(int(what))
    raw = Path(what).read_bytes()
    try:
        document = msgspec.json.decode(raw)
        if isinstance(document, dict):
            document = document.get("shrunk") or document.get("plan") or document
        return msgspec.convert(document, Plan)
    except (msgspec.ValidationError, msgspec.DecodeError) as wrong:
        raise BadArgument(f"{what} holds no schedule: {wrong}", advice="Give a seed, or a file from --json.") from None


def _show_replayed(played: Replayed) -> None:
    say(f"seed {played.seed}: {played.event_hash}")
    same = "played twice, identical" if played.identical else "the second play was ANOTHER: more than the seed decides"
    say(f"{same}; {counted(played.blocks, 'block')} in {played.simulated_ms / 1000:.1f} simulated seconds")
    if played.failure is not None:
        _show_failure(played.seed, played.failure)
        _show_schedule(played.plan)
        _show_trace(played.trace)


# --- for people --------------------------------------------------------------------------------------------------


def _show(totals: report.Totals) -> None:
    failed = sum(totals.failed.values())
    last = totals.first_seed + totals.seeds - 1
    told = "no failure" if not failed else ", ".join(f"{n} {kind}" for kind, n in totals.failed.items() if n)
    say(f"seeds {totals.first_seed} to {last}: {told}", "red" if failed else "green")
    facts(
        (
            ("simulated", f"{totals.simulated_s:,.0f} s in {totals.wall_s:,.1f} s by {totals.jobs} processes"),
            ("speed", f"{totals.speed:.0f} simulated seconds a second and core"),
            ("blocks", totals.blocks),
            ("epochs ended", totals.epochs),
            ("transactions", totals.transactions),
            ("with traitors", totals.with_traitors),
            ("with patients", totals.with_patients),
        )
    )
    say("")
    columns = ("profile", "authorities", "seeds", "from proposal p50", "p99", "from submission p50", "p99 (ms)")
    table(columns, (msgspec.structs.astuple(row) for row in totals.finality))


def _show_failed(result: Report, worst: report.Failed, order: runner.Order) -> None:
    _show(result.totals)
    for failed in result.totals.failures:
        _show_failure(failed.seed, failed.failure)
    if result.shrunk is not None:
        say("")
        say(f"seed {worst.seed}, made as small as {counted(result.shrunk_trials, 'trial')} could:", "bold")
        _show_schedule(result.shrunk)
    _show_trace(result.trace)
    asked = {"--nodes": order.nodes, "--traitors": order.traitors, "--profile": order.profile}
    options = "".join(f" {name} {value}" for name, value in asked.items() if value is not None)
    options += "" if order.patients else " --no-patients"
    say("")
    say(f"again: chartledger simulate --replay {worst.seed}{options}")


def _show_failure(seed: int, failure: Failure) -> None:
    say("")
    say(f"seed {seed} broke a promise after {failure.at_ms / 1000:,.1f} s: {failure.kind}, {failure.oracle}", "red")
    say(failure.sentence.rstrip())


def _show_schedule(plan: Plan) -> None:
    for line in report.schedule(plan):
        say("  " + line)


def _show_trace(trace: tuple[str, ...]) -> None:
    if trace:
        say("")
        say("the last views:", "bold")
        for line in trace:
            say("  " + line)


# --- plot --------------------------------------------------------------------------------------------------------


def _plot(file: Path, as_json: bool) -> None:
    """Measure calm histories and draw them. Raises `BadArgument` before, if there is no place to draw to."""
    if file.is_dir() or not file.parent.is_dir():
        raise BadArgument(f"{file} cannot be written", advice="Name a file in a folder that is there.")
    with progress("measure", plot.histories(), as_json) as step:
        figures = plot.measure(step)
    file.write_text(plot.svg(figures), encoding="utf-8")
    emit(figures, as_json, lambda: say(f"drawn: {file}"))
