"""What an owner forbids, and whom a grant names: bars, groups, practitioners."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.errors import (
    BadCosignature,
    BadTerms,
    DecodeError,
    MissingCosignature,
    NotAscending,
    UnknownChart,
    UnknownInstitution,
)
from protocol.ledger import keys
from protocol.ledger.decisions import Asked, by_emergency, by_grant
from protocol.ledger.events import Outcome, PolicySet, Reason, RecordAppended
from protocol.ledger.leaves import PolicyLeaf
from protocol.types.governance import Remove, Suspend
from protocol.types.operations import Bar, BreakGlassMode, Disclose, Grant, Operation, Policy, Revoke, SetPolicy


def bar(make_tags: Any, categories: Any, years: Any, sensitivities: Any, **changes: Any) -> Bar:
    return replace(Bar(None, make_tags(categories, years, sensitivities)), **changes)


def test_setting_one(world: Any) -> None:
    patient = world.open_chart()
    assert world.leaf(keys.policy(patient.chart)) is None
    policy = Policy(BreakGlassMode.FORBIDDEN)
    world.set_policy(patient, policy)
    assert world.leaf(keys.policy(patient.chart)) == PolicyLeaf(policy, patient.key.public, patient.next_number - 1)
    assert world.history(patient)[-1] == PolicySet(world.head.height, world.head.timestamp, 2, policy)


def test_only_the_owner_sets_one(world: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    operation = SetPolicy(patient.chart, Policy())
    world.refuses(MissingCosignature, world.body(0, operation))
    world.refuses(BadCosignature, world.body(0, world.owned(other, operation, number=40)))
    for chart in (9, keys.CHART_MAX + 1, limits.U53):
        world.refuses(UnknownChart, world.body(0, world.owned(patient, SetPolicy(chart, Policy()))))


@pytest.mark.parametrize("position", range(3))
def test_a_bars_lists_are_sets(world: Any, make_tags: Any, position: int) -> None:
    patient = world.open_chart()
    grant = world.grant(patient)
    for wrong in ([2, 1], [1, 1]):
        lists: list[Any] = [None, None, None]
        lists[position] = wrong
        bars = (bar(make_tags, *lists),)
        world.refuses(NotAscending, world.body(0, world.owned(patient, SetPolicy(patient.chart, Policy(bars=bars)))))
        world.refuses(NotAscending, world.body(0, world.owned(patient, Revoke(patient.chart, grant, bars=bars))))


def test_a_policy_has_no_more_bars_than_it_may(recode: Any) -> None:
    bars = (Bar(None, (None, None, None)),) * (limits.BARS_PER_CHART + 1)
    with pytest.raises(DecodeError):
        recode(Operation, SetPolicy(0, Policy(bars=bars)))


@pytest.mark.parametrize(
    ("lists", "barred"),
    [
        ((None, None, None), True),
        (([1], None, None), True),
        (([7], None, None), False),
        ((None, [2], None), True),
        ((None, [7], None), False),
        ((None, None, [3]), True),
        ((None, None, [4]), True),
        ((None, None, [7]), False),
        (([1], [2], [7, 9]), False),
        (([1, 7], [2, 7], [4, 7]), True),
        (([2], [1], None), False),
        (([3], None, None), False),
    ],
)
def test_a_bar_stands_where_all_that_it_names_fits(world: Any, make_tags: Any, lists: Any, barred: bool) -> None:
    """The record's tags are 1, 2, 3 and 4."""
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient)
    world.set_policy(patient, Policy(bars=(bar(make_tags, *lists),)))
    assert world.disclose(patient, grant, 1).reason is (Reason.BARRED if barred else Reason.NONE)


def test_a_bar_stands_against_whom_it_names(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient, world.terms(grantees=(1, 3)))
    world.set_policy(patient, Policy(bars=(Bar(3, (None, None, None)), Bar(limits.U53, (None, None, None)))))
    assert world.disclose(patient, grant, 1, reader=1).outcome is Outcome.DISCLOSED
    assert world.disclose(patient, grant, 1, reader=3).reason is Reason.BARRED


