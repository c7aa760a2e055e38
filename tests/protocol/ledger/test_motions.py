"""Motions and ballots: who may, what passes, what is lost, and everything that a malicious authority would try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import (
    AlreadyVoted,
    BadTerms,
    Contradicted,
    DenialCapReached,
    InvalidBlock,
    MotionClosed,
    NotAccredited,
    NotAnAuthority,
    NotAscending,
    OtherMotion,
    TooManyMotions,
    Unauthorised,
    UnknownInstitution,
    UnknownMotion,
)
from protocol.ledger import keys
from protocol.ledger.leaves import Cast, MotionState, OpenMotions
from protocol.ledger.state import read_set
from protocol.params import BOUNDS, Params
from protocol.types.block import Block
from protocol.types.governance import (
    Ballot,
    GiveAuthority,
    Motion,
    Parameter,
    Reinstate,
    Remove,
    ReportEquivocation,
    SetParameters,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import faults_of, quorum_of
from protocol.types.operations import Disclose, Grant
from protocol.types.votes import NULLIFY, Vote, VoteSubject

HOUR_MS = 3_600_000
UNKNOWN = 99


def setting(**values: int) -> SetParameters:
    return SetParameters(tuple(Parameter(name, value) for name, value in sorted(values.items())))


def moving(world: Any, institution: int, change: Any, lasts_ms: int = HOUR_MS) -> Any:
    return world.body(institution, Motion(change, world.now + lasts_ms))


def balloting(world: Any, institution: int, motion: int, favour: bool = True, change: Any = None) -> Any:
    return world.body(institution, Ballot(motion, change or world.motion(motion).change, favour))


# --- passing, losing, expiring ---------------------------------------------------------------------------------


def test_passes_with_a_quorum_and_not_before(world: Any) -> None:
    number = world.move(0, TakeAuthority(3))
    assert world.motion(number).favour == (Cast(0, 0),)
    assert world.vote(1, number).motion_state is MotionState.OPEN
    assert world.head.next_authorities is None
    assert world.vote(2, number).motion_state is MotionState.PASSED
    assert world.motion(number).decided_at == world.head.height
    assert [member.institution for member in world.authorities().members] == [0, 1, 2]
    assert world.leaf(keys.OPEN_MOTIONS) == OpenMotions(())


@pytest.mark.parametrize(("n", "quorum", "faults"), [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 3, 1), (7, 5, 2), (10, 7, 3)])
def test_how_many_decide(new_world: Any, n: int, quorum: int, faults: int) -> None:
    assert (quorum_of(n), faults_of(n)) == (quorum, faults)
    world = new_world(count=n + 1, authorities=n)
    number = world.move(0, GiveAuthority(n))
    for voter in range(1, quorum):
        assert world.motion(number).state is MotionState.OPEN
        world.vote(voter, number)
    assert world.motion(number).state is MotionState.PASSED
    assert len(world.authorities().members) == n + 1


def test_more_than_the_faulty_make_it_lost_and_no_fewer(world: Any) -> None:
    """One of four can stop nothing."""
    number = world.move(0, TakeAuthority(3))
    assert world.vote(3, number, favour=False).motion_state is MotionState.OPEN
    assert world.vote(2, number, favour=False).motion_state is MotionState.LOST
    assert world.motion(number).decided_at == world.head.height
    world.refuses(MotionClosed, balloting(world, 1, number))
    assert len(world.authorities().members) == 4


def test_nobody_votes_on_what_is_decided(world: Any) -> None:
    number = world.decide(TakeAuthority(3)).decided_at
    assert number == world.head.height
    world.refuses(MotionClosed, balloting(world, 0, 0))


def test_the_last_moment_and_the_one_after(world: Any) -> None:
    number = world.move(0, TakeAuthority(3))
    world.now = world.motion(number).expires_at
    world.vote(1, number)
    world.now += 1
    world.refuses(MotionClosed, balloting(world, 2, number))


def test_expires_ahead_and_not_too_far(world: Any) -> None:
    world.now += 10
    most = Params().motion_ms
    for lasts in (0, -1, most + 1):
        world.refuses(BadTerms, moving(world, 0, TakeAuthority(3), lasts))
    assert world.motion(world.move(0, TakeAuthority(3), most)).expires_at == world.now + most


# --- who may ---------------------------------------------------------------------------------------------------


def test_only_authorities_move_and_vote(new_world: Any) -> None:
    world = new_world(count=5, authorities=4)
    world.refuses(NotAnAuthority, moving(world, 4, TakeAuthority(3)))
    number = world.move(0, TakeAuthority(3))
    world.refuses(NotAnAuthority, balloting(world, 4, number))


def test_nobody_votes_twice(world: Any) -> None:
    number = world.move(0, TakeAuthority(3))
    world.refuses(AlreadyVoted, balloting(world, 0, number))
    world.refuses(AlreadyVoted, balloting(world, 0, number, favour=False))
    world.vote(1, number, favour=False)
    world.refuses(AlreadyVoted, balloting(world, 1, number))
    twice = [balloting(world, 2, number), balloting(world, 2, number)]
    execution = world.execution(*twice)
    world.apply(execution, twice[0])
    with pytest.raises(AlreadyVoted):
        world.apply(execution, twice[1])


def test_a_ballot_says_what_it_is_for(world: Any) -> None:
    """Whoever shows a voter another change than the motion's gets no vote out of it."""
    number = world.move(0, TakeAuthority(3))
    for other in (TakeAuthority(2), Suspend(3), setting(delta_ms=100)):
        world.refuses(OtherMotion, balloting(world, 1, number, change=other))
    for unknown in (number + 1, keys.MOTION_MAX, keys.MOTION_MAX + 1, limits.U53):
        world.refuses(UnknownMotion, balloting(world, 1, unknown, change=TakeAuthority(3)))


