"""What looks like snooping: pure judgements over who asked to read what, and when. Deterministic.

Nothing here accuses anybody: a rule says that an asking is out of the ordinary and why, and a person looks into it.
Times are ms of ledger time. docs/operators.md says what each alert means and how its thresholds are set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from protocol.ledger import purposes
from protocol.ledger.events import Disclosed, Event, GlassBroken, Granted, Outcome, RecordAppended, Revoked

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

Kind = Literal["stranger", "burst", "same-name"]
"""A reader without a relationship of treatment; unusually many charts; somebody of the patient's family name."""


class Thresholds(Struct, frozen=True, kw_only=True):
    """How many charts are usual at most. An institution's charts are those that one custodian keeps, since no more
    can be seen there; a practitioner's are all, since their own institution sees them."""

    practitioner_charts_an_hour: int = 12
    practitioner_charts_a_day: int = 40
    institution_charts_an_hour: int = 120
    institution_charts_a_day: int = 600


class Asking(Struct, frozen=True):
    """Somebody asked to read: where it stands, and who and what. `who` tells the people of one institution apart as
    far as whoever judges can: None for the institution as a whole."""

    chart: int
    event: int
    time_ms: int
    institution: int
    purpose: str
    emergency: bool
    disclosed: bool
    who: str | None = None


class Alert(Struct, frozen=True):
    """Something to look into. `time_ms` and `event` are of the asking by which it was noticed, `charts` how many
    charts a burst spans (1 otherwise), `window_ms` within which time, `practitioner` who, as far as it is known."""

    time_ms: int
    chart: int
    event: int
    kind: Kind
    institution: int
    practitioner: str | None
    charts: int
    window_ms: int
    sentence: str


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """The oldest first; the same for the same alerts, however they come."""
    return sorted(alerts, key=lambda a: (a.time_ms, a.chart, a.event, a.kind, a.window_ms, a.practitioner or ""))


def asking_of(chart: int, number: int, event: Event, who: str | None = None) -> Asking | None:
    """An event as an asking; None for other events and for what a delegate asked, whom the patient chose."""
    if isinstance(event, Disclosed) and event.delegate is None:
        emergency = False
    elif isinstance(event, GlassBroken):
        emergency = True
    else:
        return None
    if who is None and event.practitioner is not None:
        who = event.practitioner.hex()
    disclosed = event.outcome is Outcome.DISCLOSED
    return Asking(chart, number, event.time_ms, event.institution, event.purpose, emergency, disclosed, who)


def strangers(history: Iterable[tuple[int, Event]], custodian: int, chart: int) -> list[Alert]:
    """Askings of one chart by institutions that had nothing to do with it until then.

    `history` is (number, event) of all that happened to the chart, ascending. A relationship of treatment is a record
    that the institution wrote, or a grant to it in force whose purposes cover treatment. Asking for treatment without
    one is noticed whether it was disclosed or denied, once per institution and day; an emergency as well.
    """
    writers: set[int] = {custodian}
    grants: dict[int, Granted] = {}
    found: list[Alert] = []
    told: set[tuple[int, int]] = set()
    for number, event in history:
        if isinstance(event, RecordAppended):
            writers.add(event.institution)
        elif isinstance(event, Granted):
            grants[event.grant] = event
        elif isinstance(event, Revoked):
            grants.pop(event.grant, None)
        asked = asking_of(chart, number, event)
        if asked is None or asked.institution in writers or _treats(grants.values(), asked):
            continue
        day = (asked.institution, asked.time_ms // DAY_MS)
        if day in told or not _for_treatment(asked):
            continue
        told.add(day)
        what = "read in an emergency" if asked.emergency else "asked to read for treatment"
        sentence = f"{what} without having written to this chart, and without a grant for treatment"
        found.append(_alert(asked, "stranger", 1, 0, sentence))
    return found


def _treats(grants: Iterable[Granted], asked: Asking) -> bool:
    return any(
        asked.institution in grant.terms.grantees
        and grant.terms.not_before <= asked.time_ms < grant.terms.not_after
        and any(purposes.covers(one, "TREAT") for one in grant.terms.purposes)
        for grant in grants
    )


def _for_treatment(asked: Asking) -> bool:
    """Payers and researchers, who ask under grants for their own purposes, treat nobody and need not."""
    return asked.emergency or (asked.purpose in purposes.LINEAGE and "TREAT" in purposes.LINEAGE[asked.purpose])


def bursts(askings: Sequence[Asking], thresholds: Thresholds) -> list[Alert]:
    """Practitioners and institutions that asked for unusually many different charts within an hour or a day.

    Each is noticed at the asking by which it goes over, and again only after it was below in between.
    """
    by_people: dict[tuple[int, str | None], list[Asking]] = defaultdict(list)
    for one in sorted(askings, key=lambda a: (a.time_ms, a.chart, a.event)):
        by_people[one.institution, None].append(one)
        if one.who is not None:
            by_people[one.institution, one.who].append(one)
    found: list[Alert] = []
    for (_, who), listed in by_people.items():
        if who is None:
            most = ((HOUR_MS, thresholds.institution_charts_an_hour), (DAY_MS, thresholds.institution_charts_a_day))
        else:
            most = ((HOUR_MS, thresholds.practitioner_charts_an_hour), (DAY_MS, thresholds.practitioner_charts_a_day))
        for window_ms, charts in most:
            found += _over(listed, who, window_ms, charts)
    return in_order(found)


def _over(listed: Sequence[Asking], who: str | None, window_ms: int, most: int) -> list[Alert]:
    """One slide over the askings of one, counting the different charts of each window."""
    count: dict[int, int] = defaultdict(int)
    found: list[Alert] = []
    first, over = 0, False
    for one in listed:
        count[one.chart] += 1
        while listed[first].time_ms <= one.time_ms - window_ms:
            left = listed[first].chart
            count[left] -= 1
            if not count[left]:
                del count[left]
            first += 1
        if len(count) > most and not over:
            span = "an hour" if window_ms == HOUR_MS else "a day"
            whose = "one practitioner" if who is not None else "the institution"
            sentence = f"{whose} asked for {len(count)} charts within {span}, and {most} are usual at most"
            found.append(_alert(one, "burst", len(count), window_ms, sentence, who))
        over = len(count) > most
    return found


def same_name(asked: Asking) -> Alert:
    """Somebody whose family name is also the patient's asked to read; that it is so was found by comparing the names
    where both are known, and they are not repeated."""
    return _alert(asked, "same-name", 1, 0, "whoever asked bears a family name of the patient's", asked.who)


def _alert(
    asked: Asking, kind: Kind, charts: int, window_ms: int, sentence: str, practitioner: str | None = None
) -> Alert:
    return Alert(
        asked.time_ms,
        asked.chart,
        asked.event,
        kind,
        asked.institution,
        practitioner if kind == "burst" else asked.who,
        charts,
        window_ms,
        sentence,
    )
