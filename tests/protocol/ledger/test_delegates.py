"""Delegates: they act for the owner within what the owner allowed, and no further."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import BeyondBounds, DelegateNotInForce, TooManyDelegates, UnknownDelegate
from protocol.codec.canonical import encode
from protocol.errors import (
    BadCosignature,
    BadTerms,
    CosignatureExpired,
    CosignatureTooLong,
    MissingCosignature,
    NotAscending,
    Replayed,
    Unauthorised,
    UnknownPurpose,
)
from protocol.ledger import keys
from protocol.ledger.events import DelegateEnded, DelegateNamed, Disclosed, Granted, Outcome, Reason, Revoked
from protocol.ledger.leaves import DelegateLeaf
from protocol.ledger.windows import FRESH
from protocol.types.operations import (
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    Bar,
    BeginRecovery,
    CancelRecovery,
    Delegate,
    DelegateReissue,
    Disclose,
    EndDelegate,
    Erase,
    Grant,
    Policy,
    Reissue,
    Revoke,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
    SignedOperation,
)


def test_naming_one(world: Any) -> None:
    patient = world.open_chart()
    helper = world.name_delegate(patient)
    named = world.history(patient)[-1]
    assert isinstance(named, DelegateNamed)
    assert (named.institution, named.delegate, named.terms.key) == (2, 0, helper.key.public)
    assert world.delegate_leaf(helper) == DelegateLeaf(named.terms, world.head.height, FRESH)
    assert world.name_delegate(patient).number == 1
    assert world.chart(patient).delegates == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"acts": 0}, BadTerms),
        ({"acts": 8}, BadTerms),
        ({"acts": 15}, BadTerms),
        ({"not_before": 9, "not_after": 9}, BadTerms),
        ({"not_before": 0, "not_after": 9}, BadTerms),
        ({"purposes": ("BTG",)}, BadTerms),
        ({"purposes": ("NOTHING",)}, UnknownPurpose),
        ({"purposes": ("TREAT", "HRESCH")}, NotAscending),
        ({"tags": (None, None, (b"b" * 16, b"a" * 16), (b"a" * 16,))}, NotAscending),
    ],
)
def test_bad_delegations(world: Any, changes: dict[str, Any], error: Any) -> None:
    patient = world.open_chart()
    terms = world.delegate_terms(world.fresh_key(), **changes)
    world.refuses(error, world.body(0, world.owned(patient, Delegate(patient.chart, terms))))


def test_a_delegate_has_a_key_of_its_own(world: Any) -> None:
    patient = world.open_chart()
    terms = world.delegate_terms(patient.key)
    world.refuses(BadTerms, world.body(0, world.owned(patient, Delegate(patient.chart, terms))))


def test_only_the_owner_names_one(world: Any) -> None:
    patient = world.open_chart()
    helper = world.name_delegate(patient)
    naming = Delegate(patient.chart, world.delegate_terms(world.fresh_key()))
    world.refuses(MissingCosignature, world.body(0, naming))
    world.refuses(Unauthorised, world.body(0, world.delegated(helper, naming)))


def test_too_many(world: Any) -> None:
    patient = world.open_chart()
    chart = world.chart(patient)
    world.leaves[keys.chart(patient.chart)] = encode(replace(chart, delegates=limits.DELEGATES_PER_CHART))
    naming = Delegate(patient.chart, world.delegate_terms(world.fresh_key()))
    world.refuses(TooManyDelegates, world.body(0, world.owned(patient, naming)))


# --- granting and revoking -------------------------------------------------------------------------------------


def test_it_grants_within_its_bounds(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    terms = world.terms(purposes=("COC",))  # below TREAT
    receipt = world.run(3, world.delegated(helper, Grant(patient.chart, terms)))
    assert receipt.grant == 0
    assert world.history(patient)[-1] == Granted(world.head.height, world.head.timestamp, 3, 0, terms, helper.number)
    assert world.disclose(patient, 0, 1, purpose="COC").outcome is Outcome.DISCLOSED
    assert world.delegate_leaf(helper).window.highest == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"access": ACCESS_WRITE},
        {"access": ACCESS_WRITE | 1},
        {"purposes": ("HRESCH",)},
        {"purposes": ("HRESCH", "TREAT")},
        {"tags": "wider category"},
        {"tags": "any year"},
        {"tags": "another sensitivity"},
        {"not_after": "later"},
    ],
)
def test_it_grants_nothing_beyond_them(world: Any, make_tags: Any, changes: dict[str, Any]) -> None:
    patient = world.open_chart()
    helper = world.name_delegate(patient, tags=make_tags([1], [2], [3], [4]))
    tags = {
        "wider category": make_tags([1, 5], [2], [3], [4]),
        "any year": make_tags([1], None, [3], [4]),
        "another sensitivity": make_tags([1], [2], [3], [4, 5]),
    }
    fields = {"tags": make_tags([1], [2], [3], [4]), **changes}
    if isinstance(fields["tags"], str):
        fields["tags"] = tags[fields["tags"]]
    if "not_after" in fields:
        fields["not_after"] = world.delegate_leaf(helper).terms.not_after + 1
    operation = Grant(patient.chart, world.terms(**fields))
    world.refuses(BeyondBounds, world.body(0, world.delegated(helper, operation)))
    within = world.terms(tags=make_tags([1], [2], [3], [4]), not_after=world.delegate_leaf(helper).terms.not_after)
    world.run(0, world.delegated(helper, Grant(patient.chart, within)))


@pytest.mark.parametrize(("acts", "act"), [(ACT_REVOKE | ACT_READ, "grant"), (ACT_GRANT | ACT_READ, "revoke")])
def test_it_does_only_what_it_may(world: Any, acts: int, act: str) -> None:
    patient = world.open_chart()
    world.grant(patient)
    helper = world.name_delegate(patient, acts=acts)
    operation = Grant(patient.chart, world.terms()) if act == "grant" else Revoke(patient.chart, 0)
    world.refuses(BeyondBounds, world.body(0, world.delegated(helper, operation)))


def test_its_revocation_ends_the_grant_and_no_more(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.grant(patient)
    world.grant(patient)
    helper = world.name_delegate(patient)
    fresh = make_tags(None, None, [9], [9])
    for more in (
        Revoke(patient.chart, 0, (Reissue(1, fresh),)),
        Revoke(patient.chart, 0, (), (DelegateReissue(0, fresh),)),
        Revoke(patient.chart, 0, (), (), ()),
    ):
        world.refuses(BeyondBounds, world.body(0, world.delegated(helper, more)))
    world.run(0, world.delegated(helper, Revoke(patient.chart, 0)))
    assert world.chart(patient).generation == 0
    assert world.grant_leaf(patient, 0).revoked_at == world.head.height
    revoked = world.history(patient)[-1]
    assert isinstance(revoked, Revoked)
    assert (revoked.generation, revoked.delegate) == (0, helper.number)
    assert world.run(0, world.delegated(helper, Revoke(patient.chart, 0))).events == 0


@pytest.mark.parametrize("why", ["ended", "too early", "too late", "recovered"])
def test_one_that_is_not_in_force_does_nothing(world: Any, why: str) -> None:
    patient = world.open_chart()
    world.grant(patient)
    world.append(patient)
    times = {"not_before": world.now + 60_000} if why == "too early" else {}
    helper = world.name_delegate(patient, **times)
    if why == "ended":
        world.end_delegate(patient, helper)
    elif why == "too late":
        world.now = world.delegate_leaf(helper).terms.not_after
    elif why == "recovered":
        world.set_guardians(patient)
        world.recover(patient)
    for operation in (Grant(patient.chart, world.terms()), Revoke(patient.chart, 0)):
        world.refuses(DelegateNotInForce, world.body(0, world.delegated(helper, operation)))
    asked = world.run(0, world.delegated(helper, Disclose(patient.chart, None, (2,), "TREAT")))
    assert (asked.outcome, asked.reason) == (Outcome.DENIED, Reason.DELEGATE_ENDED)


def test_any_institution_carries_its_asking_and_none_asks_in_its_name(world: Any) -> None:
    """The carrier vouches for nothing: what the delegate signed is judged alike, whoever brings it, and once."""
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    asked = Disclose(patient.chart, None, (1,), "TREAT")
    signed = world.delegated(helper, asked)
    world.run(3, signed)
    event = world.history(patient)[-1]
    assert isinstance(event, Disclosed)
    assert (event.institution, event.delegate, event.outcome) == (3, helper.number, Outcome.DISCLOSED)
    world.refuses(Replayed, world.body(0, signed))
    # Not another institution's own, nor one that it put together itself.
    plain = world.run(3, asked)
    assert (plain.outcome, plain.reason) == (Outcome.DENIED, Reason.NO_GRANT)
    fresh = world.delegated(helper, asked).cosignatures[0]
    wider = SignedOperation(Disclose(patient.chart, None, (1,), "HRESCH"), (fresh,))
    world.refuses(BadCosignature, world.body(3, wider))


def test_it_is_in_force_from_its_first_to_before_its_last_moment(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient, not_before=world.now + 100, not_after=world.now + 200)
    terms = world.delegate_leaf(helper).terms
    for moment, reason in (
        (terms.not_before - 1, Reason.DELEGATE_ENDED),
        (terms.not_before, Reason.NONE),
        (terms.not_after - 1, Reason.NONE),
        (terms.not_after, Reason.DELEGATE_ENDED),
    ):
        world.now = moment
        asked = world.run(0, world.delegated(helper, Disclose(patient.chart, None, (1,), "TREAT")))
        assert asked.reason is reason


def test_a_rotation_of_the_owners_key_leaves_delegates_as_they_are(world: Any) -> None:
    patient = world.open_chart()
    helper = world.name_delegate(patient)
    world.replace_owner_key(patient)
    world.run(0, world.delegated(helper, Grant(patient.chart, world.terms(not_after=world.now + 10_000))))


def test_what_it_signed_counts_once_and_for_one_delegate(world: Any) -> None:
    patient = world.open_chart()
    one, other = world.name_delegate(patient), world.name_delegate(patient)
    signed = world.delegated(one, Grant(patient.chart, world.terms()))
    world.run(1, signed)
    world.refuses(Replayed, world.body(2, signed))
    cosignature = signed.cosignatures[0]
    for changed, error in (
        (replace(cosignature, actor=other.number), BadCosignature),
        (replace(cosignature, actor=7), UnknownDelegate),
        (replace(cosignature, actor=keys.DELEGATE_MAX + 1), UnknownDelegate),
        (replace(cosignature, actor=limits.U53), UnknownDelegate),
        (replace(cosignature, number=1), BadCosignature),
        (replace(cosignature, role=1, actor=0, number=60), BadCosignature),
    ):
        world.refuses(error, world.body(2, replace(signed, cosignatures=(changed,))))
    stale = world.delegated(one, Grant(patient.chart, world.terms()), expires_at=world.now - 1)
    world.refuses(CosignatureExpired, world.body(2, stale))
    until = world.now + world.genesis.params.cosign_ms + 1_000
    kept = world.delegated(one, Grant(patient.chart, world.terms()), expires_at=until)
    world.refuses(CosignatureTooLong, world.body(2, kept))


def test_a_delegate_of_one_chart_is_nobody_at_another(world: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    helper, theirs = world.name_delegate(patient), world.name_delegate(other)
    assert helper.number == theirs.number
    world.refuses(BadCosignature, world.body(0, world.delegated(helper, Grant(other.chart, world.terms()))))


def test_it_signs_nothing_that_is_the_owners_alone(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    key = world.fresh_key()
    chart = patient.chart
    for operation in (
        SetPolicy(chart, Policy()),
        SetGuardians(chart, 0, world.some_guardians(patient)),
        world.rotating(patient, key),
        Erase(chart, (1,), ()),
        Delegate(chart, world.delegate_terms(key)),
    ):
        assert isinstance(operation, SetPolicy | SetGuardians | RotateOwnerKey | Erase | Delegate)
        world.refuses(Unauthorised, world.body(0, world.delegated(helper, operation)))
    world.set_guardians(patient)
    beginning = world.recovering(patient, key)
    assert isinstance(beginning, BeginRecovery)
    world.refuses(Unauthorised, world.body(0, world.delegated(helper, beginning)))
    world.run(0, world.guarded(patient, beginning, 0, 1))
    world.refuses(Unauthorised, world.body(0, world.delegated(helper, CancelRecovery(chart, beginning.change))))


# --- ending ----------------------------------------------------------------------------------------------------


def test_owner_or_delegate_end_it_once(world: Any) -> None:
    patient = world.open_chart()
    one, other = world.name_delegate(patient), world.name_delegate(patient)
    world.end_delegate(patient, one)
    assert world.history(patient)[-1] == DelegateEnded(world.head.height, world.head.timestamp, 2, one.number)
    assert world.end_delegate(patient, one).events == 0
    assert world.run(3, world.delegated(other, EndDelegate(patient.chart, other.number))).events == 1
    assert world.delegate_leaf(other).ended_at == world.head.height
    assert world.run(3, world.delegated(other, EndDelegate(patient.chart, other.number))).events == 0


def test_a_delegate_ends_none_but_itself(world: Any) -> None:
    patient = world.open_chart()
    one, other = world.name_delegate(patient), world.name_delegate(patient)
    world.refuses(Unauthorised, world.body(0, world.delegated(one, EndDelegate(patient.chart, other.number))))


@pytest.mark.parametrize("number", [1, 64, keys.DELEGATE_MAX + 1, limits.U53])
def test_ending_one_that_never_was(world: Any, number: int) -> None:
    patient = world.open_chart()
    world.name_delegate(patient)
    world.refuses(UnknownDelegate, world.body(0, world.owned(patient, EndDelegate(patient.chart, number))))
    again = Revoke(patient.chart, world.grant(patient), (), (DelegateReissue(number, world.terms().tags),))
    world.refuses(UnknownDelegate, world.body(0, world.owned(patient, again)))


def test_an_end_in_the_same_block_comes_before_what_it_asks(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    asking = world.body(0, world.delegated(helper, Disclose(patient.chart, None, (1,), "TREAT")))
    ending = world.body(2, world.owned(patient, EndDelegate(patient.chart, helper.number)))
    receipts = world.block(asking, ending)
    assert receipts[0].operations[0].reason is Reason.DELEGATE_ENDED


# --- reading ---------------------------------------------------------------------------------------------------


def test_it_reads_at_the_custodian_within_its_bounds(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient, make_entry(1, 2, 3, 4), make_entry(1, 2, 9, 4))
    helper = world.name_delegate(patient)
    asking = Disclose(patient.chart, None, (1,), "TREAT", details=b"s" * 32)
    receipt = world.run(0, world.delegated(helper, asking))
    assert receipt.outcome is Outcome.DISCLOSED
    event = world.history(patient)[-1]
    assert isinstance(event, Disclosed)
    assert (event.delegate, event.institution, event.grant, event.details) == (helper.number, 0, None, b"s" * 32)
    for records, purpose, reason in (
        ((1, 2), "TREAT", Reason.DELEGATE_BOUNDS),
        ((1,), "HRESCH", Reason.DELEGATE_BOUNDS),
        ((1,), "BTG", Reason.EMERGENCY_PURPOSE),
    ):
        asked = world.run(0, world.delegated(helper, Disclose(patient.chart, None, records, purpose)))
        assert (asked.outcome, asked.reason) == (Outcome.DENIED, reason)


def test_one_that_may_not_read_is_denied_and_not_refused(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient, acts=ACT_GRANT | ACT_REVOKE)
    asked = world.run(0, world.delegated(helper, Disclose(patient.chart, None, (1,), "TREAT")))
    assert asked.reason is Reason.DELEGATE_BOUNDS


def test_it_reads_under_no_grant(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient)
    helper = world.name_delegate(patient)
    plain = Disclose(patient.chart, None, (1,), "TREAT")
    world.refuses(BadTerms, world.body(0, world.delegated(helper, replace(plain, grant=grant))))
    world.refuses(Unauthorised, world.body(0, world.owned(patient, plain)))


def test_bars_are_about_institutions_and_erasure_is_about_everybody(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    world.set_policy(patient, Policy(bars=(Bar(None, (None, None, None), True),)))
    reading = Disclose(patient.chart, None, (1,), "TREAT")
    assert world.run(0, world.delegated(helper, reading)).reason is Reason.NONE
    world.erase(patient, 1)
    assert world.run(0, world.delegated(helper, reading)).reason is Reason.ERASED


def test_bounds_are_reissued_with_a_revocation_and_only_while_they_serve(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    grants = [world.grant(patient), world.grant(patient)]
    past = world.name_delegate(patient)
    world.set_guardians(patient)
    world.recover(patient)
    serving, ended = world.name_delegate(patient), world.name_delegate(patient)
    world.end_delegate(patient, ended)
    fresh = make_tags([8], None, [8], [8])
    listed = tuple(DelegateReissue(one.number, fresh) for one in (past, serving, ended))
    world.run(2, world.owned(patient, Revoke(patient.chart, grants[0], (), listed)))
    event = world.history(patient)[-1]
    assert event.delegates == (DelegateReissue(serving.number, fresh),)
    assert world.delegate_leaf(serving).terms.tags == fresh
    assert world.delegate_leaf(past).terms.tags != fresh
    assert world.delegate_leaf(ended).terms.tags != fresh
    disordered = (DelegateReissue(1, fresh), DelegateReissue(1, fresh))
    operation = Revoke(patient.chart, grants[1], (), disordered)
    world.refuses(NotAscending, world.body(0, world.owned(patient, operation)))


def test_several_of_its_operations_ride_in_one_transaction(world: Any) -> None:
    """Window, grants and events of each are what the one before left."""
    patient = world.open_chart()
    helper = world.name_delegate(patient)
    listed = [world.delegated(helper, Grant(patient.chart, world.terms())) for _ in range(3)]
    listed.append(world.delegated(helper, Revoke(patient.chart, 1)))
    listed.append(world.owned(patient, Revoke(patient.chart, 2)))
    listed.append(world.delegated(helper, EndDelegate(patient.chart, helper.number)))
    world.block(world.body(1, *listed))
    assert [world.grant_leaf(patient, grant).revoked_at is None for grant in range(3)] == [True, False, False]
    assert world.delegate_leaf(helper).window.bitmap == bytes([0b11111])
    assert (world.chart(patient).grants, world.chart(patient).generation, world.chart(patient).events) == (3, 1, 8)