def test_a_motion_takes_no_cosignature(world: Any) -> None:
    patient = world.open_chart()
    signed = world.owned(patient, Grant(patient.chart, world.terms()))
    for operation in (Motion(TakeAuthority(3), world.now + HOUR_MS), Ballot(0, TakeAuthority(3), True)):
        if isinstance(operation, Ballot):
            world.move(0, TakeAuthority(3))
        world.refuses(Unauthorised, world.body(1, replace(signed, operation=operation)))


def test_the_suspended_neither_move_nor_vote(world: Any) -> None:
    open_one = world.move(0, TakeAuthority(2))
    world.decide(Suspend(3), 0, 1, 2)
    world.refuses(NotAccredited, moving(world, 3, TakeAuthority(2)))
    world.refuses(NotAccredited, balloting(world, 3, open_one))
    world.decide(Reinstate(3))
    world.refuses(NotAnAuthority, balloting(world, 3, open_one))


# --- what is asked of a change ---------------------------------------------------------------------------------


def test_what_names_nobody(world: Any) -> None:
    for unknown in (4, keys.INSTITUTION_MAX, keys.INSTITUTION_MAX + 1, limits.U53):
        for kind in (Suspend, Reinstate, Remove, GiveAuthority, TakeAuthority):
            world.refuses(UnknownInstitution, moving(world, 0, kind(unknown)))


def test_what_is_so_already(world: Any) -> None:
    world.refuses(Contradicted, moving(world, 0, Reinstate(3)))
    world.refuses(Contradicted, moving(world, 0, GiveAuthority(3)))
    world.decide(Suspend(3))
    for change in (Suspend(3), GiveAuthority(3), TakeAuthority(3)):
        world.refuses(Contradicted, moving(world, 0, change))
    world.decide(Remove(3))
    for change in (Suspend(3), Reinstate(3), Remove(3), GiveAuthority(3), TakeAuthority(3)):
        world.refuses(Contradicted, moving(world, 0, change))


def test_parameters_are_named_once_known_and_within_bounds(world: Any) -> None:
    def refuses(error: Any, *pairs: tuple[str, int]) -> None:
        world.refuses(error, moving(world, 0, SetParameters(tuple(Parameter(*pair) for pair in pairs))))

    refuses(NotAscending, ("drift_ms", 40_000), ("delta_ms", 100))
    refuses(NotAscending, ("delta_ms", 100), ("delta_ms", 200))
    refuses(BadTerms, ("delta", 100))
    refuses(BadTerms, ("check", 1))
    refuses(Contradicted, ("delta_ms", Params().delta_ms))
    for name, (least, most) in BOUNDS.items():
        refuses(BadTerms, (name, least - 1)) if least > 0 else None
        refuses(BadTerms, (name, most + 1)) if most < limits.U53 else None
    refuses(BadTerms, ("freshness_ms", Params().heartbeat_ms))
    refuses(BadTerms, ("drift_ms", Params().timeout_cap_ms - 1))
    refuses(BadTerms, ("timeout_cap_ms", Params().drift_ms + 1))


