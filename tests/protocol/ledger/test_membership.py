"""Institutions come and go: applications, claims, and motions that meet in one block or epoch."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.signing import apply_as, prove_possession
from protocol.errors import (
    BadPossession,
    BadTerms,
    Claimed,
    Contradicted,
    LastAuthority,
    NotAccredited,
    NotAnAuthority,
    SetFull,
)
from protocol.ledger import claims, keys
from protocol.ledger.leaves import Cast, Claim, Counters, MotionState
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    Accredit,
    Ballot,
    GiveAuthority,
    Motion,
    Reinstate,
    Remove,
    ReplaceKeys,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import (
    RETIRED_KEY,
    STATUS_ACCREDITED,
    STATUS_REMOVED,
    STATUS_SUSPENDED,
    Authority,
)
from protocol.types.operations import AppendRecords, Grant

HOUR_MS = 3_600_000


def moving(world: Any, change: Any, institution: int = 0) -> Any:
    return world.body(institution, Motion(change, world.now + HOUR_MS))


def balloting(world: Any, institution: int, motion: int, favour: bool = True) -> Any:
    return world.body(institution, Ballot(motion, world.motion(motion).change, favour))


def seats(world: Any) -> list[int]:
    return [member.institution for member in world.authorities().members]


@pytest.fixture
def newcomer(new_keys: Any) -> Any:
    return new_keys(5, "Lakeside Practice")


@pytest.fixture
def chain(world: Any) -> bytes:
    found: bytes = world.head.chain
    return found


# --- an application --------------------------------------------------------------------------------------------


def test_a_newcomer_takes_part(world: Any, newcomer: Any, make_entry: Any) -> None:
    number = world.accredit(newcomer)
    assert number == 4
    assert world.leaf(keys.COUNTERS) == Counters(5, 0, 1)
    assert world.institution(4) == newcomer.institution(vote_key_at=world.head.timestamp)
    assert not world.head.ends_epoch
    for use, value in (claims.name_of(newcomer.institution()), *claims.keys_of(newcomer.institution())):
        assert world.leaf(keys.claim(use, value)) == Claim(4)
    patient = world.open_chart(4)
    world.append(patient, make_entry(), custodian=4)
    world.decide(GiveAuthority(4))
    assert world.authorities().members[-1] == Authority(4, newcomer.vote.public, since=1)
    world.move(4, TakeAuthority(0))


def test_an_application_is_signed_whole(world: Any, newcomer: Any, new_keys: Any, chain: bytes) -> None:
    """Nobody can move it with another's certificate, encryption key, name or further keys, nor to another chain."""
    good, thief = newcomer.application(chain), new_keys(6)
    for changes in (
        {"network_certificates": (thief.certificate,)},
        {"network_certificates": (newcomer.certificate, thief.certificate)},
        {"encryption_key": thief.encryption},
        {"encryption_suite": 2},
        {"name": thief.name},
        {"vote_key": thief.vote.public},
        {"operation_keys": tuple(key.public for key in thief.operations)},
        {"operation_keys": tuple(key.public for key in reversed(newcomer.operations))},
    ):
        doctored = replace(good, institution=replace(good.institution, **changes))
        world.refuses(BadPossession, moving(world, Accredit(doctored)))
    world.refuses(BadPossession, moving(world, Accredit(newcomer.application(bytes(32)))))
    for proofs in (good.possessions[:-1], (*good.possessions, good.possessions[0]), good.possessions[::-1]):
        world.refuses(BadPossession, moving(world, Accredit(replace(good, possessions=proofs))))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_signing_key_proves_itself(world: Any, newcomer: Any, chain: bytes, place: int) -> None:
    """Or somebody else's key, an authority's vote key of another chain say, could be listed among one's own."""
    good = newcomer.application(chain)
    proofs = list(good.possessions)
    proofs[place] = good.possessions[place - 1]
    world.refuses(BadPossession, moving(world, Accredit(replace(good, possessions=tuple(proofs)))))


def test_a_proof_for_one_rotation_is_none_for_an_application(world: Any, newcomer: Any, chain: bytes) -> None:
    proofs = [prove_possession(key, chain, newcomer.name, USE_OPERATIONS) for key in newcomer.operations]
    proofs.append(prove_possession(newcomer.vote, chain, newcomer.name, USE_VOTE))
    mixed = replace(newcomer.application(chain), possessions=tuple(proofs))
    world.refuses(BadPossession, moving(world, Accredit(mixed)))


def test_an_application_claims_no_standing_and_no_strange_name(world: Any, newcomer: Any, chain: bytes) -> None:
    for changes in (
        {"status": STATUS_SUSPENDED},
        {"vote_key_at": 1},
        {"name": " Lakeside"},
        {"name": "Lakeside "},
        {"name": "Lake\nside"},
        {"name": "Lake\x9bside"},
    ):
        world.refuses(BadTerms, moving(world, Accredit(newcomer.application(chain, **changes))))


