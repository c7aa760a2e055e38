"""Finality against network delay and against the number of authorities: measured in calm histories, drawn as SVG.

Nothing goes wrong in them and every message takes the same time, so what is drawn is the protocol's own cost: times
are in one-way delays, and processing takes none. Drawing needs the extra `plot`; measuring does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from types import ModuleType

from msgspec import Struct

from node.simulation.plan import Plan, Submit
from node.simulation.runner import play_plan
from protocol.errors import ChartledgerError

DELAYS_MS = (1, 5, 10, 25, 50, 100, 150, 200, 300)
AUTHORITIES = (4, 7, 10)
SIZES = (1, 2, 3, 4, 7, 10, 16, 25, 40)
DELAY_MS = 100
TRANSACTIONS = 12
APART = 12
WIDTH, HEIGHT = 720, 440


class CannotDraw(ChartledgerError):
    """What draws is not installed."""

    advice = "Install it with: pip install 'chartledger[plot]'"


class Point(Struct, frozen=True):
    """Medians of one calm history, in simulated milliseconds, over transactions and honest nodes."""

    authorities: int
    delay_ms: int
    from_proposal_ms: float
    from_submission_ms: float

    @property
    def proposal_delays(self) -> float:
        """Finality from the proposal in one-way delays."""
        return self.from_proposal_ms / self.delay_ms

    @property
    def submission_delays(self) -> float:
        """Finality from the submission in one-way delays."""
        return self.from_submission_ms / self.delay_ms


class Figures(Struct, frozen=True):
    """What is drawn: by delay for some sizes, and by size for one delay."""

    by_delay: tuple[Point, ...]
    by_size: tuple[Point, ...]


def plans() -> Iterator[Plan]:
    """The calm histories that are measured, those by delay first."""
    for authorities in AUTHORITIES:
        for delay_ms in DELAYS_MS:
            yield calm(authorities, delay_ms)
    for authorities in SIZES:
        yield calm(authorities, DELAY_MS)


def calm(authorities: int, delay_ms: int) -> Plan:
    """Nothing goes wrong, every message takes the same time, and one transaction after the other is submitted, so far
    apart that each finds the chain at rest, to one authority after the other."""
    apart_ms = APART * delay_ms
    actions = tuple(Submit((number + 1) * apart_ms, number % authorities) for number in range(TRANSACTIONS))
    return Plan(
        seed=1,
        authorities=authorities,
        delay_ms=(delay_ms, delay_ms),
        delta_ms=max(500, 2 * delay_ms),
        heal_ms=(TRANSACTIONS + 1) * apart_ms,
        actions=actions,
    )


def histories() -> int:
    """How many histories `measure` plays."""
    return len(AUTHORITIES) * len(DELAYS_MS) + len(SIZES)


def measure(tell: Callable[[int], None] = lambda _: None) -> Figures:
    """Play them."""
    points = []
    for plan in plans():
        points.append(point(plan))
        tell(1)
    split = len(AUTHORITIES) * len(DELAYS_MS)
    return Figures(tuple(points[:split]), tuple(points[split:]))


def point(plan: Plan) -> Point:
    """One calm history's medians. Raises AssertionError if it failed: then there is nothing to measure."""
    history = play_plan(plan)
    if history.failure is not None:
        raise AssertionError(f"a calm history failed: {history.failure.sentence}")
    stats = history.stats
    return Point(plan.authorities, plan.delay_ms[0], median(stats.from_proposal_ms), median(stats.from_submission_ms))


def svg(figures: Figures) -> str:
    """The picture, as an SVG document of its own. Raises `CannotDraw`."""
    leather = load()
    by_delay = leather.Chart("Finality of a transaction in ms, by network delay")
    for authorities in AUTHORITIES:
        line = [(p.delay_ms, p.from_submission_ms) for p in figures.by_delay if p.authorities == authorities]
        by_delay.add_line(line, name=f"{authorities} authorities")
    slowest = max(p.from_submission_ms for p in figures.by_delay)
    by_delay.add_x_scale(0, max(DELAYS_MS))
    by_delay.add_y_scale(0, slowest)
    by_delay.add_x_axis(name="one-way delay, ms")
    by_delay.add_y_axis(name="submission to final, median, ms")
    by_size = leather.Chart(f"Finality in delays of {DELAY_MS} ms, by number of authorities")
    by_size.add_line([(p.authorities, p.submission_delays) for p in figures.by_size], name="from the submission")
    by_size.add_line([(p.authorities, p.proposal_delays) for p in figures.by_size], name="from the proposal")
    by_size.add_x_scale(0, max(SIZES))
    by_size.add_y_scale(0, 5)
    by_size.add_x_axis(name="authorities")
    by_size.add_y_axis(name="one-way delays, median")
    grid = leather.Grid()
    grid.add_one(by_delay)
    grid.add_one(by_size)
    return str(grid.to_svg(width=2 * WIDTH, height=HEIGHT))


def load() -> ModuleType:
    """The library that draws. Raises `CannotDraw`."""
    try:
        import leather  # noqa: PLC0415 - an extra: everything else works without it
    except ImportError:
        raise CannotDraw("drawing needs the library leather") from None
    module: ModuleType = leather
    return module
