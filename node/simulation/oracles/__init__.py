"""What must hold in every history, written again from the rules, one promise a file. `Watch` shows them all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from node.simulation.oracles.agreement import Agreement
from node.simulation.oracles.base import Failure, Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.durability import Durability
from node.simulation.oracles.epochs import Epochs
from node.simulation.oracles.evidence import Evidence
from node.simulation.oracles.execution import NoDoubleExecution
from node.simulation.oracles.governance import Governance
from node.simulation.oracles.liveness import Liveness
from node.simulation.oracles.memory import BoundedMemory
from node.simulation.oracles.quiet import Quiet
from node.simulation.oracles.records import BlockFinal, Record, Scene
from node.simulation.oracles.validity import Validity
from node.simulation.oracles.votes import Votes

__all__ = ["KINDS", "ORACLES", "Failure", "Oracle", "Scene", "Watch", "only"]

KINDS: Final[tuple[type[Oracle], ...]] = (
    Agreement,
    Validity,
    Durability,
    NoDoubleExecution,
    Votes,
    Epochs,
    Governance,
    Evidence,
    BoundedMemory,
    Liveness,
    Quiet,
)
"""One a promise."""
_ORDER: Final = {"safety": 0, "crash": 1, "liveness": 2}


class Watch(Oracle):
    """All oracles of one history, and the chronicle that they share; to the world, one oracle that wants everything."""

    name: ClassVar[str] = "all"
    wants: ClassVar[tuple[type[Record], ...]] = tuple(dict.fromkeys(want for kind in KINDS for want in kind.wants))

    def __init__(self, scene: Scene, kinds: tuple[type[Oracle], ...] = KINDS) -> None:
        super().__init__(scene, Chronicle(scene))
        self.oracles = tuple(kind(scene, self.chronicle) for kind in kinds)
        self._shown: dict[type[Record], list[Oracle]] = {}
        for oracle in self.oracles:
            for want in oracle.wants:
                self._shown.setdefault(want, []).append(oracle)

    @property
    def happened(self) -> Mapping[str, int]:
        """How often what happened to charts, by the name of the event, its outcome and its reason."""
        return self.chronicle.happened

    def event(self, record: Record) -> None:
        """Something happened."""
        if type(record) is BlockFinal:
            self.chronicle.final(record.host, record.block, record.at_ms)
        for oracle in self._shown.get(type(record), ()):
            oracle.event(record)
            if oracle.failure is not None:
                self._judge()

    def end(self, at_ms: int) -> None:
        """The history is over."""
        for oracle in self.oracles:
            oracle.end(at_ms)
        self._judge()

    def _judge(self) -> None:
        """The worst so far: safety before crashes before liveness, and of those the first noticed."""
        failures = [oracle.failure for oracle in self.oracles if oracle.failure is not None]
        if failures:
            self.failure = min(failures, key=lambda failure: (_ORDER[failure.kind], failure.at_ms))


def only(*kinds: type[Oracle]) -> Callable[[Scene], Watch]:
    """What makes a watch of these oracles alone."""
    return lambda scene: Watch(scene, kinds)


ORACLES: Final[tuple[Callable[[Scene], Oracle], ...]] = (Watch,)
"""What a world asks by itself."""
