"""The operations: each one change to the ledger, perhaps with co-signatures.

Tags of the union are wire numbers and never reused. One new operation adds a class here, one handler in
`protocol/ledger`, one vector and one row in docs/spec/operations.md.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U16, Digest, Number, PublicKey, Signature, Tag, TimeMs, Wire
from protocol.types.governance import Ballot, Motion, ReportEquivocation, RotateInstitutionKey

ROLE_OWNER = 1

ACCESS_READ = 1

Tags4 = tuple[Tag, Tag, Tag, Tag]
"""A record's tags by position: category, clinical year, first sensitivity, second sensitivity."""

TagList = Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=limits.TAGS_PER_POSITION)]
"""Strictly ascending, so that a set has one encoding."""

GrantTags = tuple[TagList | None, TagList | None, TagList, TagList]
"""What a grant covers by position; None is "any", which sensitivities never are."""

Purpose = Annotated[str, Meta(min_length=2, max_length=16)]
"""A code of HL7 v3 PurposeOfUse (v3-ActReason)."""


class RecordEntry(Wire, frozen=True):
    """What stands on the ledger for a record. `supersedes` is the event number of the record it amends."""

    commitment: Digest
    tags: Tags4
    supersedes: Number | None = None


class GrantTerms(Wire, frozen=True):
    """An owner's permission for one institution. Valid from `not_before` until before `not_after` (ledger time)."""

    grantee: Number
    tags: GrantTags
    purposes: Annotated[tuple[Purpose, ...], Meta(min_length=1, max_length=limits.PURPOSES_PER_GRANT)]
    not_before: TimeMs
    not_after: TimeMs
    access: U16 = ACCESS_READ


class Reissue(Wire, frozen=True):
    """Fresh tags for a live grant after the chart moved to a new generation."""

    grant: Number
    tags: GrantTags


class OpenChart(Wire, frozen=True, tag=1):
    """A patient becomes known to a custodian. Carries the owner's co-signature besides the custodian's transaction.

    `custodian` is the institution that the owner chose: no other can carry this, whoever sees it on its way.
    """

    custodian: Number
    owner_key: PublicKey
    encryption_suite: U16
    encryption_key: Digest


class AppendRecords(Wire, frozen=True, tag=2):
    """New entries of one chart, by its custodian."""

    chart: Number
    entries: Annotated[tuple[RecordEntry, ...], Meta(min_length=1, max_length=limits.ENTRIES_PER_OPERATION)]


class Grant(Wire, frozen=True, tag=3):
    """Co-signed by the owner. The ledger assigns the grant's number."""

    chart: Number
    terms: GrantTerms


class Revoke(Wire, frozen=True, tag=4):
    """Ends a grant, co-signed by the owner; idempotent. The first time, the chart moves to its next generation and
    the named live grants get fresh tags."""

    chart: Number
    grant: Number
    reissues: Annotated[tuple[Reissue, ...], Meta(max_length=limits.REISSUES_PER_REVOKE)] = ()


class Disclose(Wire, frozen=True, tag=5):
    """An institution asks to read. Never invalid for want of consent: the rules record disclosed or denied.

    `records` are event numbers, strictly ascending; `grant` is the number that the asker relies on, None for none.
    """

    chart: Number
    grant: Number | None
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_DISCLOSURE)]
    purpose: Purpose


Operation = (
    OpenChart | AppendRecords | Grant | Revoke | Disclose | Motion | Ballot | RotateInstitutionKey | ReportEquivocation
)


class Cosignature(Wire, frozen=True):
    """An actor's consent to one operation, over chain, operation digest, role, number and expiry.

    `number` is used up in the actor's anti-replay window; `expires_at` is ledger time.
    """

    role: U16
    number: Number
    expires_at: TimeMs
    signature: Signature


class SignedOperation(Wire, frozen=True):
    """An operation and its co-signatures, ascending by role."""

    operation: Operation
    cosignatures: Annotated[tuple[Cosignature, ...], Meta(max_length=limits.COSIGNATURES_PER_OPERATION)] = ()
