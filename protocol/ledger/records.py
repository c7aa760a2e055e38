"""Records: a custodian appends entries to its chart, and others whom a grant lets write.

A custodian's batch depends on nothing but its standing and the chart's own past, so no other party's operation can make
it invalid while it is under way. Notes of dispute are the owner's, and stand beside the record that they dispute.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.chart_errors import WriteNotGranted
from protocol.errors import BadTerms, Unauthorised, UnknownInstitution, UnknownRecord
from protocol.ledger import cosigning, decisions, keys
from protocol.ledger.events import RecordAppended
from protocol.ledger.leaves import Chart, Counters, GrantLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule, check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.operations import AppendRecords


def _reads_append(operation: AppendRecords, call: Call, read: ReadSet) -> None:
    chart = operation.chart
    if chart > keys.CHART_MAX:
        return
    if call.cosignatures:
        cosigning.reads(chart, read)
    read.keys.add(keys.chart(chart))
    if operation.grant is not None and operation.grant <= keys.GRANT_MAX:
        read.keys.add(keys.grant(chart, operation.grant))
    for entry in operation.entries:
        for other in (entry.supersedes, entry.disputes):
            if other is not None and other < limits.EVENTS_PER_CHART:
                read.events.add((chart, other))


def _append(working: Working, operation: AppendRecords, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    _check_writer(working, operation, call, chart)
    check_holders(working, operation.holders)
    signed = chart
    if any(entry.disputes is not None for entry in operation.entries):
        signed = cosigning.owner_signed(working, operation, call, chart)
        cosigning.check_not_frozen(working, number)
    else:
        cosigning.none_needed(call)
    first = chart.events
    for place, entry in enumerate(operation.entries, first):
        for other, what in ((entry.supersedes, "amend"), (entry.disputes, "dispute")):
            if other is not None:
                _check_earlier(working, number, first, place, other, what)
    if operation.grant is not None:
        _check_amended(working, operation, operation.grant, first)
    height, time_ms, generation = working.height, working.timestamp, chart.generation
    holders, grant = operation.holders, operation.grant
    events = [
        RecordAppended(height, time_ms, call.institution, generation, entry, holders, grant)
        for entry in operation.entries
    ]
    working.put(keys.chart(number), working.append(number, signed, events))
    return OperationReceipt(number, first, len(events))


def _check_writer(working: Working, operation: AppendRecords, call: Call, chart: Chart) -> None:
    if operation.grant is None:
        if chart.custodian != call.institution:
            raise Unauthorised(f"institution {call.institution} is not the custodian of chart {operation.chart}")
        return
    if chart.custodian == call.institution:
        raise BadTerms("the custodian writes to its own chart under no grant")
    known = operation.grant < chart.grants
    grant = working.require(keys.grant(operation.chart, operation.grant), GrantLeaf) if known else None
    tags = [entry.tags for entry in operation.entries]
    if not decisions.may_write(grant, call.institution, working.timestamp, tags):
        raise WriteNotGranted()


def check_holders(working: Working, holders: tuple[int, ...]) -> None:
    """Raise `NotAscending` or `UnknownInstitution`. That they are accredited is nobody's to check here: a batch is not
    poisoned by what becomes of a holder while it is under way."""
    check_ascending(holders, "holders")
    if holders and holders[-1] >= working.require(keys.COUNTERS, Counters).institutions:
        raise UnknownInstitution(f"there is no institution {holders[-1]}")


def _check_earlier(working: Working, chart: int, first: int, place: int, other: int, what: str) -> None:
    """An entry names a record before it: in this chart so far, or earlier in the same operation."""
    if first <= other < place:
        return
    if other >= place or not isinstance(working.event(chart, other), RecordAppended):
        raise UnknownRecord(f"chart {chart} has no record {other} to {what}")


def _check_amended(working: Working, operation: AppendRecords, number: int, first: int) -> None:
    """Under a grant nobody amends what it does not let them write: whoever reads is told to take the newest version."""
    grant = working.require(keys.grant(operation.chart, number), GrantLeaf)
    for entry in operation.entries:
        if entry.supersedes is not None and entry.supersedes < first:  # else it is one of these, which it covers
            amended = working.event(operation.chart, entry.supersedes)
            assert isinstance(amended, RecordAppended), "checked above"
            if not decisions.covered(grant.terms.tags, [amended.entry.tags]):
                raise WriteNotGranted("the grant does not cover a record that is to be amended")


def _cost_append(operation: AppendRecords) -> int:
    grant = 0 if operation.grant is None else limits.GRANT_COST
    return limits.OPERATION_COST + limits.ITEM_COST * len(operation.entries) + grant


RULES: Final[dict[type, Rule]] = {AppendRecords: Rule(Family.INSTITUTION, _reads_append, _append, _cost_append)}
