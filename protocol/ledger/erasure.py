"""Erasure: owner and custodian order records deleted, each who stored them answers for it; a legal hold stands before.

The ledger keeps what it has of an erased record, which opens nothing; that nobody else keeps more is what receipts say.
A holder that was removed from the consortium owes for good: whoever reads the state sees it as gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import (
    AlreadyAcknowledged,
    AlreadyErased,
    HolderMissing,
    NothingOwed,
    OnHold,
    TooManyHolds,
    UnknownErasure,
    UnknownHold,
)
from protocol.errors import Unauthorised
from protocol.ledger import cosigning, keys, reading
from protocol.ledger.events import Erased, ErasureAcknowledged, HoldPlaced, HoldReleased, RecordAppended
from protocol.ledger.leaves import Chart, ErasedPage, Erasure, Holds
from protocol.ledger.records import check_holders
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.operations import Erase, ErasureReceipt, Hold, ReleaseHold


def _reads_erase(operation: Erase, call: Call, read: ReadSet) -> None:
    cosigning.reads(operation.chart, read)
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.holds(operation.chart))
        reading.reads(operation.chart, operation.records, read)


def _erase(working: Working, operation: Erase, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = _custodians(working, number, call)
    signed = cosigning.owner_signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    records = reading.records_of(working, number, chart, operation.records)
    if reading.any_erased(working, number, operation.records):
        raise AlreadyErased()
    _check_holds(working, number, operation.records)
    check_holders(working, operation.holders)
    _check_named(operation.holders, records, call.institution)
    _mark(working, number, operation.records)
    owed = tuple(sorted({*operation.holders, call.institution}))
    erased = Erased(working.height, working.timestamp, call.institution, operation.records, operation.holders)
    working.put(keys.chart(number), working.append(number, signed, [erased], begins=len(owed)))
    working.put(keys.erasure(number, chart.events), Erasure(working.height, owed))
    return OperationReceipt(number, chart.events, 1)


def _custodians(working: Working, number: int, call: Call) -> Chart:
    chart = working.chart(number)
    if chart.custodian != call.institution:
        raise Unauthorised(f"institution {call.institution} is not the custodian of chart {number}")
    return chart


def _check_holds(working: Working, chart: int, records: Sequence[int]) -> None:
    holds = working.get(keys.holds(chart), Holds)
    for number, held in () if holds is None else holds.holds:
        if held is None or not set(held).isdisjoint(records):
            raise OnHold(f"hold {number} of chart {chart} keeps them")


def _check_named(holders: Sequence[int], records: Sequence[RecordAppended], custodian: int) -> None:
    stored = {holder for record in records for holder in (*record.holders, record.institution)} - {custodian}
    missing = sorted(stored.difference(holders))
    if missing:
        raise HolderMissing(f"institution {missing[0]} stores some of them and is not named")


def _mark(working: Working, chart: int, records: Sequence[int]) -> None:
    pages: dict[bytes, list[int]] = {}
    for number in records:
        pages.setdefault(keys.erased(chart, number), []).append(number)
    for key, numbers in pages.items():
        page = working.get(key, ErasedPage)
        working.put(key, ErasedPage(reading.with_erased(b"" if page is None else page.bitmap, numbers)))


def _reads_receipt(operation: ErasureReceipt, call: Call, read: ReadSet) -> None:
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.chart(operation.chart))
        read.keys.add(keys.erasure(operation.chart, operation.erasure))


def _acknowledge(working: Working, operation: ErasureReceipt, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    number, institution = operation.chart, call.institution
    chart = working.chart(number)
    key = keys.erasure(number, operation.erasure)
    erasure = working.get(key, Erasure)
    if erasure is None:
        raise UnknownErasure(f"event {operation.erasure} of chart {number} is no erasure")
    if institution not in erasure.owed:
        raise NothingOwed()
    if any(by == institution for by, _ in erasure.receipts):
        raise AlreadyAcknowledged()
    receipts = tuple(sorted((*erasure.receipts, (institution, working.height))))
    working.put(key, replace(erasure, receipts=receipts))
    event = ErasureAcknowledged(working.height, working.timestamp, institution, operation.erasure)
    working.put(keys.chart(number), working.append(number, chart, [event], ends=1))
    return OperationReceipt(number, chart.events, 1)


def _reads_hold(operation: Hold, call: Call, read: ReadSet) -> None:
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.chart(operation.chart))
        read.keys.add(keys.holds(operation.chart))
        reading.reads(operation.chart, operation.records or (), read)


def _hold(working: Working, operation: Hold, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    number = operation.chart
    chart = _custodians(working, number, call)
    if operation.records is not None:
        reading.records_of(working, number, chart, operation.records)
        if reading.any_erased(working, number, operation.records):
            raise AlreadyErased()
    holds = working.get(keys.holds(number), Holds) or Holds(())
    if len(holds.holds) >= limits.HOLDS_PER_CHART:
        raise TooManyHolds(f"chart {number} has {len(holds.holds)} holds in force, which is the most")
    working.put(keys.holds(number), Holds((*holds.holds, (chart.events, operation.records))))
    placed = HoldPlaced(working.height, working.timestamp, call.institution, operation.records, operation.basis)
    working.put(keys.chart(number), working.append(number, chart, [placed], begins=1))
    return OperationReceipt(number, chart.events, 1)


def _reads_release(operation: ReleaseHold, call: Call, read: ReadSet) -> None:
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.chart(operation.chart))
        read.keys.add(keys.holds(operation.chart))


def _release(working: Working, operation: ReleaseHold, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    number = operation.chart
    chart = _custodians(working, number, call)
    holds = working.get(keys.holds(number), Holds) or Holds(())
    kept = tuple(one for one in holds.holds if one[0] != operation.hold)
    if len(kept) == len(holds.holds):
        raise UnknownHold(f"chart {number} has no hold {operation.hold} in force")
    working.put(keys.holds(number), Holds(kept))
    released = HoldReleased(working.height, working.timestamp, call.institution, operation.hold)
    working.put(keys.chart(number), working.append(number, chart, [released], ends=1))
    return OperationReceipt(number, chart.events, 1)


def _cost_erase(operation: Erase) -> int:
    named = limits.ITEM_COST * (len(operation.records) + len(operation.holders))
    return limits.OPERATION_COST + limits.HOLDS_COST + named


def _cost_receipt(operation: ErasureReceipt) -> int:
    return limits.OPERATION_COST + limits.EMERGENCY_COST


def _cost_hold(operation: Hold | ReleaseHold) -> int:
    records = len(operation.records or ()) if isinstance(operation, Hold) else 0
    return limits.OPERATION_COST + limits.HOLDS_COST + limits.ITEM_COST * records


RULES: Final[dict[type, Rule]] = {
    Erase: Rule(Family.INSTITUTION, _reads_erase, _erase, _cost_erase),
    ErasureReceipt: Rule(Family.INSTITUTION, _reads_receipt, _acknowledge, _cost_receipt),
    Hold: Rule(Family.INSTITUTION, _reads_hold, _hold, _cost_hold),
    ReleaseHold: Rule(Family.INSTITUTION, _reads_release, _release, _cost_hold),
}
