"""An accounting of disclosures, as 45 CFR 164.528 asks, with what Article 15 of the GDPR asks besides. Pure.

One row for each recipient and purpose: repeats are grouped with the first, the last and how many there were. What the
rule exempts (treatment, payment, operations, and what the patient or their representative got) is not left out but
tagged, since elsewhere the law wants it told. https://www.ecfr.gov/current/title-45/section-164.528
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from node.accounting.looks import Look, Meaning, purpose_words, who_words
from protocol.ledger import purposes

YEARS: Final = 6
NO_ADDRESS: Final = "address: not on the ledger"
KINDS_SEALED: Final = "kinds not known without the wallet"
KINDS_UNKNOWN: Final = "kinds that this wallet does not know"
EXEMPT: Final = {"TREAT": "treatment", "HPAYMT": "payment", "HOPERAT": "operations"}


class Row(Struct, frozen=True):
    """Disclosures to one recipient for one purpose. `exempt` names what 164.528(a)(1) exempts them as, None for those
    that it wants accounted. Times are ms of ledger time."""

    first_ms: int
    last_ms: int
    count: int
    recipient: str
    institution: int
    address: str
    people: tuple[str, ...]
    description: str
    purpose: str
    purpose_words: str
    reasons: tuple[str, ...]
    grants: tuple[int, ...]
    emergency: bool
    exempt: str | None


class Source(Struct, frozen=True):
    """Who wrote records of the chart, and how many."""

    institution: int
    name: str
    records: int


class Storage(Struct, frozen=True):
    """What is kept, and what was ordered to be deleted."""

    records: int
    categories: tuple[str, ...]
    uncategorised: int
    erased: int
    receipts_outstanding: int
    holds: int
    sentence: str


class Account(Struct, frozen=True):
    """The whole accounting of one chart, from `from_ms` until before `until_ms`."""

    chart: int
    custodian: str
    made_ms: int
    from_ms: int
    until_ms: int
    rows: tuple[Row, ...]
    sources: tuple[Source, ...]
    storage: Storage
    notes: tuple[str, ...]


NOTES: Final = (
    "Each line stands on a ledger that several institutions keep together; none of them can change or remove it alone.",
    "A disclosure says that the rules let the recipient have the keys; what was denied was not disclosed and is listed "
    "by `chartledger disclosures`.",
    "Lines marked exempt need no accounting under 45 CFR 164.528(a)(1); they are told because you may want to know.",
    "What the institution that keeps the chart reads of its own records, and what left it by other ways than the "
    "ledger, stands in its own logs, not here.",
    "Under Article 15 to 21 of the GDPR you may ask for rectification, erasure or restriction, object, and complain to "
    "a supervisory authority. Nothing here was decided by a machine about you but whether a permission covered it.",
)


def six_years_before(now_ms: int) -> int:
    """The same date six years earlier; the 29th of February becomes the 28th."""
    now = datetime.fromtimestamp(now_ms / 1_000, UTC)
    try:
        then = now.replace(year=now.year - YEARS)
    except ValueError:
        then = now.replace(year=now.year - YEARS, day=28)
    return max(0, int(then.timestamp() * 1_000))


def account(
    chart: int,
    custodian: str,
    found: Iterable[Look],
    events: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    *,
    now_ms: int,
    from_ms: int,
    until_ms: int,
    addresses: Mapping[int, str] | None = None,
    meaning: Meaning | None = None,
) -> Account:
    """The accounting of what was disclosed from `from_ms` until before `until_ms`. `addresses` are the institutions'
    postal addresses as far as they are known."""
    groups: dict[tuple[int, str, str | None], list[Look]] = {}
    for look in found:
        if from_ms <= look.time_ms < until_ms and _was_read(look):
            groups.setdefault((look.institution, look.purpose, _exempt(look)), []).append(look)
    unknown = KINDS_SEALED if meaning is None else KINDS_UNKNOWN
    rows = [_row(group, exempt, addresses or {}, unknown) for (_, _, exempt), group in groups.items()]
    rows.sort(key=lambda row: (row.exempt is not None, row.first_ms, row.institution, row.purpose))
    sources, storage = _kept(events, names, meaning)
    return Account(chart, custodian, now_ms, from_ms, until_ms, tuple(rows), sources, storage, NOTES)


def _was_read(look: Look) -> bool:
    if look.emergency:
        return look.state not in ("denied", "pending", "lapsed")
    return look.outcome == "disclosed"


def _exempt(look: Look) -> str | None:
    if look.delegate is not None:
        return "the individual or their representative"
    above = purposes.LINEAGE.get(look.purpose, frozenset())
    return next((word for code, word in EXEMPT.items() if code in above), None)


def _row(group: Sequence[Look], exempt: str | None, addresses: Mapping[int, str], unnamed: str) -> Row:
    first, last = group[0], group[-1]
    records = {number for look in group for number in look.records}
    categories = sorted({category for look in group for category in look.categories})
    unknown = any(look.uncategorised for look in group)
    many = "1 record" if len(records) == 1 else f"{len(records)} records"
    what = ", ".join([*categories, *([unnamed] if unknown else [])])
    return Row(
        first_ms=first.time_ms,
        last_ms=last.time_ms,
        count=len(group),
        recipient=first.name if first.delegate is None else f"your delegate, through {first.name}",
        institution=first.institution,
        address=addresses.get(first.institution, NO_ADDRESS) if first.delegate is None else "",
        people=tuple(sorted({who for look in group if (who := who_words(look))})),
        description=f"{many}: {what}",
        purpose=first.purpose,
        purpose_words=purpose_words(first.purpose),
        reasons=tuple(dict.fromkeys(look.said.reason for look in group if look.said is not None and look.said.reason)),
        grants=tuple(sorted({look.grant for look in group if look.grant is not None})),
        emergency=any(look.emergency for look in group),
        exempt=exempt,
    )


def _kept(
    events: Sequence[Mapping[str, Any]], names: Mapping[int, str], meaning: Meaning | None
) -> tuple[tuple[Source, ...], Storage]:
    written: dict[int, int] = {}
    categories: dict[int, str | None] = {}
    erased: set[int] = set()
    owed: dict[int, set[int]] = {}
    holds: set[int] = set()
    for event in events:
        number, kind = event["number"], event["kind"]
        if kind == "record":
            written[event["institution"]] = written.get(event["institution"], 0) + 1
            categories[number] = meaning(event["tags"]) if meaning is not None else None
        elif kind == "erased":
            erased.update(event["records"])
            owed[number] = {*event["holders"], event["institution"]}
        elif kind == "erasure-receipt":
            owed.get(event["erasure"], set()).discard(event["institution"])
        elif kind == "hold":
            holds.add(number)
        elif kind == "hold-released":
            holds.discard(event["hold"])
    live = {number: category for number, category in categories.items() if number not in erased}
    outstanding = sum(len(one) for one in owed.values())
    sentence = (
        "Records are kept until you and the institution order them erased, or as long as the law obliges it; "
        f"{len(erased)} were ordered erased, and {outstanding} receipts for that are outstanding."
    )
    storage = Storage(
        records=len(live),
        categories=tuple(sorted({one for one in live.values() if one is not None})),
        uncategorised=sum(1 for one in live.values() if one is None),
        erased=len(erased),
        receipts_outstanding=outstanding,
        holds=len(holds),
        sentence=sentence,
    )
    sources = tuple(Source(one, names.get(one, f"institution {one}"), written[one]) for one in sorted(written))
    return sources, storage
