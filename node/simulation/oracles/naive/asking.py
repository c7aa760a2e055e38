"""The naive rules of how an asking to read is decided (docs/spec/operations.md).

The first rule that speaks against it is its reason, by the name that the ledger gives it; "NONE" if none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from node.simulation.oracles.naive import purposes, signatures
from node.simulation.oracles.naive.charts import chart, covers, in_force, records_of
from node.simulation.oracles.naive.state import Answers, Chart, EmergencyOf, Record, State, require
from protocol.types.operations import Bar, BreakGlass, BreakGlassMode, ConfirmBreakGlass, Disclose, SignedOperation

DAY_MS = 86_400_000
UNREVIEWED_MOST = 256
ACT_READ = 4


def disclose(state: State, operation: Disclose, signed: SignedOperation, carrier: int) -> None:
    """An event in any case."""
    held, records = _asked(state, operation)
    by = None
    if signed.cosignatures:
        require(operation.grant is None, "a delegate reads under no grant")
        by, _ = signatures.delegate(state, signed, held)
        against = _against_delegate(state, held, operation, records, by)
    else:
        against = _against_grant(state, held, operation, records, carrier)
    reason = next(against, "NONE")
    disclosed = reason == "NONE"
    if not disclosed:
        _unanswered(state, operation.chart, carrier)
    held.happened(
        "Disclosed",
        carrier,
        {
            "grant": operation.grant,
            "records": operation.records,
            "purpose": operation.purpose,
            "outcome": "DISCLOSED" if disclosed else "DENIED",
            "reason": reason,
            "release_until": state.timestamp + state.params.release_ms if disclosed else None,
            "practitioner": operation.practitioner,
            "details": operation.details,
            "delegate": by,
        },
    )


def break_glass(state: State, operation: BreakGlass, signed: SignedOperation, carrier: int) -> None:
    """An event in any case; an emergency unless it is denied."""
    signatures.nobody(signed)
    held, records = _asked(state, operation)
    require(purposes.emergency(operation.purpose), "the purpose is no emergency")
    reason = next(_against_emergency(state, held, operation, records, carrier), "NONE")
    emergency = EmergencyOf(carrier, state.timestamp, tuple(operation.records))
    outcome = "DENIED"
    if reason == "NONE":
        held.emergencies[held.events] = emergency
        outcome = "PENDING"
        if held.policy.break_glass is BreakGlassMode.ALLOWED:
            outcome = "DISCLOSED"
            open_emergency(state, held, held.events, emergency)
    if outcome != "DISCLOSED":
        _unanswered(state, operation.chart, carrier, 2)
    held.happened(
        "GlassBroken",
        carrier,
        {
            "records": operation.records,
            "purpose": operation.purpose,
            "outcome": outcome,
            "reason": reason,
            "release_until": emergency.release_until,
            "review_by": emergency.review_by,
            "justification": operation.justification,
            "practitioner": operation.practitioner,
        },
    )


def open_emergency(state: State, held: Chart, event: int, emergency: EmergencyOf) -> None:
    """It may be read from now on, and is answered for."""
    emergency.release_until = state.timestamp + state.params.release_ms
    emergency.review_by = state.timestamp + state.params.review_ms
    answers = state.answers.setdefault(emergency.institution, Answers())
    answers.opened += 1
    answers.unreviewed.add((emergency.review_by, held.number, event))


def would_be_disclosed(state: State, held: Chart, operation: ConfirmBreakGlass, asker: int) -> bool:
    """Whether the emergency, asked for now, would be refused by nothing."""
    records = records_of(held, operation.records)
    return next(_against_emergency(state, held, operation, records, asker), None) is None


def _asked(state: State, operation: Disclose | BreakGlass) -> tuple[Chart, list[Record]]:
    held = chart(state, operation.chart)
    require(operation.purpose in purposes.ABOVE, "the purpose is unknown")
    return held, records_of(held, operation.records)


def _unanswered(state: State, number: int, asker: int, times: int = 1) -> None:
    day = state.timestamp // DAY_MS
    last, count = state.unanswered.get((number, asker), (day, 0))
    count = count if last == day else 0
    require(count < times * state.params.denials_per_day, "the asker was denied as often as it may be in a day")
    state.unanswered[number, asker] = (day, count + 1)


def _against_grant(
    state: State, held: Chart, operation: Disclose, records: Sequence[Record], carrier: int
) -> Iterator[str]:
    if purposes.emergency(operation.purpose):
        yield "EMERGENCY_PURPOSE"
    if operation.grant is None or operation.grant >= len(held.grants):
        yield "NO_GRANT"
        return
    grant = held.grants[operation.grant]
    terms, now = grant.terms, state.timestamp
    if carrier not in terms.grantees:
        yield "WRONG_INSTITUTION"
    if terms.access == 2:
        yield "WRITE_ONLY"
    if grant.ended:
        yield "REVOKED"
    if now < terms.not_before:
        yield "NOT_YET"
    if terms.not_after <= now:
        yield "EXPIRED"
    if not any(purposes.below(operation.purpose, granted) for granted in terms.purposes):
        yield "PURPOSE"
    if terms.practitioners is not None and operation.practitioner not in terms.practitioners:
        yield "PRACTITIONER"
    if not all(covers(terms.tags, record.tags) for record in records):
        yield "OUTSIDE"
    if _barred(held, records, carrier, emergency=False):
        yield "BARRED"
    if not held.erased.isdisjoint(operation.records):
        yield "ERASED"


def _against_delegate(
    state: State, held: Chart, operation: Disclose, records: Sequence[Record], number: int
) -> Iterator[str]:
    who = held.delegates[number]
    if purposes.emergency(operation.purpose):
        yield "EMERGENCY_PURPOSE"
    if held.frozen or not in_force(state, held, number, who):
        yield "DELEGATE_ENDED"
    meant = any(purposes.below(operation.purpose, bound) for bound in who.terms.purposes)
    covered = all(covers(who.terms.tags, record.tags) for record in records)
    if not (who.terms.acts & ACT_READ and meant and covered):
        yield "DELEGATE_BOUNDS"
    if not held.erased.isdisjoint(operation.records):
        yield "ERASED"


def _against_emergency(
    state: State, held: Chart, operation: BreakGlass | ConfirmBreakGlass, records: Sequence[Record], asker: int
) -> Iterator[str]:
    if held.policy.break_glass is BreakGlassMode.FORBIDDEN:
        yield "BREAK_GLASS_FORBIDDEN"
    if _barred(held, records, asker, emergency=True):
        yield "BARRED"
    if not held.erased.isdisjoint(operation.records):
        yield "ERASED"
    answers = state.answers.get(asker)
    if answers is not None and len(answers.unreviewed) >= UNREVIEWED_MOST:
        yield "REVIEWS_OWED"


def _barred(held: Chart, records: Sequence[Record], asker: int, *, emergency: bool) -> bool:
    return any(
        bar.institution in (None, asker) and (bar.emergencies or not emergency) and _hits(bar, record)
        for bar in held.policy.bars
        for record in records
    )


def _hits(bar: Bar, record: Record) -> bool:
    if record.generation > bar.generation:
        return True
    categories, years, sensitivities = bar.tags
    both = record.tags[2:]
    return (
        (categories is None or record.tags[0] in categories)
        and (years is None or record.tags[1] in years)
        and (sensitivities is None or any(tag in sensitivities for tag in both))
    )


HANDLERS: Final[dict[type, Any]] = {Disclose: disclose, BreakGlass: break_glass}
