"""The part of the chain of tests/vectors/ledger in which its institutions govern it, for make_ledger.py."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.crypto.signing import SigningKey, prove_possession, sign_vote
from protocol.ledger import keys
from protocol.ledger.leaves import MotionState
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    Accredit,
    AddNetworkCertificate,
    Ballot,
    GiveAuthority,
    Motion,
    Parameter,
    Reinstate,
    Remove,
    ReplaceKeys,
    ReportEquivocation,
    RetireNetworkCertificate,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetEncryptionKey,
    SetOperationsKey,
    SetParameters,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.votes import FINALIZE, NULLIFY, VoteSubject

HOUR_MS = 3_600_000
CONVICTED_IN = 6  # the epoch whose evidence stands against institution 3


def govern(recorder: Any, fixtures: Any) -> None:
    """Every change by motion, every change of a key, and evidence; ends in epoch 7."""
    world = recorder.world
    chain = world.head.chain
    newcomer, renewed = fixtures.Keys(5, "Lakeside Practice"), fixtures.Keys(6, fixtures.NAMES[3])
    _decide(recorder, Accredit(newcomer.application(chain)), 0, 1, 2)
    world.operation_keys.append(newcomer.operations)
    world.vote_keys.append(newcomer.vote)
    _decide(recorder, GiveAuthority(4), 0, 1, 2)
    _decide(recorder, Suspend(3), 0, 1, 2, 4)
    _decide(recorder, ReplaceKeys(3, renewed.application(chain)), 0, 1, 2)
    world.operation_keys[3], world.vote_keys[3] = renewed.operations, renewed.vote
    _decide(recorder, Reinstate(3), 0, 1, 2)
    _decide(recorder, GiveAuthority(3), 0, 1, 2)
    _decide(recorder, SetParameters((Parameter("delta_ms", 250), Parameter("timeout_cap_ms", 6_000))), 0, 1, 2, 4)
    _decide(recorder, TakeAuthority(2), 0, 1, 2, 4)
    _rotate(recorder, fixtures)
    recorder.block(world.body(0, _evidence(world, world.head.child_epoch)))
    _decide(recorder, Remove(3), 0, 1, 4)
    moved = recorder.block(world.body(0, Motion(TakeAuthority(1), world.now + HOUR_MS)))
    number = moved[0].operations[0].motion
    assert recorder.block(world.body(1, Ballot(number, TakeAuthority(1), False)))[0].operations[0].motion_state is (
        MotionState.LOST
    )
    recorder.block(world.body(4, Motion(TakeAuthority(0), world.now + HOUR_MS)))


def _decide(recorder: Any, change: Any, first: int, *others: int) -> None:
    """A block with the motion, and a block with all ballots that it needs."""
    world = recorder.world
    world.wait(1_000)
    receipt = recorder.block(world.body(first, Motion(change, world.now + HOUR_MS)))[0]
    number = receipt.operations[0].motion
    receipts = recorder.block(*(world.body(one, Ballot(number, change, True)) for one in others))
    assert receipts[-1].operations[0].motion_state is MotionState.PASSED


def _rotate(recorder: Any, fixtures: Any) -> None:
    world = recorder.world
    chain, name = world.head.chain, fixtures.NAMES[1]
    operations, vote = (SigningKey(fixtures.seed(kind, 7)) for kind in (1, 3))
    changes = (
        SetOperationsKey(2, operations.public, prove_possession(operations, chain, name, USE_OPERATIONS)),
        RetireOperationsKey(1),
        AddNetworkCertificate(b"a newer certificate"),
        RetireNetworkCertificate(0),
        SetEncryptionKey(2, b"\x07" * 32),
        SetVoteKey(vote.public, prove_possession(vote, chain, name, USE_VOTE)),
    )
    recorder.block(world.body(1, *map(RotateInstitutionKey, changes)))
    world.operation_keys[1].append(operations)
    world.vote_keys[1] = vote


def _two_faced(world: Any, epoch: int) -> list[VoteSubject]:
    chain = world.head.chain
    return [
        VoteSubject(NULLIFY, chain, epoch, 7, 0, bytes(32)),
        VoteSubject(FINALIZE, chain, epoch, 7, 0, b"\x01" * 32),
    ]


def _evidence(world: Any, epoch: int) -> ReportEquivocation:
    """Against institution 3, which has index 2."""
    votes = (world.consensus_vote(epoch, 2, one) for one in _two_faced(world, epoch))
    return ReportEquivocation(*sorted(votes, key=encode))


def refused(world: Any, fixtures: Any) -> list[tuple[Any, str]]:
    """What the last state refuses: its authorities are institutions 0, 1 and 4, and motion `last` is open."""
    chain, now = world.head.chain, world.now
    last = world.leaf(keys.COUNTERS).motions - 1
    fresh, used = fixtures.Keys(9, "Another Practice"), fixtures.Keys(1)
    unproven = replace(fresh.application(chain), possessions=fresh.application(bytes(32)).possessions)
    votes = [sign_vote(world.vote_keys[0], subject, 0) for subject in _two_faced(world, world.head.child_epoch)]
    stale = fixtures.SigningKey(bytes(range(32)))

    def move(change: Any, who: int = 0, until: int = now + HOUR_MS) -> Any:
        return world.body(who, Motion(change, until))

    def vote(number: int, change: Any, who: int = 0) -> Any:
        return world.body(who, Ballot(number, change, True))

    def rotate(change: Any, who: int = 0) -> Any:
        return world.body(who, RotateInstitutionKey(change))

    proof = prove_possession(stale, chain, world.institution(1).name, USE_VOTE)
    return [
        (move(TakeAuthority(1), 3), "not-accredited"),
        (move(TakeAuthority(1), 2), "not-an-authority"),
        (move(TakeAuthority(1), until=now), "bad-terms"),
        (move(TakeAuthority(1), until=now + 31 * 24 * HOUR_MS), "bad-terms"),
        (move(TakeAuthority(99)), "unknown-institution"),
        (move(Reinstate(3)), "contradicted"),
        (move(GiveAuthority(0)), "contradicted"),
        (move(SetParameters((Parameter("delta_ms", 0),))), "bad-terms"),
        (move(SetParameters((Parameter("delta_ms", 250),))), "contradicted"),
        (move(Accredit(unproven)), "bad-possession"),
        (move(Accredit(used.application(chain))), "claimed"),
        (vote(last + 1, TakeAuthority(0)), "unknown-motion"),
        (vote(last, TakeAuthority(1)), "other-motion"),
        (vote(last, TakeAuthority(0), 4), "already-voted"),
        (vote(last - 1, TakeAuthority(1)), "motion-closed"),
        (rotate(SetVoteKey(stale.public, proof), 1), "rotated-too-soon"),
        (rotate(SetVoteKey(stale.public, proof)), "bad-possession"),
        (rotate(SetEncryptionKey(1, world.institution(1).encryption_key)), "claimed"),
        (rotate(RetireOperationsKey(7)), "unknown-key"),
        (world.body(0, ReportEquivocation(*sorted(votes, key=encode, reverse=True))), "bad-evidence"),
        (world.body(0, _evidence(world, CONVICTED_IN)), "already-reported"),
    ]
