"""From a plan that fails to a small one that fails the same way: delta debugging (Zeller and Hildebrandt, 2002).

Since messages draw their delays from generators of their own, one for each link, taking an action out of a plan leaves
the rest as it was. First actions and traitors are taken out, then what holds throughout is made calm, then what lasts
is made shorter. A smaller plan counts only if the same oracle reports the same kind of failure: another failure may be
another defect. Each trial plays one history, so trials are bounded; what is found by then is good enough to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from node.simulation.history import History
from node.simulation.plan import Plan

TRIALS = 250
SHORTEST_MS = 10
KEPT = {"seed", "profile", "authorities", "followers", "joiners", "actions", "traitors", "heal_ms"}
"""What is no fault, or is shrunk in its own way."""

Item = TypeVar("Item")


class Shrunk(Struct, frozen=True):
    """The smallest plan found, its history, and how many were tried."""

    plan: Plan
    history: History
    trials: int


class Exhausted(Exception):
    """The trials are used up: not an error, the search just ends."""


class Shrinker:
    """The search. `play` plays a plan; `tell` hears of each trial."""

    def __init__(
        self,
        failed: History,
        play: Callable[[Plan], History],
        trials: int = TRIALS,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        if failed.failure is None:
            raise ValueError("only what failed can be shrunk")
        self.best = failed
        self.trials = 0
        self._wanted = (failed.failure.kind, failed.failure.oracle)
        self._play = play
        self._trials_max = trials
        self._tell = tell

    def run(self) -> Shrunk:
        """Shrink until nothing gives way any more, or the trials are used up."""
        try:
            while self._round():
                pass
        except Exhausted:
            return Shrunk(self.best.plan, self.best, self.trials)
        return Shrunk(self.best.plan, self.best, self.trials)

    def _round(self) -> bool:
        before = self.best.plan
        self._take_out("actions")
        self._take_out("traitors")
        for calmer in calmings(self.best.plan):
            self._fails(calmer)
        for number in range(len(self.best.plan.actions)):
            self._shorten(number)
        self._shorten_history()
        return self.best.plan != before

    def _fails(self, change: dict[str, Any]) -> bool:
        """Whether the best plan, so changed, fails the same way: then it is the best plan."""
        plan = msgspec.structs.replace(self.best.plan, **change)
        if plan == self.best.plan:
            return False
        if self.trials >= self._trials_max:
            raise Exhausted
        self.trials += 1
        self._tell(1)
        history = self._play(plan)
        failure = history.failure
        if failure is None or (failure.kind, failure.oracle) != self._wanted:
            return False
        self.best = history
        return True

    def _take_out(self, name: str) -> None:
        """ddmin over a tuple of the plan: ever smaller parts of it are left out for as long as it fails without."""
        parts = 2
        while items := getattr(self.best.plan, name):
            size = max(1, len(items) // parts)
            if not any(self._fails({name: rest}) for rest in _without(items, size)):
                if size == 1:
                    return
                parts *= 2
            else:
                parts = max(2, parts - 1)

    def _shorten(self, number: int) -> None:
        """Halve what an action lasts, or how much it submits, while that keeps failing."""
        for name in _quantities(self.best.plan.actions[number]):
            least = SHORTEST_MS if name.endswith("ms") else 1
            while (value := getattr(self.best.plan.actions[number], name)) > least:
                actions = list(self.best.plan.actions)
                actions[number] = msgspec.structs.replace(actions[number], **{name: value // 2})
                if not self._fails({"actions": tuple(actions)}):
                    break

    def _shorten_history(self) -> None:
        """Heal as soon as the last action is over."""
        last_ms = max((action.at_ms for action in self.best.plan.actions), default=0)
        while (heal_ms := self.best.plan.heal_ms) > last_ms + SHORTEST_MS:
            if not self._fails({"heal_ms": max(last_ms, heal_ms // 2)}):
                break


def calmings(plan: Plan) -> Iterator[dict[str, Any]]:
    """Changes that put one thing that holds throughout (probabilities, delays, clocks) back to its calm default."""
    for field in msgspec.structs.fields(plan):
        if field.name not in KEPT and getattr(plan, field.name) != field.default:
            yield {field.name: field.default}


def _without(items: Sequence[Item], size: int) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), size):
        yield (*items[:start], *items[start + size :])


def _quantities(action: Struct) -> list[str]:
    """Names of what may become smaller: durations and counts, not when it happens and to whom."""
    names = [field.name for field in msgspec.structs.fields(action) if field.name != "at_ms"]
    return [n for n in names if (n.endswith("_ms") or n in ("ms", "count", "size")) and type(getattr(action, n)) is int]
