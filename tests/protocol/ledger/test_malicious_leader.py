"""Every rule of charts is checked by every validator, not by the leader alone: one row for each rule, by its name.

Who breaks a rule is the leader, or the submitting node with a leader's help: nothing tells the two apart in a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.errors import InvalidBlock
from protocol.params import Params
from protocol.types.operations import Disclose, Revoke
from tests.protocol.ledger.rules import consent, control, delegates, emergencies, erasure, frozen, reading, writing
from tests.protocol.ledger.rules.broken import Broken, Stage, check

TABLE = [
    rule
    for family in (consent, delegates, reading, writing, control, frozen, emergencies, erasure)
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