def test_a_retired_key_is_no_key(world: Any, newcomer: Any, chain: bytes) -> None:
    listed = newcomer.institution(operation_keys=(RETIRED_KEY, newcomer.operations[0].public))
    application = apply_as(chain, listed, newcomer.operations, newcomer.vote)
    world.refuses(BadPossession, moving(world, Accredit(application)))


def test_nothing_that_is_another_s(world: Any, newcomer: Any, chain: bytes) -> None:
    """Not even with the other's own signature: what stands on the ledger stays whose it is."""
    other = world.institution(1)
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain, name=other.name))))
    for changes in (
        {"network_certificates": other.network_certificates},
        {"encryption_key": other.encryption_key},
    ):
        world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain, **changes))))
    newcomer.operations = world.operation_keys[1]
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain))))
    newcomer.operations = [world.vote_keys[1]]
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain))))


def test_no_key_for_two_uses(world: Any, newcomer: Any, chain: bytes) -> None:
    newcomer.operations = [newcomer.vote]
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain))))
    newcomer.operations = [newcomer.operations[0]] * 2
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain))))
    twice = {"network_certificates": (newcomer.certificate, newcomer.certificate)}
    world.refuses(Claimed, moving(world, Accredit(newcomer.application(chain, **twice))))


def test_an_application_is_of_no_use_twice(world: Any, newcomer: Any, chain: bytes) -> None:
    """Neither beside itself, nor after it, nor when its institution was removed, nor in place of keys stolen since."""
    application = newcomer.application(chain)
    first, second = world.move(0, Accredit(application)), world.move(1, Accredit(application))
    for motion in (first, second):
        world.vote(2, motion)
    both = [balloting(world, 3, first), balloting(world, 3, second)]
    execution = world.execution(*both)
    world.apply(execution, both[0])
    with pytest.raises(Claimed):
        world.apply(execution, both[1])
    world.block(both[0])
    world.refuses(Claimed, both[1])
    assert world.motion(second).state is MotionState.OPEN
    world.refuses(Claimed, moving(world, Accredit(application)))
    world.decide(Remove(4))
    world.refuses(Claimed, moving(world, Accredit(application)))
    world.refuses(Contradicted, moving(world, ReplaceKeys(4, application)))


def test_there_is_an_end_to_institutions(world: Any, newcomer: Any, chain: bytes) -> None:
    world.leaves[keys.COUNTERS] = encode(Counters(limits.INSTITUTIONS, 0, 0))
    world.refuses(SetFull, moving(world, Accredit(newcomer.application(chain))))


def test_there_is_an_end_to_authorities(world: Any, newcomer: Any) -> None:
    number = world.accredit(newcomer)
    full = tuple(Authority(n if n < 4 else 1_000 + n, n.to_bytes(32, "big"), 0) for n in range(limits.AUTHORITIES))
    world.leaves[keys.authorities(0)] = encode(replace(world.authorities(), members=full))
    world.refuses(SetFull, moving(world, GiveAuthority(number)))


# --- suspension and removal ------------------------------------------------------------------------------------


def test_a_suspended_one_submits_nothing_until_reinstated(world: Any, make_entry: Any) -> None:
    patient = world.open_chart(3)
    world.decide(Suspend(3))
    assert world.institution(3).status == STATUS_SUSPENDED
    assert seats(world) == [0, 1, 2]
    appending = AppendRecords(patient.chart, (make_entry(),))
    world.refuses(NotAccredited, world.body(3, appending))
    world.decide(Reinstate(3))
    assert world.institution(3).status == STATUS_ACCREDITED
    world.run(3, appending)
    assert seats(world) == [0, 1, 2]
    world.decide(GiveAuthority(3))
    assert world.authorities().seat(3).since == 2


def test_a_patient_revokes_while_the_custodian_is_suspended(world: Any) -> None:
    """Whatever befalls the custodian, any accredited institution carries what an owner decides."""
    patient = world.open_chart(3)
    grant = world.grant(patient)
    world.decide(Remove(3))
    assert world.institution(3).status == STATUS_REMOVED
    world.revoke(patient, grant)
    assert world.grant_leaf(patient, grant).revoked_at == world.head.height


def test_no_grant_to_whom_was_removed(world: Any) -> None:
    patient = world.open_chart(0)
    world.decide(Suspend(3))
    world.grant(patient, world.terms(grantee=3))
    world.decide(Remove(3))
    world.refuses(BadTerms, world.body(0, world.owned(patient, Grant(patient.chart, world.terms(grantee=3)))))


@pytest.mark.parametrize("kind", [Suspend, Remove, TakeAuthority])
def test_the_last_authority_stays(new_world: Any, kind: Any) -> None:
    world = new_world(count=2, authorities=2)
    one, other = world.move(0, kind(0)), world.move(0, kind(1))
    world.block(balloting(world, 1, one), balloting(world, 1, other))
    assert seats(world) == [1]
    assert world.motion(other).state is MotionState.OPEN
    world.refuses(LastAuthority, moving(world, kind(1), 1))


# --- motions that meet -----------------------------------------------------------------------------------------


