"""Sets change only by passed motions or evidence, and every host goes by the set that these lead to."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Failure, Oracle
from node.simulation.oracles.records import EpochBegan, Record


class Governance(Oracle):
    """What the set of an epoch must be is derived by the naive ledger from transactions alone (a header that says
    otherwise is no valid block, which `validity` tells)."""

    name: ClassVar[str] = "governance"
    wants: ClassVar[tuple[type[Record], ...]] = (EpochBegan,)

    def event(self, record: Record) -> None:
        """A host holds this to be its set."""
        if not isinstance(record, EpochBegan) or record.host not in self.scene.honest:
            return
        epoch = record.authorities.epoch
        derived = self.chronicle.sets.get(epoch)
        sentence = f"host {record.host} goes by another set of epoch {epoch} than motions and evidence led to"
        self.demand(derived == record.authorities, sentence, record.at_ms)
        members = record.authorities.members
        traitors = [member.institution for member in members if self.scene.lies(member.institution)]
        if len(traitors) > (len(members) - 1) // 3 and self.failure is None:
            sentence = f"the plan has traitors {traitors} among the {len(members)} authorities of epoch {epoch}"
            self.failure = Failure("crash", self.name, f"{sentence}: no promise holds then", record.at_ms)
