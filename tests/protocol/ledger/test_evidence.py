"""Evidence of equivocation: what convicts, what does not, and what it costs whom."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.consensus.quorum import finalize, notarize, nullify
from protocol.crypto.signing import SigningKey, prove_possession, sign_vote
from protocol.errors import AlreadyReported, BadEvidence, NotAccredited, NotAnAuthority
from protocol.ledger import keys
from protocol.ledger.evidence import contradicts
from protocol.ledger.leaves import EvidenceLeaf
from protocol.types.governance import (
    USE_VOTE,
    Ballot,
    GiveAuthority,
    Motion,
    ReportEquivocation,
    RotateInstitutionKey,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.votes import Vote

BLOCKS = (b"\x0a" * 32, b"\x0b" * 32)


def report(first: Vote, second: Vote) -> ReportEquivocation:
    return ReportEquivocation(*sorted((first, second), key=encode))


def equivocation(world: Any, index: int = 3, epoch: int | None = None, view: int = 9) -> ReportEquivocation:
    at = world.head.child_epoch if epoch is None else epoch
    chain = world.head.chain
    return report(*(world.consensus_vote(at, index, notarize(chain, at, view, 0, block)) for block in BLOCKS))


def seats(world: Any) -> list[int]:
    return [member.institution for member in world.authorities().members]


def test_a_traitor_loses_its_seat_and_stays_convicted(new_world: Any) -> None:
    world = new_world(count=5, authorities=4)
    evidence = equivocation(world)
    world.run(4, evidence)
    assert world.head.ends_epoch
    assert seats(world) == [0, 1, 2]
    stands = EvidenceLeaf(3, 4, world.head.height, evidence.first, evidence.second)
    assert world.leaf(keys.evidence(0, 3)) == stands
    world.decide(TakeAuthority(2))
    assert world.leaf(keys.evidence(0, 3)) == stands
    world.refuses(AlreadyReported, world.body(0, evidence))
    world.refuses(AlreadyReported, world.body(0, equivocation(world, epoch=0, view=10)))


def test_what_contradicts(world: Any) -> None:
    chain = world.head.chain
    subjects = {
        "notarize": notarize(chain, 0, 9, 8, BLOCKS[0]),
        "notarize another": notarize(chain, 0, 9, 8, BLOCKS[1]),
        "notarize on another": notarize(chain, 0, 9, 7, BLOCKS[0]),
        "nullify": nullify(chain, 0, 9),
        "finalize": finalize(chain, 0, 9, BLOCKS[0]),
        "finalize another": finalize(chain, 0, 9, BLOCKS[1]),
    }
    against = {
        ("notarize", "notarize another"),
        ("notarize", "notarize on another"),
        ("notarize another", "notarize on another"),
        ("nullify", "finalize"),
        ("nullify", "finalize another"),
        ("finalize", "finalize another"),
    }
    for one, other in combinations_with_replacement(subjects, 2):
        votes = [world.consensus_vote(0, 3, subjects[name]) for name in (one, other)]
        body = world.body(0, report(*votes))
        assert contradicts(subjects[one], subjects[other]) is ((one, other) in against)
        if (one, other) in against:
            world.apply(world.execution(body), body)
        else:
            world.refuses(BadEvidence, body)


def test_votes_that_have_nothing_to_do_with_each_other(world: Any) -> None:
    chain = world.head.chain
    first = world.consensus_vote(0, 3, notarize(chain, 0, 9, 0, BLOCKS[0]))
    for other in (
        world.consensus_vote(0, 3, notarize(chain, 0, 10, 0, BLOCKS[1])),
        world.consensus_vote(0, 2, notarize(chain, 0, 9, 0, BLOCKS[1])),
        sign_vote(world.vote_keys[3], notarize(chain, 1, 9, 0, BLOCKS[1]), 3),
        sign_vote(world.vote_keys[3], notarize(bytes(32), 0, 9, 0, BLOCKS[1]), 3),
    ):
        world.refuses(BadEvidence, world.body(0, report(first, other)))


def test_both_of_another_chain(world: Any) -> None:
    """The same key may sit on two chains, whose views have nothing to do with each other."""
    votes = (sign_vote(world.vote_keys[3], notarize(bytes(32), 0, 9, 0, block), 3) for block in BLOCKS)
    world.refuses(BadEvidence, world.body(0, report(*votes)))


def test_forged_evidence(world: Any) -> None:
    good = equivocation(world)
    forged = replace(good.second, signature=good.first.signature)
    world.refuses(BadEvidence, world.body(0, ReportEquivocation(good.first, forged)))
    subject = good.second.subject
    by_reporter = sign_vote(world.vote_keys[0], subject, 3)
    world.refuses(BadEvidence, world.body(0, report(good.first, by_reporter)))
    both = report(*(sign_vote(world.vote_keys[0], vote.subject, 3) for vote in (good.first, good.second)))
    world.refuses(BadEvidence, world.body(0, both))
    renamed = report(replace(good.first, index=2), replace(good.second, index=2))
    world.refuses(BadEvidence, world.body(0, renamed))


def test_one_form_only(world: Any) -> None:
    good = equivocation(world)
    world.refuses(BadEvidence, world.body(0, ReportEquivocation(good.second, good.first)))
    world.refuses(BadEvidence, world.body(0, ReportEquivocation(good.first, good.first)))


def test_both_votes_name_the_index(world: Any) -> None:
    """It is not among what a vote signs, so whoever reports could write down any."""
    good = equivocation(world)
    world.refuses(BadEvidence, world.body(0, ReportEquivocation(good.first, replace(good.second, index=2))))
    world.refuses(BadEvidence, world.body(0, report(replace(good.first, index=2), good.second)))


def test_of_an_authority_or_epoch_that_there_is_not(world: Any) -> None:
    chain = world.head.chain
    for epoch, index in ((0, 4), (0, 65_535), (1, 3), (7, 0), ((1 << 53) - 1, 0)):
        votes = (sign_vote(world.vote_keys[3], notarize(chain, epoch, 9, 0, block), index) for block in BLOCKS)
        world.refuses(BadEvidence, world.body(0, report(*votes)))


def test_an_epoch_that_this_very_block_begins_has_not_begun(world: Any) -> None:
    """The next set is written, but nobody can have voted under it yet."""
    take = world.move(0, TakeAuthority(2))
    world.vote(1, take)
    votes = (sign_vote(world.vote_keys[3], notarize(world.head.chain, 1, 9, 0, block), 2) for block in BLOCKS)
    bodies = [world.body(3, Ballot(take, TakeAuthority(2), True)), world.body(0, report(*votes))]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    with pytest.raises(BadEvidence):
        world.apply(execution, bodies[1])


# --- old epochs ------------------------------------------------------------------------------------------------


def test_evidence_of_an_old_epoch_still_costs_the_seat(world: Any) -> None:
    evidence = equivocation(world, 3, 0)
    world.decide(TakeAuthority(2))
    world.decide(TakeAuthority(1))
    world.run(1, evidence)
    assert seats(world) == [0]


def test_a_new_vote_key_is_no_way_out(world: Any) -> None:
    evidence, fresh = equivocation(world, 3, 0), SigningKey(b"\x55" * 32)
    proof = prove_possession(fresh, world.head.chain, world.institution(3).name, USE_VOTE)
    world.run(3, RotateInstitutionKey(SetVoteKey(fresh.public, proof)))
    assert world.authorities().seat(3).vote_key == fresh.public
    world.run(0, evidence)
    assert seats(world) == [0, 1, 2]


def test_the_key_of_the_epoch_counts_not_todays(world: Any) -> None:
    fresh = SigningKey(b"\x55" * 32)
    proof = prove_possession(fresh, world.head.chain, world.institution(3).name, USE_VOTE)
    world.run(3, RotateInstitutionKey(SetVoteKey(fresh.public, proof)))
    for epoch, key in ((0, fresh), (1, world.vote_keys[3])):
        votes = (sign_vote(key, notarize(world.head.chain, epoch, 9, 0, block), 3) for block in BLOCKS)
        world.refuses(BadEvidence, world.body(0, report(*votes)))


def test_whom_a_quorum_took_in_again_is_not_thrown_out_by_what_is_older(world: Any) -> None:
    evidence = equivocation(world, 3, 0)
    world.decide(TakeAuthority(3))
    world.decide(GiveAuthority(3))
    assert world.authorities().seat(3).since == 2
    world.run(0, evidence)
    assert not world.head.ends_epoch
    assert seats(world) == [0, 1, 2, 3]
    assert world.leaf(keys.evidence(0, 3)).institution == 3
    world.run(0, equivocation(world, 3, 2))
    assert seats(world) == [0, 1, 2]


def test_against_whom_has_no_seat_it_stands_all_the_same(world: Any) -> None:
    evidence = equivocation(world, 3, 0)
    world.decide(Suspend(3), 0, 1, 2)
    world.run(0, evidence)
    assert not world.head.ends_epoch
    assert world.leaf(keys.evidence(0, 3)).reporter == 0


def test_indexes_move_and_the_institution_is_the_one_of_the_epoch(world: Any) -> None:
    """Index 2 is institution 2 in epoch 0, and institution 3 in epoch 1."""
    evidence = equivocation(world, 2, 0)
    world.decide(TakeAuthority(2))
    world.run(0, evidence)
    assert seats(world) == [0, 1, 3]
    world.run(0, equivocation(world, 2, 1))
    assert seats(world) == [0, 1]


# --- who is left -----------------------------------------------------------------------------------------------


def test_the_last_authority_is_convicted_and_stays(new_world: Any) -> None:
    world = new_world(count=2, authorities=1)
    world.run(1, equivocation(world, 0))
    assert seats(world) == [0]
    assert not world.head.ends_epoch
    assert world.leaf(keys.evidence(0, 0)).reporter == 1


def test_all_at_once_leave_one(world: Any) -> None:
    world.block(*(world.body(n, equivocation(world, 3 - n)) for n in range(4)))
    assert seats(world) == [0]
    assert all(world.leaf(keys.evidence(0, n)) is not None for n in range(4))


def test_the_same_evidence_twice_in_a_block(world: Any) -> None:
    bodies = [world.body(n, equivocation(world)) for n in (0, 1)]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    with pytest.raises(AlreadyReported):
        world.apply(execution, bodies[1])


def test_beside_a_motion_against_the_same_one(world: Any) -> None:
    suspend = world.move(0, Suspend(3))
    world.vote(1, suspend)
    world.block(world.body(2, Ballot(suspend, Suspend(3), True)), world.body(0, equivocation(world)))
    assert seats(world) == [0, 1, 2]
    assert world.authorities().epoch == 1


def test_the_convicted_decides_nothing_more_in_the_block(world: Any) -> None:
    motion = world.move(3, TakeAuthority(0))
    world.vote(1, motion)
    bodies = [world.body(0, equivocation(world)), world.body(2, Ballot(motion, TakeAuthority(0), True))]
    world.block(*bodies)
    assert seats(world) == [0, 1, 2]
    assert len(world.motion(motion).favour) == 2


def test_the_convicted_moves_nothing_more_in_the_block(world: Any) -> None:
    bodies = [world.body(0, equivocation(world)), world.body(3, Motion(TakeAuthority(0), world.now + 1_000))]
    execution = world.execution(*bodies)
    world.apply(execution, bodies[0])
    with pytest.raises(NotAnAuthority):
        world.apply(execution, bodies[1])


def test_who_may_not_submit_reports_nothing(world: Any) -> None:
    world.decide(Suspend(2), 0, 1, 3)
    world.refuses(NotAccredited, world.body(2, equivocation(world, 2)))
