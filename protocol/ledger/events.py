"""What happened to a chart: the events that its history commits to, and what they say to people.

Every authority computes the same events from the same block. An event's leaf binds chart and number, so an event can
be shown neither for another chart nor at another place. `reason` of a disclosure is public, because every authority
recomputes it from what is public anyway; what a practitioner adds in confidence never comes here.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol import limits
from protocol.crypto.hashing import DIGEST_BYTES, Domain
from protocol.types.base import U16, Digest, Number, Tag, TimeMs, Wire
from protocol.types.operations import (
    Bar,
    DelegateReissue,
    DelegateTerms,
    GrantTerms,
    Guardians,
    OwnerKeys,
    Policy,
    Purpose,
    RecordEntry,
    RecordList,
    Reissue,
)


class Outcome(IntEnum):
    """What the rules decided about a disclosure. PENDING: an emergency that a second institution must confirm."""

    DISCLOSED = 1
    DENIED = 2
    PENDING = 3


class Reason(IntEnum):
    """Why a disclosure was denied: the first rule that speaks against it (docs/spec/operations.md has the order)."""

    NONE = 0
    EMERGENCY_PURPOSE = 1
    NO_GRANT = 2
    WRONG_INSTITUTION = 3
    REVOKED = 4
    NOT_YET = 5
    EXPIRED = 6
    PURPOSE = 7
    OUTSIDE = 8
    BARRED = 9
    ERASED = 10
    PRACTITIONER = 11
    WRITE_ONLY = 12
    DELEGATE_ENDED = 13
    DELEGATE_BOUNDS = 14
    BREAK_GLASS_FORBIDDEN = 15
    REVIEWS_OWED = 16


class ChangeKind(IntEnum):
    """What waits to become true of a chart."""

    ROTATION = 1
    GUARDIANS = 2
    RECOVERY = 3


class ChartOpened(Wire, frozen=True, tag=1):
    """Event 0 of every chart; `institution` is its custodian."""

    height: Number
    time_ms: TimeMs
    institution: Number
    encryption_suite: U16
    encryption_key: Digest


class RecordAppended(Wire, frozen=True, tag=2):
    """A record. Its event number names it ever after.

    `generation` is the chart's at this block; tags made while a revocation was under way may be of the one before.
    `institution` wrote it: the custodian, or another that `grant` let write.
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    generation: Number
    entry: RecordEntry
    holders: Annotated[tuple[Number, ...], Meta(max_length=limits.HOLDERS_PER_RECORD)] = ()
    grant: Number | None = None


class Granted(Wire, frozen=True, tag=3):
    """The owner, or `delegate` for it, made grant number `grant`; `institution` carried the operation."""

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number
    terms: GrantTerms
    delegate: Number | None = None


class Revoked(Wire, frozen=True, tag=4):
    """The owner, or `delegate` for it, ended a grant: the chart is at `generation` from here on, and these live grants
    and delegates got new tags. `bars` took the place of the policy's; None if those stay as they were."""

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number
    generation: Number
    reissues: Annotated[tuple[Reissue, ...], Meta(max_length=limits.REISSUES_PER_REVOKE)]
    delegates: Annotated[tuple[DelegateReissue, ...], Meta(max_length=limits.DELEGATES_PER_REVOKE)] = ()
    bars: Annotated[tuple[Bar, ...], Meta(max_length=limits.BARS_PER_CHART)] | None = None
    delegate: Number | None = None


class Disclosed(Wire, frozen=True, tag=5):
    """`institution` asked to read `records` (event numbers), and this is what the rules said.

    `release_until` is the ledger time up to which keys may be released; None when denied. With `delegate`, it is that
    delegate who reads, and `institution` carried it.
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number | None
    records: RecordList
    purpose: Purpose
    outcome: Outcome
    reason: Reason
    release_until: TimeMs | None
    practitioner: Tag | None = None
    details: Digest | None = None
    delegate: Number | None = None


class PolicySet(Wire, frozen=True, tag=6):
    """The owner set the chart's policy."""

    height: Number
    time_ms: TimeMs
    institution: Number
    policy: Policy


class DelegateNamed(Wire, frozen=True, tag=7):
    """The owner named delegate number `delegate`."""

    height: Number
    time_ms: TimeMs
    institution: Number
    delegate: Number
    terms: DelegateTerms


class DelegateEnded(Wire, frozen=True, tag=8):
    """The owner or the delegate itself ended it."""

    height: Number
    time_ms: TimeMs
    institution: Number
    delegate: Number


class ChangeBegun(Wire, frozen=True, tag=9):
    """Change number `change` waits until `ready_at`, or was made at once (`ready_at` is this block's time then).

    `keys` are those that a rotation or recovery leads to, `guardians` those that a change of guardians leads to.
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    change: Number
    kind: ChangeKind
    keys: OwnerKeys | None
    guardians: Guardians | None
    overrule: bool
    ready_at: TimeMs


class ChangeCancelled(Wire, frozen=True, tag=10):
    """The change that waited is off: `by_guardians`, or by the owner."""

    height: Number
    time_ms: TimeMs
    institution: Number
    change: Number
    by_guardians: bool


class ChangeCompleted(Wire, frozen=True, tag=11):
    """The change that waited took effect."""

    height: Number
    time_ms: TimeMs
    institution: Number
    change: Number
    kind: ChangeKind


class GlassBroken(Wire, frozen=True, tag=12):
    """`institution` asked to read `records` in an emergency. Its event number names the emergency ever after.

    `release_until`, and `review_by`, when another institution's review is due, are None unless disclosed at once; a
    confirmation sets its own.
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    records: RecordList
    purpose: Purpose
    outcome: Outcome
    reason: Reason
    release_until: TimeMs | None
    review_by: TimeMs | None
    justification: Digest
    practitioner: Tag | None = None


