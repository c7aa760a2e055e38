"""Access: an institution, or a delegate through any institution, asks to read, and the rules decide in the block.

A disclosure is never invalid for want of consent: it is recorded as disclosed or denied, so a refusal can be neither
forged nor hidden. What opens nothing is capped, per asker, chart and day.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.errors import BadTerms, DenialCapReached, UnknownPurpose
from protocol.ledger import cosigning, decisions, keys, purposes, reading
from protocol.ledger.decisions import Asked
from protocol.ledger.events import Disclosed, Outcome, Reason
from protocol.ledger.leaves import Chart, Denials, GrantLeaf, PolicyLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.operations import BreakGlass, Disclose

DAY_MS: Final = 24 * 3600 * 1_000


def reads_asking(operation: Disclose | BreakGlass, call: Call, read: ReadSet) -> None:
    """What every asking to read looks at."""
    chart = operation.chart
    if chart > keys.CHART_MAX or call.institution > keys.INSTITUTION_MAX:
        return
    read.keys.add(keys.chart(chart))
    read.keys.add(keys.policy(chart))
    read.keys.add(keys.denials(chart, call.institution))
    reading.reads(chart, operation.records, read)


def _reads_disclose(operation: Disclose, call: Call, read: ReadSet) -> None:
    reads_asking(operation, call, read)
    if call.cosignatures:
        cosigning.reads_delegate(operation.chart, call, read)
    if operation.grant is not None and operation.grant <= keys.GRANT_MAX and operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.grant(operation.chart, operation.grant))


def _disclose(working: Working, operation: Disclose, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    asked = asking(working, operation, call, chart)
    delegate = None
    if call.cosignatures:
        delegate = call.cosignatures[0].actor
        reason = _for_delegate(working, operation, call, chart, asked)
    else:
        reason = _under_grant(working, operation, chart, asked)
    if reason is Reason.NONE:
        outcome = Outcome.DISCLOSED
        release_until = working.timestamp + working.params.release_ms
    else:
        outcome = Outcome.DENIED
        release_until = None
        count_unanswered(working, number, call.institution)
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
        operation.practitioner,
        operation.details,
        delegate,
    )
    working.put(keys.chart(number), working.append(number, chart, [disclosed]))
    return OperationReceipt(number, chart.events, 1, grant=operation.grant, outcome=outcome, reason=reason)


def _under_grant(working: Working, operation: Disclose, chart: Chart, asked: Asked) -> Reason:
    grant = None
    if operation.grant is not None and operation.grant < chart.grants:
        grant = working.require(keys.grant(operation.chart, operation.grant), GrantLeaf)
    return decisions.by_grant(asked, grant, working.get(keys.policy(operation.chart), PolicyLeaf))


def _for_delegate(working: Working, operation: Disclose, call: Call, chart: Chart, asked: Asked) -> Reason:
    """Whose signature it carries must be a delegate's, or nobody asks; whether that one may read is an outcome.

    Any institution may carry it, as it may what an owner signed: it vouches for nothing, since the delegate's signature
    says who asks for what, and what is released opens with the delegate's key alone.
    """
    if operation.grant is not None:
        raise BadTerms("a delegate reads under its own bounds, not under a grant")
    leaf = cosigning.delegate_signed(working, operation, call, operation.chart, chart)
    number = call.cosignatures[0].actor
    in_force = decisions.delegate_in_force(leaf, number, chart.delegates_from, working.timestamp)
    return decisions.by_delegate(asked, leaf, in_force and not cosigning.frozen(working, operation.chart))


def asking(working: Working, operation: Disclose | BreakGlass, call: Call, chart: Chart) -> Asked:
    """Who asks for what, checked for form. Raises `UnknownPurpose`, `NotAscending`, `UnknownRecord`."""
    number = operation.chart
    if operation.purpose not in purposes.PARENTS:
        raise UnknownPurpose()
    records = reading.records_of(working, number, chart, operation.records)
    erased = reading.any_erased(working, number, operation.records)
    return Asked(call.institution, operation.purpose, working.timestamp, operation.practitioner, records, erased)


def count_unanswered(working: Working, chart: int, institution: int, *, emergency: bool = False) -> None:
    """Count one more asking of today that opened nothing: a denial, or an emergency that waits, which nothing else
    would bound. As many again are left for emergencies: a program that asked all day under a grant that had ended, or a
    delegate who did, must not stand between a patient and help. Raises `DenialCapReached`."""
    key = keys.denials(chart, institution)
    day = working.timestamp // DAY_MS
    before = working.get(key, Denials)
    count = before.count if before is not None and before.day == day else 0
    if count >= working.params.denials_per_day * (1 + emergency):
        raise DenialCapReached()
    working.put(key, Denials(day, count + 1))


def _cost_disclose(operation: Disclose) -> int:
    """A disclosure without a grant may be a delegate's, whose leaf costs as much."""
    basis = limits.POLICY_COST + limits.GRANT_COST
    return limits.OPERATION_COST + basis + limits.ITEM_COST * len(operation.records)


RULES: Final[dict[type, Rule]] = {Disclose: Rule(Family.INSTITUTION, _reads_disclose, _disclose, _cost_disclose)}
