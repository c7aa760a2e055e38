"""The naive rules of emergencies, erasure and legal holds (docs/spec/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from node.simulation.oracles.naive import signatures
from node.simulation.oracles.naive.charts import ascend, chart, records_of
from node.simulation.oracles.naive.state import Chart, EmergencyOf, Record, State, require
from protocol.types.institutions import STATUS_ACCREDITED
from protocol.types.operations import (
    Bar,
    BreakGlass,
    BreakGlassMode,
    ConfirmBreakGlass,
    Erase,
    ErasureReceipt,
    Hold,
    ReleaseHold,
    ReviewBreakGlass,
    SignedOperation,
)

EMERGENCY_CODES = ("ETREAT", "BTG", "ERTREAT")
UNREVIEWED_MOST = 256
HOLDS_MOST = 32


def break_glass(state: State, operation: BreakGlass, signed: SignedOperation, carrier: int) -> None:
    """An event in any case; an emergency unless it is denied."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    records = records_of(held, operation.records)
    require(operation.purpose in EMERGENCY_CODES, "the purpose is no emergency")
    owing = state.unreviewed.setdefault(carrier, set())
    event = held.events
    if _may(state, held, carrier, operation.records, records):
        emergency = EmergencyOf(carrier, state.timestamp, None, tuple(operation.records))
        held.emergencies[event] = emergency
        if held.policy.break_glass is BreakGlassMode.ALLOWED:
            emergency.review_by = state.timestamp + state.params.review_ms
            owing.add((operation.chart, event))
    held.happened()


def _may(state: State, held: Chart, asker: int, numbers: Sequence[int], records: Sequence[Record]) -> bool:
    allowed = held.policy.break_glass is not BreakGlassMode.FORBIDDEN
    barred = any(_bars(bar, one, asker) for bar in held.policy.bars for one in records)
    erased = not held.erased.isdisjoint(numbers)
    return allowed and not barred and not erased and len(state.unreviewed.get(asker, ())) < UNREVIEWED_MOST


def _bars(bar: Bar, record: Record, asker: int) -> bool:
    if not bar.emergencies or bar.institution not in (None, asker):
        return False
    if record.generation > bar.generation:
        return True
    categories, years, sensitivities = bar.tags
    both = record.tags[2:]
    return (
        (categories is None or record.tags[0] in categories)
        and (years is None or record.tags[1] in years)
        and (sensitivities is None or any(tag in sensitivities for tag in both))
    )


def confirm(state: State, operation: ConfirmBreakGlass, signed: SignedOperation, carrier: int) -> None:
    """Another institution, in time, and as things are now."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    emergency = _emergency(held, operation)
    require(emergency.review_by is None and carrier != emergency.institution, "it is not the carrier's to confirm")
    require(state.timestamp <= emergency.asked_at + state.params.release_ms, "it was asked too long ago")
    asker = emergency.institution
    require(state.institution(asker).status == STATUS_ACCREDITED, "the asker is not accredited any more")
    require(operation.records == emergency.records, "it names other records")
    records = records_of(held, operation.records)
    require(_may(state, held, asker, operation.records, records), "it would not be disclosed now")
    owing = state.unreviewed.setdefault(asker, set())
    emergency.confirmed_by = carrier
    emergency.review_by = state.timestamp + state.params.review_ms
    owing.add((operation.chart, operation.emergency))
    held.happened()


def review(state: State, operation: ReviewBreakGlass, signed: SignedOperation, carrier: int) -> None:
    """By who neither asked nor confirmed, once."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    emergency = _emergency(held, operation)
    require(emergency.review_by is not None and not emergency.reviewed, "there is no review owed")
    require(carrier not in (emergency.institution, emergency.confirmed_by), "who asked or confirmed reviews nothing")
    emergency.reviewed = True
    state.unreviewed[emergency.institution].remove((operation.chart, operation.emergency))
    held.happened(makes_room=True)


def _emergency(held: Chart, operation: ConfirmBreakGlass | ReviewBreakGlass) -> EmergencyOf:
    emergency = held.emergencies.get(operation.emergency)
    known = emergency is not None and emergency.institution == operation.institution
    require(known, "there is no such emergency")
    assert emergency is not None
    return emergency


def erase(state: State, operation: Erase, signed: SignedOperation, carrier: int) -> None:
    """Owner and custodian; everybody who stored something owes a receipt."""
    held = chart(state, operation.chart)
    require(held.custodian == carrier, "the carrier is not the chart's custodian")
    signatures.owner(state, signed, held.owner_key, held.numbers)
    require(not held.frozen, "the owner is frozen")
    records = records_of(held, operation.records)
    _check_whole(held, operation.records)
    kept = any(only is None or set(only) & set(operation.records) for only in held.holds.values())
    require(not kept, "a hold keeps them")
    ascend(operation.holders, "holders")
    for holder in operation.holders:
        state.institution(holder)
    stored = {one for record in records for one in record.stored}
    require(stored - {carrier} <= set(operation.holders), "not all who stored them are named")
    held.erased.update(operation.records)
    owed = {carrier, *operation.holders}
    held.ordered[held.events], held.owed[held.events] = owed, set(owed)
    held.happened()


def _check_whole(held: Chart, records: Sequence[int]) -> None:
    require(held.erased.isdisjoint(records), "one of them was erased")


def receipt(state: State, operation: ErasureReceipt, signed: SignedOperation, carrier: int) -> None:
    """Who owes it, once."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    owed = held.owed.get(operation.erasure, set())
    require(carrier in owed, "the carrier owes no receipt")
    owed.remove(carrier)
    held.happened(makes_room=True)


def hold(state: State, operation: Hold, signed: SignedOperation, carrier: int) -> None:
    """The custodian's."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    require(held.custodian == carrier, "the carrier is not the chart's custodian")
    if operation.records is not None:
        records_of(held, operation.records)
        _check_whole(held, operation.records)
    require(len(held.holds) < HOLDS_MOST, "the chart has as many holds as it may")
    held.holds[held.events] = operation.records
    held.happened()


def release(state: State, operation: ReleaseHold, signed: SignedOperation, carrier: int) -> None:
    """The custodian's."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    require(held.custodian == carrier, "the carrier is not the chart's custodian")
    require(operation.hold in held.holds, "no such hold is in force")
    del held.holds[operation.hold]
    held.happened(makes_room=True)


HANDLERS: Final[dict[type, Any]] = {
    BreakGlass: break_glass,
    ConfirmBreakGlass: confirm,
    ReviewBreakGlass: review,
    Erase: erase,
    ErasureReceipt: receipt,
    Hold: hold,
    ReleaseHold: release,
}
