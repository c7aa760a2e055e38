"""Acts of consent: charts and records, grants, revocations, and asking to read under a grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.simulation.patients.desk import HOUR_MS, Desk
from node.simulation.patients.wallet import owner_keys
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    AppendRecords,
    Bar,
    DelegateReissue,
    Disclose,
    Grant,
    GrantTerms,
    MoveChart,
    OpenChart,
    RecordEntry,
    Reissue,
    Revoke,
)

PURPOSES: Final = {
    "HPAYMT": ("COVERAGE", "ELIGVER", "HPAYMT"),
    "HRESCH": ("CLINTRCH", "CLINTRCHPC", "HRESCH"),
    "TREAT": ("COC", "CLINTRL", "TREAT"),
}
"""What is granted, and what is asked for then."""
STAFF: Final = (b"practitioner one", b"practitioner two")
NOBODY: Final = 50_000


def open_chart(desk: Desk) -> None:
    """The patient becomes known to this node's institution, unless another was quicker."""
    if not desk.knows:
        keys = owner_keys(desk.wallet.first_key().public)
        operation = OpenChart(desk.institution, keys.owner_key, keys.encryption_suite, keys.encryption_key)
        desk.send(desk.opening(operation), owed=True)


def move(desk: Desk) -> None:
    """The chart of a custodian that was removed goes to this node's institution; now and then it was not removed."""
    former = desk.standing.chart.custodian
    if not desk.standing.removed(former) and desk.chance(0.85):
        desk.later = True
        return
    desk.send(desk.owner(MoveChart(desk.chart, former, desk.institution)))


def append(desk: Desk) -> None:
    """The custodian's records, which others keep with it."""
    entries = tuple(_entry(desk) for _ in range(desk.rng.choice((1, 1, 2, 3))))
    holders = tuple(desk.some(desk.others(), 3)) if desk.chance(0.7) else ()
    desk.send(AppendRecords(desk.chart, entries, holders), by=desk.standing.chart.custodian, owed=True)


def write(desk: Desk) -> None:
    """Another institution writes under a grant that lets it, or did, or never."""
    grants = desk.standing.grants
    writing = [number for number, leaf in grants.items() if leaf.terms.access & ACCESS_WRITE]
    if not writing:
        grant(desk, ACCESS_READ | ACCESS_WRITE)
        return
    number = desk.choose(writing)
    by = desk.choose(grants[number].terms.grantees) if desk.chance(0.9) else desk.institution
    desk.send(AppendRecords(desk.chart, (_entry(desk),), tuple(desk.some(desk.others(), 2)), number), by=by)


def dispute(desk: Desk) -> None:
    """The owner's note beside a record."""
    records = list(desk.standing.records)
    if not records:
        append(desk)
        return
    entry = RecordEntry(desk.rng.randbytes(32), desk.tags(), disputes=desk.choose(records))
    desk.send(desk.owner(AppendRecords(desk.chart, (entry,))), by=desk.standing.chart.custodian)


def _entry(desk: Desk) -> RecordEntry:
    records = list(desk.standing.records)
    supersedes = desk.rng.choice(records) if records and desk.chance(0.15) else None
    return RecordEntry(desk.rng.randbytes(32), desk.tags(), supersedes)


def grant(desk: Desk, access: int | None = None) -> None:
    """One, or two in one transaction."""
    count = 1 if desk.chance(0.9) else 2
    desk.send(*(desk.owner(Grant(desk.chart, terms(desk, access))) for _ in range(count)))


def terms(desk: Desk, access: int | None = None) -> GrantTerms:
    """Mostly wide, long and to read; some end soon, or begin only then."""
    rng = desk.rng
    grantees = desk.some(desk.others(), 3)
    if desk.chance(0.02):
        grantees.append(NOBODY)
    drawn = rng.choice((ACCESS_READ, ACCESS_READ, ACCESS_READ, ACCESS_WRITE, ACCESS_READ | ACCESS_WRITE))
    not_before = desk.now_ms - 1_000 if desk.chance(0.8) else desk.soon_ms()
    not_after = desk.soon_ms() if desk.chance(0.3) else desk.now_ms + HOUR_MS
    return GrantTerms(
        tuple(grantees),
        desk.cover(),
        tuple(desk.some(sorted(PURPOSES), 2)),
        not_before,
        max(not_after, not_before + 1),
        drawn if access is None else access,
        None if desk.chance(0.8) else STAFF[:1],
    )


def revoke(desk: Desk) -> None:
    """Ends a grant, and renews what is to go on."""
    standing = desk.standing
    if not standing.grants:
        grant(desk)
        return
    live = standing.live
    readable = [number for number in _readable(desk) if number in live]
    number = desk.choose(readable if readable and desk.chance(0.9) else list(standing.grants))
    again = [other for other in standing.grants if other != number and desk.chance(0.6)]
    reissues = tuple(Reissue(other, desk.cover(1)) for other in again)
    delegates = tuple(DelegateReissue(one, desk.cover(1)) for one in standing.delegates if desk.chance(0.7))
    bars = renewed(desk) if standing.policy.bars and desk.chance(0.6) else None
    desk.send(desk.owner(Revoke(desk.chart, number, reissues, delegates, bars)))


def renewed(desk: Desk) -> tuple[Bar, ...]:
    """The policy's bars, for the generation to come too."""
    generation = desk.standing.chart.generation + 1
    return tuple(
        Bar(bar.institution, (None, None, desk.barred(2, 1)), bar.emergencies, generation)
        for bar in desk.standing.policy.bars
    )


def disclose(desk: Desk) -> None:
    """Asks under a grant, mostly as it says; whatever else, the ledger records an outcome."""
    standing = desk.standing
    if not standing.records:
        append(desk)
        return
    if not standing.live and desk.chance(0.5):
        grant(desk)
        return
    number, by, purpose, practitioner = _basis(desk)
    records = (
        tuple(desk.some(list(standing.records), 2))
        if desk.chance(0.6)
        else (desk.choose(standing.whole or list(standing.records)),)
    )
    details = desk.rng.randbytes(32) if desk.chance(0.3) else None
    desk.send(Disclose(desk.chart, number, records, purpose, practitioner, details), by=by)


def _readable(desk: Desk) -> list[int]:
    """Grants to read, live ones if there are any."""
    grants = desk.standing.grants
    read = [number for number, leaf in grants.items() if leaf.terms.access & ACCESS_READ] or list(grants)
    return [number for number in read if grants[number].revoked_at is None] or read


def asked_for(desk: Desk, granted: Sequence[str]) -> str:
    """One of these purposes, or one below it."""
    purpose = desk.rng.choice(granted)
    return desk.rng.choice(PURPOSES.get(purpose, (purpose,)))


def _basis(desk: Desk) -> tuple[int | None, int, str, bytes | None]:
    """Under which grant, who, what for and which of its people."""
    standing, rng = desk.standing, desk.rng
    if not standing.grants or desk.chance(0.05):
        return rng.choice((None, len(standing.grants))), desk.institution, "TREAT", None
    number = desk.choose(_readable(desk)) if desk.chance(0.9) else rng.choice(list(standing.grants))
    granted = standing.grants[number].terms
    by = desk.choose(granted.grantees) if desk.chance(0.85) else desk.institution
    purpose = asked_for(desk, granted.purposes)
    if desk.chance(0.08):
        purpose = rng.choice(("HMARKT", "ETREAT", "COC", "CLINTRCH"))
    practitioner = rng.choice(STAFF) if granted.practitioners is not None or desk.chance(0.2) else None
    return number, by, purpose, practitioner
