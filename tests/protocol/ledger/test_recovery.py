"""Recovery: how a chart's owner key and guardians change, and who can stop what."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import (
    ChangePending,
    NoGuardians,
    TooEarly,
    TooFewGuardians,
    WrongChange,
)
from protocol.errors import (
    BadCosignature,
    BadPossession,
    BadTerms,
    ChartExists,
    CosignatureExpired,
    CosignatureTooLong,
    MissingCosignature,
    NotAscending,
    Unauthorised,
    UnknownChart,
)
from protocol.ledger import keys
from protocol.ledger.events import ChangeBegun, ChangeCancelled, ChangeCompleted, ChangeKind
from protocol.ledger.leaves import OwnerIndex, Recovery
from protocol.ledger.windows import FRESH
from protocol.types.operations import (
    CancelRecovery,
    CompleteRecovery,
    Grant,
    OwnerKeys,
    SetGuardians,
)


@pytest.fixture
def guarded_chart(world: Any) -> Any:
    patient = world.open_chart()
    world.set_guardians(patient)
    return patient


def cancel(world: Any, patient: Any) -> CancelRecovery:
    return CancelRecovery(patient.chart, world.recovery(patient).pending.change)


def ready(world: Any, patient: Any) -> None:
    world.now = world.recovery(patient).pending.ready_at


def complete(world: Any, patient: Any, carrier: int = 3) -> Any:
    return world.run(carrier, CompleteRecovery(patient.chart, world.recovery(patient).pending.change))


# --- guardians -------------------------------------------------------------------------------------------------


def test_the_first_guardians_are_there_at_once(world: Any) -> None:
    patient = world.open_chart()
    guardians = world.some_guardians(patient)
    world.run(2, world.owned(patient, SetGuardians(patient.chart, 0, guardians)))
    height, time_ms = world.head.height, world.head.timestamp
    assert world.recovery(patient) == Recovery(1, guardians)
    begun = ChangeBegun(height, time_ms, 2, 0, ChangeKind.GUARDIANS, None, guardians, False, time_ms)
    assert world.history(patient)[-1] == begun


def test_later_ones_wait_and_so_does_having_none(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    first = world.recovery(patient).guardians
    second = world.some_guardians(patient, 1, 1)
    world.run(2, world.owned(patient, SetGuardians(patient.chart, 1, second)))
    assert world.recovery(patient).guardians == first
    assert world.recovery(patient).pending.ready_at == world.head.timestamp + world.genesis.params.recovery_ms
    ready(world, patient)
    complete(world, patient)
    assert world.recovery(patient) == Recovery(2, second)
    world.run(2, world.owned(patient, SetGuardians(patient.chart, 2, None)))
    assert world.recovery(patient).guardians == second
    ready(world, patient)
    complete(world, patient)
    assert world.recovery(patient) == Recovery(3)


def test_guardians_that_could_not_act(world: Any) -> None:
    patient = world.open_chart()
    good = world.some_guardians(patient)
    for wrong, error in (
        (replace(good, threshold=4), BadTerms),
        (replace(good, keys=good.keys[::-1]), NotAscending),
        (replace(good, keys=(good.keys[0], good.keys[0])), NotAscending),
        (replace(good, keys=tuple(sorted((*good.keys, patient.key.public)))), BadTerms),
        (None, BadTerms),
    ):
        world.refuses(error, world.body(0, world.owned(patient, SetGuardians(patient.chart, 0, wrong))))


def test_only_the_owner_names_guardians(world: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    operation = SetGuardians(patient.chart, 0, world.some_guardians(patient))
    world.refuses(MissingCosignature, world.body(0, operation))
    world.refuses(BadCosignature, world.body(0, world.owned(other, operation, number=9)))
    world.refuses(Unauthorised, world.body(0, world.guarded(patient, operation, 0, 1)))


def test_the_guardians_of_one_moment_act_in_it(world: Any, guarded_chart: Any) -> None:
    """Until a change of guardians is complete the old ones act, and from then on the new ones."""
    patient = guarded_chart
    old = patient.guardians
    world.run(2, world.owned(patient, SetGuardians(patient.chart, 1, world.some_guardians(patient))))
    new, patient.guardians = patient.guardians, old
    world.begin(patient, world.fresh_key())
    assert world.history(patient)[-2] == ChangeCancelled(world.head.height, world.head.timestamp, 2, 1, True)
    world.run(2, world.guarded(patient, cancel(world, patient), 0, 1))
    world.run(2, world.owned(patient, SetGuardians(patient.chart, 3, world.some_guardians(patient))))
    new = patient.guardians
    ready(world, patient)
    complete(world, patient)
    patient.guardians = old
    operation = world.recovering(patient, world.fresh_key())
    world.refuses(BadCosignature, world.body(0, world.guarded(patient, operation, 0, 1)))
    patient.guardians = new
    world.run(2, world.guarded(patient, operation, 0, 1))


# --- a rotation ------------------------------------------------------------------------------------------------


def test_a_rotation_from_beginning_to_end(world: Any) -> None:
    patient = world.open_chart()
    new = world.fresh_key()
    operation = world.rotating(patient, new)
    world.run(2, world.owned(patient, operation))
    began = world.head.timestamp
    pending = world.recovery(patient).pending
    assert (pending.kind, pending.keys, pending.overrule) == (ChangeKind.ROTATION, operation.keys, False)
    assert pending.ready_at == began + world.genesis.params.recovery_ms
    assert world.leaf(keys.owner(new.public)) == OwnerIndex(patient.chart)
    assert world.chart(patient).owner_key == patient.key.public
    world.now = pending.ready_at - 1
    world.refuses(TooEarly, world.body(1, CompleteRecovery(patient.chart, 0)))
    ready(world, patient)
    complete(world, patient, carrier=1)
    chart = world.chart(patient)
    assert (chart.owner_key, chart.encryption_key, chart.window) == (new.public, operation.keys.encryption_key, FRESH)
    assert world.leaf(keys.owner(patient.key.public)) == OwnerIndex(patient.chart, spent=True)
    assert world.history(patient)[-1] == ChangeCompleted(
        world.head.height, world.head.timestamp, 1, 0, ChangeKind.ROTATION
    )


def test_what_the_old_key_signed_is_dead(world: Any) -> None:
    patient = world.open_chart()
    until = world.now + world.genesis.params.recovery_ms + 3_600_000
    before = world.owned(patient, Grant(patient.chart, world.terms(not_after=until)), expires_at=until)
    old = world.replace_owner_key(patient)
    world.refuses(BadCosignature, world.body(0, before))
    new, patient.key = patient.key, old
    for operation in (Grant(patient.chart, world.terms()), world.rotating(patient, world.fresh_key())):
        world.refuses(BadCosignature, world.body(0, world.owned(patient, operation, number=55)))
    patient.key = new
    world.run(0, world.owned(patient, Grant(patient.chart, world.terms()), number=0))


def test_new_keys_that_do_not_hold(world: Any, guarded_chart: Any) -> None:
    patient, other = guarded_chart, world.open_chart()
    chart = world.chart(patient)
    new = world.fresh_key()
    good = world.rotating(patient, new)
    same = OwnerKeys(patient.key.public, chart.encryption_suite, chart.encryption_key)
    theirs = world.rotating(patient, other.key)
    guardian = world.rotating(patient, patient.guardians[0])
    for wrong, error in (
        (replace(good, possession=bytes(64)), BadPossession),
        (replace(good, possession=world.possession(other, good.change, new, good.keys)), BadPossession),
        (replace(good, possession=world.possession(patient, good.change + 1, new, good.keys)), BadPossession),
        (replace(good, keys=replace(good.keys, encryption_key=b"x" * 32)), BadPossession),
        (replace(good, keys=same, possession=world.possession(patient, good.change, patient.key, same)), BadTerms),
        (theirs, ChartExists),
        (guardian, BadTerms),
    ):
        world.refuses(error, world.body(0, world.owned(patient, wrong)))


def test_a_key_that_is_named_for_one_chart_opens_no_other(world: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    new = world.fresh_key()
    world.run(2, world.owned(patient, world.rotating(patient, new)))
    world.refuses(ChartExists, world.body(0, world.owned(other, world.rotating(other, new))))
    late = world.patient()
    late.key = new
    world.refuses(ChartExists, world.body(0, world.opening(late)))
    world.run(2, world.owned(patient, cancel(world, patient)))
    world.refuses(ChartExists, world.body(0, world.opening(late)))
    world.run(2, world.owned(patient, world.rotating(patient, new)))  # what was cancelled may be named again


def test_one_change_of_a_chart_waits_at_a_time(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    world.run(2, world.owned(patient, world.rotating(patient, world.fresh_key())))
    for operation in (
        world.rotating(patient, world.fresh_key()),
        SetGuardians(patient.chart, world.next_change(patient), None),
    ):
        world.refuses(ChangePending, world.body(0, world.owned(patient, operation)))


@pytest.mark.parametrize("off", [-1, 1, limits.U53])
def test_a_change_has_the_number_that_is_next(world: Any, guarded_chart: Any, off: int) -> None:
    patient = guarded_chart
    number = world.next_change(patient) + off if off < limits.U53 else off
    rotating = replace(world.rotating(patient, world.fresh_key()), change=number)
    world.refuses(WrongChange, world.body(0, world.owned(patient, rotating)))
    world.refuses(WrongChange, world.body(0, world.owned(patient, SetGuardians(patient.chart, number, None))))
    recovering = replace(world.recovering(patient, world.fresh_key()), change=number)
    world.refuses(WrongChange, world.body(0, world.guarded(patient, recovering, 0, 1)))
    world.refuses(WrongChange, world.body(0, world.owned(patient, CancelRecovery(patient.chart, number))))
    world.refuses(WrongChange, world.body(0, CompleteRecovery(patient.chart, number)))


@pytest.mark.parametrize("chart", [7, keys.CHART_MAX + 1, limits.U53])
def test_unknown_charts(world: Any, guarded_chart: Any, chart: int) -> None:
    patient = guarded_chart
    for operation in (
        world.owned(patient, SetGuardians(chart, 0, None)),
        world.owned(patient, world.rotating(patient, world.fresh_key(), chart=chart)),
        world.guarded(patient, world.recovering(patient, world.fresh_key(), chart=chart), 0, 1),
        world.owned(patient, CancelRecovery(chart, 0)),
        CompleteRecovery(chart, 0),
    ):
        world.refuses(UnknownChart, world.body(0, operation))


# --- guardians recover -----------------------------------------------------------------------------------------


def test_guardians_move_a_chart_to_a_new_key(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    grant = world.grant(patient)
    world.name_delegate(patient)
    new = world.fresh_key()
    change = world.begin(patient, new, 0, 2, carrier=3)
    assert world.history(patient)[-1] == ChangeBegun(
        world.head.height,
        world.head.timestamp,
        3,
        change,
        ChangeKind.RECOVERY,
        world.recovery(patient).pending.keys,
        None,
        False,
        world.head.timestamp + world.genesis.params.recovery_ms,
    )
    world.grant(patient)  # until then the owner is the owner
    ready(world, patient)
    complete(world, patient)
    chart = world.chart(patient)
    assert (chart.owner_key, chart.window, chart.delegates, chart.delegates_from) == (new.public, FRESH, 1, 1)
    assert (chart.generation, world.grant_leaf(patient, grant).revoked_at) == (0, None)
    assert world.recovery(patient).guardians is not None
    patient.key, patient.next_number = new, 0
    world.revoke(patient, grant)


def test_enough_of_the_guardians_and_nobody_else(world: Any, guarded_chart: Any) -> None:
    patient, other = guarded_chart, world.open_chart()
    world.set_guardians(other)
    operation = world.recovering(patient, world.fresh_key())
    good = world.guarded(patient, operation, 0, 1)
    first, second = good.cosignatures
    foreign = world.guarded(other, operation, 1).cosignatures[0]
    owner = world.owned(patient, operation).cosignatures[0]
    helper = world.name_delegate(patient)
    delegate = world.delegated(helper, operation).cosignatures[0]
    late = world.guarded(patient, operation, 1, expires_at=world.now - 1).cosignatures[0]
    longest = world.now + world.genesis.params.guardian_cosign_ms
    kept = world.guarded(patient, operation, 1, expires_at=longest + 1_000).cosignatures[0]
    numbered = world.guarded(patient, operation, 1, number=5).cosignatures[0]
    for given, error in (
        ((), MissingCosignature),
        ((first,), TooFewGuardians),
        ((first, first), NotAscending),
        ((second, first), NotAscending),
        ((first, foreign), BadCosignature),
        ((first, replace(first, actor=1)), BadCosignature),
        ((first, replace(second, actor=3)), Unauthorised),
        ((first, replace(second, actor=limits.U53)), Unauthorised),
        ((first, numbered), Unauthorised),
        ((first, late), CosignatureExpired),
        ((first, kept), CosignatureTooLong),
        (
            (first, second, replace(world.guarded(patient, operation, 2).cosignatures[0], signature=bytes(64))),
            BadCosignature,
        ),
        ((owner,), Unauthorised),
        ((owner, first, second), Unauthorised),
        ((delegate, first, second), Unauthorised),
    ):
        world.refuses(error, world.body(0, replace(good, cosignatures=given)))
    world.run(0, world.guarded(patient, operation, 0, 1, 2))


def test_what_guardians_signed_is_for_one_change(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    operation = world.recovering(patient, world.fresh_key())
    signed = world.guarded(patient, operation, 0, 1)
    cancelling = world.guarded(patient, CancelRecovery(patient.chart, operation.change), 0, 1)
    world.run(2, signed)
    world.refuses(WrongChange, world.body(1, signed))
    world.run(1, cancelling)
    world.refuses(WrongChange, world.body(1, signed))
    world.refuses(WrongChange, world.body(1, cancelling))
    again = world.recovering(patient, world.fresh_key())
    assert again.change == operation.change + 1
    world.refuses(BadCosignature, world.body(1, replace(signed, operation=again)))
    world.begin(patient, world.fresh_key())
    world.refuses(WrongChange, world.body(1, cancelling))


def test_a_chart_without_guardians_is_not_recovered(world: Any) -> None:
    patient = world.open_chart()
    world.some_guardians(patient)
    operation = world.recovering(patient, world.fresh_key())
    world.refuses(NoGuardians, world.body(0, world.guarded(patient, operation, 0, 1)))
    world.run(2, world.owned(patient, world.rotating(patient, world.fresh_key())))
    world.refuses(NoGuardians, world.body(0, world.guarded(patient, cancel(world, patient), 0, 1)))


def test_the_owner_vetoes_and_so_do_guardians(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    for by_guardians in (False, True):
        world.begin(patient, world.fresh_key())
        operation = cancel(world, patient)
        signed = world.guarded(patient, operation, 1, 2) if by_guardians else world.owned(patient, operation)
        world.refuses(MissingCosignature, world.body(1, operation))
        world.refuses(TooFewGuardians, world.body(1, world.guarded(patient, operation, 2)))
        world.run(1, signed)
        assert world.recovery(patient).pending is None
        assert world.history(patient)[-1] == ChangeCancelled(
            world.head.height, world.head.timestamp, 1, operation.change, by_guardians
        )
        world.wait(2 * world.genesis.params.recovery_ms)
        world.refuses(WrongChange, world.body(1, CompleteRecovery(patient.chart, operation.change)))


def test_guardians_stop_what_a_thief_began(world: Any, guarded_chart: Any) -> None:
    """A rotation or new guardians that the owner's key asked for: guardians cancel them, or begin a recovery in their
    place."""
    patient = guarded_chart
    world.run(2, world.owned(patient, world.rotating(patient, world.fresh_key())))
    world.run(2, world.guarded(patient, cancel(world, patient), 0, 1))
    real = patient.guardians
    stranger = SetGuardians(patient.chart, world.next_change(patient), world.some_guardians(patient))
    world.run(2, world.owned(patient, stranger))
    patient.guardians = real
    change = world.begin(patient, world.fresh_key())
    assert [type(event) for event in world.history(patient)[-2:]] == [ChangeCancelled, ChangeBegun]
    assert world.recovery(patient).pending.change == change
    world.refuses(WrongChange, world.body(1, CompleteRecovery(patient.chart, stranger.change)))


# --- completing ------------------------------------------------------------------------------------------------


def test_anybody_completes_what_is_ready_once_and_with_no_cosignature(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    world.begin(patient, world.fresh_key())
    change = world.recovery(patient).pending.change
    completing = CompleteRecovery(patient.chart, change)
    ready(world, patient)
    world.refuses(Unauthorised, world.body(3, world.owned(patient, completing)))
    world.refuses(Unauthorised, world.body(3, world.guarded(patient, completing, 0, 1)))
    world.run(3, completing)
    world.refuses(WrongChange, world.body(3, completing))


def test_in_one_block_a_veto_comes_before_the_end(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    world.begin(patient, world.fresh_key())
    change = world.recovery(patient).pending.change
    ready(world, patient)
    vetoing = world.body(1, world.owned(patient, CancelRecovery(patient.chart, change)))
    completing = world.body(3, CompleteRecovery(patient.chart, change))
    execution = world.execution(vetoing, completing)
    world.apply(execution, vetoing)
    with pytest.raises(WrongChange):
        world.apply(execution, completing)


def test_in_one_block_what_the_old_key_signs_still_counts_before_the_end(world: Any) -> None:
    """Owners' operations come first; what follows the end in the same block is the new key's."""
    patient = world.open_chart()
    new = world.fresh_key()
    world.run(2, world.owned(patient, world.rotating(patient, new)))
    world.append(patient)
    ready(world, patient)
    granting = world.body(1, world.owned(patient, Grant(patient.chart, world.terms())))
    completing = world.body(3, CompleteRecovery(patient.chart, 0))
    old, number = patient.key, patient.next_number
    patient.key, patient.next_number = new, 0
    erasing = world.body(0, world.erasing(patient, 2))
    world.block(granting, completing, erasing)
    assert world.chart(patient).window.bitmap == b"\x01"
    patient.key = old
    world.refuses(
        BadCosignature, world.body(0, world.owned(patient, Grant(patient.chart, world.terms()), number=number))
    )


def test_two_changes_in_one_block_each_by_its_number(world: Any, guarded_chart: Any) -> None:
    patient = guarded_chart
    first = world.recovering(patient, world.fresh_key())
    second = replace(world.recovering(patient, world.fresh_key()))
    again = world.fresh_key()
    third = world.recovering(patient, again)
    third = replace(
        third, change=first.change + 1, possession=world.possession(patient, first.change + 1, again, third.keys)
    )
    bodies = [world.body(1, world.guarded(patient, one, 0, 1)) for one in (first, third)]
    world.refuses(WrongChange, world.body(2, world.guarded(patient, replace(second, change=first.change + 2), 0, 1)))
    world.block(*bodies)
    assert world.recovery(patient).pending.change == first.change + 1
    assert world.chart(patient).kept_free == 1
