"""Nothing is sent without work (rule 9): when all is final everywhere, the network falls silent."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import FailureKind, Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import (
    BlockFinal,
    Healed,
    MessageArrived,
    Record,
    Restarted,
    Scene,
    Sent,
    Submitted,
)

GRACE_DELTAS = 16
GRACE_CAPS = 4


class Quiet(Oracle):
    """A reason to send is: a submission, one that is owed and not final, one that time alone made valid, a block that
    carries something, a start, the end of faults, or a message from whoever is no honest host. All that it led to is
    over 16 deltas and 4 capped timeouts later: from then on nothing may be sent until the next heartbeat is due."""

    name: ClassVar[str] = "quiet"
    kind: ClassVar[FailureKind] = "liveness"
    wants: ClassVar[tuple[type[Record], ...]] = (BlockFinal, Healed, MessageArrived, Restarted, Sent, Submitted)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        params = scene.genesis.params
        self._grace_ms = GRACE_DELTAS * params.delta_ms + GRACE_CAPS * params.timeout_cap_ms
        self._heartbeat_ms = params.heartbeat_ms - params.drift_ms
        self._reason_ms = 0
        self._final_ms = 0
        self._healed = False
        self._owed: dict[bytes, None] = {}
        self._watched: dict[bytes, bytes] = {}

    def event(self, record: Record) -> None:
        """Note reasons, and judge what is sent without one."""
        if isinstance(record, Sent):
            if self._healed and record.host in self.scene.honest and self._reachable(record.host):
                self._sent(record)
        elif isinstance(record, MessageArrived):
            if record.sender not in self.scene.honest:
                self._reason_ms = record.at_ms
        elif isinstance(record, BlockFinal):
            self._final_ms = record.at_ms
            if record.block.transactions:
                self._reason_ms = record.at_ms
            for identity in [one for one in self._owed if one in self.chronicle.heights]:
                del self._owed[identity]
            for identity in [one for one in self._watched if one in self.chronicle.heights]:
                del self._watched[identity]
        else:
            self._healed = self._healed or isinstance(record, Healed)
            self._reason_ms = record.at_ms
            if isinstance(record, Submitted) and record.owed:
                self._owed[record.id] = None
            elif isinstance(record, Submitted) and record.watched:
                self._watched[record.id] = record.raw

    def _reachable(self, host: int) -> bool:
        """Nobody talks to whoever was suspended or removed, so it may never learn of that, and calls into the void."""
        return self.chronicle.accredited(self.scene.institutions[host])

    def _sent(self, record: Sent) -> None:
        if self._owed:  # whether that takes too long is for liveness to say
            self._reason_ms = record.at_ms
        idle_ms = record.at_ms - self._reason_ms
        if idle_ms > self._grace_ms and self._became_valid(record.at_ms):
            idle_ms = 0
        heartbeat = record.at_ms - self._final_ms >= self._heartbeat_ms
        sentence = f"host {record.host} sends a {type(record.message).__name__} {idle_ms} ms after there was any reason"
        self.demand(idle_ms <= self._grace_ms or heartbeat, sentence, record.at_ms)

    def _became_valid(self, at_ms: int) -> bool:
        """Whether something is valid by now that others did not make so."""
        valid = any(self.chronicle.refusal(raw, at_ms) is None for raw in self._watched.values())
        if valid:
            self._reason_ms = at_ms
        return valid