def test_every_parameter_has_bounds_and_is_documented() -> None:
    assert set(BOUNDS) == set(Params.__struct_fields__)
    Params().check()
    text = (Path(__file__).resolve().parents[3] / "docs" / "spec" / "limits.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in BOUNDS)


# --- parameters and epochs -------------------------------------------------------------------------------------


def test_new_parameters_end_the_epoch_and_count_from_the_next_block_on(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    number = world.move(0, setting(denials_per_day=1))
    world.vote(1, number)
    asked = [world.body(3, *[_ask(patient)] * 2), balloting(world, 2, number), world.body(3, *[_ask(patient)] * 2)]
    world.append(patient)
    world.block(*asked)
    assert world.head.ends_epoch
    assert world.leaf(keys.PARAMS).denials_per_day == 1
    assert [member.since for member in world.authorities().members] == [0] * 4
    world.refuses(DenialCapReached, world.body(3, _ask(patient)))
    before = world.head
    world.block()
    assert (world.head.epoch, world.head.next_authorities) == (before.epoch + 1, None)


def _ask(patient: Any) -> Any:
    return Disclose(patient.chart, None, (1,), "TREAT")


LEAST = {name: least for name, (least, _) in BOUNDS.items()}
MOST = {name: most for name, (_, most) in BOUNDS.items()} | {"drift_ms": BOUNDS["timeout_cap_ms"][1]}


@pytest.mark.parametrize("extreme", [LEAST, MOST], ids=["least", "most"])
def test_the_ledger_goes_on_with_any_parameters_and_a_motion_sets_them_right(world: Any, extreme: Any) -> None:
    if extreme is MOST:
        extreme = extreme | {"heartbeat_ms": extreme["freshness_ms"] - 1}
    world.decide(setting(**extreme))
    assert world.leaf(keys.PARAMS) == Params(**extreme)
    world.wait(Params(**extreme).rotation_rest_ms)
    number, change = world.leaf(keys.COUNTERS).motions, setting(**_defaults())
    moved = (Motion(change, world.now + HOUR_MS), Ballot(number, change, True), Ballot(number, change, True))
    for voter, operation in enumerate(moved):
        world.block(world.body(voter, operation, valid_until=world.now + 600_000))
    assert world.leaf(keys.PARAMS) == Params()


def _defaults() -> dict[str, int]:
    return {name: getattr(Params(), name) for name in Params.__struct_fields__}


def test_the_header_says_how_the_epoch_ends(world: Any) -> None:
    """A leader that hides an epoch's end, or makes one up, or names another set, proposes an invalid block."""
    number = world.move(0, TakeAuthority(3))
    world.vote(1, number)
    for bodies, said in (([balloting(world, 2, number)], (None, b"\1" * 32)), ([], (b"\1" * 32,))):
        block = world.build(*bodies)
        world.validate(block, *bodies)
        for wrong in said:
            with pytest.raises(InvalidBlock, match="next_authorities"):
                world.validate(Block(replace(block.header, next_authorities=wrong), block.transactions), *bodies)


def test_a_block_of_the_epoch_that_ended_is_invalid(world: Any) -> None:
    world.decide(TakeAuthority(3))
    block = world.build()
    world.validate(block)
    with pytest.raises(InvalidBlock, match="epoch is 0, not 1"):
        world.validate(Block(replace(block.header, epoch=0), ()))
    with pytest.raises(InvalidBlock, match="no authority of epoch 1"):
        world.validate(Block(replace(block.header, proposer=3), ()))


# --- bounds ----------------------------------------------------------------------------------------------------


def test_no_authority_uses_up_anothers_share_of_open_motions(world: Any) -> None:
    bodies = [moving(world, 3, TakeAuthority(n % 3)) for n in range(limits.MOTIONS_PER_PROPOSER)]
    world.block(*bodies)
    world.refuses(TooManyMotions, moving(world, 3, TakeAuthority(0)))
    world.decide(Suspend(3), 0, 1, 2)
    left = world.leaf(keys.OPEN_MOTIONS).motions
    assert {proposer for _, proposer, _ in left} == {3}
    world.move(0, TakeAuthority(1))
    assert {proposer for _, proposer, _ in world.leaf(keys.OPEN_MOTIONS).motions} == {0}


def test_the_expired_and_the_decided_make_room(world: Any) -> None:
    for number in range(limits.MOTIONS_PER_PROPOSER):
        world.run(3, Motion(TakeAuthority(0), world.now + HOUR_MS + number))
    world.vote(1, 0, favour=False)
    world.refuses(TooManyMotions, moving(world, 3, TakeAuthority(0)))
    world.vote(2, 0, favour=False)
    world.move(3, TakeAuthority(0))
    world.refuses(TooManyMotions, moving(world, 3, TakeAuthority(0)))
    world.wait(2 * HOUR_MS)
    world.move(3, TakeAuthority(0))
    assert len(world.leaf(keys.OPEN_MOTIONS).motions) == 1


def test_a_failed_motion_at_the_end_of_a_block_ends_no_epoch(new_world: Any) -> None:
    """What a refused transaction wrote before it was refused is not the block's, also when none comes after it."""
    world = new_world(count=2, authorities=1)
    good, bad = Motion(GiveAuthority(1), world.now + HOUR_MS), Motion(Suspend(UNKNOWN), world.now + HOUR_MS)
    world.refuses(UnknownInstitution, world.body(0, good, bad))
    assert encode(world.authorities()) == encode(world.authorities(0))


def test_the_read_set_names_keys_whatever_an_operation_says(world: Any) -> None:
    """Numbers beyond what the ledger ever assigns have no key, and name none."""
    extremes = (0, keys.INSTITUTION_MAX, keys.INSTITUTION_MAX + 1, keys.MOTION_MAX, keys.MOTION_MAX + 1, limits.U53)
    for number in extremes:
        changes = [kind(number) for kind in (Suspend, Reinstate, Remove, GiveAuthority, TakeAuthority)]
        subject = VoteSubject(NULLIFY, bytes(32), number, 1, 0, bytes(32))
        vote = Vote(subject, 65_535, bytes(64))
        operations = [Motion(change, number) for change in changes] + [Ballot(number, one, True) for one in changes]
        body = world.body(0, *operations, ReportEquivocation(vote, vote))
        read = read_set([replace(body, institution=number)], limits.U53)
        assert all(len(key) == keys.KEY_BYTES[key[0]] for key in read.keys)
