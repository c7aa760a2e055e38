"""What a node decides around its consensus machine is decided in one place, which daemon and simulation both run.

A copy of it in the simulation would be what its histories test. So the shared part is pure, each module of it has both
users, and the simulation cannot even name what only the shared part may make.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.structure.test_imports import IMPURE, ROOT, imports_of, modules

PURE_OF_NODE = ("node.sansio", "node.mempool", "node.standing")
"""What the shared part may know of the daemon: itself, and what is as pure."""

SHARED = [*modules("node/sansio"), *(ROOT / f"node/{name}.py" for name in ("mempool", "standing"))]

DECIDED_ELSEWHERE = {
    "Built", "Validated", "TimerFired", "WorkChanged", "PeerUp",  # events, made by `stepping` of what happened
    "Persist", "EpochEnded", "Rejected", "Halted",  # effects, of which `stepping` says what they cause
    "Doubts", "Config", "FinalHead",  # what `finality` and `terms` are made with
    "Transactions", "Have", "Want", "Planner", "RangeBlock", "Rest",  # what `spreading` and `catching_up` say and ask
}  # fmt: skip
"""Names that no module of the simulation has any use for, unless it decides again what is decided in the shared part.
Oracles and traitors are outside: they judge and lie by themselves."""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def simulation() -> list[Path]:
    apart = {ROOT / "node/simulation/oracles", ROOT / "node/simulation/traitors", ROOT / "node/simulation/trace.py"}
    return [path for path in modules("node/simulation") if not apart & {path, *path.parents}]


@pytest.mark.parametrize("path", SHARED, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_shared_part_is_pure(path: Path) -> None:
    for name in imports_of(path):
        if name.split(".")[0] == "node":
            assert name == "node" or name.startswith(PURE_OF_NODE), f"{path.relative_to(ROOT)} imports {name}"
        else:
            assert name.split(".")[0] not in IMPURE, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", SHARED, ids=lambda p: str(p.relative_to(ROOT)))
def test_daemon_and_simulation_both_run_it(path: Path) -> None:
    if path.name == "__init__.py":
        return
    shared = dotted(path)
    users = {user for user in modules("node") if shared in imports_of(user)}
    if users & set(SHARED):
        return  # who runs those, runs this
    simulated = {user for user in users if ROOT / "node/simulation" in user.parents}
    assert simulated, f"no history runs {shared}"
    assert users - simulated, f"no daemon runs {shared}"


@pytest.mark.parametrize("path", simulation(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_simulation_decides_nothing_again(path: Path) -> None:
    named = {alias.name for item in ast.walk(ast.parse(path.read_text("utf-8"))) for alias in getattr(item, "names", ())
             if isinstance(alias, ast.alias)}  # fmt: skip
    assert not named & DECIDED_ELSEWHERE, f"{path.relative_to(ROOT)} names {sorted(named & DECIDED_ELSEWHERE)}"
