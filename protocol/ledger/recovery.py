"""Recovery: how a chart's owner key and guardians change, never at once and never behind anybody's back.

At most one change of a chart waits. What the owner begins, owner and guardians can cancel. What guardians begin, the
owner's key can veto, unless the custodian carried it and says that this key is stolen: then guardians alone can cancel
it, and until it is complete the owner's key can only withdraw. What guardians begin takes the place of what waited.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import ChangePending, NoGuardians, TooEarly, VetoOverruled, WrongChange
from protocol.crypto.signing import owner_possession_message
from protocol.errors import BadPossession, BadTerms, ChartExists, Unauthorised
from protocol.ledger import cosigning, keys
from protocol.ledger.events import ChangeBegun, ChangeCancelled, ChangeCompleted, ChangeKind, Event
from protocol.ledger.leaves import Chart, OwnerIndex, Pending, Recovery
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule, check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import FRESH
from protocol.ledger.working import Working
from protocol.types.operations import (
    ROLE_GUARDIAN,
    BeginRecovery,
    CancelRecovery,
    CompleteRecovery,
    Guardians,
    RotateOwnerKey,
    SetGuardians,
)


def _reads(operation: SetGuardians | CancelRecovery | CompleteRecovery, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)


def _reads_keys(operation: RotateOwnerKey | BeginRecovery, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)
    read.keys.add(keys.owner(operation.keys.owner_key))


def _set_guardians(working: Working, operation: SetGuardians, call: Call) -> OperationReceipt:
    """The first guardians take nobody's place, so they need not wait."""
    number, guardians = operation.chart, operation.guardians
    chart = working.chart(number)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    state = _next(working, number, operation.change)
    if state.pending is not None:
        raise ChangePending(f"change {state.pending.change} of chart {number} waits")
    if guardians is not None:
        _check_guardians(guardians, chart)
    elif state.guardians is None:
        raise BadTerms("the chart has no guardians, and would have none")
    if state.guardians is None:
        pending = _pending(working, operation.change, ChangeKind.GUARDIANS, guardians=guardians, wait_ms=0)
        working.put(keys.recovery(number), Recovery(operation.change + 1, guardians))
        return _record(working, number, signed, [_begun(working, call, pending)])
    pending = _pending(working, operation.change, ChangeKind.GUARDIANS, guardians=guardians)
    working.put(keys.recovery(number), replace(state, changes=operation.change + 1, pending=pending))
    return _record(working, number, signed, [_begun(working, call, pending)], begins=1)


def _check_guardians(guardians: Guardians, chart: Chart) -> None:
    check_ascending(guardians.keys, "guardians' keys")
    if guardians.threshold > len(guardians.keys):
        raise BadTerms(f"{guardians.threshold} of {len(guardians.keys)} guardians can never agree")
    if chart.owner_key in guardians.keys:
        raise BadTerms("a guardian has a key of its own, not the owner's")


