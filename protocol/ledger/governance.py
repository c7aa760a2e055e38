"""Motions and ballots: the authorities of an epoch change the consortium, a quorum of them at a time.

A ballot names the change that it is for. So nobody votes for what they did not see, and what passing will read follows
from the ballot's bytes alone, as for every operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.errors import (
    AlreadyVoted,
    BadTerms,
    MotionClosed,
    NotAnAuthority,
    OtherMotion,
    TooManyMotions,
    UnknownMotion,
)
from protocol.ledger import claims, cosigning, enactment, keys, seats
from protocol.ledger.leaves import Cast, Counters, MotionLeaf, MotionState, OpenMotions
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.governance import Ballot, Motion
from protocol.types.institutions import Authority, faults_of, quorum_of

Voters = dict[int, Authority]


def _reads_motion(operation: Motion, call: Call, read: ReadSet) -> None:
    read.keys.add(keys.OPEN_MOTIONS)
    enactment.reads(operation.change, read)


def _move(working: Working, operation: Motion, call: Call) -> OperationReceipt:
    """All that passing would need is asked for now too: a motion that cannot pass is nobody's time worth."""
    cosigning.none_needed(call)
    voters = _voters(working, call.institution)
    if operation.expires_at <= working.timestamp:
        raise BadTerms("the motion would have expired already")
    if operation.expires_at - working.timestamp > working.params.motion_ms:
        raise BadTerms(f"expires_at lies more than {working.params.motion_ms} ms ahead of ledger time")
    application = enactment.application_of(operation.change)
    if application is not None:
        claims.check_application(working, application)
    enactment.check(working, operation.change)
    counters = working.require(keys.COUNTERS, Counters)
    number = counters.motions
    _open(working, number, operation, call.institution)
    working.put(keys.COUNTERS, replace(counters, motions=number + 1))
    motion = MotionLeaf(
        proposer=call.institution,
        change=operation.change,
        moved_at=working.height,
        expires_at=operation.expires_at,
        state=MotionState.OPEN,
        favour=(Cast(call.institution, working.epoch),),
        against=(),
    )
    return _settle(working, number, motion, voters)


def _reads_ballot(operation: Ballot, call: Call, read: ReadSet) -> None:
    read.keys.add(keys.OPEN_MOTIONS)
    if operation.motion <= keys.MOTION_MAX:
        read.keys.add(keys.motion(operation.motion))
    enactment.reads(operation.change, read)


def _vote(working: Working, operation: Ballot, call: Call) -> OperationReceipt:
    """Refused with the reason why its change is impossible by now, if it would make the motion pass."""
    cosigning.none_needed(call)
    number = operation.motion
    motion = working.get(keys.motion(number), MotionLeaf) if number <= keys.MOTION_MAX else None
    if motion is None:
        raise UnknownMotion(f"there is no motion {number}")
    if operation.change != motion.change:
        raise OtherMotion(f"motion {number} is for another change than the ballot")
    voters = _voters(working, call.institution)
    if motion.state is not MotionState.OPEN:
        raise MotionClosed(f"motion {number} was decided at height {motion.decided_at}")
    if working.timestamp > motion.expires_at:
        raise MotionClosed(f"motion {number} has expired")
    favour, against = _counting(motion.favour, voters), _counting(motion.against, voters)
    if any(cast.institution == call.institution for cast in (*favour, *against)):
        raise AlreadyVoted(f"institution {call.institution} has voted on motion {number}")
    cast = Cast(call.institution, working.epoch)
    if operation.favour:
        favour = _with(favour, cast)
    else:
        against = _with(against, cast)
    return _settle(working, number, replace(motion, favour=favour, against=against), voters)


def _voters(working: Working, institution: int) -> Voters:
    voters = seats.voters(working)
    if institution not in voters:
        raise NotAnAuthority(f"institution {institution} is no authority of epoch {working.epoch}")
    return voters


def _counting(casts: Iterable[Cast], voters: Voters) -> tuple[Cast, ...]:
    """Those cast by today's voters in the very stretch of authority that they are in."""
    return tuple(cast for cast in casts if cast.institution in voters and voters[cast.institution].since <= cast.epoch)


def _with(casts: tuple[Cast, ...], cast: Cast) -> tuple[Cast, ...]:
    return tuple(sorted((*casts, cast), key=lambda one: one.institution))


def _settle(working: Working, number: int, motion: MotionLeaf, voters: Voters) -> OperationReceipt:
    """Write the motion down, passed or lost if that is how it stands now."""
    n = len(seats.current(working).members)
    state, assigned = MotionState.OPEN, None
    if len(motion.favour) >= quorum_of(n):
        state, assigned = MotionState.PASSED, enactment.enact(working, motion.change)
    elif len(motion.against) > faults_of(n):
        state = MotionState.LOST
    if state is not MotionState.OPEN:
        motion = replace(motion, state=state, decided_at=working.height, assigned=assigned)
        _close(working, number)
    working.put(keys.motion(number), motion)
    return OperationReceipt(None, motion=number, motion_state=state)


def _open(working: Working, number: int, operation: Motion, proposer: int) -> None:
    """Count it among the open ones. Forgets those that expired, and those of institutions without authority now."""
    before = working.get(keys.OPEN_MOTIONS, OpenMotions) or OpenMotions(())
    seated = {member.institution for member in seats.current(working).members}
    still = tuple(one for one in before.motions if working.timestamp <= one[2] and one[1] in seated)
    if sum(one[1] == proposer for one in still) >= limits.MOTIONS_PER_PROPOSER:
        raise TooManyMotions(
            f"institution {proposer} has {limits.MOTIONS_PER_PROPOSER} open motions, which is the most"
        )
    if number > keys.MOTION_MAX:
        raise TooManyMotions("the chain has had as many motions as it can number")
    working.put(keys.OPEN_MOTIONS, OpenMotions((*still, (number, proposer, operation.expires_at))))


def _close(working: Working, number: int) -> None:
    before = working.get(keys.OPEN_MOTIONS, OpenMotions) or OpenMotions(())
    still = tuple(one for one in before.motions if one[0] != number)
    if len(still) != len(before.motions):
        working.put(keys.OPEN_MOTIONS, OpenMotions(still))


def _cost(operation: Motion | Ballot) -> int:
    return limits.MOTION_COST


RULES: Final[dict[type, Rule]] = {
    Motion: Rule(Family.INSTITUTION, _reads_motion, _move, _cost),
    Ballot: Rule(Family.INSTITUTION, _reads_ballot, _vote, _cost),
}
