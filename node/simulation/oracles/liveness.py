"""After faults stop, every pending valid transaction is final at every honest host within a bound.

Of what is owed that is known from the start. What others may make invalid is watched: it is final at the end, or the
naive ledger says why it could not be.
"""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import FailureKind, Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import BlockFinal, Healed, Record, Scene, Submitted
from protocol.params import Params

BOUND_DELTAS = 200
"""So many deltas after faults stopped, or after a later submission, all that is owed must be final everywhere, epochs
that end meanwhile included: six views of the longest wait at the parameters' defaults. Most histories take less than
40, the slowest of thousands about half of it."""


LATELY_MS = 20_000
"""Nodes look again at what they refused every eight seconds."""


def bound_ms(params: Params) -> int:
    """The same in milliseconds."""
    return BOUND_DELTAS * params.delta_ms


class Liveness(Oracle):
    """`slowest_ms`: the longest that anything took after healing. Epoch changes are included, whatever their number."""

    name: ClassVar[str] = "liveness"
    kind: ClassVar[FailureKind] = "liveness"
    wants: ClassVar[tuple[type[Record], ...]] = (Submitted, BlockFinal, Healed)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self.slowest_ms = 0
        self._bound_ms = bound_ms(scene.genesis.params)
        self._owed: dict[bytes, Submitted] = {}
        self._watched: dict[bytes, Submitted] = {}
        self._reached: dict[int, dict[int, int]] = {host: {} for host in scene.honest}
        self._healed_ms = 0

    def event(self, record: Record) -> None:
        """Take down what is owed, and who has reached which height when."""
        if isinstance(record, Submitted):
            if record.owed and record.host in self.scene.honest:
                self._owed.setdefault(record.id, record)
            elif record.watched and record.host in self.scene.honest:
                self._watched.setdefault(record.id, record)
        elif isinstance(record, BlockFinal):
            reached = self._reached.get(record.host)
            if reached is not None:
                reached.setdefault(record.block.header.height, record.at_ms)
        elif isinstance(record, Healed):
            self._healed_ms = record.at_ms

    def end(self, at_ms: int) -> None:
        """Look at each that is owed, at each host: the history goes on until all is final or the bound is over."""
        hosts = [host for host in self._reached if self._accredited(host)]
        for identity, submitted in self._owed.items():
            if self.chronicle.barred(self.scene.institutions[submitted.host]):
                continue
            since = max(self._healed_ms, submitted.at_ms)
            height = self.chronicle.heights.get(identity)
            what = f"the transaction {identity.hex()[:12]} of host {submitted.host} (at {submitted.at_ms} ms)"
            if height is None:
                self.demand(False, f"{what} is final nowhere, {at_ms - since} ms after all faults stopped", at_ms)
                continue
            for host in hosts:
                final_ms = self._reached[host].get(height)
                if final_ms is None:
                    self.demand(False, f"{what} is final at height {height}, but never became so at host {host}", at_ms)
                    continue
                took = final_ms - since
                self.slowest_ms = max(self.slowest_ms, took)
                late = f"{what} took {took} ms to be final at host {host}, more than {self._bound_ms}"
                self.demand(took <= self._bound_ms, late, at_ms)

        for identity, submitted in self._watched.items():
            self._refused(identity, submitted, at_ms)

    def _refused(self, identity: bytes, submitted: Submitted, at_ms: int) -> None:
        """It is final, or could not be now, or not until a moment ago: by the state that is final, so at any time in
        between neither."""
        if identity in self.chronicle.heights or self.chronicle.invalid is not None:
            return
        for then_ms in (at_ms, at_ms - LATELY_MS):
            if self.chronicle.refusal(submitted.raw, then_ms) is not None:
                return
        what = f"the transaction {identity.hex()[:12]} of host {submitted.host} (at {submitted.at_ms} ms)"
        self.demand(False, f"{what} is valid, and final nowhere", at_ms)

    def _accredited(self, host: int) -> bool:
        """Whether it may follow at all."""
        institution = self.scene.institutions.get(host)
        return institution is not None and self.chronicle.accredited(institution)
