"""Acts of care and duty: emergencies and what is answered for them, erasure with its receipts, legal holds."""

from __future__ import annotations

from typing import Final

from node.simulation.patients import consent
from node.simulation.patients.desk import Desk
from protocol.types.operations import (
    BreakGlass,
    ConfirmBreakGlass,
    Erase,
    ErasureReceipt,
    Hold,
    ReleaseHold,
    ReviewBreakGlass,
)

EMERGENCIES: Final = ("BTG", "ERTREAT", "ETREAT", "ETREAT")


def break_glass(desk: Desk) -> None:
    """An institution reads without a grant, and answers for it."""
    records = desk.standing.whole if desk.chance(0.9) else list(desk.standing.records)
    if not records:
        consent.append(desk)
        return
    chosen = (desk.choose(records),) if desk.chance(0.6) else tuple(desk.some(records, 3))
    practitioner = desk.rng.choice(consent.STAFF) if desk.chance(0.5) else None
    purpose = desk.rng.choice(EMERGENCIES) if desk.chance(0.98) else "TREAT"
    desk.send(BreakGlass(desk.chart, chosen, purpose, desk.rng.randbytes(32), practitioner))


def confirm(desk: Desk) -> None:
    """This node's institution vouches for an emergency that waits, its own too if it comes to that."""
    emergencies = desk.standing.emergencies
    waiting = [number for number, leaf in emergencies.items() if leaf.review_by is None]
    if not waiting or (len(waiting) < len(emergencies) and desk.chance(0.05)):
        waiting = list(emergencies) if desk.chance(0.1) else []
    if not waiting:
        break_glass(desk)
        return
    number = desk.choose(waiting)
    records = desk.standing.asked_for(number) if desk.chance(0.97) else (desk.rng.choice(list(desk.standing.records)),)
    desk.send(ConfirmBreakGlass(desk.chart, number, emergencies[number].institution, records))


def review(desk: Desk) -> None:
    """This node's institution looks into an emergency, its own too if it comes to that."""
    emergencies = desk.standing.emergencies
    owed = [number for number, leaf in emergencies.items() if leaf.review_by is not None and leaf.reviewed_by is None]
    if not owed and desk.chance(0.8):
        confirm(desk)
        return
    chosen = owed if owed and desk.chance(0.9) else list(emergencies)
    if not chosen:
        break_glass(desk)
        return
    number = desk.choose(chosen)
    findings = desk.rng.randbytes(32) if desk.chance(0.5) else None
    operation = ReviewBreakGlass(desk.chart, number, emergencies[number].institution, desk.chance(0.7), findings)
    desk.send(operation)


def erase(desk: Desk) -> None:
    """Owner and custodian order records deleted, with all who ever stored them."""
    standing = desk.standing
    if not standing.whole:
        consent.append(desk)
        return
    records = [desk.choose(standing.whole)]
    if desk.chance(0.3):
        records = sorted({*records, desk.rng.choice(standing.whole)})
    custodian = standing.chart.custodian
    stored = {one for n in records for one in (*standing.records[n].holders, standing.records[n].institution)}
    holders = sorted(stored - {custodian} | (set(desk.some(desk.others(), 1)) if desk.chance(0.2) else set()))
    if holders and desk.chance(0.04):
        holders.pop()
    desk.send(desk.owner(Erase(desk.chart, tuple(records), tuple(holders))), by=custodian)


def receipt(desk: Desk) -> None:
    """One who owes it says that it deleted; now and then one who said so already, or who owes nothing."""
    erasures = desk.standing.erasures
    if not erasures:
        erase(desk)
        return
    number = desk.choose(list(erasures))
    given = {institution for institution, _ in erasures[number].receipts}
    owing = [one for one in erasures[number].owed if one not in given]
    by = desk.choose(owing) if owing and desk.chance(0.75) else desk.institution
    desk.send(ErasureReceipt(desk.chart, number), by=by)


def hold(desk: Desk) -> None:
    """The law binds the custodian to keep some records, or all."""
    whole, everything = desk.standing.whole, desk.chance(0.3)
    if not whole:
        consent.append(desk)
        return
    records = None if everything else tuple(sorted({desk.choose(whole), desk.rng.choice(whole)}))
    by = desk.standing.chart.custodian if desk.chance(0.95) else desk.institution
    desk.send(Hold(desk.chart, records, desk.rng.randbytes(32)), by=by)


def release(desk: Desk) -> None:
    """And binds it no more."""
    if not desk.standing.holds:
        hold(desk)
        return
    desk.send(ReleaseHold(desk.chart, desk.choose(desk.standing.holds)), by=desk.standing.chart.custodian)
