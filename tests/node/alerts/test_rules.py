"""Planted snoopers are noticed, innocent days are not. Event streams as the ledger writes them."""

from __future__ import annotations

import random

from node.alerts.rules import DAY_MS, HOUR_MS, Asking, Thresholds, asking_of, bursts, strangers
from protocol.ledger.events import (
    ChartOpened,
    Disclosed,
    Event,
    GlassBroken,
    Granted,
    Outcome,
    Reason,
    RecordAppended,
    Revoked,
)
from protocol.types.operations import GrantTerms, RecordEntry

TAG = b"t" * 16
START = 1_900_000_000_000
CUSTODIAN, CLINIC, STRANGER, PAYER = 0, 1, 2, 3


def opened() -> Event:
    return ChartOpened(1, START, CUSTODIAN, 1, bytes(32))


def record(institution: int, at: int = 0) -> Event:
    return RecordAppended(1, START + at, institution, 0, RecordEntry(bytes(32), (TAG,) * 4))


def grant(number: int, institution: int, at: int = 0, purposes: tuple[str, ...] = ("TREAT",), days: int = 90) -> Event:
    terms = GrantTerms((institution,), (None, None, (TAG,), (TAG,)), purposes, START, START + days * DAY_MS)
    return Granted(1, START + at, CUSTODIAN, number, terms)


def asked(institution: int, at: int, purpose: str = "TREAT", delegate: int | None = None) -> Event:
    denied = (Outcome.DENIED, Reason.NO_GRANT, None)
    return Disclosed(1, START + at, institution, None, (1,), purpose, *denied, delegate=delegate)


def broken(institution: int, at: int) -> Event:
    return GlassBroken(
        1, START + at, institution, (1,), "BTG", Outcome.DISCLOSED, Reason.NONE, START, START, bytes(32)
    )  # fmt: skip


def seen(*events: Event) -> list[tuple[str, int]]:
    return [(a.kind, a.event) for a in strangers(list(enumerate(events)), CUSTODIAN, 7)]


def test_a_reader_with_nothing_to_do_with_the_patient_is_noticed() -> None:
    assert seen(opened(), record(CUSTODIAN), asked(STRANGER, 5)) == [("stranger", 2)]
    assert seen(opened(), record(CUSTODIAN), broken(STRANGER, 5)) == [("stranger", 2)]


def test_a_relationship_of_treatment_is_a_record_or_a_grant_for_treatment() -> None:
    assert seen(opened(), record(CLINIC), asked(CLINIC, 5), broken(CLINIC, 6)) == []
    assert seen(opened(), grant(0, CLINIC), asked(CLINIC, 5), broken(CLINIC, 6)) == []
    assert seen(opened(), asked(CUSTODIAN, 5)) == []
    assert seen(opened(), grant(0, CLINIC), broken(STRANGER, 6)) == [("stranger", 2)]


def test_a_relationship_ends_with_its_grant() -> None:
    revoked = Revoked(1, START + 10, CUSTODIAN, 0, 1, ())
    assert seen(opened(), grant(0, CLINIC), asked(CLINIC, 5), revoked, asked(CLINIC, 20)) == [("stranger", 4)]
    assert seen(opened(), grant(0, CLINIC, days=1), asked(CLINIC, 2 * DAY_MS)) == [("stranger", 2)]
    assert seen(opened(), asked(CLINIC, 5), record(CLINIC, 10), asked(CLINIC, 20)) == [("stranger", 1)]


def test_a_grant_for_something_else_is_no_treatment_and_payers_need_none() -> None:
    research = grant(0, CLINIC, purposes=("HRESCH",))
    assert seen(opened(), research, asked(CLINIC, 5)) == [("stranger", 2)]
    assert seen(opened(), research, asked(CLINIC, 5, "HRESCH"), asked(PAYER, 6, "HPAYMT")) == []


def test_a_stranger_is_told_once_a_day_and_a_delegate_never() -> None:
    events = [opened(), *(asked(STRANGER, minute * 60_000) for minute in range(60)), asked(STRANGER, 2 * DAY_MS)]
    assert [event for _, event in seen(*events)] == [1, 61]
    assert seen(opened(), asked(CUSTODIAN, 5, delegate=0)) == []
    assert asking_of(7, 1, asked(CUSTODIAN, 5, delegate=0)) is None


def one(chart: int, at: int, who: str | None = "s-17", institution: int = CLINIC) -> Asking:
    return Asking(chart, 1, START + at, institution, "TREAT", False, True, who)


def told(askings: list[Asking], thresholds: Thresholds | None = None) -> list[tuple[str | None, int, int]]:
    return [(a.practitioner, a.charts, a.window_ms) for a in bursts(askings, thresholds or Thresholds())]


def test_the_one_who_looked_at_919_patients() -> None:
    """Over eight months, some of them a few an hour: each day over the threshold is told, at its first excess."""
    rng = random.Random(919)
    askings, chart, day = [], 0, 0
    while chart < 919:
        for _ in range(min(rng.randint(45, 60), 919 - chart)):
            askings.append(one(chart, day * DAY_MS + rng.randint(8 * HOUR_MS, 17 * HOUR_MS), "curious"))
            chart += 1
        day += rng.randint(2, 12)
    innocent = [
        one(10_000 + d * 20 + n, d * DAY_MS + n * HOUR_MS // 2, "careful") for d in range(60) for n in range(16)
    ]
    rng.shuffle(askings)
    found = told(askings + innocent)
    assert {who for who, _, _ in found} == {"curious"}
    days = {window for _, _, window in found}
    assert DAY_MS in days
    assert sum(1 for _, charts, window in found if window == DAY_MS and charts == 41) >= 15


def test_an_innocent_ward_round_raises_nothing() -> None:
    """Twelve patients of one ward within the hour, read again and again; a day's clinic of forty."""
    ward = [one(bed, minute * 60_000) for minute in range(60) for bed in range(12)]
    assert told(ward) == []
    clinic = [one(patient, 8 * HOUR_MS + patient * 15 * 60_000) for patient in range(40)]
    assert told(clinic) == []


def test_one_more_than_usual_is_told_once_until_it_was_below() -> None:
    crowd = [one(chart, chart * 60_000) for chart in range(30)]
    assert told(crowd) == [("s-17", 13, HOUR_MS)]
    later = [one(100 + chart, DAY_MS + chart * 60_000) for chart in range(13)]
    assert told(crowd + later) == [("s-17", 13, HOUR_MS), ("s-17", 13, HOUR_MS)]


def test_the_window_slides_to_the_millisecond() -> None:
    most = Thresholds(practitioner_charts_an_hour=1, practitioner_charts_a_day=99)
    assert told([one(1, 0), one(2, HOUR_MS)], most) == []
    assert told([one(1, 0), one(2, HOUR_MS - 1)], most) == [("s-17", 2, HOUR_MS)]


def test_institutions_are_counted_apart_and_together_with_their_people() -> None:
    most = Thresholds(institution_charts_an_hour=20, practitioner_charts_an_hour=15)
    shared = [one(chart, chart, f"s-{chart % 2}") for chart in range(22)]
    assert told(shared, most) == [(None, 21, HOUR_MS)]
    apart = [one(chart, chart, None, institution=chart % 2) for chart in range(40)]
    assert told(apart, most) == []


def test_the_same_askings_in_any_order_give_the_same_alerts() -> None:
    askings = [one(chart, chart * 1_000, f"s-{chart % 3}") for chart in range(200)]
    shuffled = list(askings)
    random.Random(1).shuffle(shuffled)
    assert bursts(askings, Thresholds()) == bursts(shuffled, Thresholds())
