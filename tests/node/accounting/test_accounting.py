"""Who looked, and the accounting of it: grouped, tagged, escaped, six years back, and nothing left out in silence."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from html import escape
from html.parser import HTMLParser
from typing import Any

import pytest

from node.accounting.account import NO_ADDRESS, Account, account, six_years_before
from node.accounting.looks import Look, in_order, looks, outcome_words, purpose_words, who_words
from node.accounting.render import as_csv, as_html, as_json, harmless
from protocol.crypto.details import Details

NAMES = {0: "St. Anna", 1: "Lakeside <Laboratory>", 2: "=cmd|' /C calc'!A1"}
DAY = 24 * 3_600_000
START = 1_800_000_000_000
NOW = START + 300 * DAY
LETTER, SECRET = ["aa", "00", "00", "00"], ["bb", "00", "00", "00"]


def meaning(tags: Any) -> str | None:
    return {"aa": "Letter"}.get(tags[0])


def record(number: int, tags: list[str] = LETTER, institution: int = 0) -> dict[str, Any]:
    return {"number": number, "kind": "record", "time_ms": START, "institution": institution, "tags": tags}


def asked(number: int, day: int, institution: int = 1, **values: Any) -> dict[str, Any]:
    event = {
        "number": number, "kind": "disclosure", "time_ms": START + day * DAY, "institution": institution,
        "purpose": "HRESCH", "outcome": "disclosed", "reason": "none", "sentence": "Your permission covers it.",
        "grant": 0, "records": [1],
    }  # fmt: skip
    return event | values


def denied(number: int, day: int, **values: Any) -> dict[str, Any]:
    no = {"outcome": "denied", "reason": "revoked", "sentence": "You had withdrawn your permission."}
    return asked(number, day, **(no | values))


def emergency(number: int, day: int, **values: Any) -> dict[str, Any]:
    due = {"kind": "emergency", "purpose": "BTG", "grant": None, "review_by": START + (day + 3) * DAY}
    return asked(number, day, **(due | {"justification": "cc"} | values))


def look(*events: dict[str, Any], **given: Any) -> list[Look]:
    return looks(events, NAMES, now_ms=given.pop("now_ms", NOW), meaning=meaning, **given)


def made(*events: dict[str, Any], from_ms: int = 0, until_ms: int = NOW, **given: Any) -> Account:
    found = look(*events, opened=given.pop("opened", None))
    return account(
        7, "St. Anna", found, events, NAMES, now_ms=NOW, from_ms=from_ms, until_ms=until_ms, meaning=meaning, **given
    )


def test_emergencies_come_first_and_then_the_newest() -> None:
    found = in_order(look(record(1), asked(2, 1), emergency(3, 2), asked(4, 5), emergency(5, 3)))
    assert [one.event for one in found] == [5, 3, 4, 2]


@pytest.mark.parametrize(
    ("later", "now_day", "words"),
    [
        ([], 4, "read; review owed"),
        ([], 6, "read; review OVERDUE"),
        ([{"kind": "emergency-reviewed", "emergency": 3, "justified": True}], 9, "read; found justified"),
        ([{"kind": "emergency-reviewed", "emergency": 3, "justified": False}], 9, "read; found NOT justified"),
    ],
)
def test_how_an_emergency_stands(later: list[dict[str, Any]], now_day: int, words: str) -> None:
    after = [one | {"number": 9, "time_ms": START, "institution": 2} for one in later]
    (found,) = look(emergency(3, 2), *after, now_ms=START + now_day * DAY)
    assert outcome_words(found) == words


def test_an_emergency_that_waits_or_lapsed_was_not_read() -> None:
    pending = emergency(3, 2, outcome="pending", review_by=None)
    (found,) = look(pending, now_ms=START + 2 * DAY + 1, release_ms=DAY)
    assert outcome_words(found) == "waits for a second institution"
    (found,) = look(pending, now_ms=START + 4 * DAY, release_ms=DAY)
    assert outcome_words(found) == "never confirmed, not read"
    confirmed = {"kind": "emergency-confirmed", "emergency": 3, "review_by": START + 9 * DAY, "number": 4}
    (found,) = look(pending, confirmed | {"time_ms": START, "institution": 2}, now_ms=START + 4 * DAY)
    assert outcome_words(found) == "read; review owed"


def test_who_is_told_by_what_is_known() -> None:
    said = Details("s-17", "O'Neill", "Zoë", "registrar")
    plain, named, pseudonym, delegate = look(
        asked(1, 1),
        asked(2, 1, details="dd"),
        asked(3, 1, practitioner="0123456789abcdef" * 2),
        asked(4, 1, delegate=2),
        opened={2: said},
    )
    words = [who_words(one) for one in (plain, named, pseudonym, delegate)]
    assert words == ["", "Zoë O'Neill (registrar)", "pseudonym 01234567", "delegate 2"]
    assert [one.details for one in look(asked(1, 1), asked(2, 1, details="dd"))] == ["none", "not delivered"]
    assert look(asked(2, 1, details="dd"), opened={2: "does not open"})[0].details == "does not open"


def test_purposes_are_said_in_words() -> None:
    assert purpose_words("BTG") == "emergency treatment (break the glass)"
    assert purpose_words("CLMATTCH") == "payment"
    assert purpose_words("TREAT") == "treatment"
    assert purpose_words("NONSENSE") == "NONSENSE"


def test_repeats_to_one_recipient_for_one_purpose_are_one_row() -> None:
    found = made(record(1), record(2, SECRET), asked(3, 1), asked(4, 9, records=[1, 2]), asked(5, 2, purpose="PUBHLTH"))
    assert [(row.purpose, row.count, row.exempt) for row in found.rows] == [("HRESCH", 2, None), ("PUBHLTH", 1, None)]
    first = found.rows[0]
    assert (first.first_ms, first.last_ms) == (START + DAY, START + 9 * DAY)
    assert first.description == "2 records: Letter, kinds that this wallet does not know"
    assert first.address == NO_ADDRESS
    assert made(asked(3, 1), addresses={1: "1 Lake Road"}).rows[0].address == "1 Lake Road"


def test_exempt_disclosures_are_tagged_and_not_left_out() -> None:
    found = made(
        asked(1, 1, purpose="COC"), asked(2, 2, purpose="CLMATTCH"), asked(3, 3, purpose="TRAIN"), asked(4, 4),
        asked(5, 5, purpose="PATRQT"), asked(6, 6, delegate=0, purpose="PATRQT"), emergency(7, 7),
    )  # fmt: skip
    assert [(row.purpose, row.exempt) for row in found.rows] == [
        ("HRESCH", None),
        ("PATRQT", None),
        ("COC", "treatment"),
        ("CLMATTCH", "payment"),
        ("TRAIN", "operations"),
        ("PATRQT", "the individual or their representative"),
        ("BTG", "treatment"),
    ]
    assert found.rows[-1].emergency


def test_what_was_denied_or_never_confirmed_was_not_disclosed() -> None:
    assert made(denied(1, 1), emergency(2, 2, outcome="pending", review_by=None)).rows == ()


def test_the_time_is_from_the_first_until_before_the_last() -> None:
    events = [asked(n, n) for n in range(1, 6)]
    found = made(*events, from_ms=START + 2 * DAY, until_ms=START + 4 * DAY)
    assert [(row.count, row.first_ms) for row in found.rows] == [(2, START + 2 * DAY)]


@pytest.mark.parametrize(
    ("now", "then"),
    [(datetime(2030, 3, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
     (datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2022, 2, 28, 12, tzinfo=UTC))],
)  # fmt: skip
def test_six_years_back_is_the_same_date(now: datetime, then: datetime) -> None:
    assert six_years_before(int(now.timestamp() * 1_000)) == int(then.timestamp() * 1_000)


def test_sources_and_what_is_left_of_the_records() -> None:
    erasure = {"number": 5, "kind": "erased", "time_ms": START, "institution": 0, "records": [2], "holders": [1, 2]}
    receipt = {"number": 6, "kind": "erasure-receipt", "time_ms": START, "institution": 1, "erasure": 5}
    hold = {"number": 7, "kind": "hold", "time_ms": START, "institution": 0}
    found = made(record(1), record(2, SECRET), record(3, SECRET, institution=2), erasure, receipt, hold)
    assert [(one.name, one.records) for one in found.sources] == [("St. Anna", 2), (NAMES[2], 1)]
    storage = found.storage
    assert (storage.records, storage.categories, storage.uncategorised, storage.erased) == (2, ("Letter",), 1, 1)
    assert (storage.receipts_outstanding, storage.holds) == (2, 1)


NASTY = "<script>alert('x')</script> & \"quotes\""


def full() -> Account:
    said = Details("s-17", NASTY, "Zoë", "registrar", NASTY)
    return made(
        record(1), asked(2, 1, details="dd"), asked(3, 4), asked(4, 5, institution=2), emergency(5, 6),
        opened={2: said}, addresses={1: NASTY},
    )  # fmt: skip


def test_csv_is_read_back_and_runs_no_formula() -> None:
    lines = list(csv.reader(io.StringIO(as_csv(full()).decode())))
    assert len(lines) == 4
    assert {len(line) for line in lines} == {len(lines[0])}
    assert all(not cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line)
    assert "'" + NAMES[2] in [line[3] for line in lines]


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        (" @SUM(A1)", " '@SUM(A1)"),
        ("\n=1", "\n'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("Dr A; =HYPERLINK(1);-2\t+3", "Dr A; '=HYPERLINK(1);'-2\t'+3"),
        ("a = b - c; d", "a = b - c; d"),
    ],
)
def test_no_cell_begins_a_formula_whatever_separates_cells(cell: str, safe: str) -> None:
    assert harmless(cell) == safe


def test_json_has_everything() -> None:
    document = json.loads(as_json(full()))
    assert document["rows"][0]["reasons"] == [NASTY]
    assert set(document) == {
        "chart", "custodian", "made_ms", "from_ms", "until_ms", "rows", "sources", "storage", "notes",
    }  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of it."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_accessible_and_escaped() -> None:
    raw = as_html(full()).decode()
    page = Page()
    page.feed(raw)
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert not {"script", "img", "link", "iframe"} & set(tags)
    assert "http" not in raw.replace("http-equiv", "")
    assert dict(page.seen)["html"] == {"lang": "en"}
    assert tags.count("caption") == tags.count("table") == tags.count("h1") == tags.count("main") == 1
    scopes = [attributes.get("scope") for tag, attributes in page.seen if tag == "th"]
    assert scopes == ["col"] * 5 + ["row"] * 3
    assert "@media print" in raw
    text = "".join(page.text)
    assert NASTY in text, "shown as it is, and run by nobody"
    assert "emergency, without permission" in text
    assert "2 times" in text
    ours = re.sub(r"<bdi>[^<]*</bdi>", "", raw)
    assert not {one for one in (escape(NASTY), *map(escape, NAMES.values())) if one in ours}, "turns the rest around"


def test_a_page_of_nothing_says_so() -> None:
    assert "Nothing was disclosed in this time." in as_html(made(record(1))).decode()
