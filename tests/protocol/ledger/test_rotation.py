"""An institution changes its own keys, one by one, and never back."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.crypto.signing import SigningKey, prove_possession
from protocol.errors import (
    BadPossession,
    BadTerms,
    Claimed,
    NotAccredited,
    Replayed,
    RotatedTooSoon,
    Unauthorised,
    UnknownKey,
    WrongKey,
)
from protocol.ledger import keys
from protocol.ledger.leaves import Claim
from protocol.params import Params
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    AddNetworkCertificate,
    Ballot,
    GiveAuthority,
    RetireNetworkCertificate,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetEncryptionKey,
    SetOperationsKey,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import RETIRED_KEY, Authority
from protocol.types.operations import AppendRecords, Grant, SignedOperation

FRESH = SigningKey(b"\x77" * 32)
OTHER = SigningKey(b"\x78" * 32)


def rotating(world: Any, change: Any, institution: int = 0, **where: Any) -> Any:
    return world.body(institution, RotateInstitutionKey(change), **where)


def operations_key(world: Any, index: int, key: SigningKey = FRESH, institution: int = 0) -> SetOperationsKey:
    name = world.institution(institution).name
    return SetOperationsKey(index, key.public, prove_possession(key, world.head.chain, name, USE_OPERATIONS))


def vote_key(world: Any, key: SigningKey = FRESH, institution: int = 0) -> SetVoteKey:
    name = world.institution(institution).name
    return SetVoteKey(key.public, prove_possession(key, world.head.chain, name, USE_VOTE))


# --- operations keys -------------------------------------------------------------------------------------------


def test_a_new_operations_key_signs_and_the_old_one_beside_it(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.block(rotating(world, operations_key(world, 2)))
    assert world.institution(0).operation_keys[2] == FRESH.public
    assert world.leaf(keys.claim(keys.CLAIM_SIGNING_KEY, FRESH.public)) == Claim(0)
    world.operation_keys[0].append(FRESH)
    for key in (0, 1, 2):
        world.block(world.body(0, AppendRecords(patient.chart, (make_entry(),)), key=key))
    assert not world.head.ends_epoch


def test_replacing_one_ends_the_old_one_at_once_and_its_window_goes_on(world: Any, make_entry: Any) -> None:
    """At once: later in the same block, too. And no number that the old key used is free under the new."""
    patient = world.open_chart()
    appending = AppendRecords(patient.chart, (make_entry(),))
    used, late = world.body(0, appending), world.body(0, appending)
    world.block(used)
    signed_before = world.signed_by(late)
    change = rotating(world, operations_key(world, 0))
    execution = world.execution(change, late)
    world.apply(execution, change)
    with pytest.raises(WrongKey):
        execution.apply(late, signed_before)
    world.block(change)
    world.operation_keys[0][0] = FRESH
    world.refuses(Replayed, used)
    world.block(late)


def test_a_transaction_that_replaces_the_key_it_is_signed_with(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    both = [RotateInstitutionKey(operations_key(world, 0)), AppendRecords(patient.chart, (make_entry(),))]
    world.block(world.body(0, *both))
    assert world.institution(0).operation_keys[0] == FRESH.public


def test_a_place_that_there_is_not(world: Any) -> None:
    for index in (3, limits.OPERATION_KEYS_PER_INSTITUTION, 255):
        world.refuses(UnknownKey, rotating(world, operations_key(world, index)))
    for index in range(2, limits.OPERATION_KEYS_PER_INSTITUTION):
        world.block(rotating(world, operations_key(world, index, SigningKey(bytes([index]) * 32))))
    full = rotating(world, operations_key(world, limits.OPERATION_KEYS_PER_INSTITUTION))
    world.refuses(UnknownKey, full)


def test_a_retired_key_signs_nothing_and_its_place_takes_a_new_one(world: Any) -> None:
    world.block(rotating(world, RetireOperationsKey(1)))
    assert world.institution(0).operation_keys == (world.operation_keys[0][0].public, RETIRED_KEY)
    world.refuses(UnknownKey, rotating(world, operations_key(world, 2), key=1))
    world.refuses(UnknownKey, rotating(world, RetireOperationsKey(1)))
    world.refuses(UnknownKey, rotating(world, RetireOperationsKey(2)))
    world.refuses(BadTerms, rotating(world, RetireOperationsKey(0)))
    world.refuses(Claimed, rotating(world, operations_key(world, 1, world.operation_keys[0][1])))
    world.block(rotating(world, operations_key(world, 1)))
    world.block(rotating(world, RetireOperationsKey(0)))
    world.refuses(UnknownKey, rotating(world, RetireOperationsKey(0)))


def test_nobody_signs_with_the_retired_key_itself(world: Any) -> None:
    """32 zero bytes are a point of small order, for which some libraries accept a signature that anybody can make."""
    zero = SetOperationsKey(1, RETIRED_KEY, bytes(64))
    world.refuses(BadPossession, rotating(world, zero))
    world.refuses(BadPossession, rotating(world, SetVoteKey(RETIRED_KEY, bytes(64))))


# --- vote keys -------------------------------------------------------------------------------------------------


def test_a_vote_key_counts_from_the_next_epoch_on(world: Any) -> None:
    world.block(rotating(world, vote_key(world)))
    assert world.head.ends_epoch
    assert world.authorities(0).seat(0) == Authority(0, world.vote_keys[0].public, 0)
    assert world.authorities(1).seat(0) == Authority(0, FRESH.public, 0)
    assert world.institution(0).vote_key_at == world.head.timestamp
    assert [member.institution for member in world.authorities().members] == [0, 1, 2, 3]


def test_a_vote_key_of_no_authority_ends_no_epoch(new_world: Any) -> None:
    world = new_world(count=5, authorities=4)
    world.block(rotating(world, vote_key(world, institution=4), 4))
    assert not world.head.ends_epoch
    world.decide(GiveAuthority(4))
    assert world.authorities().seat(4).vote_key == FRESH.public


def test_a_vote_key_rests(world: Any) -> None:
    world.block(rotating(world, vote_key(world)))
    world.refuses(RotatedTooSoon, rotating(world, vote_key(world, OTHER)))
    world.now = world.institution(0).vote_key_at + Params().rotation_rest_ms - 1
    world.refuses(RotatedTooSoon, rotating(world, vote_key(world, OTHER)))
    world.now += 1
    world.block(rotating(world, vote_key(world, OTHER)))
    assert world.authorities().epoch == 2
    world.block(rotating(world, operations_key(world, 2, SigningKey(b"\x01" * 31 + b"\x02"))))


def test_two_authorities_rotate_in_one_block(world: Any) -> None:
    world.block(rotating(world, vote_key(world)), rotating(world, vote_key(world, OTHER, 1), 1))
    assert [member.vote_key for member in world.authorities().members][:2] == [FRESH.public, OTHER.public]
    assert world.authorities().epoch == 1


def test_whoever_gains_a_seat_and_rotates_in_one_block(new_world: Any) -> None:
    world = new_world(count=5, authorities=4)
    give = world.move(0, GiveAuthority(4))
    world.vote(1, give)
    passing = world.body(2, Ballot(give, GiveAuthority(4), True))
    world.block(passing, rotating(world, vote_key(world, institution=4), 4))
    assert world.authorities().seat(4) == Authority(4, FRESH.public, 1)


def test_whoever_loses_its_seat_and_rotates_in_one_block_gains_none(world: Any) -> None:
    take = world.move(0, TakeAuthority(3))
    world.vote(1, take)
    world.block(world.body(2, Ballot(take, TakeAuthority(3), True)), rotating(world, vote_key(world, institution=3), 3))
    assert world.authorities().seat(3) is None


# --- certificates and encryption -------------------------------------------------------------------------------


def test_certificates_overlap_and_one_stays(world: Any) -> None:
    first = world.institution(0).network_certificates[0]
    world.refuses(BadTerms, rotating(world, RetireNetworkCertificate(0)))
    world.block(rotating(world, AddNetworkCertificate(b"newer")))
    assert world.institution(0).network_certificates == (first, b"newer")
    world.refuses(BadTerms, rotating(world, AddNetworkCertificate(b"newest")))
    world.refuses(UnknownKey, rotating(world, RetireNetworkCertificate(2)))
    world.block(rotating(world, RetireNetworkCertificate(0)))
    assert world.institution(0).network_certificates == (b"newer",)
    world.refuses(Claimed, rotating(world, AddNetworkCertificate(first)))
    world.refuses(Claimed, rotating(world, AddNetworkCertificate(first), 1))


def test_an_encryption_key_is_replaced_and_never_comes_back(world: Any) -> None:
    old = world.institution(0).encryption_key
    world.block(rotating(world, SetEncryptionKey(2, b"k" * 32)))
    assert (world.institution(0).encryption_suite, world.institution(0).encryption_key) == (2, b"k" * 32)
    world.refuses(Claimed, rotating(world, SetEncryptionKey(1, old)))
    world.refuses(Claimed, rotating(world, SetEncryptionKey(2, b"k" * 32)))
    world.refuses(Claimed, rotating(world, SetEncryptionKey(1, world.institution(1).encryption_key)))


# --- keys of others --------------------------------------------------------------------------------------------


def test_a_key_that_is_or_was_anybody_s(world: Any) -> None:
    for taken in (world.operation_keys[1][0], world.operation_keys[0][1], world.vote_keys[1], world.vote_keys[0]):
        world.refuses(Claimed, rotating(world, operations_key(world, 2, taken)))
        world.refuses(Claimed, rotating(world, vote_key(world, taken)))
    both = [rotating(world, operations_key(world, 2)), rotating(world, vote_key(world))]
    execution = world.execution(*both)
    world.apply(execution, both[0])
    with pytest.raises(Claimed):
        world.apply(execution, both[1])


def test_a_key_consents_to_whose_it_is_and_what_for(world: Any) -> None:
    """Whoever sees a proof on its way cannot claim the key for itself, for another use or on another chain."""
    chain, name, other = world.head.chain, world.institution(0).name, world.institution(1).name
    for wrong in (
        prove_possession(FRESH, chain, other, USE_OPERATIONS),
        prove_possession(FRESH, chain, name, USE_VOTE),
        prove_possession(FRESH, bytes(32), name, USE_OPERATIONS),
        prove_possession(OTHER, chain, name, USE_OPERATIONS),
        bytes(64),
    ):
        world.refuses(BadPossession, rotating(world, SetOperationsKey(2, FRESH.public, wrong)))
    for wrong in (prove_possession(FRESH, chain, name, USE_OPERATIONS), bytes(64)):
        world.refuses(BadPossession, rotating(world, SetVoteKey(FRESH.public, wrong)))
    world.refuses(BadPossession, rotating(world, vote_key(world), 1))


def test_who_may_not_submit_rotates_nothing(world: Any) -> None:
    world.decide(Suspend(3), 0, 1, 2)
    world.refuses(NotAccredited, rotating(world, vote_key(world, institution=3), 3))


def test_a_rotation_takes_no_cosignature(world: Any) -> None:
    patient = world.open_chart()
    given = world.owned(patient, Grant(patient.chart, world.terms())).cosignatures
    signed = SignedOperation(RotateInstitutionKey(RetireOperationsKey(1)), given)
    world.refuses(Unauthorised, world.body(0, signed))
