"""Ledger and an independent model of who may read what agree, whatever patients, delegates and institutions do.

    python -m tests.protocol.ledger.test_access_model --steps 100000

plays as many steps as one likes and says at the end what was met; `make model` does that. What the model is stands in
`access_model`, what happens in `access_steps` and `access_history`.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from protocol.ledger import purposes
from protocol.ledger.events import Reason
from tests.protocol.ledger import access_model
from tests.protocol.ledger.access_history import KINDS, History, plainly, small_limits

SEEDS = st.integers(0, (1 << 32) - 1)
STEPS = 200
"""Of one history in the long run; it has nine more before them."""
PATHS = (
    "a plain grant",
    "a group",
    "certain practitioners",
    "a delegate's grant",
    "a reissued grant",
    "a purpose below the granted",
    "listed categories",
    "listed years",
    "a sensitive record",
    "beside a bar",
    "of an older generation",
    "written by another",
    "to a delegate",
    "an emergency, at once",
    "an emergency, confirmed",
)
LATER = {
    "grant": ("EXPIRED", "REVOKED", "OUTSIDE", "BARRED", "RecordErased", "ReleaseOverdue", "NotAccredited", "yes"),
    "delegate": ("DELEGATE_ENDED", "DELEGATE_BOUNDS", "RecordErased", "ReleaseOverdue", "yes"),
    "emergency": ("BREAK_GLASS_FORBIDDEN", "BARRED", "RecordErased", "ReleaseOverdue", "NotAccredited", "yes"),
}
"""What may have become of an asking by the time that its keys are wanted."""


class Histories(RuleBasedStateMachine):
    """One history. A rule for each kind of step stands below."""

    met: Counter[str] = Counter()
    steps = 0
    history: History | None = None

    @initialize(seed=SEEDS)
    def start(self, seed: int) -> None:
        self.history = History(seed, Histories.met)
        Histories.steps += self.history.steps

    def teardown(self) -> None:
        if self.history is not None:
            self.history.stage.finish()


def taking(kind: str) -> Callable[..., None]:
    """A rule that takes one step of this kind."""

    def take(self: Histories, seed: int) -> None:
        assert self.history is not None
        self.history.play(kind, seed)
        Histories.steps += 1

    take.__name__ = kind
    return rule(seed=SEEDS)(take)


def machine() -> type[Histories]:
    """Hypothesis takes every rule equally often, so what should happen more often has more rules."""
    rules = {f"{kind}_{n}": taking(kind) for kind, weight in KINDS.items() for n in range((weight + 1) // 2)}
    return type("Histories", (Histories,), rules)


def explore(examples: int, steps: int, base: int | None = None, shrink: bool = True) -> None:
    """Hypothesis plays this many histories, and shows the first that disagrees, which it may shrink for minutes."""
    found: Any = machine()
    found = found if base is None else seed(base)(found)
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(found, settings=wanted)  # type: ignore[no-untyped-call]


def unmet(met: Counter[str], least: int) -> list[str]:
    """What was met less often than so, of all reasons, ways to read and things that become of an asking."""
    reasons: Counter[str] = Counter()
    for what, count in met.items():
        outcome = what.partition(": ")[2].split()
        if what.startswith(("disclose", "break_glass")) and len(outcome) == 2:
            reasons[outcome[1]] += count
    wanted = {f"reason {reason.name}": reasons[reason.name] for reason in Reason}
    wanted |= {f"permitted: {path}": met[f"permitted: {path}"] for path in PATHS}
    wanted |= {f"release by {by}: {of}": met[f"release by {by}: {of}"] for by, all_of in LATER.items() for of in all_of}
    kinds = {kind: sum(count for what, count in met.items() if what == f"{kind}: done") for kind in DONE}
    wanted |= {f"{kind}: done": count for kind, count in kinds.items()}
    return [f"{what}: {count}" for what, count in wanted.items() if count < least]


DONE = (
    "open", "append", "grant", "revoke", "policy", "name_delegate", "end_delegate", "set_guardians", "rotate",
    "recover", "cancel", "complete", "standing", "confirm", "review", "erase", "receipt", "hold", "release_hold",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def limits_within_reach() -> Any:
    with small_limits():
        yield


def test_reads_agree_with_the_model() -> None:
    explore(examples=50, steps=100)


def test_such_histories_meet_everything_that_there_is() -> None:
    """A ledger that denied everything would agree with a model that did, too."""
    met: Counter[str] = Counter()
    for number in range(120):
        plainly(number, 120, met)
    assert not unmet(met, least=2)


def test_the_models_own_table_of_purposes_is_the_ledgers() -> None:
    """They are two copies of one code system: where they differ, one of them was copied wrongly."""
    assert {code: over or None for code, over in access_model.OVER.items()} == purposes.PARENTS


# --- the long run


def play(wanted: int, base: int, shrink: bool) -> None:
    """So many steps, history by history, with a line that says how far it is."""
    began = time.monotonic()
    for chunk in range(1 << 20):
        examples = min(40, -(-(wanted - Histories.steps) // STEPS))
        explore(examples, STEPS, base + chunk, shrink)
        took = time.monotonic() - began
        print(
            f"\r{Histories.steps:,} of {wanted:,} steps, {Histories.steps / took:,.0f} a second",
            end="",
            file=sys.stderr,
        )
        if Histories.steps >= wanted:
            print(file=sys.stderr)
            return


def report(met: Counter[str]) -> None:
    """What was met, and how often."""
    asked = Counter(
        {
            kind: sum(count for what, count in met.items() if kind in what and what.startswith(("disclose", "break")))
            for kind in ("DISCLOSED", "DENIED", "PENDING")
        }
    )
    looked = sum(count for what, count in met.items() if what.startswith("release "))
    for what, count in sorted(met.items()):
        print(f"{count:9,}  {what}")
    print(f"{Histories.steps:,} steps; {sum(asked.values()):,} askings: {asked['DISCLOSED']:,} disclosed, "
          f"{asked['DENIED']:,} denied, {asked['PENDING']:,} pending; {looked:,} releases judged")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Ledger and model, side by side, for many steps.")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="of the whole run; drawn if there is none")
    parser.add_argument("--shrink", action="store_true", help="look for a shorter history that shows the same")
    chosen = parser.parse_args()
    base = secrets.randbits(40) if chosen.seed is None else chosen.seed
    print(f"seed {base}", flush=True)
    with small_limits():
        play(chosen.steps, base, chosen.shrink)
    report(Histories.met)
    missing = unmet(Histories.met, least=max(1, chosen.steps // 10_000))
    for what in missing:
        print(f"met too rarely: {what}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
