"""What owners lay down about their charts: tags, grants, bars, delegates, guardians, policy.

Plain values that operations, events and leaves share. What each means on the ledger is in docs/spec/operations.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U16, Digest, Number, PublicKey, Tag, TimeMs, Wire

ACCESS_READ = 1
ACCESS_WRITE = 2
"""What a grant permits, as bits: to read, to append records."""

ACT_GRANT = 1
ACT_REVOKE = 2
ACT_READ = 4
"""What a delegate may do, as bits: to grant within its bounds, to revoke any grant, to read within its bounds."""

Tags4 = tuple[Tag, Tag, Tag, Tag]
"""A record's tags by position: category, clinical year, first sensitivity, second sensitivity."""

TagList = Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=limits.TAGS_PER_POSITION)]
"""Strictly ascending, so that a set has one encoding."""

GrantTags = tuple[TagList | None, TagList | None, TagList, TagList]
"""What a grant covers by position; None is "any", which sensitivities never are."""

BarTagList = Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=limits.TAGS_PER_BAR)]

BarTags = tuple[BarTagList | None, BarTagList | None, BarTagList | None]
"""What a bar covers: categories, years, sensitivities at either of their positions; None is "any"."""

Purpose = Annotated[str, Meta(min_length=2, max_length=16)]
"""A code of HL7 v3 PurposeOfUse (v3-ActReason)."""

PurposeList = Annotated[tuple[Purpose, ...], Meta(min_length=1, max_length=limits.PURPOSES_PER_GRANT)]


class GrantTerms(Wire, frozen=True):
    """An owner's permission. Valid from `not_before` until before `not_after` (ledger time).

    `grantees` are institution numbers, strictly ascending: a named group is the list that the owner saw.
    `practitioners` are pseudonyms, strictly ascending, that grantees gave their staff for this chart; None is
    everybody there.
    """

    grantees: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.GRANTEES_PER_GRANT)]
    tags: GrantTags
    purposes: PurposeList
    not_before: TimeMs
    not_after: TimeMs
    access: U16 = ACCESS_READ
    practitioners: Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=limits.PRACTITIONERS_PER_GRANT)] | None = (
        None
    )


class Reissue(Wire, frozen=True):
    """Fresh tags for a live grant after the chart moved to a new generation."""

    grant: Number
    tags: GrantTags


class DelegateReissue(Wire, frozen=True):
    """Fresh tags for a delegate's bounds after the chart moved to a new generation."""

    delegate: Number
    tags: GrantTags


class Bar(Wire, frozen=True):
    """Who must not read what, whatever any grant says: this institution, or all (None). A bar beats every grant;
    it holds in emergencies only if it says so. `generation` is the last of the chart's that its tags speak of: what
    was recorded later counts as barred, until the owner renews the bar."""

    institution: Number | None
    tags: BarTags
    emergencies: bool = False
    generation: Number = 0


class BreakGlassMode(IntEnum):
    """Whether a chart may be read in an emergency without grant."""

    ALLOWED = 1
    TWO_INSTITUTIONS = 2
    FORBIDDEN = 3


class Policy(Wire, frozen=True):
    """A chart's standing rules besides its grants. Bars in the order in which the owner wrote them."""

    break_glass: BreakGlassMode = BreakGlassMode.ALLOWED
    bars: Annotated[tuple[Bar, ...], Meta(max_length=limits.BARS_PER_CHART)] = ()


class DelegateTerms(Wire, frozen=True):
    """Who may act for the owner, and within which bounds.

    `key` co-signs; what the delegate reads is sealed to `encryption_key` (digest). `acts` are bits of `ACT_*`. Grants
    that it makes lie within `tags` and `purposes` and end by `not_after`; `tags` bound its own reading too.
    """

    key: PublicKey
    encryption_suite: U16
    encryption_key: Digest
    acts: U16
    tags: GrantTags
    purposes: PurposeList
    not_before: TimeMs
    not_after: TimeMs


class Guardians(Wire, frozen=True):
    """`threshold` of the holders of `keys` can move the chart to a new owner key. Keys ascend strictly; each was made
    by its guardian for this chart alone."""

    threshold: Annotated[int, Meta(ge=1, le=limits.GUARDIANS_PER_CHART)]
    keys: Annotated[tuple[PublicKey, ...], Meta(min_length=1, max_length=limits.GUARDIANS_PER_CHART)]


class OwnerKeys(Wire, frozen=True):
    """An owner's keys: the one that co-signs, and the digest of the one that envelopes are sealed to."""

    owner_key: PublicKey
    encryption_suite: U16
    encryption_key: Digest
