"""What many histories add up to, as a document for programs and as lines for people.

Relies on `runner` for outcomes. Bounded: sums, buckets of times, and the first few failures in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from node.simulation.oracles.base import Failure
from node.simulation.plan import Action, Plan
from node.simulation.runner import Outcome, Times

FAILURES_KEPT = 20
KINDS = ("safety", "crash", "liveness")
"""What can go wrong, the worst first."""


class Failed(Struct, frozen=True):
    """One seed that broke a promise."""

    seed: int
    event_hash: str
    failure: Failure
    trace: tuple[str, ...]


class Finality(Struct, frozen=True):
    """Simulated milliseconds until transactions were final, faults, crashes and partitions included."""

    profile: str
    authorities: int
    seeds: int
    from_proposal_p50_ms: float | None
    from_proposal_p99_ms: float | None
    from_submission_p50_ms: float | None
    from_submission_p99_ms: float | None


class Totals(Struct, frozen=True):
    """What was played. `speed`: simulated seconds per second that a core was busy; `happened`: to charts, by event,
    outcome and reason."""

    first_seed: int
    seeds: int
    jobs: int
    wall_s: float
    simulated_s: float
    speed: float
    blocks: int
    epochs: int
    transactions: int
    with_traitors: int
    with_patients: int
    happened: dict[str, int]
    failed: dict[str, int]
    failures: tuple[Failed, ...]
    finality: tuple[Finality, ...]


class Tally:
    """Adds outcomes up."""

    def __init__(self) -> None:
        self.seeds = self.blocks = self.epochs = self.with_traitors = 0
        self.simulated_ms = self.cpu_ms = 0.0
        self.with_patients = 0
        self.happened: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.failures: list[Failed] = []
        self._groups: dict[tuple[str, int], tuple[Times, Times]] = {}
        self._sizes: Counter[tuple[str, int]] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one history."""
        self.seeds += 1
        self.blocks += outcome.heights
        self.epochs += outcome.epochs
        self.with_traitors += outcome.traitors > 0
        self.with_patients += outcome.patients > 0
        self.happened.update(outcome.happened)
        self.simulated_ms += outcome.simulated_ms
        self.cpu_ms += outcome.cpu_ms
        group = (outcome.profile, outcome.authorities)
        self._sizes[group] += 1
        submission, proposal = self._groups.setdefault(group, (Times(), Times()))
        submission.merge(outcome.from_submission)
        proposal.merge(outcome.from_proposal)
        if outcome.failure is not None:
            self.failed[outcome.failure.kind] += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(Failed(outcome.seed, outcome.event_hash, outcome.failure, outcome.trace))

    @property
    def worst(self) -> Failed | None:
        """The failure to look at first: of the worst kind, the lowest seed."""
        return min(self.failures, key=lambda f: (KINDS.index(f.failure.kind), f.seed), default=None)

    def totals(self, first_seed: int, jobs: int, wall_s: float) -> Totals:
        """The sums."""
        finality = tuple(
            Finality(
                profile,
                authorities,
                self._sizes[profile, authorities],
                proposal.quantile(0.5),
                proposal.quantile(0.99),
                submission.quantile(0.5),
                submission.quantile(0.99),
            )
            for (profile, authorities), (submission, proposal) in sorted(self._groups.items())
        )
        return Totals(
            first_seed,
            self.seeds,
            jobs,
            wall_s,
            self.simulated_ms / 1000,
            self.simulated_ms / self.cpu_ms if self.cpu_ms else 0.0,
            self.blocks,
            self.epochs,
            sum(sum(submission.counts.values()) for submission, _ in self._groups.values()),
            self.with_traitors,
            self.with_patients,
            dict(sorted(self.happened.items())),
            {kind: self.failed[kind] for kind in KINDS},
            tuple(sorted(self.failures, key=lambda f: f.seed)),
            finality,
        )


def schedule(plan: Plan) -> Iterator[str]:
    """A plan in lines: what holds throughout, then what happens when."""
    document = msgspec.to_builtins(plan)
    for name, value in document.items():
        if name not in ("actions", "traitors") and value not in (None, 0, 0.0, [], False):
            yield f"{name}: {_plain(value)}"
    for index, kind in plan.traitors:
        yield f"traitor: authority {index}, {kind}"
    for action in sorted(plan.actions, key=lambda action: action.at_ms):
        yield _line(action)
    if not plan.actions:
        yield "nothing is done to it"


def _line(action: Action) -> str:
    fields: dict[str, Any] = msgspec.structs.asdict(action)
    at_ms = fields.pop("at_ms")
    rest = ", ".join(f"{name} {_plain(value)}" for name, value in fields.items())
    return f"{at_ms:>10,} ms  {type(action).__name__}  {rest}".rstrip()


def _plain(value: object) -> str:
    if isinstance(value, Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return " ".join(f"{name}={_plain(one)}" for name, one in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + " ".join(_plain(one) for one in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