class GlassConfirmed(Wire, frozen=True, tag=13):
    """`institution` vouched for the emergency; its asker may read until `release_until`."""

    height: Number
    time_ms: TimeMs
    institution: Number
    emergency: Number
    release_until: TimeMs
    review_by: TimeMs


class GlassReviewed(Wire, frozen=True, tag=14):
    """`institution` reviewed the emergency: `late` if after it was due."""

    height: Number
    time_ms: TimeMs
    institution: Number
    emergency: Number
    justified: bool
    findings: Digest | None
    late: bool


class Erased(Wire, frozen=True, tag=15):
    """Owner and custodian ordered these records deleted; each of `holders` and `institution` owes a receipt."""

    height: Number
    time_ms: TimeMs
    institution: Number
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_ERASURE)]
    holders: Annotated[tuple[Number, ...], Meta(max_length=limits.HOLDERS_PER_ERASURE)]


class ErasureAcknowledged(Wire, frozen=True, tag=16):
    """`institution` deleted what it had of what the erasure with event number `erasure` ordered."""

    height: Number
    time_ms: TimeMs
    institution: Number
    erasure: Number


class HoldPlaced(Wire, frozen=True, tag=17):
    """The custodian is bound to keep these records (None: all), until the hold with this event's number is released."""

    height: Number
    time_ms: TimeMs
    institution: Number
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_HOLD)] | None
    basis: Digest


class HoldReleased(Wire, frozen=True, tag=18):
    """The hold with event number `hold` is over."""

    height: Number
    time_ms: TimeMs
    institution: Number
    hold: Number


class ChartMoved(Wire, frozen=True, tag=19):
    """The owner chose `institution` as the chart's custodian from here on; `former` was removed."""

    height: Number
    time_ms: TimeMs
    institution: Number
    former: Number


Event = (
    ChartOpened
    | RecordAppended
    | Granted
    | Revoked
    | Disclosed
    | PolicySet
    | DelegateNamed
    | DelegateEnded
    | ChangeBegun
    | ChangeCancelled
    | ChangeCompleted
    | GlassBroken
    | GlassConfirmed
    | GlassReviewed
    | Erased
    | ErasureAcknowledged
    | HoldPlaced
    | HoldReleased
    | ChartMoved
)

_decoder: Final = msgspec.msgpack.Decoder(Event)
_leaf_state: Final = blake2b(digest_size=DIGEST_BYTES, person=Domain.EVENT_LEAF)


def decode_event(raw: bytes) -> Event:
    """The event in bytes that this node itself wrote. Bytes from strangers go through `protocol.codec` with `Event`."""
    event: Event = _decoder.decode(raw)
    return event


def event_digest(chart: int, number: int, raw: bytes) -> bytes:
    """32 bytes: the leaf of a chart's history for event `number` with these canonical bytes."""
    state = _leaf_state.copy()  # half the cost of a new one with parameters, and every event passes here
    state.update(chart.to_bytes(5, "big") + number.to_bytes(7, "big") + raw)
    return state.digest()


_REASONS: Final = {
    Reason.NONE: "Your permission covers it.",
    Reason.EMERGENCY_PURPOSE: "It was asked as an emergency, and emergencies are never covered by a permission.",
    Reason.NO_GRANT: "You had not given this permission.",
    Reason.WRONG_INSTITUTION: "Your permission is for another institution.",
    Reason.REVOKED: "You had withdrawn your permission.",
    Reason.NOT_YET: "Your permission had not begun yet.",
    Reason.EXPIRED: "Your permission had ended.",
    Reason.PURPOSE: "Your permission is for other purposes.",
    Reason.OUTSIDE: "At least one of the records is not among those that you permitted.",
    Reason.BARRED: "You had forbidden it, and that comes before any permission.",
    Reason.ERASED: "At least one of the records was erased.",
    Reason.PRACTITIONER: "Your permission is for certain people there, and it was somebody else who asked.",
    Reason.WRITE_ONLY: "Your permission is to write, not to read.",
    Reason.DELEGATE_ENDED: "Whoever asked may not act for you now.",
    Reason.DELEGATE_BOUNDS: "Whoever asked may act for you, but not to read this.",
    Reason.BREAK_GLASS_FORBIDDEN: "You had forbidden reading without permission, in an emergency too.",
    Reason.REVIEWS_OWED: "The institution has too many emergencies that nobody reviewed yet.",
}


def reason_text(reason: int) -> str:
    """One sentence to the patient about why a disclosure came out as it did."""
    return _REASONS[Reason(reason)]
