"""Emergencies: read without a grant by the chart's policy, and answered for."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.chart_errors import (
    AlreadyErased,
    AlreadyReviewed,
    ForbiddenMeanwhile,
    NotWaiting,
    TooEarly,
    TooManyUnreviewed,
    UnknownEmergency,
)
from protocol.codec.canonical import encode
from protocol.crypto.hashing import records_digest
from protocol.errors import (
    BadTerms,
    DenialCapReached,
    Expired,
    NotAccredited,
    NotAscending,
    Unauthorised,
    UnknownChart,
    UnknownPurpose,
    UnknownRecord,
)
from protocol.ledger import keys
from protocol.ledger.access import DAY_MS
from protocol.ledger.events import GlassBroken, GlassConfirmed, GlassReviewed, Outcome, Reason
from protocol.ledger.leaves import Emergencies, Emergency
from protocol.params import Params
from protocol.types.governance import Reinstate, Remove, Suspend
from protocol.types.operations import (
    ACT_GRANT,
    Bar,
    BreakGlass,
    BreakGlassMode,
    ConfirmBreakGlass,
    Disclose,
    Policy,
    ReviewBreakGlass,
    SetPolicy,
)

WHY = b"j" * 32
TWO = Policy(BreakGlassMode.TWO_INSTITUTIONS)


@pytest.fixture
def patient(world: Any) -> Any:
    made = world.open_chart()
    world.append(made)
    return made


def pending(world: Any, patient: Any) -> int:
    world.set_policy(patient, TWO)
    receipt = world.break_glass(patient, 1)
    assert (receipt.outcome, receipt.reason) == (Outcome.PENDING, Reason.NONE)
    return receipt.first_event  # type: ignore[no-any-return]


# --- the three modes -------------------------------------------------------------------------------------------


def test_a_chart_without_policy_allows_it(world: Any, patient: Any) -> None:
    receipt = world.run(1, BreakGlass(patient.chart, (1,), "BTG", WHY, b"p" * 16))
    assert (receipt.outcome, receipt.reason) == (Outcome.DISCLOSED, Reason.NONE)
    height, now = world.head.height, world.head.timestamp
    until, due = now + world.genesis.params.release_ms, now + world.genesis.params.review_ms
    assert world.history(patient)[-1] == GlassBroken(
        height, now, 1, (1,), "BTG", Outcome.DISCLOSED, Reason.NONE, until, due, WHY, b"p" * 16
    )
    assert world.emergency(patient, receipt.first_event) == Emergency(1, now, records_digest((1,)), until, due)
    assert world.emergencies(1) == Emergencies(1, 0, 0, ((due, patient.chart, receipt.first_event),))


def test_two_institutions_must_agree(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    assert world.emergency(patient, event) == Emergency(1, world.head.timestamp, records_digest((1,)), None, None)
    assert world.emergencies(1) == Emergencies()
    broken = world.history(patient)[-1]
    assert (broken.outcome, broken.release_until, broken.review_by) == (Outcome.PENDING, None, None)
    world.wait(1_000)
    world.run(3, ConfirmBreakGlass(patient.chart, event, 1, (1,)))
    now = world.head.timestamp
    until, due = now + world.genesis.params.release_ms, now + world.genesis.params.review_ms
    assert world.history(patient)[-1] == GlassConfirmed(world.head.height, now, 3, event, until, due)
    leaf = world.emergency(patient, event)
    assert (leaf.release_until, leaf.review_by, leaf.confirmed_by) == (until, due, 3)
    assert world.emergencies(1) == Emergencies(1, 0, 0, ((due, patient.chart, event),))
    assert world.emergencies(3) == Emergencies()


def test_forbidden_is_denied_and_on_the_record(world: Any, patient: Any) -> None:
    world.set_policy(patient, Policy(BreakGlassMode.FORBIDDEN))
    receipt = world.break_glass(patient, 1)
    assert (receipt.outcome, receipt.reason) == (Outcome.DENIED, Reason.BREAK_GLASS_FORBIDDEN)
    assert world.leaf(keys.emergency(patient.chart, receipt.first_event)) is None
    assert world.emergencies(1) == Emergencies()
    world.refuses(UnknownEmergency, world.body(3, ConfirmBreakGlass(patient.chart, receipt.first_event, 1, (1,))))
    world.refuses(UnknownEmergency, world.body(3, ReviewBreakGlass(patient.chart, receipt.first_event, 1, True)))


def test_a_policy_of_the_same_block_counts(world: Any, patient: Any) -> None:
    breaking = world.body(1, BreakGlass(patient.chart, (1,), "ETREAT", WHY))
    setting = world.body(2, world.owned(patient, SetPolicy(patient.chart, Policy(BreakGlassMode.FORBIDDEN))))
    assert world.block(breaking, setting)[0].operations[0].reason is Reason.BREAK_GLASS_FORBIDDEN


@pytest.mark.parametrize(("stands", "outcome"), [(False, Outcome.DISCLOSED), (True, Outcome.DENIED)])
def test_a_bar_stands_in_emergencies_only_if_it_says_so(world: Any, patient: Any, stands: bool, outcome: Any) -> None:
    world.set_policy(patient, Policy(bars=(Bar(1, (None, None, None), stands),)))
    assert world.break_glass(patient, 1).outcome is outcome
    assert world.break_glass(patient, 1, reader=3).outcome is Outcome.DISCLOSED


def test_bars_hold_under_two_institutions_as_well(world: Any, patient: Any) -> None:
    world.set_policy(patient, Policy(BreakGlassMode.TWO_INSTITUTIONS, (Bar(None, (None, None, None), True),)))
    assert world.break_glass(patient, 1).reason is Reason.BARRED


def test_what_was_erased_is_denied(world: Any, patient: Any) -> None:
    world.erase(patient, 1)
    assert world.break_glass(patient, 1).reason is Reason.ERASED


def test_a_grant_is_no_reason_and_no_help(world: Any, patient: Any) -> None:
    """An emergency purpose is denied under a grant, and another purpose is no emergency."""
    grant = world.grant(patient)
    assert world.disclose(patient, grant, 1, purpose="ETREAT").reason is Reason.EMERGENCY_PURPOSE
    for purpose, error in (("TREAT", BadTerms), ("HRESCH", BadTerms), ("CURIOUS", UnknownPurpose)):
        world.refuses(error, world.body(1, BreakGlass(patient.chart, (1,), purpose, WHY)))


def test_malformed(world: Any, patient: Any) -> None:
    world.append(patient)
    for error, chart, records in (
        (UnknownChart, 9, (1,)),
        (UnknownChart, keys.CHART_MAX + 1, (1,)),
        (UnknownChart, limits.U53, (1,)),
        (NotAscending, patient.chart, (2, 1)),
        (UnknownRecord, patient.chart, (0,)),
        (UnknownRecord, patient.chart, (1, 2, 3)),
        (UnknownRecord, patient.chart, (1, limits.EVENTS_PER_CHART)),
        (UnknownRecord, patient.chart, (1, limits.U53)),
    ):
        world.refuses(error, world.body(1, BreakGlass(chart, records, "ETREAT", WHY)))
    signed = world.owned(patient, BreakGlass(patient.chart, (1,), "ETREAT", WHY))
    world.refuses(Unauthorised, world.body(1, signed))


def test_denied_emergencies_and_denied_disclosures_share_a_cap(new_world: Any) -> None:
    world = new_world(Params(denials_per_day=2))
    patient = world.open_chart()
    world.append(patient)
    world.set_policy(patient, Policy(BreakGlassMode.FORBIDDEN))
    world.now = (world.now // DAY_MS + 1) * DAY_MS
    breaking = BreakGlass(patient.chart, (1,), "ETREAT", WHY)
    world.run(1, breaking)
    world.run(1, Disclose(patient.chart, None, (1,), "TREAT"))
    world.refuses(DenialCapReached, world.body(1, Disclose(patient.chart, None, (1,), "TREAT")))
    world.run(1, breaking)
    world.run(1, breaking)
    world.refuses(DenialCapReached, world.body(1, breaking))
    world.refuses(DenialCapReached, world.body(1, Disclose(patient.chart, None, (1,), "TREAT")))
    world.run(3, breaking)


def test_a_day_of_denied_disclosures_leaves_room_for_an_emergency(new_world: Any) -> None:
    """With the cap used up by a program, or by a delegate whose asking this institution carries."""
    world = new_world(Params(denials_per_day=2))
    patient = world.open_chart()
    world.append(patient)
    world.set_policy(patient, TWO)
    helper = world.name_delegate(patient, acts=ACT_GRANT)
    world.now = (world.now // DAY_MS + 1) * DAY_MS
    world.run(1, Disclose(patient.chart, None, (1,), "TREAT"))
    world.run(1, world.delegated(helper, Disclose(patient.chart, None, (1,), "TREAT")))
    world.refuses(DenialCapReached, world.body(1, Disclose(patient.chart, None, (1,), "TREAT")))
    assert world.break_glass(patient, 1).outcome is Outcome.PENDING


def test_emergencies_that_wait_are_capped_too(new_world: Any) -> None:
    world = new_world(Params(denials_per_day=2))
    patient = world.open_chart()
    world.append(patient)
    world.set_policy(patient, TWO)
    world.now = (world.now // DAY_MS + 1) * DAY_MS
    breaking = BreakGlass(patient.chart, (1,), "ETREAT", WHY)
    events = [world.run(1, breaking).first_event for _ in range(4)]
    world.refuses(DenialCapReached, world.body(1, breaking))
    world.run(3, ConfirmBreakGlass(patient.chart, events[0], 1, (1,)))
    world.set_policy(patient, Policy())
    assert world.break_glass(patient, 1).outcome is Outcome.DISCLOSED


# --- confirming ------------------------------------------------------------------------------------------------


def test_nobody_vouches_for_itself(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    world.refuses(Unauthorised, world.body(1, ConfirmBreakGlass(patient.chart, event, 1, (1,))))
    signed = world.owned(patient, ConfirmBreakGlass(patient.chart, event, 1, (1,)))
    world.refuses(Unauthorised, world.body(3, signed))


@pytest.mark.parametrize("late", [0, 1])
def test_a_confirmation_comes_in_time(world: Any, patient: Any, late: int) -> None:
    event = pending(world, patient)
    world.now = world.head.timestamp + world.genesis.params.release_ms + late
    confirming = ConfirmBreakGlass(patient.chart, event, 1, (1,))
    if late:
        world.refuses(Expired, world.body(3, confirming))
    else:
        world.run(3, confirming)


def test_only_what_waits_is_confirmed_and_once(world: Any, patient: Any) -> None:
    at_once = world.break_glass(patient, 1).first_event
    world.refuses(NotWaiting, world.body(3, ConfirmBreakGlass(patient.chart, at_once, 1, (1,))))
    event = pending(world, patient)
    confirming = ConfirmBreakGlass(patient.chart, event, 1, (1,))
    world.run(3, confirming)
    world.refuses(NotWaiting, world.body(2, confirming))


def test_the_policy_of_the_confirmation_counts(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    confirming = ConfirmBreakGlass(patient.chart, event, 1, (1,))
    everything = (None, None, None)
    for policy in (
        Policy(BreakGlassMode.FORBIDDEN),
        Policy(bars=(Bar(None, everything, True),)),
        Policy(BreakGlassMode.TWO_INSTITUTIONS, (Bar(1, everything, True),)),
    ):
        world.set_policy(patient, policy)
        world.refuses(ForbiddenMeanwhile, world.body(3, confirming))
    world.set_policy(patient, Policy(bars=(Bar(None, everything, False), Bar(3, everything, True))))
    world.run(3, confirming)


def test_a_confirmation_names_what_was_asked_for(world: Any, patient: Any) -> None:
    """Or what is judged anew would not be what is read."""
    other = world.append(patient)[0]
    event = pending(world, patient)
    for records in ((other,), (1, other)):
        world.refuses(BadTerms, world.body(3, ConfirmBreakGlass(patient.chart, event, 1, records)))


def test_what_was_erased_meanwhile_is_not_confirmed(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    world.erase(patient, 1)
    world.refuses(AlreadyErased, world.body(3, ConfirmBreakGlass(patient.chart, event, 1, (1,))))


def test_nobody_vouches_for_who_was_suspended_meanwhile(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    world.decide(Suspend(1))
    world.refuses(NotAccredited, world.body(3, ConfirmBreakGlass(patient.chart, event, 1, (1,))))
    world.decide(Reinstate(1))
    world.run(3, ConfirmBreakGlass(patient.chart, event, 1, (1,)))


@pytest.mark.parametrize("kind", [ConfirmBreakGlass, ReviewBreakGlass])
def test_what_is_no_emergency_of_that_institution(world: Any, patient: Any, kind: Any) -> None:
    event = pending(world, patient)
    more = (True,) if kind is ReviewBreakGlass else ((1,),)
    last = limits.EVENTS_PER_CHART - 1
    for chart, number, institution, error in (
        (patient.chart, event, 2, UnknownEmergency),
        (patient.chart, event, keys.INSTITUTION_MAX, UnknownEmergency),
        (patient.chart, event, keys.INSTITUTION_MAX + 1, UnknownEmergency),
        (patient.chart, event, limits.U53, UnknownEmergency),
        (patient.chart, 1, 1, UnknownEmergency),
        (patient.chart, event + 1, 1, UnknownEmergency),
        (patient.chart, last, 1, UnknownEmergency),
        (7, event, 1, UnknownChart),
        (keys.CHART_MAX + 1, event, 1, UnknownChart),
        (limits.U53, last, limits.U53, UnknownChart),
    ):
        world.refuses(error, world.body(3, kind(chart, number, institution, *more)))


# --- reviewing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("justified", [True, False])
@pytest.mark.parametrize("late", [False, True])
def test_a_review_settles_what_is_owed_and_counts(world: Any, patient: Any, justified: bool, late: bool) -> None:
    event = world.break_glass(patient, 1).first_event
    other = world.break_glass(patient, 1).first_event
    due = world.emergency(patient, event).review_by
    world.now = due + late
    found = b"f" * 32
    world.run(3, ReviewBreakGlass(patient.chart, event, 1, justified, found))
    assert world.history(patient)[-1] == GlassReviewed(
        world.head.height, world.head.timestamp, 3, event, justified, found, late
    )
    counts = world.emergencies(1)
    assert (counts.opened, counts.late, counts.unjustified) == (2, int(late), int(not justified))
    assert [one[1:] for one in counts.unreviewed] == [(patient.chart, other)]
    leaf = world.emergency(patient, event)
    assert (leaf.reviewed_by, leaf.justified) == (3, justified)
    world.refuses(AlreadyReviewed, world.body(2, ReviewBreakGlass(patient.chart, event, 1, True)))


def test_whoever_asked_or_confirmed_reviews_nothing(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    reviewing = ReviewBreakGlass(patient.chart, event, 1, True)
    world.refuses(TooEarly, world.body(2, reviewing))
    world.run(3, ConfirmBreakGlass(patient.chart, event, 1, (1,)))
    for carrier in (1, 3):
        world.refuses(Unauthorised, world.body(carrier, reviewing))
    world.refuses(Unauthorised, world.body(2, world.owned(patient, reviewing)))
    world.run(2, reviewing)


def test_the_custodian_may_review(world: Any, patient: Any) -> None:
    event = world.break_glass(patient, 1).first_event
    world.run(0, ReviewBreakGlass(patient.chart, event, 1, True))


def test_reviews_go_on_after_the_asker_was_removed(world: Any, patient: Any) -> None:
    event = world.break_glass(patient, 1).first_event
    world.decide(Suspend(1))
    world.refuses(NotAccredited, world.body(1, BreakGlass(patient.chart, (1,), "ETREAT", WHY)))
    world.decide(Remove(1))
    world.run(3, ReviewBreakGlass(patient.chart, event, 1, False))
    assert world.emergencies(1).unjustified == 1


def owe(world: Any, institution: int, count: int) -> None:
    listed = tuple((world.now, 1_000, at) for at in range(count))
    world.leaves[keys.emergencies(institution)] = encode(Emergencies(count, 0, 0, listed))


def test_who_owes_too_many_reviews_opens_no_more(world: Any, patient: Any) -> None:
    event = pending(world, patient)
    world.set_policy(patient, Policy())
    owe(world, 1, limits.EMERGENCIES_UNREVIEWED - 1)
    last = world.break_glass(patient, 1)
    assert last.outcome is Outcome.DISCLOSED
    assert len(world.emergencies(1).unreviewed) == limits.EMERGENCIES_UNREVIEWED
    assert world.break_glass(patient, 1).reason is Reason.REVIEWS_OWED
    world.refuses(TooManyUnreviewed, world.body(3, ConfirmBreakGlass(patient.chart, event, 1, (1,))))
    world.run(3, ReviewBreakGlass(patient.chart, last.first_event, 1, True))
    assert world.break_glass(patient, 1).outcome is Outcome.DISCLOSED


def test_several_in_one_transaction_each_count(world: Any, patient: Any) -> None:
    breaking = BreakGlass(patient.chart, (1,), "ETREAT", WHY)
    world.block(world.body(1, breaking, breaking), world.body(1, breaking))
    counts = world.emergencies(1)
    assert (counts.opened, len(set(counts.unreviewed))) == (3, 3)
    assert counts.unreviewed == tuple(sorted(counts.unreviewed))
    assert world.chart(patient).kept_free == 3
