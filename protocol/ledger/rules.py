"""What a handler of an operation is: the form that `transition` dispatches on.

One family of operations a file, each with a table `RULES` from operation type to `Rule`; `registry` joins the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from protocol.errors import NotAscending
from protocol.ledger.events import Outcome, Reason
from protocol.ledger.leaves import MotionState
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.base import Number, Wire
from protocol.types.operations import Cosignature


class Family(Enum):
    """Whose operations a transaction carries. In a block, owners' transactions come before institutions'."""

    OWNERS = "owners"
    INSTITUTION = "institution"


class OperationReceipt(Wire, frozen=True):
    """What one operation did: `events` new events of `chart` from number `first_event` on.

    `grant` is the number assigned or revoked, `delegate` that of the delegate named or ended, `outcome` and `reason`
    those of an asking to read. Governance touches no chart: then `chart` is None, `motion` the number assigned or voted
    on, and `motion_state` where that stands now.
    """

    chart: Number | None
    first_event: Number = 0
    events: Number = 0
    grant: Number | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    motion: Number | None = None
    motion_state: MotionState | None = None
    delegate: Number | None = None

    @property
    def on_chart(self) -> int:
        """The chart, for operations that have one."""
        assert self.chart is not None
        return self.chart


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler knows besides the operation: who carries it, and the co-signatures beside it."""

    institution: int
    cosignatures: tuple[Cosignature, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`reads(operation, call, read_set)` names what `apply(working, operation, call)` may look at.

    All take the operation type that the rule stands for. `apply` raises `InvalidTransaction` to refuse. `cost` bounds
    the work of both beforehand, from the operation alone, in the units of `limits.BLOCK_COST`.
    """

    family: Family
    reads: Callable[[Any, Call, ReadSet], None]
    apply: Callable[[Working, Any, Call], OperationReceipt]
    cost: Callable[[Any], int]


def check_ascending(items: Iterable[Any], what: str) -> None:
    """Raise `NotAscending` unless each item is greater than the one before: a set has one form on the wire."""
    iterator = iter(items)
    last = next(iterator, None)
    for item in iterator:
        if item <= last:
            raise NotAscending(f"{what} must be strictly ascending")
        last = item
