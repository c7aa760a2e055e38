"""A leader whose ledger has one rule broken, and honest validators.

`Broken` names a rule by the line of the ledger's source that holds it. The leader runs the ledger without it, builds
the block that this permits, with the state root that its own ledger leads to, and would accept it; who runs the whole
ledger refuses it. So each row shows that every validator checks the rule, and that it is noticed when it is gone.
"""

from __future__ import annotations
import __future__

import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.errors import InvalidBlock
from protocol.ledger import keys, registry, tree
from protocol.ledger.leaves import Leaf
from protocol.types.operations import CancelRecovery, Grant


@dataclass(frozen=True)
class Broken:
    """Rule `name`: in `function` of `module`, `held` stands for it and `broken` in its place breaks it.

    `attack` prepares a stage and returns the transactions of the block, in its order. `refused` is the code of the
    error that an honest validator names, or `state_root` if it computes another state.
    """

    name: str
    module: ModuleType
    function: str
    held: str
    broken: str
    refused: str
    attack: Callable[[Stage], list[Any]]


class Stage:
    """A world with one chart of institution 0, whose record 1 has the tags 1 to 4."""

    def __init__(self, world: Any, entry: Any, tags: Any) -> None:
        self.world, self.entry, self.tags = world, entry, tags
        self.patient = world.open_chart()
        self.chart = self.patient.chart
        world.append(self.patient)

    def owner(self, *operations: Any, carrier: int = 2) -> list[Any]:
        """One transaction with these, signed by the owner."""
        return [self.world.body(carrier, *(self.world.owned(self.patient, one) for one in operations))]

    def carried(self, *operations: Any, carrier: int = 1) -> list[Any]:
        """One transaction of an institution's own."""
        return [self.world.body(carrier, *operations)]

    def by(self, helper: Any, *operations: Any, carrier: int = 2) -> list[Any]:
        """One transaction with these, signed by a delegate."""
        return [self.world.body(carrier, *(self.world.delegated(helper, one) for one in operations))]

    def guardians(self, operation: Any, *who: int, carrier: int = 2, **how: Any) -> list[Any]:
        """One transaction with this, signed by these guardians."""
        return [self.world.body(carrier, self.world.guarded(self.patient, operation, *who, **how))]

    def cancelling(self) -> CancelRecovery:
        """What would end the change that waits."""
        return CancelRecovery(self.chart, self.world.recovery(self.patient).pending.change)

    def frozen(self) -> None:
        """The owner's key is said to be stolen."""
        self.world.set_guardians(self.patient)
        self.world.begin(self.patient, self.world.fresh_key(), carrier=0, overrule=True)

    def put(self, key: bytes, leaf: Leaf) -> None:
        """A leaf as if it had come to be so."""
        raw = encode(leaf)
        self.world.leaves[key] = raw
        self.world.nodes.update(tree.update(self.world.nodes, {key: raw}).nodes)

    def change_chart(self, **changes: Any) -> None:
        """The chart's leaf as if it had come to be so."""
        self.put(keys.chart(self.chart), replace(self.world.chart(self.patient), **changes))


def granting(stage: Stage, **changes: Any) -> Grant:
    """A grant of the stage's chart, plain but for these terms."""
    return Grant(stage.chart, stage.world.terms(**changes))


def check(rule: Broken, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader without the rule accepts its block, and a validator with it refuses by the reason that is named."""
    world = stage.world
    bodies = rule.attack(stage)
    with monkeypatch.context() as leader:
        break_rule(rule, leader)
        block = world.build(*bodies)
        world.validate(block, *bodies)
    with pytest.raises(InvalidBlock) as refused:
        world.validate(block, *bodies)
    sign = "state_root is" if rule.refused == "state_root" else f"({rule.refused})"
    assert sign in str(refused.value), refused.value


def break_rule(rule: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the broken function in place of the whole one, wherever the ledger names it."""
    owner, _, function = rule.function.rpartition(".")
    holder = getattr(rule.module, owner) if owner else rule.module
    whole = getattr(holder, function)
    source = textwrap.dedent(inspect.getsource(whole))
    assert source.count(rule.held) == 1, f"{rule.name}: {rule.held!r} stands {source.count(rule.held)} times"
    text = source.replace(rule.held, rule.broken)
    made: dict[str, Any] = {}
    code = compile(text, rule.name, "exec", flags=__future__.annotations.compiler_flag)
    exec(code, rule.module.__dict__, made)
    broken = made[function]
    if owner:
        monkeypatch.setattr(holder, function, broken)
    for name, module in list(sys.modules.items()):
        if name.startswith("protocol.ledger") and getattr(module, function, None) is whole:
            monkeypatch.setattr(module, function, broken)
    for kind, one in list(registry.RULES.items()):
        if one.apply is whole:
            monkeypatch.setitem(registry.RULES, kind, dataclasses.replace(one, apply=broken))
