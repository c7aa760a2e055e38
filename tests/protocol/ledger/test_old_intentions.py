"""What an owner once signed or forbade keeps its meaning when the chart has moved on meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.chart_errors import Overtaken
from protocol.crypto.signing import SigningKey, owner_possession_message
from protocol.errors import BadTerms, Replayed
from protocol.ledger import keys
from protocol.ledger.events import Reason
from protocol.ledger.leaves import OwnerIndex
from protocol.params import Params
from protocol.types.operations import (
    Bar,
    CompleteRecovery,
    Grant,
    OwnerKeys,
    Policy,
    Revoke,
    RotateOwnerKey,
    SetPolicy,
)

HIV_OF_GENERATION = (3, 30)
"""The numbers of the tags that one sensitivity has in two generations."""


def bar(make_tags: Any, generations: int) -> Bar:
    """A bar on that sensitivity for all, with the tags of so many generations."""
    return Bar(None, (None, None, make_tags(list(HIV_OF_GENERATION[:generations]))[0]), generation=generations - 1)


def test_a_bar_that_was_under_way_while_the_chart_moved_on_lets_nothing_new_through(
    world: Any, make_entry: Any, make_tags: Any
) -> None:
    patient = world.open_chart()
    reading = world.grant(patient, world.terms(tags=make_tags(None, None, [3, 30, 31], [4, 40])))
    other = world.grant(patient)
    policy = world.owned(patient, SetPolicy(patient.chart, Policy(bars=(bar(make_tags, 1),))))
    world.revoke(patient, other)
    world.run(2, policy)
    barred, plain = world.append(patient, make_entry(1, 2, 30, 40), make_entry(1, 2, 31, 40))
    assert world.disclose(patient, reading, barred).reason is Reason.BARRED
    assert world.disclose(patient, reading, plain).reason is Reason.BARRED
    world.run(2, world.owned(patient, SetPolicy(patient.chart, Policy(bars=(bar(make_tags, 2),)))))
    assert world.disclose(patient, reading, barred).reason is Reason.BARRED
    assert world.disclose(patient, reading, plain).reason is Reason.NONE


def test_bars_that_a_crossing_revocation_renewed_let_nothing_new_through(
    world: Any, make_entry: Any, make_tags: Any
) -> None:
    patient = world.open_chart()
    reading = world.grant(patient, world.terms(tags=make_tags(None, None, [3, 31], [4, 40])))
    one, two = world.grant(patient), world.grant(patient)
    world.run(2, world.owned(patient, Revoke(patient.chart, one, bars=(bar(make_tags, 1),))))
    world.run(2, world.owned(patient, Revoke(patient.chart, two, bars=(bar(make_tags, 2),))))
    (record,) = world.append(patient, make_entry(1, 2, 31, 40))
    assert world.disclose(patient, reading, record).reason is Reason.BARRED


def rotation(world: Any, patient: Any, change: int, to: SigningKey) -> Any:
    into = OwnerKeys(to.public, 1, bytes([change]) * 32)
    possession = to.sign(owner_possession_message(world.head.chain, patient.chart, change, into))
    return world.owned(patient, RotateOwnerKey(patient.chart, change, into, possession))


def test_a_key_that_the_chart_once_had_never_comes_back_with_what_it_signed(world: Any) -> None:
    patient = world.open_chart()
    first, second = patient.key, SigningKey(b"\7" * 32)
    world.run(1, rotation(world, patient, 0, second))
    world.wait(world.genesis.params.recovery_ms)
    world.run(1, CompleteRecovery(patient.chart, 0))
    patient.key, patient.next_number = second, 0
    world.refuses(BadTerms, world.body(1, rotation(world, patient, 1, first)))
    world.run(1, rotation(world, patient, 1, second))  # the same key with another encryption key is no return


def test_a_policy_that_was_held_back_does_not_undo_a_later_one(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    lax = world.owned(patient, SetPolicy(patient.chart, Policy()))
    strict = Policy(bars=(bar(make_tags, 1),))
    world.set_policy(patient, strict)
    world.refuses(Overtaken, world.body(1, lax))
    assert world.leaf(keys.policy(patient.chart)).policy == strict


def test_bars_of_a_revocation_that_was_held_back_do_not_undo_a_later_policy(world: Any, make_tags: Any) -> None:
    """The revocation itself counts."""
    patient = world.open_chart()
    grant = world.grant(patient)
    revoking = world.owned(patient, Revoke(patient.chart, grant, bars=()))
    strict = Policy(bars=(bar(make_tags, 1),))
    world.set_policy(patient, strict)
    world.run(1, revoking)
    assert world.grant_leaf(patient, grant).revoked_at is not None
    assert world.leaf(keys.policy(patient.chart)).policy == strict
    assert world.history(patient)[-1].bars is None


def test_a_leader_cannot_choose_between_two_policies_of_one_block(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    lax = world.body(1, world.owned(patient, SetPolicy(patient.chart, Policy())))
    strict = Policy(bars=(bar(make_tags, 1),))
    later = world.body(2, world.owned(patient, SetPolicy(patient.chart, strict)))
    execution = world.execution(later, lax)
    world.apply(execution, later)
    with pytest.raises(Overtaken):
        world.apply(execution, lax)
    world.block(lax, later)
    assert world.leaf(keys.policy(patient.chart)).policy == strict


def test_a_new_owner_key_counts_its_policies_from_its_own_beginning(world: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    patient.next_number = 50
    world.set_policy(patient, Policy(bars=(bar(make_tags, 1),)))
    world.replace_owner_key(patient)
    world.set_policy(patient, Policy())
    assert world.leaf(keys.policy(patient.chart)).policy == Policy()


def test_another_encryption_key_alone_keeps_the_window(new_world: Any) -> None:
    """What the key signed before stays used up, and the key stays good."""
    world = new_world(Params(recovery_ms=1_000))
    patient = world.open_chart()
    granted = world.owned(patient, Grant(patient.chart, world.terms()))
    world.run(0, granted)
    world.run(2, world.owned(patient, world.rotating(patient, patient.key)))
    pending = world.recovery(patient).pending
    world.now = pending.ready_at
    world.run(3, CompleteRecovery(patient.chart, pending.change))
    assert world.leaf(keys.owner(patient.key.public)) == OwnerIndex(patient.chart)
    world.refuses(Replayed, world.body(0, granted))
    world.grant(patient)