def _rotate(working: Working, operation: RotateOwnerKey, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    state = _next(working, number, operation.change)
    if state.pending is not None:
        raise ChangePending(f"change {state.pending.change} of chart {number} waits")
    _claim_keys(working, operation, chart, state)
    pending = _pending(working, operation.change, ChangeKind.ROTATION, operation)
    working.put(keys.recovery(number), replace(state, changes=operation.change + 1, pending=pending))
    return _record(working, number, signed, [_begun(working, call, pending)], begins=1)


def _begin(working: Working, operation: BeginRecovery, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    state = _next(working, number, operation.change)
    if state.guardians is None:
        raise NoGuardians(f"chart {number} has no guardians")
    cosigning.guardians_signed(working, operation, call, state.guardians)
    if operation.overrule and call.institution != chart.custodian:
        raise Unauthorised("only the chart's custodian can say with the guardians that the owner's key is stolen")
    _claim_keys(working, operation, chart, state)
    pending = _pending(working, operation.change, ChangeKind.RECOVERY, operation)
    events: list[Event] = []
    if state.pending is not None:
        events.append(_cancelled(working, call, state.pending.change, by_guardians=True))
    events.append(_begun(working, call, pending))
    working.put(keys.recovery(number), replace(state, changes=operation.change + 1, pending=pending))
    return _record(working, number, chart, events, begins=1, ends=len(events) - 1)


def _cancel(working: Working, operation: CancelRecovery, call: Call) -> OperationReceipt:
    number = operation.chart
    signed = chart = working.chart(number)
    state = cosigning.recovery(working, number)
    pending = _waiting(state, number, operation.change)
    by_guardians = bool(call.cosignatures) and call.cosignatures[0].role == ROLE_GUARDIAN
    if by_guardians:
        if state.guardians is None:
            raise NoGuardians(f"chart {number} has no guardians")
        cosigning.guardians_signed(working, operation, call, state.guardians)
    else:
        signed = cosigning.owner_signed(working, operation, call, chart)
        if pending.overrule:
            raise VetoOverruled()
    working.put(keys.recovery(number), replace(state, pending=None))
    cancelled = _cancelled(working, call, pending.change, by_guardians=by_guardians)
    return _record(working, number, signed, [cancelled], ends=1)


def _complete(working: Working, operation: CompleteRecovery, call: Call) -> OperationReceipt:
    """Whoever carries it: all that had to be agreed was agreed when the change began."""
    cosigning.none_needed(call)
    number = operation.chart
    chart = working.chart(number)
    state = cosigning.recovery(working, number)
    pending = _waiting(state, number, operation.change)
    if working.timestamp < pending.ready_at:
        raise TooEarly(f"change {pending.change} of chart {number} is ready at {pending.ready_at}")
    after = replace(state, pending=None)
    if pending.kind is ChangeKind.GUARDIANS:
        after = replace(after, guardians=pending.guardians)
    else:
        assert pending.keys is not None, "a rotation or recovery leads to keys"
        fresh = pending.keys.owner_key != chart.owner_key
        if fresh:
            working.put(keys.owner(chart.owner_key), OwnerIndex(number, spent=True))
        recovered = pending.kind is ChangeKind.RECOVERY
        chart = replace(
            chart,
            owner_key=pending.keys.owner_key,
            encryption_suite=pending.keys.encryption_suite,
            encryption_key=pending.keys.encryption_key,
            window=FRESH if fresh else chart.window,
            delegates_from=chart.delegates if recovered else chart.delegates_from,
        )
    working.put(keys.recovery(number), after)
    done = ChangeCompleted(working.height, working.timestamp, call.institution, pending.change, pending.kind)
    return _record(working, number, chart, [done], ends=1)


def _next(working: Working, number: int, change: int) -> Recovery:
    state = cosigning.recovery(working, number)
    if change != state.changes:
        raise WrongChange(f"the next change of chart {number} is {state.changes}, not {change}")
    return state


def _waiting(state: Recovery, number: int, change: int) -> Pending:
    if state.pending is None:
        raise WrongChange(f"no change of chart {number} waits")
    if state.pending.change != change:
        raise WrongChange(f"change {state.pending.change} of chart {number} waits, not {change}")
    return state.pending


def _claim_keys(working: Working, operation: RotateOwnerKey | BeginRecovery, chart: Chart, state: Recovery) -> None:
    """The new key is this chart's from here on, so that nothing can come between when the change takes effect."""
    number, to = operation.chart, operation.keys
    message = owner_possession_message(working.chain, number, operation.change, to)
    if not working.check_cosignature(to.owner_key, message, operation.possession):
        raise BadPossession()
    index = keys.owner(to.owner_key)
    known = working.get(index, OwnerIndex)
    if known is not None and known.chart != number:
        raise ChartExists()
    if known is not None and known.spent:
        raise BadTerms("the chart had this owner key before: with a fresh window, what it signed then would count anew")
    if (to.owner_key, to.encryption_suite, to.encryption_key) == (
        chart.owner_key,
        chart.encryption_suite,
        chart.encryption_key,
    ):
        raise BadTerms("these are the chart's keys already")
    if state.guardians is not None and to.owner_key in state.guardians.keys:
        raise BadTerms("this is a guardian's key, and the owner has one of its own")
    working.put(index, OwnerIndex(number))


def _pending(
    working: Working,
    change: int,
    kind: ChangeKind,
    operation: RotateOwnerKey | BeginRecovery | None = None,
    *,
    guardians: Guardians | None = None,
    wait_ms: int | None = None,
) -> Pending:
    to = None if operation is None else operation.keys
    overrule = isinstance(operation, BeginRecovery) and operation.overrule
    ready_at = working.timestamp + (working.params.recovery_ms if wait_ms is None else wait_ms)
    return Pending(change, kind, to, guardians, overrule, ready_at)


def _begun(working: Working, call: Call, pending: Pending) -> ChangeBegun:
    return ChangeBegun(
        working.height,
        working.timestamp,
        call.institution,
        pending.change,
        pending.kind,
        pending.keys,
        pending.guardians,
        pending.overrule,
        pending.ready_at,
    )


def _cancelled(working: Working, call: Call, change: int, *, by_guardians: bool) -> ChangeCancelled:
    return ChangeCancelled(working.height, working.timestamp, call.institution, change, by_guardians)


def _record(
    working: Working, number: int, chart: Chart, events: list[Event], *, begins: int = 0, ends: int = 0
) -> OperationReceipt:
    first = chart.events
    working.put(keys.chart(number), working.append(number, chart, events, begins=begins, ends=ends))
    return OperationReceipt(number, first, len(events))


def _cost(operation: object) -> int:
    return limits.OPERATION_COST + limits.GUARDIANS_COST


RULES: Final[dict[type, Rule]] = {
    SetGuardians: Rule(Family.OWNERS, _reads, _set_guardians, _cost),
    RotateOwnerKey: Rule(Family.OWNERS, _reads_keys, _rotate, _cost),
    BeginRecovery: Rule(Family.OWNERS, _reads_keys, _begin, _cost),
    CancelRecovery: Rule(Family.OWNERS, _reads, _cancel, _cost),
    CompleteRecovery: Rule(Family.INSTITUTION, _reads, _complete, _cost),
}
