"""Emergencies: read without a grant by the chart's policy, and answered for.

Every emergency that releases anything is owed a review by another institution in time. What is owed, late and without
justification is counted for each institution; who owes too many reviews opens no more.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import (
    AlreadyErased,
    AlreadyReviewed,
    ForbiddenMeanwhile,
    NotWaiting,
    TooEarly,
    TooManyUnreviewed,
    UnknownEmergency,
)
from protocol.crypto.hashing import records_digest
from protocol.errors import BadTerms, Expired, NotAccredited, Unauthorised
from protocol.ledger import access, cosigning, decisions, institutions, keys, purposes, reading
from protocol.ledger.events import GlassBroken, GlassConfirmed, GlassReviewed, Outcome, Reason, reason_text
from protocol.ledger.leaves import Chart, Emergencies, Emergency, PolicyLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.institutions import STATUS_ACCREDITED
from protocol.types.operations import BreakGlass, BreakGlassMode, ConfirmBreakGlass, ReviewBreakGlass


def _reads_break(operation: BreakGlass, call: Call, read: ReadSet) -> None:
    access.reads_asking(operation, call, read)
    if call.institution <= keys.INSTITUTION_MAX:
        read.keys.add(keys.emergencies(call.institution))


def _break(working: Working, operation: BreakGlass, call: Call) -> OperationReceipt:
    """Never invalid for want of permission, as a disclosure is not: denied on the record."""
    cosigning.none_needed(call)
    number, institution = operation.chart, call.institution
    chart = working.chart(number)
    asked = access.asking(working, operation, call, chart)
    if not purposes.is_emergency(operation.purpose):
        raise BadTerms("only emergencies are read without a grant: ETREAT and what lies below it")
    policy = working.get(keys.policy(number), PolicyLeaf)
    full = len(_count(working, institution).unreviewed) >= limits.EMERGENCIES_UNREVIEWED
    reason = decisions.by_emergency(asked, policy, full)
    outcome, release_until, review_by = Outcome.DENIED, None, None
    if reason is not Reason.NONE:
        access.count_unanswered(working, number, institution, emergency=True)
    elif decisions.break_glass_mode(policy) is BreakGlassMode.TWO_INSTITUTIONS:
        outcome = Outcome.PENDING
        access.count_unanswered(working, number, institution, emergency=True)
    else:
        outcome = Outcome.DISCLOSED
        release_until, review_by = _open(working, institution, number, chart.events)
    broken = GlassBroken(
        working.height,
        working.timestamp,
        institution,
        operation.records,
        operation.purpose,
        outcome,
        reason,
        release_until,
        review_by,
        operation.justification,
        operation.practitioner,
    )
    owed = outcome is Outcome.DISCLOSED  # a review
    working.put(keys.chart(number), working.append(number, chart, [broken], begins=owed))
    if outcome is not Outcome.DENIED:  # only now: on a full chart this event's number has no key
        named = records_digest(operation.records)
        emergency = Emergency(institution, working.timestamp, named, release_until, review_by)
        working.put(keys.emergency(number, chart.events), emergency)
    return OperationReceipt(number, chart.events, 1, outcome=outcome, reason=reason)


def _open(working: Working, institution: int, chart: int, event: int) -> tuple[int, int]:
    """Until when the emergency may be read, and when its review is due; it counts from here on."""
    release_until = working.timestamp + working.params.release_ms
    review_by = working.timestamp + working.params.review_ms
    count = _count(working, institution)
    unreviewed = tuple(sorted((*count.unreviewed, (review_by, chart, event))))
    working.put(keys.emergencies(institution), replace(count, opened=count.opened + 1, unreviewed=unreviewed))
    return release_until, review_by


def _reads_later(operation: ConfirmBreakGlass | ReviewBreakGlass, call: Call, read: ReadSet) -> None:
    if operation.chart > keys.CHART_MAX:
        return
    read.keys.add(keys.chart(operation.chart))
    read.keys.add(keys.policy(operation.chart))
    read.keys.add(keys.emergency(operation.chart, operation.emergency))
    if operation.institution <= keys.INSTITUTION_MAX:
        read.keys.add(keys.emergencies(operation.institution))


def _reads_confirm(operation: ConfirmBreakGlass, call: Call, read: ReadSet) -> None:
    _reads_later(operation, call, read)
    if operation.chart <= keys.CHART_MAX:
        reading.reads(operation.chart, operation.records, read)
    if operation.institution <= keys.INSTITUTION_MAX:
        read.keys.add(keys.institution(operation.institution))


def _confirm(working: Working, operation: ConfirmBreakGlass, call: Call) -> OperationReceipt:
    """Soon, or the emergency is over; and as things are now: with a confirmation the ledger says that the asker reads,
    and whoever releases would not hand out what is forbidden or erased, or to whom is suspended."""
    cosigning.none_needed(call)
    number, event = operation.chart, operation.emergency
    chart, emergency = _found(working, operation)
    if emergency.release_until is not None:
        raise NotWaiting()
    if call.institution == emergency.institution:
        raise Unauthorised("an institution cannot vouch for an emergency of its own")
    if working.timestamp > emergency.asked_at + working.params.release_ms:
        raise Expired("the emergency was asked for too long ago to be confirmed")
    if institutions.institution(working, emergency.institution).status != STATUS_ACCREDITED:
        raise NotAccredited("the institution that asked is not accredited any more")
    if emergency.records != records_digest(operation.records):
        raise BadTerms("these are not the records that the emergency asked for")
    _check_again(working, operation, chart, emergency.institution)
    release_until, review_by = _open(working, emergency.institution, number, event)
    after = replace(emergency, release_until=release_until, review_by=review_by, confirmed_by=call.institution)
    working.put(keys.emergency(number, event), after)
    height, time_ms = working.height, working.timestamp
    confirmed = GlassConfirmed(height, time_ms, call.institution, event, release_until, review_by)
    working.put(keys.chart(number), working.append(number, chart, [confirmed], begins=1))
    return OperationReceipt(number, chart.events, 1)


def _check_again(working: Working, operation: ConfirmBreakGlass, chart: Chart, asker: int) -> None:
    """Raise unless the emergency would be disclosed if it were asked for now."""
    number, records = operation.chart, operation.records
    found = reading.records_of(working, number, chart, records)
    erased = reading.any_erased(working, number, records)
    asked = decisions.Asked(asker, purposes.EMERGENCY, working.timestamp, None, found, erased)
    full = len(_count(working, asker).unreviewed) >= limits.EMERGENCIES_UNREVIEWED
    reason = decisions.by_emergency(asked, working.get(keys.policy(number), PolicyLeaf), full)
    if reason is Reason.ERASED:
        raise AlreadyErased("a record that the emergency asked for was erased")
    if reason is Reason.REVIEWS_OWED:
        raise TooManyUnreviewed()
    if reason is not Reason.NONE:
        raise ForbiddenMeanwhile(reason_text(reason))


def _review(working: Working, operation: ReviewBreakGlass, call: Call) -> OperationReceipt:
    """By an institution that neither asked nor vouched."""
    cosigning.none_needed(call)
    number, event = operation.chart, operation.emergency
    chart, emergency = _found(working, operation)
    if emergency.review_by is None:
        raise TooEarly("the emergency waits for a second institution: there is nothing to review yet")
    if emergency.reviewed_by is not None:
        raise AlreadyReviewed()
    if call.institution in (emergency.institution, emergency.confirmed_by):
        raise Unauthorised("an emergency is reviewed by an institution that neither asked nor vouched for it")
    late = working.timestamp > emergency.review_by
    after = replace(emergency, reviewed_by=call.institution, justified=operation.justified)
    working.put(keys.emergency(number, event), after)
    count = _count(working, emergency.institution)
    working.put(
        keys.emergencies(emergency.institution),
        replace(
            count,
            late=count.late + late,
            unjustified=count.unjustified + (not operation.justified),
            unreviewed=tuple(one for one in count.unreviewed if one[1:] != (number, event)),
        ),
    )
    reviewed = GlassReviewed(
        working.height,
        working.timestamp,
        call.institution,
        event,
        operation.justified,
        operation.findings,
        late,
    )
    working.put(keys.chart(number), working.append(number, chart, [reviewed], ends=1))
    return OperationReceipt(number, chart.events, 1)


def _found(working: Working, operation: ConfirmBreakGlass | ReviewBreakGlass) -> tuple[Chart, Emergency]:
    number, event = operation.chart, operation.emergency
    chart = working.chart(number)
    emergency = working.get(keys.emergency(number, event), Emergency)
    if emergency is None or emergency.institution != operation.institution:
        raise UnknownEmergency(f"chart {number} has no emergency {event} of institution {operation.institution}")
    return chart, emergency


def _count(working: Working, institution: int) -> Emergencies:
    return working.get(keys.emergencies(institution), Emergencies) or Emergencies()


def _cost_asked(operation: BreakGlass | ConfirmBreakGlass) -> int:
    return _cost_later(operation) + limits.ITEM_COST * len(operation.records)


def _cost_later(operation: object) -> int:
    return limits.OPERATION_COST + limits.POLICY_COST + limits.EMERGENCY_COST


RULES: Final[dict[type, Rule]] = {
    BreakGlass: Rule(Family.INSTITUTION, _reads_break, _break, _cost_asked),
    ConfirmBreakGlass: Rule(Family.INSTITUTION, _reads_confirm, _confirm, _cost_asked),
    ReviewBreakGlass: Rule(Family.INSTITUTION, _reads_later, _review, _cost_later),
}
