"""What an oracle is: it is shown records, remembers, and says what promise is broken.

Written from docs/spec alone: oracles use types, hashing, signatures and encoding of `protocol`, none of its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from msgspec import Struct

from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import Record, Scene

FailureKind = Literal["safety", "liveness", "crash"]


class Failure(Struct, frozen=True):
    """A broken promise. `at_ms`: when it was noticed."""

    kind: FailureKind
    oracle: str
    sentence: str
    at_ms: int


class Oracle:
    """One promise. `wants` names the record types that it is shown; the first failure is kept."""

    name: ClassVar[str] = "oracle"
    wants: ClassVar[tuple[type[Record], ...]] = ()
    kind: ClassVar[FailureKind] = "safety"

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        self.scene = scene
        self.chronicle = chronicle
        self.failure: Failure | None = None

    @property
    def happened(self) -> Mapping[str, int]:
        """How often what happened to charts, if it counts that."""
        return {}

    def event(self, record: Record) -> None:
        """Look at one record of the types wanted."""

    def end(self, at_ms: int) -> None:
        """The history is over: what was owed and never came is a failure."""

    def demand(self, condition: bool, sentence: str, at_ms: int) -> bool:
        """Note a failure unless the condition holds; returns whether it does."""
        if not condition and self.failure is None:
            self.failure = Failure(self.kind, self.name, sentence, at_ms)
        return condition
