"""Random governance against a small model of its own: who is what, who votes, which motions pass, when epochs end.

The model is written from docs/spec/operations.md and shares no rule with the ledger. Each step is a block of several
transactions, some of which must be refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import authorities_digest
from protocol.crypto.signing import SigningKey, prove_possession, sign_vote
from protocol.errors import InvalidTransaction
from protocol.ledger import keys, tree
from protocol.ledger.leaves import KINDS, MotionState
from protocol.params import Params
from protocol.types.governance import (
    USE_VOTE,
    Accredit,
    Ballot,
    GiveAuthority,
    Motion,
    Parameter,
    Reinstate,
    Remove,
    ReportEquivocation,
    RotateInstitutionKey,
    SetParameters,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED
from protocol.types.votes import FINALIZE, NULLIFY, VoteSubject

ACCREDITED, SUSPENDED, REMOVED = "accredited", "suspended", "removed"
STATUS = {ACCREDITED: STATUS_ACCREDITED, SUSPENDED: STATUS_SUSPENDED, REMOVED: STATUS_REMOVED}
LIFE_MS = 60_000
KINDS_OF_CHANGE = (Accredit, Suspend, Reinstate, Remove, GiveAuthority, TakeAuthority, SetParameters)


@dataclass
class MotionModel:
    change: Any
    expires_at: int
    state: str = "open"
    favour: dict[int, int] = field(default_factory=dict)  # institution -> epoch of its ballot
    against: dict[int, int] = field(default_factory=dict)


@dataclass
class Model:
    """Seats are institution -> since. `following` is the next epoch's, if the block under way ends this one."""

    status: dict[int, str]
    seats: dict[int, int]
    vote_keys: dict[int, SigningKey]
    epoch: int = 0
    delta: int = 500
    following: dict[int, int] | None = None
    rotated: set[int] = field(default_factory=set)  # in the block under way
    shares: list[tuple[int, int, int]] = field(default_factory=list)  # motion, proposer, expires_at
    motions: list[MotionModel] = field(default_factory=list)
    convicted: set[tuple[int, int]] = field(default_factory=set)
    sets: list[list[tuple[int, SigningKey]]] = field(default_factory=list)

    def ahead(self) -> dict[int, int]:
        return dict(self.seats if self.following is None else self.following)

    def voters(self) -> set[int]:
        return set(self.seats) & set(self.ahead())

    def possible(self, change: Any) -> bool:
        if isinstance(change, Accredit):
            return True
        if isinstance(change, SetParameters):
            return change.parameters[0].value != self.delta
        status, ahead = self.status[change.institution], self.ahead()
        alone = set(ahead) == {change.institution}
        seated = change.institution in ahead
        return {
            Suspend: status == ACCREDITED and not alone,
            Reinstate: status == SUSPENDED,
            Remove: status != REMOVED and not alone,
            GiveAuthority: status == ACCREDITED and not seated,
            TakeAuthority: seated and not alone,
        }[type(change)]

    def do(self, change: Any) -> None:
        ahead = self.ahead()
        if isinstance(change, Accredit):
            self.status[len(self.status)] = ACCREDITED
            return
        if isinstance(change, SetParameters):
            self.delta, self.following = change.parameters[0].value, ahead
            return
        number = change.institution
        if isinstance(change, GiveAuthority):
            ahead[number] = self.seats.get(number, self.epoch + 1)
            self.following = ahead
        elif isinstance(change, Reinstate):
            self.status[number] = ACCREDITED
        else:
            if not isinstance(change, TakeAuthority):
                self.status[number] = SUSPENDED if isinstance(change, Suspend) else REMOVED
            self.unseat(number)

    def unseat(self, number: int) -> None:
        ahead = self.ahead()
        if ahead.pop(number, None) is not None:
            self.following = ahead

    def counting(self, ballots: dict[int, int]) -> dict[int, int]:
        return {who: at for who, at in ballots.items() if who in self.voters() and self.seats[who] <= at}

    def move(self, who: int, change: Any, now: int, expires_at: int) -> bool:
        if self.status[who] != ACCREDITED or who not in self.voters() or not self.possible(change):
            return False
        shares = [one for one in self.shares if one[2] >= now and one[1] in self.seats]
        if [proposer for _, proposer, _ in shares].count(who) == 8:
            return False
        self.shares = [*shares, (len(self.motions), who, expires_at)]
        self.motions.append(MotionModel(change, expires_at, favour={who: self.epoch}))
        return self.settle(len(self.motions) - 1)

    def vote(self, who: int, number: int, favour: bool, now: int) -> bool:
        motion = self.motions[number]
        if self.status[who] != ACCREDITED or who not in self.voters():
            return False
        if motion.state != "open" or now > motion.expires_at:
            return False
        before = motion.favour, motion.against
        motion.favour, motion.against = self.counting(motion.favour), self.counting(motion.against)
        if who not in motion.favour | motion.against:
            (motion.favour if favour else motion.against)[who] = self.epoch
            if self.settle(number):
                return True
        motion.favour, motion.against = before
        return False

    def settle(self, number: int) -> bool:
        """Whether the ballot that led here is valid."""
        motion, seats = self.motions[number], len(self.seats)
        if 3 * len(motion.favour) > 2 * seats:
            if not self.possible(motion.change):
                return False
            motion.state = "passed"
            self.do(motion.change)
        elif 3 * (seats - len(motion.against)) <= 2 * seats:
            motion.state = "lost"
        if motion.state != "open":
            self.shares = [one for one in self.shares if one[0] != number]
        return True

    def rotate(self, who: int, key: SigningKey) -> bool:
        if self.status[who] != ACCREDITED or who in self.rotated:
            return False
        self.rotated.add(who)
        self.vote_keys[who] = key
        if who in self.ahead():
            self.following = self.ahead()
        return True

    def report(self, who: int, epoch: int, index: int) -> bool:
        if self.status[who] != ACCREDITED or (epoch, index) in self.convicted:
            return False
        self.convicted.add((epoch, index))
        guilty, ahead = self.sets[epoch][index][0], self.ahead()
        if guilty in ahead and ahead[guilty] <= epoch and len(ahead) > 1:
            self.unseat(guilty)
        return True

    def end_block(self) -> None:
        self.rotated.clear()
        if self.following is not None:
            self.epoch, self.seats, self.following = self.epoch + 1, self.following, None
            self.sets.append([(who, self.vote_keys[who]) for who in sorted(self.seats)])


