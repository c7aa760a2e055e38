"""The real ledger beside the model: a step becomes a signed transaction, and both must answer alike.

Every transaction goes through its read set and `Execution` as at an authority, with real signatures and tags.
`Stage.block` settles steps in one block and compares; `Stage.check_release` asks whoever holds keys, later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from node.records import consent as releasing
from protocol.codec.canonical import decode
from protocol.crypto.tags import NONE
from protocol.errors import ChartledgerError, InvalidTransaction
from protocol.ledger import history, keys, reading, tree
from protocol.ledger.events import Reason, decode_event, event_digest, reason_text
from protocol.ledger.leaves import KINDS, Leaf, decode_leaf
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Family
from protocol.ledger.transition import Execution
from protocol.params import Params
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED
from tests.protocol.conftest import START_MS, World
from tests.protocol.ledger.access_model import AskingModel, ChartModel, Refused
from tests.protocol.ledger.access_rules import DAY_MS, Answer, Bounds, Step
from tests.protocol.ledger.access_rules_control import Model
from tests.protocol.ledger.access_words import Words, name

STATUS = {"accredited": STATUS_ACCREDITED, "suspended": STATUS_SUSPENDED, "removed": STATUS_REMOVED}
INSTITUTIONS = 7
GOVERNOR = 0
"""The only authority, whose word is a quorum: it is never suspended."""
BEGIN_MS = (START_MS // DAY_MS + 1) * DAY_MS - 2_000
"""Shortly before a day ends, so that histories cross midnight."""


class Disagreement(AssertionError):
    """Ledger and model say different things."""


def agree(ledger: object, model: object, what: object) -> None:
    if ledger != model:
        raise Disagreement(f"{what}: the ledger says {ledger!r}, the model {model!r}")


def spoken(value: object) -> object:
    """The name of a reason, an outcome or a kind; anything else as it is."""
    return value.name if isinstance(value, Enum) else value


class Stage:
    """A ledger and a model of it, in step. `met` counts what happened, by name."""

    def __init__(self, bounds: Bounds, met: Counter[str] | None = None) -> None:
        params = Params(
            release_ms=bounds.release_ms,
            recovery_ms=bounds.recovery_ms,
            review_ms=bounds.review_ms,
            cosign_ms=bounds.cosign_ms,
            guardian_cosign_ms=bounds.guardian_cosign_ms,
            denials_per_day=bounds.denials_per_day,
        )
        self.world = World(params, count=INSTITUTIONS, authorities=1)
        self.world.now = BEGIN_MS
        self.model = Model(bounds, dict.fromkeys(range(INSTITUTIONS), "accredited"))
        self.words = Words(self.world.head.chain)
        self.leaves: dict[bytes, Leaf] = {key: decode_leaf(key, raw) for key, raw in self.world.leaves.items()}
        self.met: Counter[str] = Counter() if met is None else met

    @property
    def now(self) -> int:
        """The time that the next block will have."""
        return max(self.world.now, self.world.head.timestamp + 1)

    def block(self, steps: Sequence[Step]) -> list[Answer | None]:
        """One block of these, owners' first: each is valid, and does what the model says, or is refused by the name
        that the model says: then its answer is None. Answers come in the order of `steps`."""
        world = self.world
        now = world.now = self.now
        signed = [self.words.signed(step, now) for step in steps]
        bodies = [world.body(step.carrier, one) for step, one in zip(steps, signed, strict=True)]
        execution = world.execution(*bodies)
        owners = [RULES[type(one.operation)].family is Family.OWNERS for one in signed]
        answers: list[Answer | None] = [None] * len(steps)
        said: list[tuple[int, Any]] = []
        for place in sorted(range(len(steps)), key=lambda place: not owners[place]):
            step, opened = steps[place], len(self.model.charts)
            answers[place] = answer = self.settle(execution, bodies[place], step)
            if answer is not None:
                said += [(opened if step.kind == "open" else step.chart, event) for event in answer.events]
        self.store(execution, said)
        return answers

    def settle(self, execution: Execution, body: Any, step: Step) -> Answer | None:
        answer, expected = None, ""
        try:
            answer = self.model.do(step, self.world.now)
        except Refused as refused:
            expected = str(refused)
        try:
            receipt = self.world.apply(execution, body).operations[0]
        except InvalidTransaction as error:
            agree(type(error).__name__, expected, step)
            self.met[f"{step.kind}: {expected}"] += 1
            return None
        agree("", expected, step)
        assert answer is not None
        agree((spoken(receipt.outcome), spoken(receipt.reason)), (answer.outcome, answer.reason), step)
        self.met[f"{step.kind}: {answer.outcome or 'done'}" + (f" {answer.reason}" if answer.reason else "")] += 1
        return answer

    def store(self, execution: Execution, said: list[tuple[int, Any]]) -> None:
        """The block is final: its events are those that the model said, in its order chart by chart."""
        world, changes = self.world, execution.changes()
        by_chart: dict[int, list[Any]] = {}
        for chart, event in said:
            by_chart.setdefault(chart, []).append(event)
        touched = set(by_chart)
        for chart, number, raw in changes.events:
            expected = by_chart.get(chart)
            kind, fields = expected.pop(0) if expected else ("none", {})
            self.check_event(chart, number, decode_event(raw), kind, fields)
        agree([], [events for events in by_chart.values() if events], "events")
        built = tree.update(world.nodes, changes.leaves)
        world.nodes.update(built.nodes)
        world.leaves.update(changes.leaves)
        world.events.update({(chart, number): raw for chart, number, raw in changes.events})
        self.leaves.update({key: decode_leaf(key, raw) for key, raw in changes.leaves.items()})
        head = world.head
        world.head = replace(head, height=head.height + 1, timestamp=world.now, state_root=built.root)
        for chart in touched:
            self.check_chart(chart)

    def check_event(self, chart: int, number: int, event: Any, kind: str, fields: dict[str, Any]) -> None:
        where = f"event {number} of chart {chart}"
        agree(type(event).__name__, kind, where)
        agree((event.height, event.time_ms), (self.world.head.height + 1, self.world.now), where)
        for field, value in fields.items():
            found = getattr(event, field)
            if field in ("reissues", "delegates"):
                found = tuple(msgspec.to_builtins(one)[0] for one in found)
            bars = field == "bars" and value is not None
            agree(spoken(found), self.words.bars(chart, value) if bars else value, f"{where}, {field}")

    # --- what stands on the ledger

    def check_chart(self, number: int) -> None:
        """The chart's leaves say what the model does."""
        chart, leaf = self.model.charts[number], self.leaves[keys.chart(number)]
        found = (leaf.custodian, leaf.owner_key, leaf.encryption_key, leaf.events, leaf.generation)
        owner, encryption = chart.owner
        stands = (self.words.key(owner).public, name(encryption), chart.events, chart.generation)
        agree(found, (chart.custodian, *stands), f"chart {number}")
        agree((leaf.grants, leaf.delegates), (len(chart.grants), len(chart.delegates)), f"chart {number}")
        agree(self.leaves[keys.owner(leaf.owner_key)].chart, number, "index of owners")
        agree(leaf.kept_free, chart.unfinished, f"what chart {number} keeps free")
        self.check_recovery(number, chart)
        holds = self.leaves.get(keys.holds(number))
        agree(
            {} if holds is None else {at: held and frozenset(held) for at, held in holds.holds},
            chart.holds,
            f"holds of chart {number}",
        )
        page = self.leaves.get(keys.erased(number, 0))
        bitmap = b"" if page is None else page.bitmap
        erased = {at for at, record in chart.records.items() if record.erased}
        agree({at for at in chart.records if reading.is_erased(bitmap, at)}, erased, f"erased of chart {number}")
        for event, erasure in chart.erasures.items():
            order = self.leaves[keys.erasure(number, event)]
            agree(set(order.owed), set(erasure.owed), f"owed for erasure {event}")
            agree({by for by, _ in order.receipts}, erasure.receipts, f"receipts for erasure {event}")
        for institution, count in self.model.counts.items():
            said = self.leaves.get(keys.emergencies(institution))
            found = (0, 0, 0, ()) if said is None else (said.opened, said.late, said.unjustified, said.unreviewed)
            expected = (count.opened, count.late, count.unjustified, tuple(sorted(count.unreviewed)))
            agree(found, expected, f"emergencies of institution {institution}")

    def check_recovery(self, number: int, chart: ChartModel) -> None:
        leaf = self.leaves.get(keys.recovery(number))
        waits = None if leaf is None or leaf.pending is None else leaf.pending
        agree(0 if leaf is None else leaf.changes, chart.changes, f"changes of chart {number}")
        agree(None if leaf is None else leaf.guardians, self.words.guardians(chart.guardians), f"chart {number}")
        agree(
            waits and (waits.change, spoken(waits.kind), waits.ready_at, waits.overrule),
            chart.waits and (chart.waits.number, chart.waits.kind, chart.waits.ready_at, chart.waits.overrule),
            f"what waits of chart {number}",
        )

    def check_release(self, asking: AskingModel, records: tuple[int, ...], time_ms: int) -> str:
        """Whether these may be released at this time: ledger and model agree, and so do the model's two reasons. The
        name by which not, or "" if they may."""
        chart, world = asking.chart, self.world
        expected, reason = self.model.may_read_now(asking, records, time_ms)
        event = decode_event(world.events[(chart, asking.event)])
        where = f"release of {asking} at {time_ms}"
        try:
            said = releasing.check_asking(event, asking.reader, records, for_delegate=asking.delegate is not None)
            needed = releasing.leaves_needed(chart, asking.event, said, records)
            leaves = {key: self.leaves[key] for key in needed if key in self.leaves}
            entries = {at: releasing.record_of(decode_event(world.events[(chart, at)]), at) for at in records}
            releasing.check_in_force(chart, asking.event, said, leaves, entries, time_ms)
        except ChartledgerError as error:
            agree(type(error).__name__, expected, where)
            agree(reason == "" or reason_text(Reason[reason]) in str(error), True, f"{where}: {reason}, {error}")
        else:
            agree("", expected, where)
            self.count_path(asking)
        by = "emergency" if asking.emergency else "grant" if asking.delegate is None else "delegate"
        self.met[f"release by {by}: {reason or expected or 'yes'}"] += 1
        return expected

    def count_path(self, asking: AskingModel) -> None:
        """By which way the model permitted this."""
        chart = self.model.charts[asking.chart]
        if asking.emergency is not None:
            confirmed = asking.emergency.confirmed_by is not None
            self.met["permitted: an emergency, " + ("confirmed" if confirmed else "at once")] += 1
            return
        if asking.delegate is not None:
            self.met["permitted: to a delegate"] += 1
            return
        assert asking.grant is not None
        grant = chart.grants[asking.grant]
        ways = {
            "a plain grant": len(grant.readers) == 1,
            "a group": len(grant.readers) > 1,
            "certain practitioners": grant.staff is not None,
            "a delegate's grant": grant.by_delegate,
            "a reissued grant": grant.reissued,
            "a purpose below the granted": asking.purpose not in grant.purposes,
            "listed categories": grant.cover[0] is not None,
            "listed years": grant.cover[1] is not None,
            "a sensitive record": any(mark[1] != NONE for n in asking.records for mark in chart.records[n].marks[2:]),
            "beside a bar": bool(chart.bars),
            "of an older generation": any(chart.records[n].generation < chart.generation for n in asking.records),
            "written by another": any(chart.records[n].writer != chart.custodian for n in asking.records),
        }
        self.met.update(f"permitted: {way}" for way, taken in ways.items() if taken)

    def check_reader(self, asking: AskingModel, reader: int, records: tuple[int, ...], for_delegate: bool) -> None:
        """Nobody reads by another's asking, an institution not by a delegate's, and none what it does not name. What a
        delegate asked for opens under its own key alone, whoever carries it."""
        event = decode_event(self.world.events[(asking.chart, asking.event)])
        permitted = (
            (reader == asking.reader or for_delegate)
            and set(records) <= set(asking.records)
            and asking.outcome != "DENIED"
        )
        permitted = permitted and for_delegate == (asking.delegate is not None)
        try:
            releasing.check_asking(event, reader, records, for_delegate=for_delegate)
        except ChartledgerError:
            agree(False, permitted, f"{asking} for {reader} and {records}")
        else:
            agree(True, permitted, f"{asking} for {reader} and {records}")

    def finish(self) -> None:
        """At the end of a history: the state is what its root says, and histories are whole."""
        world = self.world
        agree(tree.update(dict(tree.EMPTY_TREE), world.leaves).root, world.head.state_root, "state root")
        for key, raw in world.leaves.items():
            decode(KINDS[key[0]], raw)
        for number, chart in enumerate(self.model.charts):
            self.check_chart(number)
            raws = [world.events[(number, at)] for at in range(chart.events)]
            digests = [event_digest(number, at, raw) for at, raw in enumerate(raws)]
            agree(
                self.leaves[keys.chart(number)].peaks, history.append_all((), 0, digests), f"history of chart {number}"
            )
        for institution, status in self.model.status.items():
            agree(self.leaves[keys.institution(institution)].status, STATUS[status], f"institution {institution}")