def test_one_barred_record_bars_the_disclosure(world: Any, make_entry: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.append(patient, make_entry(1, 2, 3, 4), make_entry(1, 2, 5, 4))
    grant = world.grant(patient, world.terms(tags=make_tags(None, None, [3, 5], [4])))
    world.set_policy(patient, Policy(bars=(bar(make_tags, None, None, [5]),)))
    assert world.disclose(patient, grant, 1).reason is Reason.NONE
    assert world.disclose(patient, grant, 1, 2).reason is Reason.BARRED


def test_a_later_grant_does_not_open_what_is_barred(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.set_policy(patient, Policy(bars=(bar(make_tags, [1], None, None),)))
    assert world.disclose(patient, world.grant(patient), 1).reason is Reason.BARRED
    world.set_policy(patient, Policy())
    assert world.disclose(patient, 0, 1).reason is Reason.NONE


def test_a_bar_in_the_same_block_comes_before_what_is_asked(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient)
    policy = Policy(bars=(Bar(None, (None, None, None)),))
    asking = world.body(1, Disclose(patient.chart, grant, (1,), "TREAT"))
    setting = world.body(2, world.owned(patient, SetPolicy(patient.chart, policy)))
    assert world.block(asking, setting)[0].operations[0].reason is Reason.BARRED


def test_what_is_recorded_after_a_revocation_is_barred_until_the_bars_are_renewed(
    world: Any, make_entry: Any, make_tags: Any
) -> None:
    patient = world.open_chart()
    wide = make_tags(None, None, [3, 30], [4])
    reading = world.grant(patient, world.terms(tags=wide))
    spare = [world.grant(patient), world.grant(patient)]
    world.set_policy(patient, Policy(BreakGlassMode.FORBIDDEN, (bar(make_tags, None, None, [5]),)))
    world.revoke(patient, spare[0])
    (after,) = world.append(patient, make_entry(1, 2, 30, 4))
    assert world.disclose(patient, reading, after).reason is Reason.BARRED
    renewed = (bar(make_tags, None, None, [5, 50], generation=2),)
    world.run(2, world.owned(patient, Revoke(patient.chart, spare[1], bars=renewed)))
    assert world.history(patient)[-1].bars == renewed
    assert world.leaf(keys.policy(patient.chart)).policy == Policy(BreakGlassMode.FORBIDDEN, renewed)
    assert world.disclose(patient, reading, after).reason is Reason.NONE


def test_bars_of_a_revocation_make_a_policy_where_there_was_none(world: Any) -> None:
    patient = world.open_chart()
    grant = world.grant(patient)
    bars = (Bar(3, (None, None, None)),)
    world.run(2, world.owned(patient, Revoke(patient.chart, grant, bars=bars)))
    assert world.history(patient)[-1].bars == bars
    assert world.leaf(keys.policy(patient.chart)).policy == Policy(BreakGlassMode.ALLOWED, bars)


# --- groups and practitioners ----------------------------------------------------------------------------------


def test_a_group_is_who_the_owner_saw(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient, world.terms(grantees=(1, 3)))
    asked = [world.disclose(patient, grant, 1, reader=reader).reason for reader in range(4)]
    wrong = Reason.WRONG_INSTITUTION
    assert asked == [wrong, Reason.NONE, wrong, Reason.NONE]


@pytest.mark.parametrize("last", [4, keys.INSTITUTION_MAX, keys.INSTITUTION_MAX + 1, limits.U53])
def test_all_of_a_group_exist(world: Any, last: int) -> None:
    patient = world.open_chart()
    terms = world.terms(grantees=(1, last))
    world.refuses(UnknownInstitution, world.body(0, world.owned(patient, Grant(patient.chart, terms))))


def test_a_suspended_grantee_serves_again_and_a_removed_one_gets_none(world: Any) -> None:
    patient = world.open_chart()
    world.decide(Suspend(3))
    world.grant(patient, world.terms(grantees=(1, 3)))
    world.decide(Remove(3))
    terms = world.terms(grantees=(1, 3))
    world.refuses(BadTerms, world.body(0, world.owned(patient, Grant(patient.chart, terms))))


def test_certain_practitioners(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    known = (b"a" * 16, b"b" * 16)
    grant = world.grant(patient, world.terms(practitioners=known))
    for practitioner, reason in (
        (known[0], Reason.NONE),
        (known[1], Reason.NONE),
        (b"c" * 16, Reason.PRACTITIONER),
        (None, Reason.PRACTITIONER),
    ):
        asking = Disclose(patient.chart, grant, (1,), "TREAT", practitioner)
        assert world.run(1, asking).reason is reason
        assert world.history(patient)[-1].practitioner == practitioner


# --- which reason comes first ----------------------------------------------------------------------------------


def test_the_first_rule_against_it_is_the_reason(world: Any, make_entry: Any, make_tags: Any) -> None:
    """A request against which everything speaks, mended rule by rule: the reasons come in the documented order."""
    patient = world.open_chart()
    world.append(patient)
    writing = world.terms(
        grantees=(3,), access=2, purposes=("HRESCH",), practitioners=(b"p" * 16,), tags=make_tags([9], None, [3], [4])
    )
    leaf = world.grant_leaf(patient, world.grant(patient, writing))
    wrong = replace(leaf, revoked_at=5, terms=replace(leaf.terms, not_before=world.now + 9, not_after=world.now + 10))
    policy = PolicyLeaf(Policy(bars=(Bar(1, (None, None, None)),)), bytes(32), 0)
    records = [RecordAppended(1, 1, 0, 0, make_entry(1, 2, 3, 4))]
    asked = Asked(1, "BTG", world.now, None, records, erased=True)
    seen = []
    mend = [
        lambda a, g, p: (replace_asked(a, purpose="TREAT"), None, p),
        lambda a, g, p: (a, wrong, p),
        lambda a, g, p: (a, with_terms(g, grantees=(1,)), p),
        lambda a, g, p: (a, with_terms(g, access=1), p),
        lambda a, g, p: (a, replace(g, revoked_at=None), p),
        lambda a, g, p: (replace_asked(a, time_ms=g.terms.not_after), g, p),
        lambda a, g, p: (replace_asked(a, time_ms=g.terms.not_before), g, p),
        lambda a, g, p: (a, with_terms(g, purposes=("TREAT",)), p),
        lambda a, g, p: (a, with_terms(g, practitioners=None), p),
        lambda a, g, p: (a, with_terms(g, tags=make_tags([1], None, [3], [4])), p),
        lambda a, g, p: (a, g, None),
        lambda a, g, p: (replace_asked(a, erased=False), g, p),
    ]
    grant: Any = wrong
    stands: Any = policy
    seen.append(by_grant(asked, grant, stands))
    for step in mend:
        asked, grant, stands = step(asked, grant, stands)
        seen.append(by_grant(asked, grant, stands))
    assert [reason.name for reason in seen] == [
        "EMERGENCY_PURPOSE",
        "NO_GRANT",
        "WRONG_INSTITUTION",
        "WRITE_ONLY",
        "REVOKED",
        "NOT_YET",
        "EXPIRED",
        "PURPOSE",
        "PRACTITIONER",
        "OUTSIDE",
        "BARRED",
        "ERASED",
        "NONE",
    ]


def test_the_order_for_emergencies(world: Any, make_entry: Any) -> None:
    records = [RecordAppended(1, 1, 0, 0, make_entry(1, 2, 3, 4))]
    asked = Asked(1, "ETREAT", world.now, None, records, erased=True)
    bars = (Bar(None, (None, None, None), True),)
    closed = PolicyLeaf(Policy(BreakGlassMode.FORBIDDEN, bars), bytes(32), 0)
    barring = PolicyLeaf(Policy(bars=bars), bytes(32), 0)
    whole = replace_asked(asked, erased=False)
    assert [
        by_emergency(asked, closed, True),
        by_emergency(asked, barring, True),
        by_emergency(asked, None, True),
        by_emergency(whole, None, True),
        by_emergency(whole, None),
    ] == [Reason.BREAK_GLASS_FORBIDDEN, Reason.BARRED, Reason.ERASED, Reason.REVIEWS_OWED, Reason.NONE]


def replace_asked(asked: Asked, **changes: Any) -> Asked:
    return dataclasses.replace(asked, **changes)


def with_terms(grant: Any, **changes: Any) -> Any:
    return replace(grant, terms=replace(grant.terms, **changes))