def test_two_motions_pass_in_one_block(world: Any, newcomer: Any) -> None:
    number = world.accredit(newcomer)
    give, take = world.move(0, GiveAuthority(number)), world.move(0, TakeAuthority(3))
    for motion in (give, take):
        world.vote(1, motion)
    world.block(balloting(world, 2, give), balloting(world, 2, take))
    assert seats(world) == [0, 1, 2, 4]
    assert [member.since for member in world.authorities().members] == [0, 0, 0, 1]
    assert world.head.child_epoch == 1


def test_what_contradicts_an_earlier_motion_of_the_block_is_refused(world: Any) -> None:
    suspend, take = world.move(0, Suspend(3)), world.move(0, TakeAuthority(3))
    for motion in (suspend, take):
        world.vote(1, motion)
    both = [balloting(world, 2, suspend), balloting(world, 2, take)]
    execution = world.execution(*both)
    world.apply(execution, both[0])
    with pytest.raises(Contradicted):
        world.apply(execution, both[1])


def test_whoever_lost_its_seat_in_this_block_decides_nothing_more_in_it(world: Any, newcomer: Any) -> None:
    """Neither by a new ballot, nor by one cast before, though it is an authority of the epoch that ends here."""
    number = world.accredit(newcomer)
    suspend, give = world.move(0, Suspend(3)), world.move(3, GiveAuthority(number))
    world.vote(1, suspend)
    world.vote(0, give)
    world.block(balloting(world, 2, suspend), balloting(world, 1, give))
    assert seats(world) == [0, 1, 2]
    assert world.motion(give).state is MotionState.OPEN
    assert world.motion(give).favour == (Cast(0, 0), Cast(1, 0))
    assert world.vote(2, give).motion_state is MotionState.PASSED


def test_a_ballot_after_the_voter_s_suspension_in_one_block(world: Any) -> None:
    suspend, take = world.move(0, Suspend(3)), world.move(0, TakeAuthority(2))
    world.vote(1, suspend)
    world.vote(1, take)
    bodies = [balloting(world, 2, suspend), balloting(world, 3, take), moving(world, TakeAuthority(1), 3)]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    for late in bodies[1:]:
        with pytest.raises(NotAccredited):
            world.apply(execution, late)


def test_whose_authority_was_taken_in_this_block_neither_moves_nor_votes(world: Any) -> None:
    take, other = world.move(0, TakeAuthority(3)), world.move(0, TakeAuthority(2))
    world.vote(1, take)
    bodies = [balloting(world, 2, take), balloting(world, 3, other), moving(world, TakeAuthority(1), 3)]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    for late in bodies[1:]:
        with pytest.raises(NotAnAuthority):
            world.apply(execution, late)


def test_whoever_gains_a_seat_in_this_block_does_not_vote_in_it(world: Any, newcomer: Any) -> None:
    number = world.accredit(newcomer)
    give, take = world.move(0, GiveAuthority(number)), world.move(0, TakeAuthority(3))
    world.vote(1, give)
    bodies = [balloting(world, 2, give), balloting(world, number, take)]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    with pytest.raises(NotAnAuthority):
        world.apply(execution, bodies[1])


def test_a_ballot_counts_across_epochs_while_its_voter_keeps_authority(world: Any, newcomer: Any) -> None:
    number = world.accredit(newcomer)
    open_one = world.move(3, TakeAuthority(2))
    world.vote(0, open_one)
    world.decide(GiveAuthority(number), 0, 1, 2)
    assert world.motion(open_one).favour == (Cast(0, 0), Cast(3, 0))
    assert world.vote(number, open_one).motion_state is MotionState.OPEN
    assert world.vote(1, open_one).motion_state is MotionState.PASSED
    assert world.motion(open_one).favour == (Cast(0, 0), Cast(1, 1), Cast(3, 0), Cast(4, 1))


def test_a_ballot_from_before_a_break_counts_no_more_and_may_be_cast_anew(world: Any) -> None:
    """Or whoever stole an institution's key would have voted for good, whatever the others did about it."""
    motion = world.move(3, TakeAuthority(0))
    world.decide(Suspend(3), 0, 1, 2)
    world.decide(Reinstate(3))
    world.decide(GiveAuthority(3))
    assert world.vote(2, motion).motion_state is MotionState.OPEN
    assert world.motion(motion).favour == (Cast(2, 2),)
    world.vote(3, motion, favour=False)
    assert (world.motion(motion).favour, world.motion(motion).against) == ((Cast(2, 2),), (Cast(3, 2),))


def test_taken_and_given_in_one_block_is_no_break(world: Any) -> None:
    """Or evidence of what was done before would cost no seat."""
    take = world.move(0, TakeAuthority(3))
    world.vote(1, take)
    giving = [world.body(n, Ballot(take + 1, GiveAuthority(3), True)) for n in (1, 2)]
    world.block(balloting(world, 2, take), moving(world, GiveAuthority(3)), *giving)
    assert world.authorities().seat(3).since == 0
    assert world.head.child_epoch == 1
