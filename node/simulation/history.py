"""What is left of a history: its hash, its failure if a promise broke, what happened last, and how fast finality was.

The hash is over every event that a node's machine was given and every effect that it gave back, in order, so two runs
with one hash did the same. The tail keeps what happened last as it is, and puts it into words only when asked.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from struct import Struct as Layout
from typing import Any

import msgspec
from msgspec import Struct

from node.simulation.oracles.base import Failure
from node.simulation.schedule import Plan
from node.simulation.trace import in_words

TAIL = 400
_PLACE = Layout(">QHB")
_FLUSH = 1_024


class Stats(Struct):
    """Times in simulated milliseconds: from a submission until its client was told, and from a block's first proposal
    until it was final at each honest node."""

    from_submission_ms: list[float] = msgspec.field(default_factory=list)
    from_proposal_ms: list[float] = msgspec.field(default_factory=list)
    epochs: int = 0
    votes: int = 0
    messages: int = 0
    events: int = 0
    settled_ms: float | None = None
    """How long after healing nothing was left to do; None if something was."""


class History(Struct):
    """The outcome. `heights`: of each honest node's storage; `happened`: to charts, by event, outcome and reason."""

    seed: int
    plan: Plan
    event_hash: str
    simulated_ms: float
    heights: tuple[int, ...]
    stats: Stats
    failure: Failure | None
    trace_tail: tuple[str, ...]
    happened: dict[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def broken(cls, plan: Plan, failure: Failure) -> History:
        """Of a plan that could not be played."""
        return cls(plan.seed, plan, "", 0.0, (), Stats(), failure, ())


class EventLog:
    """The running hash and the tail."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=32)
        self._parts: list[bytes] = []
        self._tail: deque[tuple[int, int, str, Any]] = deque(maxlen=TAIL)

    def note(self, at_us: int, host: int, code: int, raw: bytes) -> None:
        """Something happened at a host; `raw` says what, canonically."""
        parts = self._parts
        parts.append(_PLACE.pack(at_us, host, code))
        parts.append(raw)
        if len(parts) > _FLUSH:
            self._hash.update(b"".join(parts))
            parts.clear()

    def show(self, at_us: int, host: int, what: str, thing: Any) -> None:
        """Keep it for the tail. `thing` must not change any more."""
        self._tail.append((at_us, host, what, thing))

    def digest(self) -> str:
        """The hash so far."""
        self._hash.update(b"".join(self._parts))
        self._parts.clear()
        return self._hash.hexdigest()

    def tail(self) -> tuple[str, ...]:
        """What happened last, in words, oldest first."""
        return tuple(
            f"{at_us / 1000:>12,.1f} ms  node {host:<2}  {what} {in_words(thing)}".rstrip()
            for at_us, host, what, thing in self._tail
        )
