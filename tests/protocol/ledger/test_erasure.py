"""Erasure: owner and custodian order it, everybody who stored it answers for it, and a legal hold stands before it."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.chart_errors import (
    AlreadyAcknowledged,
    AlreadyErased,
    HolderMissing,
    NothingOwed,
    OnHold,
    OwnerFrozen,
    TooManyHolds,
    UnknownErasure,
    UnknownHold,
)
from protocol.codec.canonical import encode
from protocol.errors import (
    BadCosignature,
    MissingCosignature,
    NotAccredited,
    NotAscending,
    Replayed,
    Unauthorised,
    UnknownChart,
    UnknownInstitution,
    UnknownRecord,
)
from protocol.ledger import keys, reading
from protocol.ledger.events import Erased, ErasureAcknowledged, HoldPlaced, HoldReleased, Outcome, Reason
from protocol.ledger.leaves import ErasedPage, Erasure, Holds
from protocol.types.governance import Remove
from protocol.types.operations import (
    ACCESS_WRITE,
    AppendRecords,
    Disclose,
    Erase,
    ErasureReceipt,
    Hold,
    ReleaseHold,
)

BASIS = b"b" * 32


@pytest.fixture
def patient(world: Any, make_entry: Any) -> Any:
    """Records 1, 2 and 3; 1 and 2 are held by institutions 1 and 3, 3 by the custodian alone."""
    made = world.open_chart()
    world.append_held(made, 1, 3, entries=(make_entry(), make_entry()))
    world.append(made)
    return made


def page(world: Any, patient: Any, event: int) -> bytes:
    leaf = world.leaf(keys.erased(patient.chart, event))
    assert isinstance(leaf, ErasedPage)
    return leaf.bitmap


def test_an_order_names_all_and_each_owes_a_receipt(world: Any, patient: Any) -> None:
    receipt = world.erase(patient, 1, 3, holders=(1, 3))
    height, now, event = world.head.height, world.head.timestamp, receipt.first_event
    assert world.history(patient)[-1] == Erased(height, now, 0, (1, 3), (1, 3))
    assert page(world, patient, 1) == bytes([0b1010])
    assert world.leaf(keys.erasure(patient.chart, event)) == Erasure(height, (0, 1, 3))
    for institution in (3, 0, 1):
        world.run(institution, ErasureReceipt(patient.chart, event))
        assert world.history(patient)[-1] == ErasureAcknowledged(
            world.head.height, world.head.timestamp, institution, event
        )
    leaf = world.leaf(keys.erasure(patient.chart, event))
    assert leaf.receipts == ((0, height + 2), (1, height + 3), (3, height + 1))


def test_the_custodian_may_be_named_or_not(world: Any, patient: Any) -> None:
    receipt = world.erase(patient, 3, holders=(0,))
    assert world.leaf(keys.erasure(patient.chart, receipt.first_event)).owed == (0,)


def test_more_may_be_named_than_the_records_say(world: Any, patient: Any) -> None:
    """Repair brought a copy to institution 2."""
    receipt = world.erase(patient, 1, holders=(1, 2, 3))
    assert world.leaf(keys.erasure(patient.chart, receipt.first_event)).owed == (0, 1, 2, 3)


def test_whoever_stores_or_wrote_one_is_named(world: Any, patient: Any, make_entry: Any) -> None:
    for holders in ((), (1,), (3,), (0, 1, 2)):
        world.refuses(HolderMissing, world.body(0, world.erasing(patient, 1, holders=holders)))
    world.refuses(HolderMissing, world.body(0, world.erasing(patient, 1, 3, holders=(1,))))
    grant = world.grant(patient, world.terms(grantees=(2,), access=ACCESS_WRITE))
    written = world.run(2, AppendRecords(patient.chart, (make_entry(),), (), grant)).first_event
    world.refuses(HolderMissing, world.body(0, world.erasing(patient, written)))
    world.erase(patient, written, holders=(2,))


def test_owner_and_custodian_order_it_together(world: Any, patient: Any) -> None:
    other = world.open_chart()
    helper = world.name_delegate(patient)
    operation = Erase(patient.chart, (3,), ())
    world.refuses(MissingCosignature, world.body(0, operation))
    world.refuses(Unauthorised, world.body(1, world.owned(patient, operation)))
    world.refuses(Unauthorised, world.body(0, world.delegated(helper, operation)))
    world.refuses(BadCosignature, world.body(0, world.owned(other, operation, number=40)))
    signed = world.owned(patient, operation)
    world.run(0, signed)
    world.refuses(Replayed, world.body(0, signed))
    world.set_guardians(patient)
    world.begin(patient, world.fresh_key(), carrier=0, overrule=True)
    world.refuses(OwnerFrozen, world.body(0, world.erasing(patient, 1, holders=(1, 3))))


@pytest.mark.parametrize(
    ("records", "holders", "error"),
    [
        ((0,), (), UnknownRecord),
        ((3, 9), (), UnknownRecord),
        ((limits.EVENTS_PER_CHART,), (), UnknownRecord),
        ((limits.U53,), (), UnknownRecord),
        ((3, 3), (), NotAscending),
        ((3, 1), (1, 3), NotAscending),
        ((1,), (3, 1), NotAscending),
        ((1,), (1, 3, 4), UnknownInstitution),
        ((1,), (1, 3, limits.U53), UnknownInstitution),
    ],
)
def test_bad_orders(world: Any, patient: Any, records: Any, holders: Any, error: Any) -> None:
    world.refuses(error, world.body(0, world.erasing(patient, *records, holders=holders)))


@pytest.mark.parametrize("chart", [7, keys.CHART_MAX + 1, limits.U53])
def test_unknown_charts(world: Any, patient: Any, chart: int) -> None:
    for operation in (
        world.owned(patient, Erase(chart, (1,), ())),
        ErasureReceipt(chart, 1),
        Hold(chart, (1,), BASIS),
        Hold(chart, None, BASIS),
        ReleaseHold(chart, 1),
    ):
        world.refuses(UnknownChart, world.body(0, operation))


def test_nothing_erased_is_disclosed_to_anybody(world: Any, patient: Any) -> None:
    grant = world.grant(patient)
    assert world.disclose(patient, grant, 1, 2).reason is Reason.NONE
    world.erase(patient, 2, holders=(1, 3))
    assert world.disclose(patient, grant, 1).outcome is Outcome.DISCLOSED
    for records in ((2,), (1, 2), (1, 2, 3)):
        assert world.disclose(patient, grant, *records).reason is Reason.ERASED


def test_erased_once_and_only_once_in_a_block_too(world: Any, patient: Any) -> None:
    first = world.body(0, world.erasing(patient, 1, 3, holders=(1, 3)))
    second = world.body(0, world.erasing(patient, 2, 3, holders=(1, 3)))
    execution = world.execution(first, second)
    world.apply(execution, first)
    with pytest.raises(AlreadyErased):
        world.apply(execution, second)
    world.block(first)
    world.refuses(AlreadyErased, world.body(0, world.erasing(patient, 1, holders=(1, 3))))
    world.refuses(AlreadyErased, world.body(0, Hold(patient.chart, (2, 3), BASIS)))


def test_an_erasure_and_a_request_of_one_block_go_by_their_order(world: Any, patient: Any) -> None:
    grant = world.grant(patient)
    asking = [world.body(1, Disclose(patient.chart, grant, (3,), "TREAT")) for _ in range(2)]
    erasing = world.body(0, world.erasing(patient, 3))
    receipts = world.block(asking[0], erasing, asking[1])
    assert [receipts[at].operations[0].reason for at in (0, 2)] == [Reason.NONE, Reason.ERASED]


def test_two_erasures_in_one_transaction_share_a_page(world: Any, patient: Any) -> None:
    world.block(world.body(0, world.erasing(patient, 1, holders=(1, 3)), world.erasing(patient, 3)))
    assert page(world, patient, 1) == bytes([0b1010])


def test_pages_and_bits() -> None:
    last = limits.ERASED_PAGE_EVENTS - 1
    assert reading.with_erased(b"", [0]) == b"\x01"
    assert reading.with_erased(b"\x01", [9]) == b"\x01\x02"
    full = reading.with_erased(b"", [limits.ERASED_PAGE_EVENTS + last])
    assert len(full) == limits.ERASED_PAGE_EVENTS // 8
    assert reading.is_erased(full, last)
    assert not reading.is_erased(full, 0)
    assert not reading.is_erased(b"\x01", last)
    assert keys.erased(1, last) != keys.erased(1, last + 1)
    assert keys.erased(1, limits.EVENTS_PER_CHART - 1)[-2:] == b"\x0f\xff"


# --- receipts --------------------------------------------------------------------------------------------------


def test_only_whoever_owes_answers_and_once(world: Any, patient: Any) -> None:
    event = world.erase(patient, 1, holders=(1, 3)).first_event
    answering = ErasureReceipt(patient.chart, event)
    world.refuses(NothingOwed, world.body(2, answering))
    world.refuses(Unauthorised, world.body(1, world.owned(patient, answering)))
    world.run(1, answering)
    world.refuses(AlreadyAcknowledged, world.body(1, answering))


@pytest.mark.parametrize("event", [0, 1, 9, limits.EVENTS_PER_CHART - 1])
def test_a_receipt_is_for_an_erasure(world: Any, patient: Any, event: int) -> None:
    world.erase(patient, 3)
    world.refuses(UnknownErasure, world.body(0, ErasureReceipt(patient.chart, event)))


def test_who_was_removed_owes_for_good(world: Any, patient: Any) -> None:
    event = world.erase(patient, 1, holders=(1, 3)).first_event
    world.decide(Remove(3))
    world.refuses(NotAccredited, world.body(3, ErasureReceipt(patient.chart, event)))
    world.run(1, ErasureReceipt(patient.chart, event))
    leaf = world.leaf(keys.erasure(patient.chart, event))
    assert set(leaf.owed) - {by for by, _ in leaf.receipts} == {0, 3}


def test_a_holder_that_was_removed_is_named_all_the_same(world: Any, patient: Any) -> None:
    world.decide(Remove(3))
    world.refuses(HolderMissing, world.body(0, world.erasing(patient, 1, holders=(1,))))
    world.erase(patient, 1, holders=(1, 3))


# --- holds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("records", [None, (1, 2), (2, 3)])
def test_a_hold_stands_before_erasure_until_it_is_released(world: Any, patient: Any, records: Any) -> None:
    hold = world.run(0, Hold(patient.chart, records, BASIS)).first_event
    assert world.history(patient)[-1] == HoldPlaced(world.head.height, world.head.timestamp, 0, records, BASIS)
    assert world.leaf(keys.holds(patient.chart)) == Holds(((hold, records),))
    world.refuses(OnHold, world.body(0, world.erasing(patient, 1, 2, 3, holders=(1, 3))))
    world.run(0, ReleaseHold(patient.chart, hold))
    assert world.history(patient)[-1] == HoldReleased(world.head.height, world.head.timestamp, 0, hold)
    world.erase(patient, 1, 2, 3, holders=(1, 3))


def test_a_hold_is_for_the_records_that_it_names(world: Any, patient: Any) -> None:
    world.run(0, Hold(patient.chart, (1, 2), BASIS))
    world.erase(patient, 3)


def test_any_of_several_holds_is_enough(world: Any, patient: Any) -> None:
    holds = [world.run(0, Hold(patient.chart, (1, 2, 3), BASIS)).first_event for _ in range(2)]
    world.run(0, ReleaseHold(patient.chart, holds[0]))
    world.refuses(OnHold, world.body(0, world.erasing(patient, 3)))
    world.refuses(UnknownHold, world.body(0, ReleaseHold(patient.chart, holds[0])))
    world.run(0, ReleaseHold(patient.chart, holds[1]))
    world.erase(patient, 3)


def test_a_hold_of_everything_covers_what_comes_later(world: Any, patient: Any) -> None:
    world.run(0, Hold(patient.chart, None, BASIS))
    (later,) = world.append(patient)
    world.refuses(OnHold, world.body(0, world.erasing(patient, later)))


def test_a_hold_of_the_same_block_counts(world: Any, patient: Any) -> None:
    holding = world.body(0, Hold(patient.chart, (3,), BASIS))
    erasing = world.body(0, world.erasing(patient, 3))
    execution = world.execution(holding, erasing)
    world.apply(execution, holding)
    with pytest.raises(OnHold):
        world.apply(execution, erasing)


def test_holds_are_the_custodians(world: Any, patient: Any) -> None:
    holding = Hold(patient.chart, None, BASIS)
    world.refuses(Unauthorised, world.body(1, holding))
    world.refuses(Unauthorised, world.body(0, world.owned(patient, holding)))
    hold = world.run(0, holding).first_event
    world.refuses(Unauthorised, world.body(1, ReleaseHold(patient.chart, hold)))
    world.refuses(Unauthorised, world.body(0, world.owned(patient, ReleaseHold(patient.chart, hold))))


def test_bad_holds(world: Any, patient: Any) -> None:
    for records, error in (
        ((0,), UnknownRecord),
        ((9,), UnknownRecord),
        ((limits.U53,), UnknownRecord),
        ((2, 1), NotAscending),
    ):
        world.refuses(error, world.body(0, Hold(patient.chart, records, BASIS)))
    for hold in (0, 1, limits.EVENTS_PER_CHART - 1):
        world.refuses(UnknownHold, world.body(0, ReleaseHold(patient.chart, hold)))


def test_too_many_holds_in_force(world: Any, patient: Any) -> None:
    listed = tuple((at, None) for at in range(limits.HOLDS_PER_CHART))
    world.leaves[keys.holds(patient.chart)] = encode(Holds(listed))
    world.refuses(TooManyHolds, world.body(0, Hold(patient.chart, None, BASIS)))
