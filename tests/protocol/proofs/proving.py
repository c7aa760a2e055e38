"""Makes proofs of every kind at the head of a chain in memory, as a node does from its disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.crypto.commitments import Opening, bytes_proof, commit
from protocol.crypto.fields import json_fields
from protocol.ledger import history as mountains
from protocol.ledger import keys, tree
from protocol.ledger.events import event_digest
from protocol.ledger.leaves import Erasure
from protocol.proofs import erasure, field, grant, history, inclusion, past
from protocol.proofs.erasure import ErasureProof
from protocol.proofs.field import FieldProof
from protocol.proofs.final import Anchor, FinalityProof
from protocol.proofs.grant import GrantProof
from protocol.proofs.history import HistoryProof
from protocol.proofs.inclusion import InclusionProof
from protocol.proofs.light import EpochHop
from protocol.proofs.parts import EventShown, events_needed, show_event
from protocol.proofs.past import PastGrantProof
from protocol.types.governance import TakeAuthority
from protocol.types.operations import AppendRecords, Erase, ErasureReceipt, RecordEntry, SetPolicy
from protocol.types.terms import Bar, Policy

DATA = (
    b'{"resourceType":"Immunization","status":"completed","vaccineCode":{"text":"Yellow fever"},'
    b'"patient":{"display":"Ada Osei"},"occurrenceDateTime":"2026-03-14","lotNumber":"YF-88213",'
    b'"site":{"text":"left arm"}}'
)
OPENING = Opening(b"s" * 64, b"o" * 32)
POINTER, VALUE = "/occurrenceDateTime", b'"2026-03-14"'
FIELDS = json_fields(DATA)


def immunization() -> RecordEntry:
    """The entry of `DATA`, with tags 1 to 4."""
    tags = tuple(number.to_bytes(16, "big") for number in range(1, 5))
    return RecordEntry(commit(DATA, FIELDS, OPENING), tags)  # type: ignore[arg-type]  # four of them


class Prover:
    """Proofs about one patient's chart at the head of a world. `hops` are the ends of its epochs."""

    def __init__(self, world: Any, patient: Any, hops: Sequence[EpochHop] = ()) -> None:
        self.world, self.patient, self.hops = world, patient, tuple(hops)

    @property
    def chart(self) -> int:
        return int(self.patient.chart)

    def anchor(self) -> Anchor:
        return Anchor(self.world.head, self.world.certificate(), self.hops)

    def block(self) -> FinalityProof:
        """That the head is final."""
        return FinalityProof(self.world.head, (), self.world.certificate(), self.hops)

    def nodes(self, *wanted: bytes) -> tuple[bytes, ...]:
        walk = tree.Walk(wanted)
        walk.supply(self.world.nodes)
        return walk.prove_all()

    def raws(self, start: int, end: int) -> list[bytes]:
        return [self.world.events[(self.chart, number)] for number in range(start, end)]

    def event(self, number: int) -> EventShown:
        needed = events_needed(self.world.chart(self.patient), number)
        return show_event(self.chart, self.world.chart(self.patient), number, self.raws(needed.start, needed.stop))

    def record(self, number: int, opened: bool = False) -> InclusionProof:
        key = keys.chart(self.chart)
        needed = events_needed(self.world.chart(self.patient), number)
        return inclusion.prove(
            self.world.head,
            self.world.certificate(),
            chart=self.chart,
            leaf=self.world.leaves[key],
            state_path=tree.prove(self.world.nodes, key),
            number=number,
            events=self.raws(needed.start, needed.stop),
            hops=self.hops,
            record=bytes_proof(DATA, FIELDS, OPENING) if opened else None,
        )

    def field(self, number: int, pointer: str = POINTER) -> FieldProof:
        return field.prove(self.record(number), field.open_field(DATA, OPENING, pointer))

    def tops(self, start: int, end: int) -> list[bytes]:
        raws = self.raws(start, end)
        digests = [event_digest(self.chart, number, raw) for number, raw in enumerate(raws, start)]
        return [
            mountains.append_all((), 0, digests[at - start : at - start + (1 << height)])[0]
            for at, height in mountains.spans(start, end)
        ]

    def history(self, first: int = 0, end: int | None = None) -> HistoryProof:
        total = self.world.chart(self.patient).events
        end = total if end is None else end
        key = keys.chart(self.chart)
        return history.prove(
            self.anchor(),
            chart=self.chart,
            leaf=self.world.leaves[key],
            state_path=tree.prove(self.world.nodes, key),
            first=first,
            events=self.raws(first, end),
            before=self.tops(0, first),
            after=self.tops(end, total),
        )

    def grant(self, number: int, institution: int | None = 1, record: int | None = None) -> GrantProof:
        wanted = grant.keys_needed(self.chart, number, institution, record)
        return grant.prove(
            self.anchor(),
            chart=self.chart,
            grant=number,
            institution=institution,
            record=None if record is None else self.event(record),
            leaves={key: self.world.leaves[key] for key in wanted if key in self.world.leaves},
            nodes=self.nodes(*wanted),
        )

    def past(self, block: FinalityProof, number: int, institution: int | None = 1) -> PastGrantProof:
        """As it was at `block`, with no more of the history than it takes."""
        heights = [event.height for event in self.world.history(self.patient)]
        until = sum(height <= block.header.height for height in heights)
        return past.prove(block, self.history(0, min(until + 1, len(heights))), number, institution)

    def erasure(self, number: int) -> ErasureProof:
        leaf = self.world.leaf(keys.erasure(self.chart, number))
        assert isinstance(leaf, Erasure)
        wanted = erasure.keys_needed(self.chart, number, leaf)
        return erasure.prove(
            self.anchor(),
            chart=self.chart,
            ordered=self.event(number),
            leaves={key: self.world.leaves[key] for key in wanted},
            nodes=self.nodes(*wanted),
        )

    # --- what happens to the chart

    def set_policy(self, *bars: Bar) -> None:
        self.world.run(0, self.world.owned(self.patient, SetPolicy(self.chart, Policy(bars=bars))))

    def erase(self, records: Sequence[int], holders: Sequence[int] = ()) -> int:
        """The erasure's event number."""
        operation = Erase(self.chart, tuple(records), tuple(holders))
        return int(self.world.run(0, self.world.owned(self.patient, operation)).first_event)

    def acknowledge(self, number: int, institution: int) -> None:
        self.world.run(institution, ErasureReceipt(self.chart, number))


def story(world: Any) -> tuple[Prover, dict[str, Any]]:
    """One true proof of each kind, at the head of a chain of two epochs: in the first, all four of a fresh world are
    authorities, and the last of them leaves."""
    patient = world.open_chart()
    world.run(0, AppendRecords(patient.chart, (immunization(), immunization()), (1, 2)))
    world.grant(patient)
    early = Prover(world, patient).block()
    world.decide(TakeAuthority(3))
    end = EpochHop(world.head, world.certificate(), world.authorities())
    prover = Prover(world, patient, [end])
    world.block()
    erasure = prover.erase([2], [1, 2])
    prover.acknowledge(erasure, 1)
    return prover, {
        "record": prover.record(1),
        "opened": prover.record(1, opened=True),
        "history": prover.history(),
        "part": prover.history(1, 4),
        "field": prover.field(1),
        "grant": prover.grant(0, record=1),
        "no-grant": prover.grant(3, institution=2),
        "past": prover.past(early, 0),
        "erasure": prover.erasure(erasure),
        "block": prover.block(),
    }
