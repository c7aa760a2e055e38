"""The naive rules of what follows an emergency, of erasure and of legal holds (docs/spec/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from node.simulation.oracles.naive import signatures
from node.simulation.oracles.naive.asking import open_emergency, would_be_disclosed
from node.simulation.oracles.naive.charts import ascend, chart, records_of
from node.simulation.oracles.naive.state import Chart, EmergencyOf, State, require
from protocol.types.institutions import STATUS_ACCREDITED
from protocol.types.operations import (
    ConfirmBreakGlass,
    Erase,
    ErasureReceipt,
    Hold,
    ReleaseHold,
    ReviewBreakGlass,
    SignedOperation,
)

HOLDS_MOST = 32


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
    require(would_be_disclosed(state, held, operation, asker), "it would not be disclosed now")
    emergency.confirmed_by = carrier
    open_emergency(state, held, operation.emergency, emergency)
    times = {"release_until": emergency.release_until, "review_by": emergency.review_by}
    held.happened("GlassConfirmed", carrier, {"emergency": operation.emergency, **times})


def review(state: State, operation: ReviewBreakGlass, signed: SignedOperation, carrier: int) -> None:
    """By who neither asked nor confirmed, once."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    emergency = _emergency(held, operation)
    due = emergency.review_by
    require(due is not None and emergency.reviewed_by is None, "there is no review owed")
    assert due is not None
    require(carrier not in (emergency.institution, emergency.confirmed_by), "who asked or confirmed reviews nothing")
    emergency.reviewed_by, emergency.justified = carrier, operation.justified
    late = state.timestamp > due
    answers = state.answers[emergency.institution]
    answers.late += late
    answers.unjustified += not operation.justified
    answers.unreviewed.remove((due, operation.chart, operation.emergency))
    what = {"justified": operation.justified, "findings": operation.findings, "late": late}
    held.happened("GlassReviewed", carrier, {"emergency": operation.emergency, **what}, makes_room=True)


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
    held.happened("Erased", carrier, {"records": operation.records, "holders": operation.holders})


def _check_whole(held: Chart, records: Sequence[int]) -> None:
    require(held.erased.isdisjoint(records), "one of them was erased")


def receipt(state: State, operation: ErasureReceipt, signed: SignedOperation, carrier: int) -> None:
    """Who owes it, once."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    owed = held.owed.get(operation.erasure, set())
    require(carrier in owed, "the carrier owes no receipt")
    owed.remove(carrier)
    held.happened("ErasureAcknowledged", carrier, {"erasure": operation.erasure}, makes_room=True)


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
    held.happened("HoldPlaced", carrier, {"records": operation.records, "basis": operation.basis})


def release(state: State, operation: ReleaseHold, signed: SignedOperation, carrier: int) -> None:
    """The custodian's."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    require(held.custodian == carrier, "the carrier is not the chart's custodian")
    require(operation.hold in held.holds, "no such hold is in force")
    del held.holds[operation.hold]
    held.happened("HoldReleased", carrier, {"hold": operation.hold}, makes_room=True)


HANDLERS: Final[dict[type, Any]] = {
    ConfirmBreakGlass: confirm,
    ReviewBreakGlass: review,
    Erase: erase,
    ErasureReceipt: receipt,
    Hold: hold,
    ReleaseHold: release,
}
