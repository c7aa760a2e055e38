"""Acts of control: policies, those who act for the patient, guardians, and how owner keys change."""

from __future__ import annotations

from typing import Final

from node.simulation import keyring
from node.simulation.patients import consent
from node.simulation.patients.desk import HOUR_MS, Desk
from node.simulation.patients.wallet import GUARDIANS, owner_keys
from protocol.crypto.signing import SigningKey
from protocol.types.operations import (
    ACCESS_READ,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    Bar,
    BeginRecovery,
    BreakGlassMode,
    CancelRecovery,
    CompleteRecovery,
    Delegate,
    DelegateTerms,
    Disclose,
    EndDelegate,
    Grant,
    GrantTerms,
    Guardians,
    Policy,
    Revoke,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
)

MODES: Final = (
    BreakGlassMode.ALLOWED,
    BreakGlassMode.TWO_INSTITUTIONS,
    BreakGlassMode.TWO_INSTITUTIONS,
    BreakGlassMode.FORBIDDEN,
)


def policy(desk: Desk) -> None:
    """How emergencies are taken, and who must not read."""
    bars = tuple(_bar(desk) for _ in range(desk.rng.choice((0, 0, 1, 2))))
    desk.send(desk.owner(SetPolicy(desk.chart, Policy(desk.rng.choice(MODES), bars))))


def bar(desk: Desk) -> None:
    """One more bar, whatever else stands."""
    stands = desk.standing.policy
    bars = (*stands.bars[:3], _bar(desk))
    desk.send(desk.owner(SetPolicy(desk.chart, Policy(stands.break_glass, bars))))


def _bar(desk: Desk) -> Bar:
    generation = desk.standing.chart.generation
    institution = None if desk.chance(0.4) else desk.choose(desk.others())
    categories = None if desk.chance(0.7) else desk.barred(0)
    sensitivities = None if desk.chance(0.5) else desk.barred(2)
    return Bar(institution, (categories, None, sensitivities), desk.chance(0.5), generation)


# --- those who act for the patient -----------------------------------------------------------------------------------


def delegate(desk: Desk) -> None:
    """Somebody who may do this or that for the patient."""
    key = desk.wallet.new_delegate()
    not_before = desk.now_ms - 1_000 if desk.chance(0.85) else desk.soon_ms()
    not_after = desk.soon_ms() if desk.chance(0.2) else desk.now_ms + HOUR_MS
    terms = DelegateTerms(
        key.public,
        1,
        bytes(32),
        desk.rng.choice((ACT_GRANT | ACT_REVOKE | ACT_READ, ACT_GRANT | ACT_READ, ACT_READ, ACT_REVOKE | ACT_READ)),
        desk.cover(),
        tuple(desk.some(sorted(consent.PURPOSES), 3)),
        not_before,
        max(not_after, not_before + 1),
    )
    desk.send(desk.owner(Delegate(desk.chart, terms)))


def end_delegate(desk: Desk) -> None:
    """By the owner or by itself."""
    if not desk.standing.delegates:
        delegate(desk)
        return
    number = desk.choose(list(desk.standing.delegates))
    operation = EndDelegate(desk.chart, number)
    desk.send(desk.owner(operation) if desk.chance(0.6) else desk.delegate(operation, number))


def _acting(desk: Desk, act: int) -> int | None:
    """Who is to do this: mostly somebody who may."""
    delegates = desk.standing.delegates
    able = [n for n, leaf in delegates.items() if leaf.terms.acts & act and leaf.ended_at is None]
    chosen = able if able and desk.chance(0.9) else list(delegates)
    return desk.choose(chosen) if chosen else None


