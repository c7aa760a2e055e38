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
from protocol.types.base import U16, Digest, Number, TimeMs, Wire
from protocol.types.operations import GrantTerms, Purpose, RecordEntry, Reissue


class Outcome(IntEnum):
    """What the rules decided about a disclosure."""

    DISCLOSED = 1
    DENIED = 2


class Reason(IntEnum):
    """Why a disclosure was denied: the first rule, in the order of these numbers, that speaks against it."""

    NONE = 0
    EMERGENCY_PURPOSE = 1
    NO_GRANT = 2
    WRONG_INSTITUTION = 3
    REVOKED = 4
    NOT_YET = 5
    EXPIRED = 6
    PURPOSE = 7
    OUTSIDE = 8


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
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    generation: Number
    entry: RecordEntry


class Granted(Wire, frozen=True, tag=3):
    """The owner made grant number `grant`; `institution` carried the operation."""

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number
    terms: GrantTerms


class Revoked(Wire, frozen=True, tag=4):
    """The owner ended a grant: the chart is at `generation` from here on, and these live grants got new tags."""

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number
    generation: Number
    reissues: Annotated[tuple[Reissue, ...], Meta(max_length=limits.REISSUES_PER_REVOKE)]


class Disclosed(Wire, frozen=True, tag=5):
    """`institution` asked to read `records` (event numbers), and this is what the rules said.

    `release_until` is the ledger time up to which the custodian may release keys; None when denied.
    """

    height: Number
    time_ms: TimeMs
    institution: Number
    grant: Number | None
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_DISCLOSURE)]
    purpose: Purpose
    outcome: Outcome
    reason: Reason
    release_until: TimeMs | None


Event = ChartOpened | RecordAppended | Granted | Revoked | Disclosed

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
}


def reason_text(reason: int) -> str:
    """One sentence to the patient about why a disclosure came out as it did."""
    return _REASONS[Reason(reason)]
