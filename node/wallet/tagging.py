"""From labels to tags and back: what grants, bounds and bars say, over all generations that a chart has had.

A record keeps the tags that it was written with, so whoever speaks of a label speaks of its tags in every generation.
The other way round, a wallet finds out what tags mean by trying the labels that it knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache

from msgspec import Struct

from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from protocol import limits
from protocol.crypto.tags import (
    CATEGORY,
    NONE,
    POSITIONS,
    SENSITIVITY_1,
    SENSITIVITY_2,
    SEVERAL,
    YEAR,
    GrantLabels,
    grant_tags,
    tag,
)
from protocol.errors import ChartledgerError
from protocol.types.operations import Bar, BarTags, GrantTags, Tags4

_KNOWN = (RESOURCE_TYPES, YEARS, SENSITIVITY_LABELS, SENSITIVITY_LABELS)


class GrantTooWide(ChartledgerError):
    """The grant would list more than it may."""

    advice = "Name fewer categories, years or sensitivities, or leave categories and years out, which means any."


class BarTooWide(ChartledgerError):
    """What is to be forbidden takes more bars than a chart may have."""

    advice = (
        "Name fewer categories, years or sensitivities, or forbid an institution everything; each withdrawal of a "
        "permission makes what names some of them longer."
    )


class UnknownLabels(ChartledgerError):
    """The policy forbids something by a label that this wallet does not know."""

    advice = "Change the policy with the wallet that made it, or forbid everything anew with `chartledger policy set`."


class Forbidden(Struct, frozen=True, order=True):
    """What one rule of a policy forbids, in clear: to `institution` (None: all) these categories, years, sensitivities
    (None: any); each list sorted."""

    institution: int | None
    categories: tuple[str, ...] | None = None
    years: tuple[str, ...] | None = None
    sensitivities: tuple[str, ...] | None = None
    emergencies: bool = False


class Meanings:
    """What the tags of one chart mean, as far as this wallet knows their labels; `extra` are labels of its own."""

    def __init__(self, chart_secret: bytes, generation: int, extra: Iterable[str] = ()) -> None:
        self._secret = chart_secret
        self._generation = generation
        self._extra = tuple(extra)
        self._of = cache(self._table)

    def _table(self, position: int) -> dict[bytes, str]:
        labels = (*_KNOWN[position], *self._extra)
        return {
            tag(self._secret, age, position, label): label for age in range(self._generation + 1) for label in labels
        }

    def label(self, position: int, one: bytes) -> str | None:
        """The label behind a tag at this position."""
        return self._of(position).get(one)

    def record(self, tags: Tags4) -> tuple[str | None, ...]:
        """The four labels of a record, None for one that is not known."""
        return tuple(self.label(position, tags[position]) for position in range(POSITIONS))

    def grant(self, tags: GrantTags) -> GrantLabels | None:
        """What a grant's tags, or a delegate's bounds, mean; None if one is of a label that is not known."""
        found = [self._listed((position,), listed) for position, listed in enumerate(tags)]
        if any(names is None and listed is not None for names, listed in zip(found, tags, strict=True)):
            return None
        categories, years, first, second = found
        return GrantLabels(categories, years, tuple(sorted({*(first or ()), *(second or ())} - {NONE})))

    def forbidden(self, bars: Sequence[Bar]) -> list[Forbidden]:
        """What bars forbid, sorted; bars that differ in their generations only are one. Raises `UnknownLabels`."""
        return sorted({self._forbidden(bar) for bar in bars}, key=repr)

    def _forbidden(self, bar: Bar) -> Forbidden:
        places = ((CATEGORY,), (YEAR,), (SENSITIVITY_1, SENSITIVITY_2))
        found = [self._listed(at, listed) for at, listed in zip(places, bar.tags, strict=True)]
        if any(names is None and listed is not None for names, listed in zip(found, bar.tags, strict=True)):
            raise UnknownLabels
        categories, years, sensitivities = found
        if sensitivities is not None and len(sensitivities) > 1:
            sensitivities = tuple(one for one in sensitivities if one != SEVERAL)
        return Forbidden(bar.institution, categories, years, sensitivities, bar.emergencies)

    def _listed(self, positions: Sequence[int], tags: Sequence[bytes] | None) -> tuple[str, ...] | None:
        """The labels behind tags, sorted; None for any, and if one is not known."""
        if tags is None:
            return None
        names: set[str] = set()
        for one in tags:
            name = next((n for position in positions if (n := self.label(position, one)) is not None), None)
            if name is None:
                return None
            names.add(name)
        return tuple(sorted(names))


def tags_through(chart_secret: bytes, generation: int, labels: GrantLabels) -> GrantTags:
    """Tags for `labels` of every generation up to `generation`, since a record keeps those it was written with.

    When that is more than a grant may list, the oldest generations go first. Raises `GrantTooWide` if even one
    generation is too many.
    """
    positions: list[set[bytes] | None] = [None, None, set(), set()]
    for age in range(generation, -1, -1):
        tags = grant_tags(chart_secret, age, labels)
        wider = [None if new is None else (old or set()) | set(new) for old, new in zip(positions, tags, strict=True)]
        if any(listed is not None and len(listed) > limits.TAGS_PER_POSITION for listed in wider):
            if age == generation:
                raise GrantTooWide(f"a grant lists at most {limits.TAGS_PER_POSITION} labels of each kind")
            break
        positions = wider
    category, year, first, second = (None if p is None else tuple(sorted(p)) for p in positions)
    assert first is not None, "sensitivities are always listed"
    assert second is not None, "sensitivities are always listed"
    return category, year, first, second


def bars_through(chart_secret: bytes, generation: int, forbidden: Iterable[Forbidden]) -> tuple[Bar, ...]:
    """The bars that forbid all this in every generation up to `generation`, as many as it takes.

    What names a sensitivity also covers records that bear more than two, of which a tag tells only that there are
    more. Raises `BarTooWide`.
    """
    bars: list[Bar] = []
    for one in forbidden:
        bars += _bars(chart_secret, generation, one)
    if len(bars) > limits.BARS_PER_CHART:
        raise BarTooWide(f"it takes {len(bars)} bars, and a chart has at most {limits.BARS_PER_CHART}")
    return tuple(bars)


def _bars(chart_secret: bytes, generation: int, one: Forbidden) -> list[Bar]:
    def tags(age: int) -> list[set[bytes] | None]:
        def listed(position: int, names: Collection[str]) -> set[bytes]:
            return {tag(chart_secret, age, position, name) for name in names}

        sensitivities = one.sensitivities
        marked = None
        if sensitivities is not None:
            marked = listed(SENSITIVITY_1, sensitivities) | listed(SENSITIVITY_2, {*sensitivities, SEVERAL})
        return [
            None if one.categories is None else listed(CATEGORY, one.categories),
            None if one.years is None else listed(YEAR, one.years),
            marked,
        ]

    largest = max((len(names) for names in tags(0) if names is not None), default=0)
    if largest > limits.TAGS_PER_BAR:
        raise BarTooWide(f"one rule forbids at most {limits.TAGS_PER_BAR} tags of each kind")
    ages = generation + 1 if largest == 0 else limits.TAGS_PER_BAR // largest  # how many generations a bar holds
    bars = []
    for newest in range(generation, -1, -ages):
        merged: list[set[bytes] | None] = [None, None, None]
        for age in range(max(0, newest - ages + 1), newest + 1):
            merged = [None if new is None else (old or set()) | new for old, new in zip(merged, tags(age), strict=True)]
        first, second, third = (None if names is None else tuple(sorted(names)) for names in merged)
        barred: BarTags = (first, second, third)
        bars.append(Bar(one.institution, barred, one.emergencies, generation))
    return bars


def label_list(values: Sequence[str]) -> tuple[str, ...] | None:
    """Labels as given on a command line: none given means any."""
    return tuple(sorted(set(values))) or None
