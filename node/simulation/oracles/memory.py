"""The machine's memory is bounded by the number of authorities and the views since the last finality, as documented."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.records import EpochBegan, Record, Scene, Stepped

EVIDENCE_VIEWS = 64
SLOTS = 6  # verified and noted, of three kinds
BODIES = 64  # four times the unfinalized depth; certified ones may come on top


class BoundedMemory(Oracle):
    """`load` names sizes and, as what bounds them, `unsettled`: views from the final head to the current one."""

    name: ClassVar[str] = "bounded memory"
    wants: ClassVar[tuple[type[Record], ...]] = (Stepped, EpochBegan)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._members: dict[int, int] = {}

    def event(self, record: Record) -> None:
        """Hold sizes against bounds."""
        if isinstance(record, EpochBegan):
            self._members[record.host] = len(record.authorities.members)
        elif isinstance(record, Stepped) and record.host in self.scene.honest:
            load, members = record.load, self._members.get(record.host, 256)
            views = load["unsettled"]
            bounds = {
                "rounds": views + 2,
                "votes": SLOTS * members * (EVIDENCE_VIEWS + 3) + 3 * views,
                "past": EVIDENCE_VIEWS + 1,
                "blocks": BODIES + views,
                "certificates": 2 * (views + 1),
            }
            for name, most in bounds.items():
                sentence = f"host {record.host} holds {load[name]} {name}, {views} views above its head: {most} at most"
                self.demand(load[name] <= most, sentence, record.at_ms)
