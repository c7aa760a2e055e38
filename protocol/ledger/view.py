"""What a transition may look at: a read set named beforehand, and a view that holds exactly that.

So the node fetches the state for a whole block in one query, and a transition can do no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class ReadSet:
    """Keys of leaves, and events as (chart, event number), that transactions may read.

    Operations look at events as records and as nothing else: one of more than `limits.RECORD_EVENT_BYTES` is no record,
    and may be left out as if it were not there.
    """

    keys: set[bytes] = field(default_factory=set)
    events: set[tuple[int, int]] = field(default_factory=set)


class StateView(Protocol):
    """The state before a block, as far as the read set goes. Asking for anything else is a bug and may `KeyError`."""

    def leaf(self, key: bytes) -> bytes | None:
        """The leaf's bytes, or None if there is no such leaf."""

    def event(self, chart: int, number: int) -> bytes | None:
        """The event's bytes, or None if the chart has no event of this number before the block."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a block changes: new bytes of leaves by key, and new events as (chart, number, bytes) in order."""

    leaves: dict[bytes, bytes]
    events: list[tuple[int, int, bytes]]
