"""Records: a custodian appends entries to its chart.

Depends on nothing but the custodian's standing and the chart's own past, so no other party's operation can make a
batch invalid while it is under way.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.errors import Unauthorised, UnknownRecord
from protocol.ledger import cosigning, keys
from protocol.ledger.events import RecordAppended
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.operations import AppendRecords


def _reads_append(operation: AppendRecords, institution: int, read: ReadSet) -> None:
    chart = operation.chart
    if chart > keys.CHART_MAX:
        return
    read.keys.add(keys.chart(chart))
    for entry in operation.entries:
        if entry.supersedes is not None:
            read.events.add((chart, entry.supersedes))


def _append(working: Working, operation: AppendRecords, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    number = operation.chart
    chart = working.chart(number)
    if chart.custodian != call.institution:
        raise Unauthorised(f"institution {call.institution} is not the custodian of chart {number}")
    first = chart.events
    for place, entry in enumerate(operation.entries, first):
        if entry.supersedes is not None:
            _check_superseded(working, number, first, place, entry.supersedes)
    height, time_ms, generation = working.height, working.timestamp, chart.generation
    events = [RecordAppended(height, time_ms, call.institution, generation, entry) for entry in operation.entries]
    working.put(keys.chart(number), working.append(number, chart, events))
    return OperationReceipt(number, first, len(events))


def _check_superseded(working: Working, chart: int, first: int, place: int, superseded: int) -> None:
    """An amendment names a record before it: in this chart so far, or earlier in the same operation."""
    if first <= superseded < place:
        return
    if superseded >= place or not isinstance(working.event(chart, superseded), RecordAppended):
        raise UnknownRecord(f"chart {chart} has no record {superseded} to amend")


def _cost_append(operation: AppendRecords) -> int:
    return limits.OPERATION_COST + limits.ITEM_COST * len(operation.entries)


RULES: Final[dict[type, Rule]] = {AppendRecords: Rule(Family.INSTITUTION, _reads_append, _append, _cost_append)}
