"""Records: by the custodian alone, in order, amending only records."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import Unauthorised, UnknownChart, UnknownRecord
from protocol.ledger import history
from protocol.ledger.events import RecordAppended, event_digest
from protocol.types.operations import AppendRecords, Disclose


def test_entries_become_events_in_order(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    entries = tuple(make_entry(n, n, 3, 4, commitment=n) for n in range(20))
    assert world.append(patient, *entries) == list(range(1, 21))
    events = world.history(patient)[1:]
    assert events == [RecordAppended(world.head.height, world.head.timestamp, 0, 0, one) for one in entries]


def test_the_leaf_commits_to_all_that_happened(world: Any) -> None:
    patient = world.open_chart()
    for _ in range(5):
        world.append(patient)
    world.grant(patient)
    world.disclose(patient, 0, 1)
    leaves = [event_digest(patient.chart, n, raw) for n, raw in enumerate(world.history_raw(patient))]
    chart = world.chart(patient)
    assert chart.events == len(leaves) == 8
    assert chart.peaks == history.append_all((), 0, leaves)
    assert chart.history_root == history.root(8, chart.peaks)


def test_only_the_custodian_appends(world: Any, make_entry: Any) -> None:
    patient = world.open_chart(0)
    world.refuses(Unauthorised, world.body(1, AppendRecords(patient.chart, (make_entry(),))))


def test_takes_no_cosignature(world: Any, make_entry: Any) -> None:
    patient = world.open_chart(0)
    operation = AppendRecords(patient.chart, (make_entry(),))
    world.refuses(Unauthorised, world.body(0, world.owned(patient, operation)))


@pytest.mark.parametrize("chart", [1, 1 << 40, limits.U53])
def test_unknown_chart(world: Any, make_entry: Any, chart: int) -> None:
    world.open_chart(0)
    world.refuses(UnknownChart, world.body(0, AppendRecords(chart, (make_entry(),))))


def test_amends_an_earlier_record_and_nothing_else(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)  # event 1
    world.grant(patient)  # event 2
    for wrong in (0, 2, 3, 4, limits.U53):
        world.refuses(UnknownRecord, world.body(0, AppendRecords(patient.chart, (make_entry(supersedes=wrong),))))
    assert world.append(patient, make_entry(supersedes=1)) == [3]
    assert world.append(patient, make_entry(), make_entry(supersedes=4), make_entry(supersedes=3)) == [4, 5, 6]
    forward = AppendRecords(patient.chart, (make_entry(supersedes=8), make_entry()))
    world.refuses(UnknownRecord, world.body(0, forward))


def test_amends_a_record_of_the_same_block(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    first = world.body(0, AppendRecords(patient.chart, (make_entry(),)))
    second = world.body(0, AppendRecords(patient.chart, (make_entry(supersedes=1),)))
    world.block(first, second)
    assert world.chart(patient).events == 3


def test_a_chart_opened_in_the_block_takes_records_at_once(world: Any, make_entry: Any) -> None:
    patient = world.patient()
    appending = world.body(0, AppendRecords(0, (make_entry(),)))
    world.block(world.body(0, world.opening(patient)), appending)
    patient.chart = 0
    assert world.chart(patient).events == 2


def test_whole_or_not_at_all(world: Any, make_entry: Any) -> None:
    """One bad operation at the end, and what came before it in the transaction leaves no trace; what came before the
    transaction in the block stays."""
    mine, foreign = world.open_chart(0), world.open_chart(1)
    good = AppendRecords(mine.chart, (make_entry(),))
    poisoned = world.body(0, good, good, AppendRecords(foreign.chart, (make_entry(),)))
    before = world.body(0, good)
    after = world.body(0, good)
    execution = world.execution(before, poisoned, after)
    world.apply(execution, before)
    with pytest.raises(Unauthorised):
        world.apply(execution, poisoned)
    world.apply(execution, after)
    clean = world.execution(before, after)
    world.apply(clean, before)
    world.apply(clean, after)
    assert execution.changes() == clean.changes()
    assert [place[:2] for place in execution.changes().events] == [(mine.chart, 1), (mine.chart, 2)]


def test_only_what_the_leaf_counts_is_an_event(world: Any, make_entry: Any) -> None:
    """Storage that holds more than the state commits to changes nothing about validity."""
    patient = world.open_chart()
    world.append(patient)
    world.events[(patient.chart, 50)] = world.events[(patient.chart, 1)]
    amending = AppendRecords(patient.chart, (make_entry(supersedes=50),))
    world.refuses(UnknownRecord, world.body(0, amending))
    world.refuses(UnknownRecord, world.body(1, Disclose(patient.chart, None, (50,), "TREAT")))


def test_an_event_is_bound_to_its_chart_and_place() -> None:
    raw = b"the same bytes"
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (256, 0), (0, 256)]
    assert len({event_digest(chart, number, raw) for chart, number in places}) == len(places)


def test_the_largest_record_fits_what_a_read_set_brings(make_entry: Any) -> None:
    most = limits.U53
    entry = replace(make_entry(), supersedes=most, disputes=most)
    largest = RecordAppended(most, most, most, most, entry, (most,) * limits.HOLDERS_PER_RECORD, most)
    assert len(encode(largest)) <= limits.RECORD_EVENT_BYTES // 2
