"""Access: an institution asks to read, and the rules decide in the block.

A disclosure is never invalid for want of consent: it is recorded as disclosed or denied, so a refusal can be neither
forged nor hidden. Only denials are capped, per asker, chart and day.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.errors import DenialCapReached, UnknownPurpose, UnknownRecord
from protocol.ledger import cosigning, keys, purposes
from protocol.ledger.events import Disclosed, Outcome, Reason, RecordAppended
from protocol.ledger.leaves import Denials, GrantLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule, check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.operations import Disclose, GrantTags, Tags4

DAY_MS: Final = 24 * 3600 * 1_000


def _reads_disclose(operation: Disclose, institution: int, read: ReadSet) -> None:
    chart = operation.chart
    if chart > keys.CHART_MAX or institution > keys.INSTITUTION_MAX:
        return
    read.keys.add(keys.chart(chart))
    read.keys.add(keys.denials(chart, institution))
    if operation.grant is not None and operation.grant <= keys.GRANT_MAX:
        read.keys.add(keys.grant(chart, operation.grant))
    read.events.update([(chart, number) for number in operation.records])


def _disclose(working: Working, operation: Disclose, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    number = operation.chart
    chart = working.chart(number)
    if operation.purpose not in purposes.PARENTS:
        raise UnknownPurpose()
    check_ascending(operation.records, "the records of a disclosure")
    if operation.records[-1] >= chart.events:
        raise UnknownRecord(f"chart {number} has no record {operation.records[-1]}")
    tags = [_tags_of_record(working, number, record) for record in operation.records]
    grant = None
    if operation.grant is not None and operation.grant < chart.grants:
        grant = working.require(keys.grant(number, operation.grant), GrantLeaf)
    reason = decide(grant, call.institution, operation.purpose, working.timestamp, tags)
    if reason is Reason.NONE:
        outcome = Outcome.DISCLOSED
        release_until = working.timestamp + working.params.release_ms
    else:
        outcome = Outcome.DENIED
        release_until = None
        _count_denial(working, number, call.institution)
    disclosed = Disclosed(
        working.height,
        working.timestamp,
        call.institution,
        operation.grant,
        operation.records,
        operation.purpose,
        outcome,
        reason,
        release_until,
    )
    working.put(keys.chart(number), working.append(number, chart, [disclosed]))
    return OperationReceipt(number, chart.events, 1, grant=operation.grant, outcome=outcome, reason=reason)


def decide(grant: GrantLeaf | None, institution: int, purpose: str, time_ms: int, tags: list[Tags4]) -> Reason:
    """Why `institution` may not read records with these tags now for this known purpose under this grant.

    `Reason.NONE` if it may; otherwise the first rule against it in the order of `Reason`. A custodian asks this again
    with its latest final state before it releases anything.
    """
    if purposes.is_emergency(purpose):
        return Reason.EMERGENCY_PURPOSE
    if grant is None:
        return Reason.NO_GRANT
    terms = grant.terms
    checks = (
        (terms.grantee != institution, Reason.WRONG_INSTITUTION),
        (grant.revoked_at is not None, Reason.REVOKED),
        (time_ms < terms.not_before, Reason.NOT_YET),
        (time_ms >= terms.not_after, Reason.EXPIRED),
        (not any(purposes.covers(granted, purpose) for granted in terms.purposes), Reason.PURPOSE),
        (not covered(terms.tags, tags), Reason.OUTSIDE),
    )
    return next((reason for against, reason in checks if against), Reason.NONE)


def covered(granted: GrantTags, tags: list[Tags4]) -> bool:
    """Whether every record with these tags is covered: at each position, listed or the grant says any."""
    for position, listed in enumerate(granted):
        if listed is not None and {record[position] for record in tags}.difference(listed):
            return False
    return True


def _tags_of_record(working: Working, chart: int, number: int) -> Tags4:
    event = working.event(chart, number)
    if not isinstance(event, RecordAppended):
        raise UnknownRecord(f"event {number} of chart {chart} is no record")
    return event.entry.tags


def _count_denial(working: Working, chart: int, institution: int) -> None:
    key = keys.denials(chart, institution)
    day = working.timestamp // DAY_MS
    before = working.get(key, Denials)
    count = before.count if before is not None and before.day == day else 0
    if count >= working.params.denials_per_day:
        raise DenialCapReached()
    working.put(key, Denials(day, count + 1))


def _cost_disclose(operation: Disclose) -> int:
    grant = 0 if operation.grant is None else limits.GRANT_COST
    return limits.OPERATION_COST + limits.ITEM_COST * len(operation.records) + grant


RULES: Final[dict[type, Rule]] = {Disclose: Rule(Family.INSTITUTION, _reads_disclose, _disclose, _cost_disclose)}
