"""Who writes to a chart: the custodian, whom a grant lets write, and notes of dispute that the owner wants beside."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import OwnerFrozen, WriteNotGranted
from protocol.errors import (
    BadCosignature,
    BadTerms,
    MissingCosignature,
    NotAscending,
    Replayed,
    Unauthorised,
    UnknownChart,
    UnknownInstitution,
    UnknownRecord,
)
from protocol.ledger import keys
from protocol.ledger.events import Outcome, RecordAppended
from protocol.types.operations import ACCESS_READ, ACCESS_WRITE, AppendRecords, Disclose, Revoke

WRITER = 3


def writing(world: Any, patient: Any, **changes: Any) -> int:
    fields = {"grantees": (WRITER,), "access": ACCESS_WRITE, **changes}
    return world.grant(patient, world.terms(**fields))  # type: ignore[no-any-return]


def test_whom_a_grant_lets_write_writes(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    grant = writing(world, patient)
    receipt = world.run(WRITER, AppendRecords(patient.chart, (make_entry(),) * 2, (0, WRITER), grant))
    assert receipt.events == 2
    height, time_ms = world.head.height, world.head.timestamp
    expected = RecordAppended(height, time_ms, WRITER, 0, make_entry(), (0, WRITER), grant)
    assert world.history(patient)[-2:] == [expected, expected]


@pytest.mark.parametrize("why", ["none", "unknown", "read only", "other", "revoked", "early", "late", "outside"])
def test_nobody_else_does(world: Any, make_entry: Any, why: str) -> None:
    patient = world.open_chart()
    changes: dict[str, Any] = {
        "read only": {"access": ACCESS_READ},
        "other": {"grantees": (1, 2)},
        "early": {"not_before": world.now + 60_000},
        "late": {"not_after": world.now + 2},
    }.get(why, {})
    grant = None if why in ("none", "unknown") else writing(world, patient, **changes)
    if why == "revoked":
        world.revoke(patient, grant)
    world.wait(10)
    entry = make_entry(1, 2, 9, 4) if why == "outside" else make_entry()
    if why == "none":
        world.refuses(Unauthorised, world.body(WRITER, AppendRecords(patient.chart, (entry,))))
        return
    for number in (grant,) if grant is not None else (0, 5, keys.GRANT_MAX + 1, limits.U53):
        operation = AppendRecords(patient.chart, (make_entry(), entry), (), number)
        world.refuses(WriteNotGranted, world.body(WRITER, operation))


def test_a_writer_amends_what_its_grant_covers_and_nothing_else(world: Any, make_entry: Any, make_tags: Any) -> None:
    """Else a laboratory that may add reports could have a reader told that an allergy is superseded by one."""
    patient = world.open_chart()
    world.append(patient, make_entry(1, 2, 3, 4), make_entry(5, 2, 3, 4))
    grant = writing(world, patient, tags=make_tags([5], None, [3], [4]))
    report = make_entry(5, 2, 3, 4)
    for amended, covers in ((1, False), (2, True)):
        operation = AppendRecords(patient.chart, (replace(report, supersedes=amended),), (), grant)
        if covers:
            world.run(WRITER, operation)
        else:
            world.refuses(WriteNotGranted, world.body(WRITER, operation))
    at = world.chart(patient).events
    world.run(WRITER, AppendRecords(patient.chart, (report, replace(report, supersedes=at)), (), grant))
    note = replace(report, disputes=1, supersedes=1)
    world.refuses(
        WriteNotGranted, world.body(WRITER, world.owned(patient, AppendRecords(patient.chart, (note,), (), grant)))
    )


def test_a_grant_to_read_and_write_does_both(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    grant = writing(world, patient, access=ACCESS_READ | ACCESS_WRITE)
    world.run(WRITER, AppendRecords(patient.chart, (make_entry(),), (), grant))
    assert world.disclose(patient, grant, 2, reader=WRITER).outcome is Outcome.DISCLOSED


def test_the_custodian_writes_under_no_grant(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    grant = writing(world, patient, grantees=(0, WRITER))
    world.refuses(BadTerms, world.body(0, AppendRecords(patient.chart, (make_entry(),), (), grant)))


def test_a_revocation_in_the_same_block_comes_first(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    grant = writing(world, patient)
    appending = world.body(WRITER, AppendRecords(patient.chart, (make_entry(),), (), grant))
    revoking = world.body(1, world.owned(patient, Revoke(patient.chart, grant)))
    execution = world.execution(revoking, appending)
    world.apply(execution, revoking)
    with pytest.raises(WriteNotGranted):
        world.apply(execution, appending)


def test_a_custodians_batch_depends_on_nobody_else(world: Any, make_entry: Any) -> None:
    """Revocation, bars, freeze: none of them makes it invalid while it is under way."""
    patient = world.open_chart()
    world.set_guardians(patient)
    appending = world.body(0, AppendRecords(patient.chart, (make_entry(),)))
    revoking = world.body(1, world.owned(patient, Revoke(patient.chart, world.grant(patient))))
    begun = world.recovering(patient, world.fresh_key())
    beginning = world.body(2, world.guarded(patient, begun, 0, 1))
    world.block(appending, revoking, beginning)


@pytest.mark.parametrize(
    ("holders", "error"),
    [
        ((1, 1), NotAscending),
        ((2, 1), NotAscending),
        ((4,), UnknownInstitution),
        ((1, limits.U53), UnknownInstitution),
    ],
)
def test_holders_are_known_and_listed_once(world: Any, make_entry: Any, holders: Any, error: Any) -> None:
    patient = world.open_chart()
    world.refuses(error, world.body(0, AppendRecords(patient.chart, (make_entry(),), holders)))


@pytest.mark.parametrize("chart", [5, keys.CHART_MAX, keys.CHART_MAX + 1, limits.U53])
def test_unknown_charts(world: Any, make_entry: Any, chart: int) -> None:
    patient = world.open_chart()
    note = replace(make_entry(), disputes=0)
    world.refuses(UnknownChart, world.body(0, AppendRecords(chart, (make_entry(),), (), 0)))
    world.refuses(UnknownChart, world.body(0, world.owned(patient, AppendRecords(chart, (note,)))))


# --- notes of dispute ------------------------------------------------------------------------------------------


def disputing(make_entry: Any, patient: Any, record: int, **changes: Any) -> AppendRecords:
    return replace(AppendRecords(patient.chart, (replace(make_entry(), disputes=record),)), **changes)


def test_a_note_stands_beside_what_it_disputes(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    number = patient.next_number
    world.run(0, world.owned(patient, disputing(make_entry, patient, 1)))
    event = world.history(patient)[-1]
    assert isinstance(event, RecordAppended)
    assert (event.entry.disputes, event.entry.supersedes) == (1, None)
    assert world.chart(patient).window.highest == number


def test_a_note_takes_the_owner_and_the_writer(world: Any, make_entry: Any) -> None:
    patient, other = world.open_chart(), world.open_chart()
    world.append(patient)
    helper = world.name_delegate(patient)
    note = disputing(make_entry, patient, 1)
    world.refuses(MissingCosignature, world.body(0, note))
    world.refuses(BadCosignature, world.body(0, world.owned(other, note, number=9)))
    world.refuses(Unauthorised, world.body(0, world.delegated(helper, note)))
    world.refuses(Unauthorised, world.body(1, world.owned(patient, note)))
    signed = world.owned(patient, note)
    world.run(0, signed)
    world.refuses(Replayed, world.body(0, signed))


def test_a_plain_record_takes_no_cosignature(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    signed = world.owned(patient, AppendRecords(patient.chart, (make_entry(),)))
    world.refuses(Unauthorised, world.body(0, signed))


def test_a_note_of_one_entry_covers_all_of_the_operation(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    entries = (make_entry(), replace(make_entry(), disputes=1), replace(make_entry(), disputes=2))
    world.run(0, world.owned(patient, AppendRecords(patient.chart, entries)))
    assert [event.entry.disputes for event in world.history(patient)[-3:]] == [None, 1, 2]


@pytest.mark.parametrize("record", [0, 2, 3, 9, limits.EVENTS_PER_CHART, limits.U53])
def test_only_an_earlier_record_is_disputed_or_amended(world: Any, make_entry: Any, record: int) -> None:
    """Event 0 is the opening, 2 the grant, 3 the new one itself."""
    patient = world.open_chart()
    world.append(patient)
    world.grant(patient)
    world.refuses(UnknownRecord, world.body(0, world.owned(patient, disputing(make_entry, patient, record))))
    amending = AppendRecords(patient.chart, (make_entry(supersedes=record),))
    world.refuses(UnknownRecord, world.body(0, amending))


def test_a_frozen_owner_disputes_nothing(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.set_guardians(patient)
    world.begin(patient, world.fresh_key(), carrier=0, overrule=True)
    world.refuses(OwnerFrozen, world.body(0, world.owned(patient, disputing(make_entry, patient, 1))))


def test_a_note_under_a_grant_to_write(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = writing(world, patient)
    world.run(WRITER, world.owned(patient, disputing(make_entry, patient, 1, grant=grant)))
    assert world.history(patient)[-1].institution == WRITER


def test_a_note_is_read_like_any_record(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    note = world.run(0, world.owned(patient, disputing(make_entry, patient, 1))).first_event
    grant = world.grant(patient)
    assert world.run(1, Disclose(patient.chart, grant, (1, note), "TREAT")).outcome is Outcome.DISCLOSED
