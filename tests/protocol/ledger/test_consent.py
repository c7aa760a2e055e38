"""Consent: owners grant and revoke, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import (
    BadCosignature,
    BadTerms,
    MissingCosignature,
    NotAscending,
    Replayed,
    TooManyGrants,
    UnknownChart,
    UnknownGrant,
    UnknownInstitution,
    UnknownPurpose,
)
from protocol.ledger import keys
from protocol.ledger.events import Granted, Revoked
from protocol.ledger.leaves import GrantLeaf
from protocol.types.operations import Grant, Reissue, Revoke


def test_grants_get_numbers(world: Any) -> None:
    patient = world.open_chart()
    terms = world.terms()
    assert [world.grant(patient, terms), world.grant(patient, terms)] == [0, 1]
    assert world.grant_leaf(patient, 1) == GrantLeaf(terms, world.head.height, 0)
    assert world.history(patient)[-1] == Granted(world.head.height, world.head.timestamp, 2, 1, terms)
    assert world.chart(patient).grants == 2


def test_only_the_owner_grants_and_revokes(world: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    world.grant(patient)
    for operation in (Grant(patient.chart, world.terms()), Revoke(patient.chart, 0)):
        world.refuses(MissingCosignature, world.body(0, operation))
        world.refuses(BadCosignature, world.body(0, world.owned(other, operation, number=40)))


def test_an_owners_operation_counts_once_whoever_carries_it(world: Any) -> None:
    patient = world.open_chart()
    signed = world.owned(patient, Grant(patient.chart, world.terms()))
    world.block(world.body(1, signed))
    world.refuses(Replayed, world.body(2, signed))


def test_owners_numbers_come_in_any_order_within_the_window(world: Any) -> None:
    patient = world.open_chart()
    for number in (limits.WINDOW_BITS_OWNER, 5, 3, 1):
        world.run(0, world.owned(patient, Grant(patient.chart, world.terms()), number=number))
    too_old = world.owned(patient, Grant(patient.chart, world.terms()), number=0)
    world.refuses(Replayed, world.body(0, too_old))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grantees": (4,)}, UnknownInstitution),
        ({"grantees": (limits.U53,)}, UnknownInstitution),
        ({"grantees": (1, 1)}, NotAscending),
        ({"grantees": (2, 1)}, NotAscending),
        ({"access": 0}, BadTerms),
        ({"access": 4}, BadTerms),
        ({"access": 5}, BadTerms),
        ({"practitioners": (b"b" * 16, b"a" * 16)}, NotAscending),
        ({"not_after": 0}, BadTerms),
        ({"not_before": 0, "not_after": 5}, BadTerms),
        ({"not_before": limits.U53, "not_after": limits.U53 - 1}, BadTerms),
        ({"not_before": limits.U53, "not_after": limits.U53}, BadTerms),
        ({"purposes": ("NOTHING",)}, UnknownPurpose),
        ({"purposes": ("PurposeOfUse",)}, UnknownPurpose),
        ({"purposes": ("ETREAT",)}, BadTerms),
        ({"purposes": ("BTG", "TREAT")}, BadTerms),
        ({"purposes": ("TREAT", "HPAYMT")}, NotAscending),
        ({"purposes": ("TREAT", "TREAT")}, NotAscending),
    ],
)
def test_bad_terms(world: Any, changes: dict[str, Any], error: Any) -> None:
    patient = world.open_chart()
    terms = world.terms(**changes)
    world.refuses(error, world.body(0, world.owned(patient, Grant(patient.chart, terms))))


@pytest.mark.parametrize("position", range(4))
def test_tag_lists_are_sets(world: Any, make_tags: Any, position: int) -> None:
    patient = world.open_chart()
    for wrong in ([2, 1], [1, 1]):
        lists: list[Any] = [None, None, [1], [1]]
        lists[position] = wrong
        terms = world.terms(tags=make_tags(*lists))
        world.refuses(NotAscending, world.body(0, world.owned(patient, Grant(patient.chart, terms))))


def test_a_grant_that_ends_now_has_ended(world: Any) -> None:
    patient = world.open_chart()
    world.wait(100)
    terms = world.terms(not_before=0, not_after=world.now)
    world.refuses(BadTerms, world.body(0, world.owned(patient, Grant(patient.chart, terms))))
    world.grant(patient, replace(terms, not_after=world.now + 2))


def test_unknown_chart(world: Any) -> None:
    patient = world.open_chart()
    for chart in (7, limits.U53):
        world.refuses(UnknownChart, world.body(0, world.owned(patient, Grant(chart, world.terms()))))
        world.refuses(UnknownChart, world.body(0, world.owned(patient, Revoke(chart, 0))))


def test_too_many_grants(world: Any) -> None:
    patient = world.open_chart()
    chart = world.chart(patient)
    world.leaves[keys.chart(patient.chart)] = encode(replace(chart, grants=limits.GRANTS_PER_CHART))
    world.refuses(TooManyGrants, world.body(0, world.owned(patient, Grant(patient.chart, world.terms()))))


def test_no_delegate_keeps_the_owner_from_granting_ever_again(world: Any) -> None:
    patient = world.open_chart()
    helper = world.name_delegate(patient)
    granting = Grant(patient.chart, world.terms())
    key = keys.chart(patient.chart)
    world.leaves[key] = encode(replace(world.chart(patient), grants=limits.GRANTS_BY_DELEGATES - 1))
    assert world.run(2, world.delegated(helper, granting)).grant == limits.GRANTS_BY_DELEGATES - 1
    world.refuses(TooManyGrants, world.body(2, world.delegated(helper, granting)))
    assert world.grant(patient) == limits.GRANTS_BY_DELEGATES


def test_revoking_moves_the_generation_and_reissues(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    for _ in range(3):
        world.grant(patient)
    fresh = make_tags([9], None, [3, 8], [4, 8])
    receipt = world.revoke(patient, 1, Reissue(0, fresh))
    assert (receipt.grant, receipt.first_event, receipt.events) == (1, 4, 1)
    assert world.chart(patient).generation == 1
    assert world.grant_leaf(patient, 1).revoked_at == world.head.height
    assert world.grant_leaf(patient, 0).terms.tags == fresh
    assert world.grant_leaf(patient, 2).terms.tags != fresh
    assert world.history(patient)[-1] == Revoked(world.head.height, world.head.timestamp, 2, 1, 1, (Reissue(0, fresh),))


def test_revoking_again_changes_nothing_but_uses_the_number(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.grant(patient)
    world.grant(patient)
    world.revoke(patient, 0)
    before, kept = world.chart(patient), world.grant_leaf(patient, 1)
    receipt = world.revoke(patient, 0, Reissue(1, make_tags([9], None, [3], [4])))
    assert (receipt.events, world.chart(patient).generation, world.grant_leaf(patient, 1)) == (0, 1, kept)
    assert world.chart(patient).window.highest == before.window.highest + 1


def test_a_revocation_gets_through_whatever_another_device_revoked(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.grant(patient)
    world.grant(patient)
    world.revoke(patient, 1)
    world.revoke(patient, 0, Reissue(1, make_tags([9], None, [3], [4])))
    assert world.grant_leaf(patient, 0).revoked_at is not None
    assert world.history(patient)[-1].reissues == ()


def test_unknown_grants_and_disordered_reissues(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    for _ in range(3):
        world.grant(patient)
    tags = make_tags(None, None, [3], [4])
    cases = [
        (UnknownGrant, Revoke(patient.chart, 3)),
        (UnknownGrant, Revoke(patient.chart, limits.U53)),
        (UnknownGrant, Revoke(patient.chart, 0, (Reissue(3, tags),))),
        (NotAscending, Revoke(patient.chart, 0, (Reissue(2, tags), Reissue(1, tags)))),
        (NotAscending, Revoke(patient.chart, 0, (Reissue(1, tags), Reissue(1, tags)))),
        (NotAscending, Revoke(patient.chart, 0, (Reissue(1, make_tags([2, 1], None, [3], [4])),))),
        (BadTerms, Revoke(patient.chart, 0, (Reissue(0, tags),))),
    ]
    for error, operation in cases:
        world.refuses(error, world.body(0, world.owned(patient, operation)))


def test_grant_and_revoke_in_one_transaction(world: Any) -> None:
    patient = world.open_chart()
    granting = world.owned(patient, Grant(patient.chart, world.terms()))
    revoking = world.owned(patient, Revoke(patient.chart, 0))
    world.block(world.body(0, granting, revoking))
    assert world.grant_leaf(patient, 0).revoked_at == world.head.height
