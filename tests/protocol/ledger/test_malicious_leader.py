"""Every rule of charts is checked by every validator, not by the leader alone: one row for each rule, by its name.

Who breaks a rule is the leader, or the submitting node with a leader's help: nothing tells the two apart in a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.errors import InvalidBlock
from protocol.ledger import history, keys, tree
from protocol.ledger.events import event_digest
from protocol.ledger.leaves import Chart, decode_leaf
from protocol.params import Params
from protocol.types.block import Block
from protocol.types.operations import BreakGlass, Delegate, Disclose, Erase, Grant, Hold, Reissue, Revoke
from tests.protocol.ledger.rules import (
    consent,
    control,
    delegates,
    emergencies,
    erasure,
    frozen,
    moving,
    reading,
    writing,
)
from tests.protocol.ledger.rules.broken import Broken, Stage, check

TABLE = [
    rule
    for family in (consent, delegates, reading, writing, control, moving, frozen, emergencies, erasure)
    for rule in family.TABLE
]


@pytest.fixture
def stage(new_world: Callable[..., Any], make_entry: Any, make_tags: Any) -> Stage:
    return Stage(new_world(Params(denials_per_day=2)), make_entry, make_tags)


@pytest.mark.parametrize("rule", TABLE, ids=[rule.name for rule in TABLE])
def test_a_leader_without_the_rule_is_refused_by_everybody_with_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, rule: Broken
) -> None:
    check(rule, stage, monkeypatch)


def test_each_rule_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in TABLE}) == len(TABLE)


def test_owners_operations_come_first_in_a_block(stage: Stage) -> None:
    """A leader that puts a disclosure before the revocation of its grant."""
    grant = stage.world.grant(stage.patient)
    ordered = [
        *stage.carried(Disclose(stage.chart, grant, (1,), "TREAT")),
        *stage.owner(Revoke(stage.chart, grant)),
    ]
    block = stage.world.build(*ordered)
    with pytest.raises(InvalidBlock, match="comes after an institution's"):
        stage.world.validate(block, *ordered)


def busy_block(stage: Stage) -> list[Any]:
    """A block in which all that is decided about a chart happens: grants, denials, emergencies, erasure, a change."""
    world, patient, chart = stage.world, stage.patient, stage.chart
    world.append(patient)
    world.set_guardians(patient)
    grant, spare = world.grant(patient), world.grant(patient)
    return [
        *stage.owner(Revoke(chart, spare, (Reissue(grant, stage.tags(None, None, [3, 9], [4])),))),
        *stage.owner(Grant(chart, world.terms()), Delegate(chart, world.delegate_terms(world.fresh_key()))),
        *stage.guardians(world.recovering(patient, world.fresh_key()), 0, 1),
        *stage.carried(Disclose(chart, grant, (1,), "TREAT"), Disclose(chart, None, (1,), "TREAT")),
        *stage.carried(BreakGlass(chart, (1,), "ETREAT", bytes(32))),
        *stage.owner(Erase(chart, (1,), (3,)), carrier=0),
        *stage.carried(Hold(chart, (2,), bytes(32)), carrier=0),
    ]


def test_no_leaf_can_be_other_than_the_rules_say(stage: Stage) -> None:
    """Left out, or with any one bit of its last byte changed: another root than the validator's."""
    world, bodies = stage.world, busy_block(stage)
    block = world.build(*bodies)
    leaves = world.validate(block, *bodies).changes.leaves
    kinds = {keys.KIND_GRANT, keys.KIND_DELEGATE, keys.KIND_RECOVERY, keys.KIND_DENIALS, keys.KIND_EMERGENCY}
    kinds |= {keys.KIND_EMERGENCIES, keys.KIND_ERASURE, keys.KIND_ERASED, keys.KIND_HOLDS, keys.KIND_CHART}
    assert kinds <= {key[0] for key in leaves}
    for key, raw in leaves.items():
        without = {other: value for other, value in leaves.items() if other != key}
        changed = {**leaves, key: raw[:-1] + bytes([raw[-1] ^ 1])}
        for wrong in (without, changed):
            refused(world, block, bodies, tree.update(world.nodes, wrong).root)


def test_no_event_can_say_something_else(stage: Stage) -> None:
    """Its bytes changed, left out, or in another order, in a chart's leaf that is whole in all else."""
    world, bodies = stage.world, busy_block(stage)
    block = world.build(*bodies)
    changes = world.validate(block, *bodies).changes
    before, key = world.chart(stage.patient), keys.chart(stage.chart)
    after = decode_leaf(key, changes.leaves[key])
    assert isinstance(after, Chart)
    raws = [raw for chart, _, raw in changes.events if chart == stage.chart]
    lies = [[*raws[:at], raw[:-1] + bytes([raw[-1] ^ 1]), *raws[at + 1 :]] for at, raw in enumerate(raws)]
    lies += [raws[1:], raws[:-1], [raws[1], raws[0], *raws[2:]]]
    for told in [raws, *lies]:
        digests = [event_digest(stage.chart, number, raw) for number, raw in enumerate(told, before.events)]
        peaks = history.append_all(before.peaks, before.events, digests)
        chart = replace(after, events=before.events + len(told), peaks=peaks)
        root = tree.update(world.nodes, {**changes.leaves, key: encode(chart)}).root
        if told is raws:
            assert root == block.header.state_root
        else:
            refused(world, block, bodies, root)


def refused(world: Any, block: Block, bodies: list[Any], root: bytes) -> None:
    """A block that says this state root is refused for it."""
    lying = Block(replace(block.header, state_root=root), block.transactions)
    with pytest.raises(InvalidBlock, match="state_root is"):
        world.validate(lying, *bodies)
