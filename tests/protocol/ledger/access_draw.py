"""What happens next in a history: operations that are mostly sensible, and in every way sometimes not.

Each draw looks at the model and at nothing of the ledger. Half of what is asked aims at what is permitted, since chance
alone would find a permitted read too rarely, and most of that is spoilt in one particular.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from protocol.crypto.tags import NONE
from tests.protocol.ledger import access_model
from tests.protocol.ledger.access_model import (
    OVER,
    BarModel,
    ChartModel,
    Cover,
    DelegateModel,
    GrantModel,
    Mark,
    Numbers,
)
from tests.protocol.ledger.access_rules import Signed, Step
from tests.protocol.ledger.access_stage import INSTITUTIONS, Stage

CATEGORIES = ("Condition", "Immunization", "Observation")
YEARS = ("2023", "2024")
SENSITIVITIES = ("HIV", "PSY", "SEX")
GRANTABLE = ("CLINTRCH", "COC", "HRESCH", "TREAT")
EMERGENCIES = ("BTG", "ERTREAT", "ETREAT")
UNDER = {code: [one for one in OVER if code in access_model.line_of(one)] for code in OVER if code}
STAFF = ("doctor", "nurse", "porter")
NOBODY = 99
"""An institution that there is not."""
CHARTS = 5


class Draws:
    """One step's choices, all from one seed."""

    def __init__(self, stage: Stage, rng: Random) -> None:
        self.stage, self.model, self.rng = stage, stage.model, rng
        self.now = stage.now

    # --- choosing

    def chance(self, odds: float) -> bool:
        return self.rng.random() < odds

    def some(self, things: Iterable[Any], most: int = 99) -> list[Any]:
        """At least one of them."""
        things = sorted(things)
        return sorted(self.rng.sample(things, self.rng.randint(1, min(len(things), most))))

    def institution(self) -> int:
        return self.rng.randrange(INSTITUTIONS)

    def carrier(self) -> int:
        """Mostly one that is accredited."""
        standing = [n for n, status in self.model.status.items() if status == "accredited"]
        return self.institution() if self.chance(0.03) else self.rng.choice(standing)

    def chart(self, having: str = "") -> int | None:
        """A chart, which has some of these."""
        fit = [n for n, chart in enumerate(self.model.charts) if not having or getattr(chart, having)]
        if self.chance(0.005):
            return len(self.model.charts) + 1
        return self.rng.choice(fit) if fit else None

    def of(self, number: int) -> ChartModel:
        """The chart of this number, or one in the place of a chart that there is not."""
        charts = self.model.charts
        return charts[number] if number < len(charts) else charts[0]

    def soon(self) -> int:
        return self.now + self.rng.choice((1, 5, 20, 100, 400))

    # --- co-signatures

    def number(self, numbers: Numbers, old: float = 0.04) -> int:
        """The next, mostly; or, so often, an old one: what was skipped is as good as new, what was used is not."""
        if numbers.used and self.chance(old):
            skipped = [at for at in range(max(numbers.used)) if at not in numbers.used]
            if skipped and self.chance(0.6):
                return self.rng.choice(skipped)
            return self.rng.choice((min(numbers.used), max(numbers.used), max(numbers.used) + 2_000_000))
        return max(numbers.used, default=-1) + self.rng.choice((1, 1, 2, 2, 5))

    def until(self, role: str = "owner") -> int:
        if self.chance(0.02):
            return self.now + self.rng.choice((-1, self.longest(role), self.longest(role) + 1))
        return self.now + self.rng.choice((0, 1, 50, 1_000, 1_000, 1_000))

    def longest(self, role: str) -> int:
        bounds = self.model.bounds
        return bounds.guardian_cosign_ms if role == "guardian" else bounds.cosign_ms

    def owner(self, number: int, old: float = 0.04) -> tuple[Signed, ...]:
        """The owner's co-signature, or now and then something else."""
        chart = self.of(number)
        good = Signed("owner", 0, chart.owner[0], self.number(chart.numbers, old), self.until())
        return self.spoil(good, number) if self.chance(0.06) else (good,)

    def spoil(self, good: Signed, number: int) -> tuple[Signed, ...]:
        role, actor, key, counted, until = good.role, good.actor, good.key, good.number, good.until
        others = [*self.model.spent, *self.model.spent, *self.model.owners, f"guardian {number} 0", "nobody"]
        return self.rng.choice(
            [
                (),
                (good, Signed("delegate", 0, key, counted, until)),
                (Signed(role, actor, key, counted, until, spoiled=True),),
                (Signed(role, actor, self.rng.choice(sorted(others)), counted, until),),
                (Signed(role, actor, self.rng.choice(sorted(others)), counted, until),),
                (Signed("guardian", 0, key, counted, until),),
                (Signed(role, actor + 1, key, counted, until),),
            ]
        )

    def delegate_signs(self, number: int, delegate: int) -> tuple[Signed, ...]:
        delegates = self.of(number).delegates
        if delegate >= len(delegates):
            return (Signed("delegate", delegate, "nobody", 0, self.until()),)
        one = delegates[delegate]
        good = Signed("delegate", delegate, one.key, self.number(one.numbers), self.until())
        return self.spoil(good, number) if self.chance(0.04) else (good,)

    def guardians_sign(self, number: int) -> tuple[Signed, ...]:
        guardians = self.of(number).guardians
        if guardians is None:
            nobody = Signed("guardian", 0, f"guardian {number} 0", 0, self.until("guardian"))
            return (nobody,) if self.chance(0.8) else ()
        places = range(len(guardians.keys))
        least = guardians.threshold - 1 if self.chance(0.12) else guardians.threshold
        chosen = sorted(self.rng.sample(places, self.rng.randint(least, len(places))))
        signed = [Signed("guardian", at, guardians.keys[at], 0, self.until("guardian")) for at in chosen]
        if signed and self.chance(0.05):
            at = signed[0].actor
            others = (f"guardian {number + 1} {at}", self.of(number).owner[0])
            signed[0] = Signed("guardian", at, self.rng.choice(others), 0, signed[0].until, self.chance(0.5))
        if signed and self.chance(0.05):
            signed.insert(0, signed[0])
        return tuple(signed)

    # --- labels

    def marks(self, labels: Iterable[str], generations: Iterable[int]) -> frozenset[Mark]:
        return frozenset((generation, label) for generation in generations for label in labels)

    def generations(self, latest: int) -> range:
        """Those that a wallet lists: all so far, mostly."""
        if self.chance(0.85):
            return range(latest + 1)
        return self.rng.choice((range(latest, latest + 1), range(max(latest, 1)), range(latest + 2)))

    def cover(self, latest: int) -> Cover:
        generations = self.generations(latest)
        named = [NONE, *(self.some(SENSITIVITIES) if self.chance(0.7) else ())]
        sensitive = self.marks(named, generations)
        return (
            None if self.chance(0.5) else self.marks(self.some(CATEGORIES), generations),
            None if self.chance(0.6) else self.marks(self.some(YEARS), generations),
            sensitive,
            sensitive,
        )

    def inside(self, bounds: Cover, latest: int) -> Cover:
        """A cover within these bounds, or mostly so."""
        free = self.cover(latest)
        if self.chance(0.15):
            return free
        narrow = [
            mine if bound is None or (place < 2 and self.chance(0.05)) else self.part_of(bound)
            for place, (mine, bound) in enumerate(zip(free, bounds, strict=True))
        ]
        return narrow[0], narrow[1], narrow[2], narrow[3]

    def part_of(self, bound: frozenset[Mark]) -> frozenset[Mark]:
        return frozenset(self.some(bound)) if self.chance(0.5) else bound

    def record(self, latest: int) -> tuple[Mark, Mark, Mark, Mark]:
        """With the tags of now, or of a generation that has just ended."""
        generation = max(0, latest - 1) if self.chance(0.1) else latest
        first = self.rng.choice((NONE, *SENSITIVITIES)) if self.chance(0.5) else NONE
        second = self.rng.choice((NONE, *SENSITIVITIES)) if self.chance(0.2) else NONE
        labels = (self.rng.choice(CATEGORIES), self.rng.choice(YEARS), first, second)
        four = tuple((generation, label) for label in labels)
        return four[0], four[1], four[2], four[3]

    def bars(self, latest: int) -> list[BarModel]:
        return [self.bar(latest) for _ in range(self.rng.choice((0, 0, 1, 1, 2)))]

    def bar(self, latest: int) -> BarModel:
        """A bar has room for the tags of a few generations only: the latest, perhaps one ahead, perhaps one behind."""
        generation = max(0, latest + self.rng.choice((0, 0, 0, 0, 0, 1, -1)))
        generations = range(max(0, generation - 3), generation + 1)
        return BarModel(
            self.rng.choice((None, None, None, *range(INSTITUTIONS))),
            None if self.chance(0.7) else self.marks(self.some(CATEGORIES), generations),
            None if self.chance(0.6) else self.marks(self.some(YEARS), generations),
            None if self.chance(0.5) else self.marks(self.some(SENSITIVITIES, 2), generations),
            self.chance(0.6),
            generation,
        )

    def purposes(self) -> frozenset[str]:
        if self.chance(0.02):
            return frozenset({self.rng.choice(("BTG", "CURIOUS", "ETREAT"))})
        return frozenset(self.some(GRANTABLE, 2))

    def period(self) -> tuple[int, int]:
        """From and until; now and then over already, or before it begins."""
        begin = self.now + self.rng.choice((-50, -1, 0, 0, 0, 1, 30, 200))
        if self.chance(0.03):
            return begin, self.rng.choice((begin, self.now, self.now - 1))
        return begin, begin + self.rng.choice((60, 300, 1_000, 3_000, 10_000))

    def staff(self) -> str | None:
        return self.rng.choice((None, *STAFF))

    def a_grant(self, latest: int) -> GrantModel:
        begin, end = self.period()
        readers = frozenset(self.some(range(INSTITUTIONS), 3))
        if self.chance(0.01):
            readers |= {NOBODY}
        access = self.rng.choice(({"read"}, {"read"}, {"read"}, {"read", "write"}, {"read", "write"}, {"write"}))
        staff = frozenset(self.some(STAFF, 2)) if self.chance(0.25) else None
        if self.chance(0.01):
            access = {"own"}
        return GrantModel(readers, self.cover(latest), self.purposes(), begin, end, frozenset(access), staff)

    def a_delegate(self, number: int, latest: int) -> DelegateModel:
        begin, end = self.period()
        acts = frozenset(self.some(("grant", "read", "revoke"))) if self.chance(0.99) else frozenset()
        key = f"delegate {number} {self.rng.randrange(9)}" if self.chance(0.99) else self.of(number).owner[0]
        return DelegateModel(key, self.cover(latest), self.purposes(), begin, end, acts)

    # --- records

    def records(self, number: int, cover: Cover | None = None, most: int = 3) -> tuple[int, ...]:
        """Some of the chart's, if there are any, covered by this; now and then an event that is no record."""
        chart = self.of(number)
        fit = [
            at
            for at, record in chart.records.items()
            if cover is None or (access_model.covers(cover, record) and (not record.erased or self.chance(0.25)))
        ]
        chosen = self.some(fit or chart.records or [0], most)
        if self.chance(0.01):
            chosen = sorted({*chosen, self.rng.choice((0, chart.events, chart.events + 5))})
        return tuple(chosen)


def step(kind: str, carrier: int, chart: int, signed: Sequence[Signed] = (), **what: Any) -> Step:
    """A step, its particulars by name."""
    return Step(kind, carrier, chart, SimpleNamespace(**what), tuple(signed))
