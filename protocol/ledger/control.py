"""Control: the owner sets the chart's policy, and names who may act for it."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import Overtaken, TooManyDelegates
from protocol.errors import BadTerms, Unauthorised
from protocol.ledger import cosigning, keys
from protocol.ledger.consent import check_bars, check_period, check_purposes, check_tags
from protocol.ledger.events import DelegateEnded, DelegateNamed, PolicySet
from protocol.ledger.leaves import Chart, DelegateLeaf, PolicyLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import FRESH
from protocol.ledger.working import Working
from protocol.types.operations import (
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    ROLE_DELEGATE,
    Delegate,
    DelegateTerms,
    EndDelegate,
    SetPolicy,
)

ACTS: Final = ACT_GRANT | ACT_REVOKE | ACT_READ


def _reads_policy(operation: SetPolicy, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.policy(operation.chart))


def _set_policy(working: Working, operation: SetPolicy, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    check_bars(operation.policy)
    signed_as = call.cosignatures[0].number
    before = working.get(keys.policy(number), PolicyLeaf)
    if before is not None and before.overtakes(chart.owner_key, signed_as):
        raise Overtaken(f"the owner signed the policy of chart {number} anew after this one")
    event = PolicySet(working.height, working.timestamp, call.institution, operation.policy)
    working.put(keys.chart(number), working.append(number, signed, [event]))
    working.put(keys.policy(number), PolicyLeaf(operation.policy, chart.owner_key, signed_as))
    return OperationReceipt(number, chart.events, 1)


def _reads_delegate(operation: Delegate, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)


def _delegate(working: Working, operation: Delegate, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    _check_delegate(working, operation.terms, chart)
    delegate = chart.delegates
    if delegate >= limits.DELEGATES_PER_CHART:
        raise TooManyDelegates(f"chart {number} has had {delegate} delegates, which is the most")
    event = DelegateNamed(working.height, working.timestamp, call.institution, delegate, operation.terms)
    after = working.append(number, signed, [event], begins=1)
    working.put(keys.chart(number), replace(after, delegates=delegate + 1))
    working.put(keys.delegate(number, delegate), DelegateLeaf(operation.terms, working.height, FRESH))
    return OperationReceipt(number, chart.events, 1, delegate=delegate)


def _check_delegate(working: Working, terms: DelegateTerms, chart: Chart) -> None:
    if terms.acts == 0 or terms.acts & ~ACTS:
        raise BadTerms(f"acts {terms.acts} is not a sum of those that this version knows")
    if terms.key == chart.owner_key:
        raise BadTerms("a delegate has a key of its own, not the owner's")
    check_period(working, terms.not_before, terms.not_after, "delegation")
    check_purposes(terms.purposes)
    check_tags(terms.tags)


def _reads_end(operation: EndDelegate, call: Call, read: ReadSet) -> None:
    cosigning.reads_delegate(operation.chart, call, read)
    if operation.chart <= keys.CHART_MAX and operation.delegate <= keys.DELEGATE_MAX:
        read.keys.add(keys.delegate(operation.chart, operation.delegate))


def _end(working: Working, operation: EndDelegate, call: Call) -> OperationReceipt:
    """The owner's even while its key is said to be stolen: it only withdraws. A delegate ends none but itself."""
    number, which = operation.chart, operation.delegate
    signed = chart = working.chart(number)
    if cosigning.role_of(call) == ROLE_DELEGATE:
        if call.cosignatures[0].actor != which:
            raise Unauthorised("a delegate ends none but itself")
        cosigning.delegate_signed(working, operation, call, number, chart)
    else:
        signed = cosigning.owner_signed(working, operation, call, chart)
    leaf = cosigning.delegate(working, number, chart, which)
    if leaf.ended_at is not None:
        working.put(keys.chart(number), signed)
        return OperationReceipt(number, chart.events, 0, delegate=which)
    event = DelegateEnded(working.height, working.timestamp, call.institution, which)
    working.put(keys.delegate(number, which), replace(leaf, ended_at=working.height))
    working.put(keys.chart(number), working.append(number, signed, [event], ends=1))
    return OperationReceipt(number, chart.events, 1, delegate=which)


def _cost_policy(operation: SetPolicy) -> int:
    return limits.OPERATION_COST + limits.POLICY_COST


def _cost_delegate(operation: Delegate | EndDelegate) -> int:
    return limits.OPERATION_COST + limits.DELEGATE_COST


RULES: Final[dict[type, Rule]] = {
    SetPolicy: Rule(Family.OWNERS, _reads_policy, _set_policy, _cost_policy),
    Delegate: Rule(Family.OWNERS, _reads_delegate, _delegate, _cost_delegate),
    EndDelegate: Rule(Family.OWNERS, _reads_end, _end, _cost_delegate),
}
