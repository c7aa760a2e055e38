"""Ways to break the machine on purpose, each of which some history must show: this tests the oracles, not the machine.

`python -m tests.simulation.mutants` counts the seeds that each took, plainly drawn, for the table of docs/testing.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import pytest

from node.simulation.oracles.base import Failure
from node.simulation.plan import Crash, Plan, Submit, draw
from node.simulation.runner import cores, remembers
from node.simulation.world import World
from tests.simulation import (  # noqa: F401 - they register what they break
    broken_charts,
    broken_ledger,
    broken_machine,
    broken_node,
)
from tests.simulation.mutant import MUTANTS, Mutant, disarm

SEEDS = 500
TABLE = Path(__file__).parents[2] / "docs" / "testing.md"


def copied(seed: int) -> Plan:
    """A busy chain, and one node whose journal is put back from a copy."""
    plan = draw(seed, 4, 0, "chaos")
    busy = tuple(Submit(at_ms, at_ms // 100 % 4) for at_ms in range(500, 8_000, 300))
    crash = Crash(6_000, seed % 4, 150, journal="old")
    return msgspec.structs.replace(plan, actions=(*(a for a in plan.actions if isinstance(a, Submit)), *busy, crash))


def told(seed: int, lies: str) -> Plan:
    """Chaos among four, of whom one is a traitor of this kind."""
    plan = draw(seed, 4, 1, "chaos")
    return msgspec.structs.replace(plan, traitors=tuple((node, lies) for node, _ in plan.traitors))


SHAPES: dict[str, Callable[[int], Plan]] = {
    "drawn": draw,
    "copied": copied,
    "misled": partial(told, lies="parent_liar"),
    "forged": partial(told, lies="forger"),
}
"""Kinds of histories. Only "drawn" says anything about what a user would have seen; the others are for speed."""


SOUND = Mutant("sound", "nothing but what the machine asserts of itself", lambda patch: None, "drawn")


@dataclass(frozen=True)
class Catch:
    """The first history in which an oracle noticed."""

    seeds: int
    seed: int
    failure: Failure


def hunt(mutant: Mutant, shape: str, seeds: int = SEEDS) -> Catch | None:
    """Play histories of a broken network from seed 0 until an oracle notices. What the mutant itself trips over is no
    catch, but takes its seed."""
    with pytest.MonkeyPatch.context() as patch:
        disarm(patch)
        mutant.breaks(patch)
        for seed in range(seeds):
            failure = World(SHAPES[shape](seed), remember=remembers(seed)).run().failure
            if failure is not None and failure.kind != "crash":
                return Catch(seed + 1, seed, failure)
    return None


def named(name: str) -> Mutant:
    """The mutant of this name; nobody may notice the one that is sound."""
    return (
        Mutant("sound", "nothing", lambda patch: None, "drawn")
        if name == "sound"
        else next(mutant for mutant in MUTANTS if mutant.name == name)
    )


def _hunt(asked: tuple[str, str, int]) -> tuple[str, Catch | None]:
    name, shape, seeds = asked
    return name, hunt(named(name), shape, seeds)


def row(mutant: Mutant, catch: Catch | None, seeds: int = SEEDS) -> str:
    """One line of the table."""
    if catch is None:
        return f"| `{mutant.name}` | {mutant.rule} | none of {seeds} | |"
    return f"| `{mutant.name}` | {mutant.rule} | {catch.seeds} | {catch.failure.kind}, {catch.failure.oracle} |"


def main() -> None:
    """Hunt all mutants, or those named, on all cores; write the table if all were hunted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="drawn")
    asked = parser.parse_args()
    names = asked.names or [mutant.name for mutant in MUTANTS]
    rows: dict[str, str] = {}
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        for name, catch in pool.imap_unordered(_hunt, [(name, asked.shape, asked.seeds) for name in names]):
            rows[name] = row(named(name), catch, asked.seeds)
            print(rows[name], flush=True)
    if not asked.names and asked.shape == "drawn":
        lines = ["| mutant | rule | seeds | noticed by |", "|---|---|---|---|", *(rows[name] for name in names)]
        text = TABLE.read_text(encoding="utf-8")
        table = "<!-- mutants -->\n" + "\n".join(lines) + "\n<!-- /mutants -->"
        TABLE.write_text(re.sub(r"<!-- mutants -->.*<!-- /mutants -->", lambda _: table, text, flags=re.S), "utf-8")


if __name__ == "__main__":
    main()
