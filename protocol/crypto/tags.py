"""Tags: 16-byte keyed digests of labels, by which authorities match records to grants and learn no label.

A tag is a PRF of (chart secret, generation, position, label), so equal labels show only within one chart, generation
and position. Labels are chosen by the custodian and known to the owner; none of them ever stands on the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.crypto.hashing import Domain
from protocol.types.base import Wire
from protocol.types.operations import GrantTags, Tags4

TAG_BYTES = 16
CATEGORY, YEAR, SENSITIVITY_1, SENSITIVITY_2 = range(4)
POSITIONS = 4

NONE = "none"
"""The label of a position that a record has nothing for."""
SEVERAL = "several"
"""The second sensitivity of a record that has more than two: a grant must name it, so no third one slips through."""

Label = Annotated[str, Meta(min_length=1, max_length=limits.LABEL_BYTES)]
LabelList = Annotated[tuple[Label, ...], Meta(max_length=limits.TAGS_PER_POSITION)]


class Labels(Wire, frozen=True):
    """A record's labels by position, in clear: for custodian and owner only."""

    category: Label = NONE
    year: Label = NONE
    sensitivity_1: Label = NONE
    sensitivity_2: Label = NONE


class GrantLabels(Wire, frozen=True):
    """What a grant covers, in clear: categories and years (None is any), and sensitivities besides "none"."""

    categories: LabelList | None = None
    years: LabelList | None = None
    sensitivities: LabelList = ()


def record_labels(category: str, year: str, sensitivities: Iterable[str]) -> Labels:
    """The labels of a record with any number of sensitivities, each at most once, sorted."""
    ordered = sorted(set(sensitivities) - {NONE})
    first, second = [*ordered, NONE, NONE][:2]
    return Labels(category, year, first, SEVERAL if len(ordered) > 2 else second)


def tag(chart_secret: bytes, generation: int, position: int, label: str) -> bytes:
    """16 bytes: BLAKE2b keyed with the chart's 32-byte secret over generation (u64), position (u8) and label."""
    place = generation.to_bytes(8, "big") + position.to_bytes(1, "big")
    return blake2b(place + label.encode(), digest_size=TAG_BYTES, key=chart_secret, person=Domain.TAG).digest()


def tags_of(chart_secret: bytes, generation: int, labels: Labels) -> Tags4:
    """A record's four tags, by position."""
    return (
        tag(chart_secret, generation, CATEGORY, labels.category),
        tag(chart_secret, generation, YEAR, labels.year),
        tag(chart_secret, generation, SENSITIVITY_1, labels.sensitivity_1),
        tag(chart_secret, generation, SENSITIVITY_2, labels.sensitivity_2),
    )


def grant_tags(chart_secret: bytes, generation: int, labels: GrantLabels) -> GrantTags:
    """The tag lists of a grant, each strictly ascending as the ledger wants them."""

    def listed(position: int, names: Collection[str]) -> tuple[bytes, ...]:
        return tuple(sorted({tag(chart_secret, generation, position, name) for name in names}))

    sensitivities = {NONE, *labels.sensitivities}
    return (
        None if labels.categories is None else listed(CATEGORY, labels.categories),
        None if labels.years is None else listed(YEAR, labels.years),
        listed(SENSITIVITY_1, sensitivities),
        listed(SENSITIVITY_2, sensitivities),
    )
