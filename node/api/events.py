"""Events of charts as JSON: what stands on the ledger, and a sentence that says it."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from node.api.schemas import EventKind, EventOut
from protocol.ledger.events import (
    ChangeBegun,
    ChangeCancelled,
    ChangeCompleted,
    ChartMoved,
    ChartOpened,
    DelegateEnded,
    DelegateNamed,
    Disclosed,
    Erased,
    ErasureAcknowledged,
    Event,
    GlassBroken,
    GlassConfirmed,
    GlassReviewed,
    Granted,
    HoldPlaced,
    HoldReleased,
    Outcome,
    PolicySet,
    Reason,
    RecordAppended,
    Revoked,
    reason_text,
)
from protocol.proofs.wording import sentence

KINDS: Final[dict[type, EventKind]] = {
    ChartOpened: "opened",
    ChartMoved: "moved",
    RecordAppended: "record",
    Granted: "granted",
    Revoked: "revoked",
    Disclosed: "disclosure",
    PolicySet: "policy",
    DelegateNamed: "delegate",
    DelegateEnded: "delegate-ended",
    ChangeBegun: "change-begun",
    ChangeCancelled: "change-cancelled",
    ChangeCompleted: "change-completed",
    GlassBroken: "emergency",
    GlassConfirmed: "emergency-confirmed",
    GlassReviewed: "emergency-reviewed",
    Erased: "erased",
    ErasureAcknowledged: "erasure-receipt",
    HoldPlaced: "hold",
    HoldReleased: "hold-released",
}


def event_out(number: int, raw: bytes, event: Event) -> EventOut:
    """An event as JSON."""
    fields = {name: _plain(getattr(event, name)) for name in _particular(type(event))}
    if isinstance(event, RecordAppended):
        fields |= fields.pop("entry")
    elif isinstance(event, Granted):
        fields |= {name: fields["terms"][name] for name in ("grantees", "purposes", "not_before", "not_after")}
    elif isinstance(event, ChangeBegun | ChangeCompleted):
        fields["change_kind"] = fields.pop("kind")
    said = sentence(event, lambda institution: f"institution {institution}")
    if isinstance(event, Disclosed | GlassBroken):
        fields |= {"outcome": outcome_name(event.outcome), "reason": reason_name(event.reason)}
        said = reason_text(event.reason)
    kind = KINDS[type(event)]
    return EventOut(number, kind, event.height, event.time_ms, event.institution, raw, sentence=said, **fields)


def outcome_name(outcome: Outcome) -> Literal["disclosed", "denied", "pending"]:
    return _OUTCOMES[outcome]


def reason_name(reason: Reason) -> str:
    """Kebab-case, as everywhere on the socket."""
    return reason.name.lower().replace("_", "-")


_OUTCOMES: Final[dict[Outcome, Literal["disclosed", "denied", "pending"]]] = {
    Outcome.DISCLOSED: "disclosed",
    Outcome.DENIED: "denied",
    Outcome.PENDING: "pending",
}


def _particular(kind: type[Event]) -> list[str]:
    return [name for name in kind.__struct_fields__ if name not in ("height", "time_ms", "institution")]


def _plain(value: Any) -> Any:
    """JSON's own types: bytes in hex, arrays of the wire as objects with the names of their fields."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value