class Governing:
    """Blocks of motions, ballots, new vote keys and evidence, by anybody, in any order, drawn from one seed."""

    def __init__(self, seed: int, make_world: Callable[..., Any], make_keys: Callable[..., Any]) -> None:
        self.rng = Random(seed)
        self.make_keys = make_keys
        n = self.rng.randint(1, 6)
        self.world = make_world(Params(rotation_rest_ms=1), count=n + self.rng.randint(0, 2), authorities=n)
        held = dict(enumerate(self.world.vote_keys))
        self.model = Model(dict.fromkeys(held, ACCREDITED), dict.fromkeys(range(n), 0), held)
        self.model.sets.append([(who, held[who]) for who in range(n)])
        self.applicants: dict[str, Any] = {}
        self.fresh: dict[bytes, SigningKey] = {}
        self.made = 1_000

    def block(self) -> None:
        """Each transaction is asked of ledger and model alike, and the valid ones make the block."""
        world = self.world
        world.now = max(world.now, world.head.timestamp + 1) + self.rng.choice((0, 0, 3, 40))
        drawn = [self.draw() for _ in range(self.rng.randint(1, 6))]
        bodies = [world.body(who, operation) for who, operation in drawn]
        execution, valid = world.execution(*bodies), []
        for body, (who, operation) in zip(bodies, drawn, strict=True):
            if self.expected(who, operation):
                world.apply(execution, body)
                valid.append(body)
            else:
                with pytest.raises(InvalidTransaction):
                    world.apply(execution, body)
        world.block(*valid)
        assert world.head.ends_epoch is (self.model.following is not None)
        self.model.end_block()
        for number in range(len(world.operation_keys), len(self.model.status)):
            made = self.applicants[world.institution(number).name]
            world.operation_keys.append(made.operations)
            self.model.vote_keys[number] = made.vote

    def draw(self) -> tuple[int, Any]:
        """Mostly by authorities, and mostly about motions that are open, or little would ever pass."""
        rng, motions = self.rng, self.model.motions
        anybody = sorted(self.model.seats) if rng.random() < 0.8 else sorted(self.model.status)
        who, kind = rng.choice(anybody), rng.random()
        if kind < 0.7 and motions:
            still = [n for n, one in enumerate(motions) if one.state == "open"][-3:]
            number = rng.choice(still) if still and rng.random() < 0.9 else rng.randrange(len(motions))
            return who, Ballot(number, motions[number].change, rng.random() < 0.8)
        if kind < 0.75:
            self.made += 1
            key = SigningKey(self.made.to_bytes(32, "big"))
            self.fresh[key.public] = key
            name = self.world.institution(who).name
            proof = prove_possession(key, self.world.head.chain, name, USE_VOTE)
            return who, RotateInstitutionKey(SetVoteKey(key.public, proof))
        if kind < 0.77:
            return who, self.evidence()
        return who, Motion(self.change(), self.world.now + rng.choice((1, 50, LIFE_MS, LIFE_MS)))

    def change(self) -> Any:
        kind = self.rng.choice(KINDS_OF_CHANGE)
        if kind is Accredit:
            self.made += 1
            made = self.make_keys(self.made)
            self.applicants[made.name] = made
            return Accredit(made.application(self.world.head.chain))
        if kind is SetParameters:
            return SetParameters((Parameter("delta_ms", self.rng.randint(1, 3)),))
        return kind(self.rng.choice(sorted(self.model.status)))

    def evidence(self) -> ReportEquivocation:
        epoch = self.rng.randint(max(0, self.model.epoch - 3), self.model.epoch)
        index = self.rng.randrange(len(self.model.sets[epoch]))
        chain, key = self.world.head.chain, self.model.sets[epoch][index][1]
        subjects = (
            VoteSubject(NULLIFY, chain, epoch, 4, 0, bytes(32)),
            VoteSubject(FINALIZE, chain, epoch, 4, 0, b"\1" * 32),
        )
        return ReportEquivocation(*sorted((sign_vote(key, one, index) for one in subjects), key=encode))

    def expected(self, who: int, operation: Any) -> bool:
        now = self.world.now
        if isinstance(operation, Motion):
            return self.model.move(who, operation.change, now, operation.expires_at)
        if isinstance(operation, Ballot):
            return self.model.vote(who, operation.motion, operation.favour, now)
        if isinstance(operation, ReportEquivocation):
            return self.model.report(who, operation.first.subject.epoch, operation.first.index)
        return self.model.rotate(who, self.fresh[operation.change.key])

    def check_model(self) -> None:
        """The ledger is what the model says."""
        world, model = self.world, self.model
        authorities = world.authorities()
        seats = {member.institution: member.since for member in authorities.members}
        assert (authorities.epoch, seats) == (model.epoch, model.seats)
        assert [member.institution for member in authorities.members] == sorted(seats)
        for member in authorities.members:
            assert member.vote_key == world.institution(member.institution).vote_key
            assert member.vote_key == model.vote_keys[member.institution].public
        assert [world.institution(n).status for n in range(len(model.status))] == [
            STATUS[model.status[n]] for n in range(len(model.status))
        ]
        assert world.leaf(keys.PARAMS).delta_ms == model.delta
        for number, motion in enumerate(model.motions):
            leaf = world.motion(number)
            assert leaf.state is MotionState[motion.state.upper()]
            assert {cast.institution: cast.epoch for cast in leaf.favour} == motion.favour
            assert {cast.institution: cast.epoch for cast in leaf.against} == motion.against
        convicted = {key for key in world.leaves if key[0] == keys.KIND_EVIDENCE}
        assert convicted == {keys.evidence(*place) for place in model.convicted}

    def check_state(self) -> None:
        """Every leaf keeps its bounds, and the header says what the state is."""
        world = self.world
        for key, raw in world.leaves.items():
            decode(KINDS[key[0]], raw)
        assert tree.update(dict(tree.EMPTY_TREE), world.leaves).root == world.head.state_root
        world.leaf(keys.PARAMS).check()
        if world.head.next_authorities is not None:
            assert world.head.next_authorities == authorities_digest(world.authorities())
        assert world.leaf(keys.authorities(world.head.child_epoch + 1)) is None


def history(seed: int, make_world: Callable[..., Any], make_keys: Callable[..., Any]) -> Model:
    governing = Governing(seed, make_world, make_keys)
    for _ in range(30):
        governing.block()
        governing.check_model()
    governing.check_state()
    return governing.model


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_governance_agrees_with_the_model(new_world: Any, new_keys: Any, seed: int) -> None:
    history(seed, new_world, new_keys)


def test_all_that_can_happen_happens_in_such_histories(new_world: Any, new_keys: Any) -> None:
    models = [history(seed, new_world, new_keys) for seed in range(15)]
    passed = [type(motion.change) for model in models for motion in model.motions if motion.state == "passed"]
    assert set(passed) == set(KINDS_OF_CHANGE)
    assert len(passed) > 50
    assert any(motion.state == "lost" for model in models for motion in model.motions)
    assert any(model.convicted for model in models)
    assert max(model.epoch for model in models) > 5