def delegate_grants(desk: Desk) -> None:
    """A grant within a delegate's bounds, or just beyond."""
    number = _acting(desk, ACT_GRANT)
    if number is None:
        delegate(desk)
        return
    bounds = desk.standing.delegates[number].terms
    terms = consent.terms(desk, ACCESS_READ)
    purposes = tuple(sorted({desk.rng.choice(consent.PURPOSES[one]) for one in bounds.purposes}))
    not_after = min(terms.not_after, bounds.not_after) + desk.chance(0.1)
    not_before = min(terms.not_before, not_after - 1)
    terms = GrantTerms(terms.grantees, bounds.tags, purposes, not_before, not_after)
    desk.send(desk.delegate(Grant(desk.chart, terms), number))


def delegate_revokes(desk: Desk) -> None:
    """A grant ended by a delegate, and nothing renewed."""
    number = _acting(desk, ACT_REVOKE)
    if number is None or not desk.standing.grants:
        delegate(desk)
        return
    grant = desk.choose(desk.standing.live or list(desk.standing.grants))
    desk.send(desk.delegate(Revoke(desk.chart, grant), number))


def delegate_reads(desk: Desk) -> None:
    """A delegate asks, through whatever institution."""
    number = _acting(desk, ACT_READ)
    if number is None or not desk.standing.records:
        delegate(desk)
        return
    bounds = desk.standing.delegates[number].terms
    purpose = consent.asked_for(desk, bounds.purposes)
    records = tuple(desk.some(list(desk.standing.records), 2))
    desk.send(desk.delegate(Disclose(desk.chart, None, records, purpose), number))


# --- guardians and keys ----------------------------------------------------------------------------------------------


def guardians(desk: Desk) -> None:
    """Who can move the chart to another key: at once if there were none."""
    count = desk.rng.randint(1, GUARDIANS)
    chosen = desk.rng.sample(range(GUARDIANS), count)
    named = tuple(sorted(keyring.guardian_key(desk.wallet.patient, one).public for one in chosen))
    threshold = desk.rng.randint(1, count) if desk.chance(0.97) else min(count + 1, 16)
    nobody = desk.standing.recovery.guardians is not None and desk.chance(0.05)
    to = None if nobody else Guardians(threshold, named)
    desk.send(desk.owner(SetGuardians(desk.chart, desk.standing.recovery.changes, to)))


def rotate(desk: Desk) -> None:
    """The owner moves to another key, in a while."""
    key = _next_key(desk)
    change, to = desk.standing.recovery.changes, owner_keys(key.public, desk.rng.randrange(2))
    desk.send(desk.owner(RotateOwnerKey(desk.chart, change, to, desk.possession(key, change, to))))


def recover(desk: Desk) -> None:
    """Guardians move the chart to another key, in a while; carried by the custodian, past the owner's veto too."""
    known = desk.standing.recovery
    if known.guardians is None:
        guardians(desk)
        return
    key = _next_key(desk)
    to, overrule = owner_keys(key.public, desk.rng.randrange(2)), desk.chance(0.4)
    operation = BeginRecovery(desk.chart, known.changes, to, desk.possession(key, known.changes, to), overrule)
    by = desk.standing.chart.custodian if overrule and desk.chance(0.9) else desk.institution
    desk.send(desk.guardians(operation, known.guardians), by=by)


def _next_key(desk: Desk) -> SigningKey:
    """Mostly a new one; now and then one that was the chart's, or is."""
    if desk.chance(0.9):
        return desk.wallet.new_key()
    return keyring.patient_key(desk.wallet.patient, desk.rng.randrange(desk.wallet.keys))


def cancel(desk: Desk) -> None:
    """Owner or guardians call off what waits."""
    known = desk.standing.recovery
    if known.pending is None:
        recover(desk)
        return
    operation = CancelRecovery(desk.chart, known.pending.change)
    if known.guardians is not None and desk.chance(0.4):
        desk.send(desk.guardians(operation, known.guardians))
    else:
        desk.send(desk.owner(operation))


def complete(desk: Desk) -> None:
    """Once it is ready, or a little early."""
    pending = desk.standing.recovery.pending
    if pending is None:
        rotate(desk)
        return
    desk.send(CompleteRecovery(desk.chart, pending.change))
