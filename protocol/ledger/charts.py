"""Charts: a patient becomes known to a custodian."""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.errors import ChartExists, Unauthorised
from protocol.ledger import cosigning, keys
from protocol.ledger.events import ChartOpened
from protocol.ledger.leaves import Chart, Counters, OwnerIndex
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import FRESH
from protocol.ledger.working import Working
from protocol.types.operations import OpenChart


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


RULES: Final[dict[type, Rule]] = {OpenChart: Rule(Family.INSTITUTION, _reads_open, _open, _cost_open)}
