"""Charts: a patient becomes known to a custodian, and to another if that one is removed from the consortium."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import CustodianRemains
from protocol.errors import ChartExists, Unauthorised
from protocol.ledger import cosigning, institutions, keys
from protocol.ledger.events import ChartMoved, ChartOpened
from protocol.ledger.leaves import Chart, Counters, OwnerIndex
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import FRESH
from protocol.ledger.working import Working
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import MoveChart, OpenChart


def _reads_open(operation: OpenChart, call: Call, read: ReadSet) -> None:
    read.keys.add(keys.owner(operation.owner_key))


def _open(working: Working, operation: OpenChart, call: Call) -> OperationReceipt:
    """The carrier becomes custodian, if it is the one that the owner chose; the owner's co-signature shows that it
    holds the key that it names."""
    if operation.custodian != call.institution:
        raise Unauthorised(f"the owner chose institution {operation.custodian} as custodian, not {call.institution}")
    index = keys.owner(operation.owner_key)
    if working.get(index, OwnerIndex) is not None:
        raise ChartExists()
    window = cosigning.use_owner(working, operation, call, operation.owner_key, FRESH)
    counters = working.require(keys.COUNTERS, Counters)
    number = counters.charts
    chart = Chart(
        custodian=call.institution,
        owner_key=operation.owner_key,
        encryption_suite=operation.encryption_suite,
        encryption_key=operation.encryption_key,
        opened_at=working.height,
        generation=0,
        grants=0,
        window=window,
        events=0,
        peaks=(),
    )
    opened = ChartOpened(
        working.height,
        working.timestamp,
        call.institution,
        operation.encryption_suite,
        operation.encryption_key,
    )
    working.put(keys.COUNTERS, Counters(counters.institutions, number + 1, counters.motions))
    working.put(index, OwnerIndex(number))
    working.put(keys.chart(number), working.append(number, chart, [opened]))
    return OperationReceipt(number, 0, 1)


def _cost_open(operation: OpenChart) -> int:
    return limits.OPERATION_COST


def _reads_move(operation: MoveChart, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)
    if operation.former <= keys.INSTITUTION_MAX:
        read.keys.add(keys.institution(operation.former))


def _move(working: Working, operation: MoveChart, call: Call) -> OperationReceipt:
    """What the former custodian could do, and owed the chart, the new one can and owes; holds stay in force. While the
    former may come back the chart stays: a hold or a record that the law makes it keep is not the owner's to move."""
    if operation.custodian != call.institution:
        raise Unauthorised(f"the owner chose institution {operation.custodian} as custodian, not {call.institution}")
    number = operation.chart
    chart = working.chart(number)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    if chart.custodian != operation.former:
        raise CustodianRemains(f"institution {chart.custodian} is the custodian of chart {number}")
    if institutions.institution(working, operation.former).status != STATUS_REMOVED:
        raise CustodianRemains(f"institution {operation.former} was not removed from the consortium")
    moved = ChartMoved(working.height, working.timestamp, call.institution, operation.former)
    after = working.append(number, signed, [moved])
    working.put(keys.chart(number), replace(after, custodian=call.institution))
    return OperationReceipt(number, chart.events, 1)


def _cost_move(operation: MoveChart) -> int:
    return limits.OPERATION_COST


RULES: Final[dict[type, Rule]] = {
    OpenChart: Rule(Family.INSTITUTION, _reads_open, _open, _cost_open),
    MoveChart: Rule(Family.INSTITUTION, _reads_move, _move, _cost_move),
}
