"""Whatever an operation says, it is valid or refused by a name: what it reads it has named, and no number is too large.

Operations are drawn field by field from what charts have and from the edges of every number, and signed by whoever
should or by somebody else. Whatever is valid leaves leaves and events that decode, and moves on with the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from protocol import limits
from protocol.codec.canonical import decode
from protocol.errors import InvalidTransaction
from protocol.ledger import keys
from protocol.ledger.events import Erased, Event, GlassBroken, HoldPlaced, RecordAppended
from protocol.ledger.leaves import KINDS
from protocol.ledger.registry import RULES
from protocol.params import Params
from protocol.types.operations import (
    AppendRecords,
    Bar,
    BreakGlass,
    BreakGlassMode,
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    Delegate,
    DelegateReissue,
    Disclose,
    EndDelegate,
    Erase,
    ErasureReceipt,
    Grant,
    Hold,
    MoveChart,
    Operation,
    Policy,
    RecordEntry,
    Reissue,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    SetGuardians,
    SetPolicy,
)

EDGES = (keys.GRANT_MAX, keys.GRANT_MAX + 1, keys.INSTITUTION_MAX, keys.INSTITUTION_MAX + 1)
EDGES += (limits.EVENTS_PER_CHART - 1, limits.EVENTS_PER_CHART, keys.CHART_MAX, keys.CHART_MAX + 1, limits.U53)
PURPOSES = ("TREAT", "TREAT", "ETREAT", "ETREAT", "BTG", "HRESCH", "NOTHING")


class Strangers:
    """Draws operations on three charts from one seed."""

    def __init__(self, world: Any, seed: int, entry: Any, tags: Any) -> None:
        self.world, self.rng, self.entry, self.tags = world, Random(seed), entry, tags
        self.patients = [world.open_chart(custodian) for custodian in (0, 0, 1)]
        for patient in self.patients[:2]:
            world.append_held(patient, 1, 3, entries=(entry(), entry(1, 2, 3, 5)))
            world.set_guardians(patient)
        self.helpers = [world.name_delegate(patient) for patient in self.patients for _ in range(2)]

    def number(self, most: int = 9) -> int:
        return self.rng.choice(EDGES) if self.rng.random() < 0.1 else self.rng.randrange(most)

    def event(self, patient: Any, kind: type) -> int:
        """Most often one of this kind."""
        history = self.world.history(patient)
        known = [number for number, event in enumerate(history) if isinstance(event, kind)]
        if known and self.rng.random() < 0.8:
            return self.rng.choice(known)
        return min(self.number(40), limits.EVENTS_PER_CHART - 1)

    def records(self, patient: Any) -> tuple[int, ...]:
        found = {self.event(patient, RecordAppended) for _ in range(self.rng.randrange(1, 3))}
        return tuple(sorted(found)) if self.rng.random() < 0.8 else self.some(20)

    def some(self, most: int = 9) -> tuple[int, ...]:
        listed = [self.number(most) for _ in range(self.rng.randrange(1, 4))]
        return tuple(sorted(set(listed))) if self.rng.random() < 0.9 else tuple(listed)

    def maybe(self, make: Callable[[], Any]) -> Any:
        return make() if self.rng.random() < 0.5 else None

    def chart(self, patient: Any) -> int:
        return patient.chart if self.rng.random() < 0.9 else self.number(4)  # type: ignore[no-any-return]

    def tag_lists(self) -> Any:
        return self.tags(self.maybe(lambda: [1]), self.maybe(lambda: [2]), [3], [4, 5])

    def bars(self) -> tuple[Bar, ...]:
        made = Bar(
            self.maybe(lambda: self.number(4)), (None, None, None), self.rng.random() < 0.5, self.rng.randrange(3)
        )
        return (made,) * self.rng.randrange(2)

    def operation(self, patient: Any) -> Any:
        """Of any kind that charts take."""
        world, chart, number = self.world, self.chart(patient), self.number
        soon = {"not_after": world.now + self.rng.choice((1, 10_000, 10**11))}
        change = world.next_change(patient) - self.rng.randrange(3)
        change = max(change, 0) if self.rng.random() < 0.9 else number()
        entry = RecordEntry(
            bytes(32), self.entry().tags, self.maybe(lambda: number(30)), self.maybe(lambda: number(30))
        )
        plain = self.entry()
        access = self.rng.choice((1, 1, 2, 3, 4))
        key = world.fresh_key()
        recovering = world.recovering(patient, key, self.rng.random() < 0.3, chart=chart)
        writes = self.rng.choice(((plain,), (plain,), (entry,)))
        bounds = (DelegateReissue(number(3), self.tag_lists()),) * self.rng.randrange(2)
        made: list[Callable[[], Any]] = [
            lambda: AppendRecords(chart, writes, self.some(5), self.maybe(number)),
            lambda: AppendRecords(chart, (plain,), (1,)),
            lambda: Grant(chart, world.terms(grantees=self.some(4), tags=self.tag_lists(), access=access, **soon)),
            lambda: Grant(chart, world.terms(tags=self.tags(None, None, [3], [4]))),
            lambda: Revoke(chart, number(), (Reissue(number(), self.tag_lists()),) * self.rng.randrange(2),
                           bounds, self.maybe(self.bars)),
            lambda: Disclose(chart, self.maybe(number), self.records(patient), self.rng.choice(PURPOSES)),
            lambda: Disclose(chart, self.maybe(number), (1,), "TREAT"),
            lambda: SetPolicy(chart, Policy(self.rng.choice(list(BreakGlassMode)), self.bars())),
            lambda: Delegate(chart, world.delegate_terms(key, acts=self.rng.randrange(9), **soon)),
            lambda: EndDelegate(chart, number(4)),
            lambda: SetGuardians(chart, change, self.maybe(lambda: world.recovery(patient).guardians)),
            lambda: world.rotating(patient, key, chart=chart),
            lambda: recovering,
            lambda: CancelRecovery(chart, change),
            lambda: CompleteRecovery(chart, change),
            lambda: BreakGlass(chart, self.records(patient), self.rng.choice(PURPOSES), bytes(32)),
            lambda: BreakGlass(chart, (1,), "ETREAT", bytes(32)),
            lambda: ConfirmBreakGlass(chart, self.event(patient, GlassBroken), number(4), self.records(patient)),
            lambda: ReviewBreakGlass(chart, self.event(patient, GlassBroken), number(4), self.rng.random() < 0.5),
            lambda: Erase(chart, self.records(patient), self.some(4)),
            lambda: ErasureReceipt(chart, self.event(patient, Erased)),
            lambda: Hold(chart, self.maybe(lambda: self.records(patient)), bytes(32)),
            lambda: ReleaseHold(chart, self.event(patient, HoldPlaced)),
            lambda: MoveChart(chart, number(4), number(4)),
        ]  # fmt: skip
        return self.rng.choice(made)()

    def signed(self, patient: Any, operation: Any) -> Any:
        """By the owner, a delegate, guardians or nobody."""
        world, rng = self.world, self.rng
        kinds = [0, 1, 2, 3]
        if isinstance(operation, AppendRecords | BreakGlass | CompleteRecovery | Hold | ErasureReceipt | ReleaseHold):
            kinds.append(3)
        kind = rng.choice(kinds) if rng.random() < 0.3 else likely(operation)
        if kind == 0:
            return world.owned(patient, operation)
        if kind == 1:
            return world.delegated(rng.choice(self.helpers), operation)
        if kind == 2 and patient.guardians:
            return world.guarded(patient, operation, *sorted(rng.sample(range(3), 2)))
        return operation

    def body(self) -> Any:
        """A transaction of one to three operations on a chart, of one family, often carried by its custodian."""
        patient = self.rng.choice(self.patients)
        listed = [self.operation(patient)]
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            listed += [one for one in (self.operation(patient),) if family(one) is family(listed[0])]
        carrier = self.world.chart(patient).custodian if self.rng.random() < 0.4 else self.rng.randrange(4)
        return self.world.body(carrier, *(self.signed(patient, one) for one in listed))


def family(operation: Any) -> Any:
    return RULES[type(operation)].family


def likely(operation: Any) -> int:
    """Who most often signs such a thing: 0 the owner, 2 guardians, 3 nobody."""
    name = type(operation).__name__
    if name == "BeginRecovery":
        return 2
    owners = ("Grant", "Revoke", "SetPolicy", "Delegate", "EndDelegate", "SetGuardians", "RotateOwnerKey")
    return 0 if name in (*owners, "CancelRecovery", "Erase") else 3


@pytest.mark.parametrize("seed", range(4))
def test_it_is_valid_or_refused_by_name(
    new_world: Any, make_entry: Any, make_tags: Any, recode: Any, seed: int
) -> None:
    world = new_world(Params(recovery_ms=1_000, review_ms=5_000, denials_per_day=1_000))
    strangers = Strangers(world, seed, make_entry, make_tags)
    refused, applied = Counter(), Counter()
    for _ in range(300):
        world.wait(strangers.rng.choice((1, 1, 10, 400)))
        body = strangers.body()
        for signed in body.operations:
            assert recode(Operation, signed.operation) == signed.operation
        execution = world.execution(body)
        try:
            world.apply(execution, body)
        except InvalidTransaction as error:
            refused[error.code] += 1
            world.numbers[body.institution] -= 1
            continue
        applied.update(type(signed.operation).__name__ for signed in body.operations)
        for key, raw in execution.changes().leaves.items():
            decode(KINDS[key[0]], raw)
        for _, _, raw in execution.changes().events:
            decode(Event, raw)  # type: ignore[arg-type]
        world.block(body)
        follow(world, strangers)
    assert len(refused) >= 15, refused
    assert len(applied) >= 10, applied


def follow(world: Any, strangers: Strangers) -> None:
    """Whoever's key became an owner's signs from then on."""
    for patient in strangers.patients:
        chart = world.chart(patient)
        for number in range(world.helpers + 1):
            key = type(patient.key)(bytes([9]) * 16 + (10_000 + number).to_bytes(16, "big"))
            if key.public == chart.owner_key and key.public != patient.key.public:
                patient.key, patient.next_number = key, 0
