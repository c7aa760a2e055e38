"""What a checked proof has shown, as `chartledger verify --json` prints it: docs/cli.md lists the members."""

from __future__ import annotations

from typing import Any

import msgspec

from node.api.events import event_out
from protocol.codec.canonical import encode
from protocol.crypto.hashing import block_digest
from protocol.proofs.bundle import Shown
from protocol.proofs.erasure import ErasureClaim
from protocol.proofs.field import FieldClaim
from protocol.proofs.final import Finality
from protocol.proofs.grant import GrantClaim
from protocol.proofs.history import HistoryClaim
from protocol.proofs.inclusion import Claim
from protocol.types.terms import GrantTerms

Document = dict[str, Any]


def document_of(shown: Shown) -> Document:
    """What a proof of any kind has shown. `claim` says which kind it is."""
    match shown:
        case Claim():
            return {"claim": "event", **block_document(shown.final), **_event(shown)}
        case Finality():
            return {"claim": "block", **block_document(shown)}
        case HistoryClaim():
            return {"claim": "history", **block_document(shown.final), **_history(shown)}
        case FieldClaim():
            return {"claim": "field", **block_document(shown.entry.final), **_field(shown)}
        case GrantClaim():
            return {"claim": "grant", **block_document(shown.final), **_grant(shown)}
        case ErasureClaim():
            return {"claim": "erasure", **block_document(shown.final), **_erasure(shown)}


def block_document(shown: Finality) -> Document:
    """What was shown of a final block."""
    return {
        "network": shown.network,
        "chain": shown.header.chain.hex(),
        "height": shown.header.height,
        "time_ms": shown.header.timestamp,
        "digest": block_digest(shown.header).hex(),
        "epoch": shown.header.epoch,
        "epochs_passed": [{"epoch": one.epoch, "height": one.height} for one in shown.ends],
        "authorities": [member.institution for member in shown.authorities.members],
        "signers": list(shown.signers),
    }


def _event(shown: Claim) -> Document:
    return {
        "chart": shown.chart,
        "event": shown.number,
        "kind": type(shown.event).__name__,
        "event_height": shown.event.height,
        "event_time_ms": shown.event.time_ms,
        "record_shown": shown.record_shown,
    }


def _history(shown: HistoryClaim) -> Document:
    return {
        "chart": shown.chart,
        "complete": shown.complete,
        "first": shown.first,
        "events_in_all": shown.total,
        "events": [
            msgspec.to_builtins(event_out(number, encode(event), event))
            for number, event in enumerate(shown.events, shown.first)
        ],
    }


def _field(shown: FieldClaim) -> Document:
    return {**_event(shown.entry), "pointer": shown.pointer, "value": shown.value.decode("utf-8", "backslashreplace")}


def _grant(shown: GrantClaim) -> Document:
    return {
        "chart": shown.chart,
        "grant": shown.grant,
        "institution": shown.institution,
        "record": shown.record,
        "in_force": shown.in_force,
        "against": shown.against.name.lower().replace("_", "-"),
        "institution_status": shown.standing,
        "terms": None if shown.terms is None else _terms(shown.terms),
        "revoked_at": shown.revoked_at,
        "bars": len(shown.bars),
        "history_height": None if shown.later is None else shown.later.header.height,
    }


def _terms(terms: GrantTerms) -> Document:
    return {
        "grantees": list(terms.grantees),
        "tags": [None if listed is None else [tag.hex() for tag in listed] for listed in terms.tags],
        "purposes": list(terms.purposes),
        "not_before": terms.not_before,
        "not_after": terms.not_after,
        "access": terms.access,
        "practitioners": None if terms.practitioners is None else [one.hex() for one in terms.practitioners],
    }


def _erasure(shown: ErasureClaim) -> Document:
    return {
        "chart": shown.chart,
        "erasure": shown.number,
        "records": list(shown.ordered.records),
        "ordered_height": shown.ordered.height,
        "ordered_time_ms": shown.ordered.time_ms,
        "receipts": [{"institution": one, "height": height} for one, height in shown.receipts],
        "owing": list(shown.owing),
        "gone": list(shown.gone),
        "complete": shown.complete,
    }
