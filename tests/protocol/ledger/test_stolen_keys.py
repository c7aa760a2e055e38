"""A stolen key: the custodian and the guardians overrule it, and until the recovery is complete it only withdraws."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol.chart_errors import OwnerFrozen, TooFewGuardians, VetoOverruled
from protocol.errors import BadCosignature, NotAccredited, Unauthorised
from protocol.ledger import keys
from protocol.ledger.events import Outcome, Reason
from protocol.types.governance import Suspend
from protocol.types.operations import (
    AppendRecords,
    CancelRecovery,
    Delegate,
    Disclose,
    EndDelegate,
    Erase,
    Grant,
    Policy,
    Reissue,
    Revoke,
    SetGuardians,
    SetPolicy,
)


@pytest.fixture
def guarded_chart(world: Any) -> Any:
    patient = world.open_chart()
    world.set_guardians(patient)
    return patient


def cancel(world: Any, patient: Any) -> CancelRecovery:
    return CancelRecovery(patient.chart, world.recovery(patient).pending.change)


def test_only_the_custodian_overrules_and_only_with_the_guardians(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    operation = world.recovering(patient, world.fresh_key(), overrule=True)
    world.refuses(Unauthorised, world.body(1, world.guarded(patient, operation, 0, 1)))
    world.refuses(TooFewGuardians, world.body(0, world.guarded(patient, operation, 0)))
    plain = world.recovering(patient, world.fresh_key())
    signed = world.guarded(patient, plain, 0, 1)
    world.refuses(BadCosignature, world.body(0, replace(signed, operation=replace(plain, overrule=True))))
    world.run(0, world.guarded(patient, operation, 0, 1))


def test_a_suspended_custodian_overrules_nothing(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    world.decide(Suspend(0))
    operation = world.recovering(patient, world.fresh_key(), overrule=True)
    world.refuses(NotAccredited, world.body(0, world.guarded(patient, operation, 0, 1)))


@pytest.fixture
def frozen(world: Any, guarded_chart: Any) -> Any:
    patient = guarded_chart
    world.append(patient)
    world.grant(patient)
    world.grant(patient)
    patient.helper = world.name_delegate(patient)
    world.begin(patient, world.fresh_key(), carrier=0, overrule=True)
    return patient


def test_a_frozen_owner_changes_nothing(world: Any, frozen: Any, make_entry: Any) -> None:
    patient, chart = frozen, frozen.chart
    key = world.fresh_key()
    note = replace(make_entry(), disputes=2)
    for operation in (
        Grant(chart, world.terms()),
        SetPolicy(chart, Policy()),
        Delegate(chart, world.delegate_terms(key)),
        SetGuardians(chart, world.next_change(patient), None),
        world.rotating(patient, key),
        Erase(chart, (2,), ()),
        AppendRecords(chart, (note,)),
    ):
        world.refuses(OwnerFrozen, world.body(0, world.owned(patient, operation)))
    world.refuses(VetoOverruled, world.body(0, world.owned(patient, cancel(world, patient))))
    world.refuses(OwnerFrozen, world.body(0, world.delegated(patient.helper, Grant(chart, world.terms()))))
    asked = world.run(0, world.delegated(patient.helper, Disclose(chart, None, (2,), "TREAT")))
    assert (asked.outcome, asked.reason) == (Outcome.DENIED, Reason.DELEGATE_ENDED)


def test_a_frozen_owner_still_withdraws(world: Any, frozen: Any, make_tags: Any) -> None:
    patient, chart = frozen, frozen.chart
    kept = world.grant_leaf(patient, 1)
    fresh = make_tags(None, None, [9], [9])
    world.run(1, world.owned(patient, Revoke(chart, 0, (Reissue(1, fresh),), (), ())))
    assert world.grant_leaf(patient, 0).revoked_at == world.head.height
    assert (world.grant_leaf(patient, 1), world.chart(patient).generation) == (kept, 0)
    event = world.history(patient)[-1]
    assert (event.generation, event.reissues, event.bars) == (0, (), None)
    assert world.leaf(keys.policy(chart)) is None
    world.run(1, world.delegated(patient.helper, Revoke(chart, 1)))
    world.run(1, world.owned(patient, EndDelegate(chart, patient.helper.number)))


def test_what_was_granted_serves_while_the_owner_is_frozen(world: Any, frozen: Any) -> None:
    assert world.disclose(frozen, 0, 2).outcome is Outcome.DISCLOSED
    world.append(frozen)


def test_guardians_lift_the_freeze(world: Any, frozen: Any) -> None:
    patient = frozen
    world.run(1, world.guarded(patient, cancel(world, patient), 0, 2))
    world.grant(patient)


def test_a_plain_recovery_in_its_place_lifts_it_too(world: Any, frozen: Any) -> None:
    patient = frozen
    world.begin(patient, world.fresh_key(), 1, 2)
    world.grant(patient)
    world.run(1, world.owned(patient, cancel(world, patient)))


def test_the_new_owner_is_not_frozen_and_the_old_is_gone(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    grant = world.grant(patient)
    old = world.recover(patient, overrule=True)
    world.revoke(patient, grant)
    assert world.chart(patient).generation == 1
    patient.key = old
    world.refuses(BadCosignature, world.body(0, world.owned(patient, Grant(patient.chart, world.terms()), number=30)))
