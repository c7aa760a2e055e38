"""Charts: opened once by an owner and a custodian together."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import CustodianRemains, HolderMissing, OnHold, OwnerFrozen
from protocol.crypto.signing import cosign
from protocol.errors import (
    BadCosignature,
    ChartExists,
    CosignatureExpired,
    CosignatureTooLong,
    MissingCosignature,
    Replayed,
    Unauthorised,
)
from protocol.ledger import keys
from protocol.ledger.events import ChartMoved, ChartOpened
from protocol.ledger.leaves import Counters, OwnerIndex
from protocol.types.governance import Reinstate, Remove, Suspend
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    Cosignature,
    Erase,
    Hold,
    MoveChart,
    OpenChart,
    ReleaseHold,
    SignedOperation,
)


def test_opens_with_the_next_number(world: Any) -> None:
    first, second = world.open_chart(0), world.open_chart(1)
    assert (first.chart, second.chart) == (0, 1)
    assert world.leaf(keys.COUNTERS) == Counters(institutions=4, charts=2, motions=0)
    assert world.leaf(keys.owner(second.key.public)) == OwnerIndex(1)
    chart = world.chart(second)
    assert (chart.custodian, chart.owner_key, chart.opened_at) == (1, second.key.public, world.head.height)
    assert world.history(second) == [
        ChartOpened(world.head.height, world.head.timestamp, 1, 1, b"e" * 32),
    ]


def test_several_in_one_transaction(world: Any) -> None:
    patients = [world.patient() for _ in range(3)]
    (receipt,) = world.block(world.body(2, *[world.opening(patient, 2) for patient in patients]))
    assert [one.chart for one in receipt.operations] == [0, 1, 2]


def test_a_key_opens_one_chart(world: Any) -> None:
    patient = world.open_chart()
    world.refuses(ChartExists, world.body(1, world.opening(patient, 1)))
    other = world.patient()
    world.refuses(ChartExists, world.body(1, world.opening(other, 1), world.opening(other, 1)))


def test_needs_the_owner_and_nobody_else(world: Any) -> None:
    patient, stranger = world.patient(), world.patient()
    operation = OpenChart(0, patient.key.public, 1, b"e" * 32)
    until = world.now + 1_000
    chain = world.head.chain
    good = cosign(patient.key, chain, operation, ROLE_OWNER, 0, until)
    forged = cosign(stranger.key, chain, operation, ROLE_OWNER, 0, until)
    guardian = cosign(patient.key, chain, operation, 3, 0, until)
    foreign = cosign(patient.key, b"x" * 32, operation, ROLE_OWNER, 0, until)
    other = cosign(patient.key, chain, OpenChart(0, patient.key.public, 2, b"e" * 32), ROLE_OWNER, 0, until)
    renumbered = Cosignature(ROLE_OWNER, 0, 1, until, good.signature)
    prolonged = Cosignature(ROLE_OWNER, 0, 0, until + 1, good.signature)
    world.refuses(MissingCosignature, world.body(0, operation))
    world.refuses(Unauthorised, world.body(0, SignedOperation(operation, (guardian,))))
    world.refuses(Unauthorised, world.body(0, SignedOperation(operation, (good, guardian))))
    world.refuses(Unauthorised, world.body(0, SignedOperation(operation, (good, good))))
    for bad in (forged, foreign, other, renumbered, prolonged):
        world.refuses(BadCosignature, world.body(0, SignedOperation(operation, (bad,))))
    world.block(world.body(0, SignedOperation(operation, (good,))))


def test_who_sees_an_opening_on_its_way_cannot_become_custodian_by_it(world: Any) -> None:
    """Otherwise a leader that saw hospital 0's transaction would put its own before it, and 0's would fail."""
    patient = world.patient()
    opening = world.opening(patient, 0)
    world.refuses(Unauthorised, world.body(1, opening))
    stolen = SignedOperation(replace(opening.operation, custodian=1), opening.cosignatures)
    world.refuses(BadCosignature, world.body(1, stolen))
    assert world.run(0, opening).chart == 0


def test_the_owners_signature_expires(world: Any) -> None:
    patient = world.patient()
    operation = OpenChart(0, patient.key.public, 1, b"e" * 32)
    world.wait(5)
    world.refuses(CosignatureExpired, world.body(0, world.owned(patient, operation, expires_at=world.now - 1)))
    world.block(world.body(0, world.owned(patient, operation, expires_at=world.now)))


def test_what_an_owner_signed_for_longer_than_may_be_is_refused(world: Any) -> None:
    """Or a custodian could keep it for years, and have it take effect when the owner wants the contrary."""
    patient = world.patient()
    operation = OpenChart(0, patient.key.public, 1, b"e" * 32)
    world.wait(5)
    longest = world.now + world.genesis.params.cosign_ms
    world.refuses(CosignatureTooLong, world.body(0, world.owned(patient, operation, expires_at=longest + 1)))
    world.refuses(CosignatureTooLong, world.body(0, world.owned(patient, operation, expires_at=limits.U53)))
    world.block(world.body(0, world.owned(patient, operation, expires_at=longest)))


@pytest.mark.parametrize("number", [limits.NUMBER_JUMP + 1, limits.U53])
def test_the_owners_first_number_is_bounded_too(world: Any, number: int) -> None:
    patient = world.patient()
    operation = OpenChart(0, patient.key.public, 1, b"e" * 32)
    body = world.body(0, world.owned(patient, operation, number=number))
    with pytest.raises(Exception, match="lies"):
        world.apply(world.execution(body), body)


# --- a chart whose custodian is gone for good ------------------------------------------------------------------------


def test_a_chart_moves_to_whom_its_owner_chose_once_its_custodian_was_removed(world: Any) -> None:
    patient = world.open_chart(3)
    moving = MoveChart(patient.chart, 3, 1)
    for change in (Suspend(3), Reinstate(3)):
        world.decide(change)
        world.refuses(CustodianRemains, world.body(1, world.owned(patient, moving)))
    world.decide(Remove(3))
    world.refuses(Unauthorised, world.body(2, world.owned(patient, moving)))
    world.refuses(MissingCosignature, world.body(1, moving))
    world.refuses(CustodianRemains, world.body(1, world.owned(patient, replace(moving, former=0))))
    signed = world.owned(patient, moving)
    world.run(1, signed)
    assert world.chart(patient).custodian == 1
    assert world.history(patient)[-1] == ChartMoved(world.head.height, world.head.timestamp, 1, 3)
    world.refuses(Replayed, world.body(1, signed))
    world.refuses(CustodianRemains, world.body(2, world.owned(patient, MoveChart(patient.chart, 1, 2))))


def test_the_next_custodian_can_do_what_the_first_could_and_owes_what_it_owed(world: Any, make_entry: Any) -> None:
    patient = world.open_chart(3)
    first = world.run(3, AppendRecords(patient.chart, (make_entry(),))).first_event
    hold = world.run(3, Hold(patient.chart, None, bytes(32))).first_event
    world.decide(Remove(3))
    world.run(1, world.owned(patient, MoveChart(patient.chart, 3, 1)))
    world.run(1, AppendRecords(patient.chart, (make_entry(),)))
    erasing = Erase(patient.chart, (first,), (3,))
    world.refuses(OnHold, world.body(1, world.owned(patient, erasing)))
    world.run(1, ReleaseHold(patient.chart, hold))
    world.refuses(HolderMissing, world.body(1, world.owned(patient, replace(erasing, holders=()))))
    world.run(1, world.owned(patient, erasing))
    world.set_guardians(patient)
    world.begin(patient, world.fresh_key(), carrier=1, overrule=True)
    world.refuses(OwnerFrozen, world.body(1, world.owned(patient, MoveChart(patient.chart, 3, 1))))
