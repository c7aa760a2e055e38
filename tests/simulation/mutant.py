"""What a mutant is: one rule gone, by patching it away. What is broken is in `broken_machine`, `broken_ledger`
and `broken_charts`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from protocol.consensus import core

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """One rule gone. `shape` names the kind of history that shows it soonest: see `mutants.SHAPES`."""

    name: str
    rule: str
    breaks: Callable[[Patch], None]
    shape: str


MUTANTS: list[Mutant] = []


def mutant(rule: str, shape: str = "drawn") -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register what breaks this rule."""

    def register(breaks: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS.append(Mutant(breaks.__name__, rule, breaks, shape))
        return breaks

    return register


def disarm(patch: Patch) -> None:
    """Switch off what the machine asserts of itself: it is an oracle that must notice."""
    patch.setattr(core, "_must", lambda condition, rule: None)
