"""Random histories against an independent model of who may read what, written from the rules and not from the code.

The model knows labels and no tags, people's clocks and no windows: if a tag, a generation or a reissue went wrong, the
ledger's answer would differ from the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from protocol.crypto.tags import NONE, GrantLabels, Labels, grant_tags, tags_of
from protocol.ledger import history, keys, tree
from protocol.ledger.events import Outcome, event_digest
from protocol.types.operations import GrantTags, RecordEntry, Reissue

CATEGORIES = ("Condition", "Observation", "Immunization")
YEARS = ("2023", "2024")
SENSITIVITIES = (NONE, "PSY", "HIV")
ABOVE = {"TREAT": None, "COC": "TREAT", "HRESCH": None, "DSRCH": "HRESCH", "ETREAT": "TREAT", "BTG": "ETREAT"}
GRANTABLE = ("COC", "DSRCH", "HRESCH", "TREAT")


@dataclass
class Permission:
    """A grant, as a person would write it down."""

    reader: int
    labels: GrantLabels
    purposes: set[str]
    begin: int
    end: int
    withdrawn: bool = False


@dataclass
class ChartModel:
    """A chart, as a person would write it down."""

    patient: Any
    secret: bytes
    records: dict[int, Labels] = field(default_factory=dict)
    permissions: list[Permission] = field(default_factory=list)
    generation: int = 0
    events: int = 1


def all_generations(secret: bytes, generation: int, labels: GrantLabels) -> GrantTags:
    """What a wallet lists: the tags of every generation that there was."""
    each = [grant_tags(secret, one, labels) for one in range(generation + 1)]
    merged = [
        None if lists[0] is None else tuple(sorted(tag for listed in lists if listed for tag in listed))
        for lists in zip(*each, strict=True)
    ]
    return tuple(merged)  # type: ignore[return-value]


def may_read(
    chart: ChartModel, permission: Permission | None, reader: int, purpose: str, now: int, records: Any
) -> bool:
    """The promise to patients, in one place."""
    line = [purpose]
    while (above := ABOVE[line[-1]]) is not None:
        line.append(above)
    if permission is None or permission.withdrawn or permission.reader != reader or "ETREAT" in line:
        return False
    if not permission.begin <= now < permission.end or not permission.purposes & set(line):
        return False
    named = {NONE, *permission.labels.sensitivities}
    return all(
        (permission.labels.categories is None or labels.category in permission.labels.categories)
        and (permission.labels.years is None or labels.year in permission.labels.years)
        and {labels.sensitivity_1, labels.sensitivity_2} <= named
        for labels in (chart.records[record] for record in records)
    )


labels_strategy = st.builds(
    Labels,
    category=st.sampled_from(CATEGORIES),
    year=st.sampled_from(YEARS),
    sensitivity_1=st.sampled_from(SENSITIVITIES),
    sensitivity_2=st.sampled_from(SENSITIVITIES),
)


def some(values: tuple[str, ...], least: int = 1) -> Any:
    return st.lists(st.sampled_from(values), min_size=least, unique=True).map(lambda names: tuple(sorted(names)))


grant_labels = st.builds(
    GrantLabels,
    categories=st.none() | some(CATEGORIES),
    years=st.none() | some(YEARS),
    sensitivities=some(SENSITIVITIES[1:], least=0),
)


class Reading(RuleBasedStateMachine):
    """Patients, institutions, grants, revocations and time."""

    make_world: Callable[..., Any]

    @initialize()
    def start(self) -> None:
        self.world = type(self).make_world()
        self.charts: list[ChartModel] = []
        self.open(0)

    def chart(self, data: Any) -> ChartModel:
        found: ChartModel = data.draw(st.sampled_from(self.charts))
        return found

    @precondition(lambda self: len(self.charts) < 3)
    @rule(custodian=st.integers(0, 3))
    def open(self, custodian: int) -> None:
        patient = self.world.open_chart(custodian)
        patient.custodian = custodian
        assert patient.chart == len(self.charts)
        self.charts.append(ChartModel(patient, bytes([len(self.charts)]) * 32))

    @rule(data=st.data(), labels=st.lists(labels_strategy, min_size=1, max_size=4))
    def append(self, data: Any, labels: list[Labels]) -> None:
        chart = self.chart(data)
        entries = [RecordEntry(bytes(32), tags_of(chart.secret, chart.generation, one)) for one in labels]
        numbers = self.world.append(chart.patient, *entries, custodian=chart.patient.custodian)
        assert numbers == list(range(chart.events, chart.events + len(labels)))
        chart.records.update(zip(numbers, labels, strict=True))
        chart.events += len(labels)

    @rule(
        data=st.data(),
        reader=st.integers(0, 3),
        labels=grant_labels,
        purposes=some(GRANTABLE),
        begin=st.integers(-5, 20),
        length=st.integers(10, 60),
    )
    def grant(
        self, data: Any, reader: int, labels: GrantLabels, purposes: tuple[str, ...], begin: int, length: int
    ) -> None:
        chart = self.chart(data)
        now = self.world.now
        permission = Permission(reader, labels, set(purposes), now + begin, now + begin + length)
        terms = self.world.terms(
            grantee=reader,
            tags=all_generations(chart.secret, chart.generation, labels),
            purposes=purposes,
            not_before=permission.begin,
            not_after=permission.end,
        )
        assert self.world.grant(chart.patient, terms) == len(chart.permissions)
        chart.permissions.append(permission)
        chart.events += 1

    @precondition(lambda self: any(chart.permissions for chart in self.charts))
    @rule(data=st.data())
    def revoke(self, data: Any) -> None:
        chart = data.draw(st.sampled_from([chart for chart in self.charts if chart.permissions]))
        number = data.draw(st.integers(0, len(chart.permissions) - 1))
        again = chart.permissions[number].withdrawn
        live = [n for n, one in enumerate(chart.permissions) if not one.withdrawn and n != number]
        reissues = [
            Reissue(n, all_generations(chart.secret, chart.generation + 1, chart.permissions[n].labels)) for n in live
        ]
        receipt = self.world.revoke(chart.patient, number, *reissues)
        assert receipt.events == (0 if again else 1)
        if not again:
            chart.permissions[number].withdrawn = True
            chart.generation += 1
            chart.events += 1

    @precondition(lambda self: any(chart.records for chart in self.charts))
    @rule(data=st.data(), reader=st.integers(0, 3), purpose=st.sampled_from(sorted(ABOVE)))
    def ask(self, data: Any, reader: int, purpose: str) -> None:
        chart = data.draw(st.sampled_from([chart for chart in self.charts if chart.records]))
        records = sorted(data.draw(st.sets(st.sampled_from(sorted(chart.records)), min_size=1, max_size=3)))
        number = data.draw(st.none() | st.integers(0, len(chart.permissions)))
        known = number is not None and number < len(chart.permissions)
        receipt = self.world.disclose(chart.patient, number, *records, reader=reader, purpose=purpose)
        now = self.world.head.timestamp
        expected = may_read(chart, chart.permissions[number] if known else None, reader, purpose, now, records)
        assert (receipt.outcome is Outcome.DISCLOSED) is expected
        chart.events += 1

    @precondition(lambda self: any(one.permissions and one.records for one in self.charts))
    @rule(data=st.data())
    def ask_what_was_granted(self, data: Any) -> None:
        """Asks nearer to what is permitted, so that permitted reads are not rare."""
        chart = data.draw(st.sampled_from([one for one in self.charts if one.permissions and one.records]))
        number = data.draw(st.integers(0, len(chart.permissions) - 1))
        permission = chart.permissions[number]
        purpose = data.draw(st.sampled_from(sorted(permission.purposes)))
        record = data.draw(st.sampled_from(sorted(chart.records)))
        receipt = self.world.disclose(chart.patient, number, record, reader=permission.reader, purpose=purpose)
        now = self.world.head.timestamp
        expected = may_read(chart, permission, permission.reader, purpose, now, [record])
        assert (receipt.outcome is Outcome.DISCLOSED) is expected
        chart.events += 1

    @rule(milliseconds=st.integers(1, 30))
    def wait(self, milliseconds: int) -> None:
        self.world.wait(milliseconds)

    @invariant()
    def the_state_is_what_its_root_says(self) -> None:
        assert tree.update(dict(tree.EMPTY_TREE), self.world.leaves).root == self.world.head.state_root
        for chart in self.charts:
            leaf = self.world.chart(chart.patient)
            digests = [
                event_digest(chart.patient.chart, n, raw) for n, raw in enumerate(self.world.history_raw(chart.patient))
            ]
            assert leaf.events == chart.events == len(digests)
            assert leaf.generation == chart.generation
            assert leaf.peaks == history.append_all((), 0, digests)
            assert self.world.leaf(keys.owner(chart.patient.key.public)).chart == chart.patient.chart


def test_reads_agree_with_the_model(new_world: Any) -> None:
    Reading.make_world = staticmethod(new_world)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Reading,
        settings=settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
