"""Rules about grants, revocations and policies, each broken in a leader's ledger."""

from __future__ import annotations

from typing import Any

from protocol import limits
from protocol.ledger import consent, control, cosigning, rules, transition, working
from protocol.types.governance import Remove
from protocol.types.operations import (
    ROLE_GUARDIAN,
    AppendRecords,
    Bar,
    Delegate,
    DelegateReissue,
    Policy,
    Reissue,
    Revoke,
    SetPolicy,
    SignedOperation,
)
from tests.protocol.ledger.rules.broken import Broken, Stage, granting


def foreign(stage: Stage) -> list[Any]:
    other = stage.world.open_chart()
    return [stage.world.body(2, stage.world.owned(other, granting(stage), number=40))]


def stale(stage: Stage) -> list[Any]:
    signed = stage.world.owned(stage.patient, granting(stage), expires_at=stage.world.now)
    stage.world.wait(10)
    return [stage.world.body(2, signed)]


def lasting(stage: Stage) -> list[Any]:
    """For longer than an owner's counts, though not longer than a guardian's."""
    until = stage.world.now + stage.world.genesis.params.cosign_ms + 1_000
    return [stage.world.body(2, stage.world.owned(stage.patient, granting(stage), expires_at=until))]


def replayed(stage: Stage) -> list[Any]:
    signed = stage.world.owned(stage.patient, granting(stage))
    stage.world.run(1, signed)
    return [stage.world.body(2, signed)]


def twice(stage: Stage) -> list[Any]:
    one, other = (stage.world.owned(stage.patient, granting(stage)) for _ in range(2))
    return [stage.world.body(2, SignedOperation(one.operation, (*one.cosignatures, *other.cosignatures)))]


def as_guardian(stage: Stage) -> list[Any]:
    """The owner's own key, in a role that it has not."""
    stage.patient.guardians = [stage.patient.key]
    signed = stage.world.guarded(stage.patient, SetPolicy(stage.chart, Policy()), 0, number=60)
    assert signed.cosignatures[0].role == ROLE_GUARDIAN
    return [stage.world.body(2, signed)]


def to_removed(stage: Stage) -> list[Any]:
    stage.world.decide(Remove(3))
    return stage.owner(granting(stage, grantee=3))


def revoking(stage: Stage) -> list[Any]:
    stage.world.grant(stage.patient)
    return stage.owner(Revoke(stage.chart, 0))


def frozen_reissue(stage: Stage) -> list[Any]:
    for _ in range(2):
        stage.world.grant(stage.patient)
    stage.frozen()
    return stage.owner(Revoke(stage.chart, 0, (Reissue(1, stage.tags(None, None, [9], [9])),)))


def dead_reissue(stage: Stage) -> list[Any]:
    for _ in range(2):
        stage.world.grant(stage.patient)
    stage.world.revoke(stage.patient, 1)
    return stage.owner(Revoke(stage.chart, 0, (Reissue(1, stage.tags(None, None, [9], [9])),)))


def dead_delegates_reissue(stage: Stage) -> list[Any]:
    stage.world.grant(stage.patient)
    stage.world.end_delegate(stage.patient, stage.world.name_delegate(stage.patient))
    again = DelegateReissue(0, stage.tags(None, None, [9], [9]))
    return stage.owner(Revoke(stage.chart, 0, (), (again,)))


def held_back_policy(stage: Stage) -> list[Any]:
    lax = stage.owner(SetPolicy(stage.chart, Policy()))
    stage.world.set_policy(stage.patient, Policy(bars=(Bar(None, (None, None, None)),)))
    return lax


def held_back_bars(stage: Stage) -> list[Any]:
    stage.world.grant(stage.patient)
    lax = stage.owner(Revoke(stage.chart, 0, bars=()))
    stage.world.set_policy(stage.patient, Policy(bars=(Bar(None, (None, None, None)),)))
    return lax


def too_many_grants(stage: Stage) -> list[Any]:
    stage.change_chart(grants=limits.GRANTS_PER_CHART)
    return stage.owner(granting(stage))


def full(stage: Stage) -> list[Any]:
    stage.change_chart(events=limits.EVENTS_PER_CHART, peaks=(bytes(32),))
    return stage.owner(SetPolicy(stage.chart, Policy()))


TABLE = [
    Broken(
        "a grant is the chart's owner's",
        cosigning,
        "_verify",
        "if not working.",
        "if False and not working.",
        "bad-cosignature",
        foreign,
    ),
    Broken(
        "a co-signature expires",
        cosigning,
        "_check_time",
        "working.timestamp > cosignature.expires_at",
        "False",
        "cosignature-expired",
        stale,
    ),
    Broken(
        "a co-signature counts for a bounded time",
        cosigning,
        "_check_time",
        "cosignature.expires_at - working.timestamp > most_ms",
        "False",
        "cosignature-too-long",
        lasting,
    ),
    Broken(
        "an owner's for a shorter time than a guardian's",
        cosigning,
        "_check_time",
        "cosignature.role == ROLE_GUARDIAN",
        "True",
        "cosignature-too-long",
        lasting,
    ),
    Broken(
        "a co-signature counts once",
        cosigning,
        "_use_number",
        "windows.use(window, cosignature.number, limits.WINDOW_BITS_OWNER)",
        "window",
        "replayed",
        replayed,
    ),
    Broken(
        "one co-signature and no more", cosigning, "_only", "len(call.cosignatures) > 1", "False", "unauthorised", twice
    ),
    Broken(
        "none is missing",
        control,
        "_delegate",
        "cosigning.owner_signed(working, operation, call, chart)",
        "chart",
        "missing-cosignature",
        lambda s: s.carried(Delegate(s.chart, s.world.delegate_terms(s.world.fresh_key()))),
    ),
    Broken(
        "it is signed in the owner's role",
        cosigning,
        "use_owner",
        "cosignature.role != ROLE_OWNER or cosignature.actor != 0",
        "False",
        "unauthorised",
        as_guardian,
    ),
    Broken(
        "nobody who was removed gets a grant",
        consent,
        "_check_terms",
        ".status == STATUS_REMOVED",
        ".status == -1",
        "bad-terms",
        to_removed,
    ),
    Broken(
        "access is one that is known",
        consent,
        "_check_terms",
        "terms.access not in (ACCESS_READ, ACCESS_WRITE, ACCESS_READ | ACCESS_WRITE)",
        "False",
        "bad-terms",
        lambda s: s.owner(granting(s, access=4)),
    ),
    Broken(
        "emergency purposes are never granted",
        consent,
        "check_purposes",
        "purposes.is_emergency(purpose)",
        "False",
        "bad-terms",
        lambda s: s.owner(granting(s, purposes=("BTG",))),
    ),
    Broken(
        "purposes are known",
        consent,
        "check_purposes",
        "raise UnknownPurpose()",
        "continue",
        "unknown-purpose",
        lambda s: s.owner(granting(s, purposes=("CURIOUS",))),
    ),
    Broken(
        "a grant ends ahead of now",
        consent,
        "check_period",
        "not_after <= working.timestamp",
        "False",
        "bad-terms",
        lambda s: s.owner(granting(s, not_before=0, not_after=5)),
    ),
    Broken(
        "a grant begins before it ends",
        consent,
        "check_period",
        "not_before >= not_after",
        "False",
        "bad-terms",
        lambda s: s.owner(granting(s, not_before=s.world.now + 99, not_after=s.world.now + 98)),
    ),
    Broken(
        "a set has one form",
        rules,
        "check_ascending",
        "item <= last",
        "False",
        "not-ascending",
        lambda s: s.owner(granting(s, purposes=("TREAT", "HPAYMT"))),
    ),
    Broken(
        "a chart has so many grants",
        consent,
        "_grant",
        "grant >= (limits.GRANTS_PER_CHART if delegate is None else limits.GRANTS_BY_DELEGATES)",
        "False",
        "too-many-grants",
        too_many_grants,
    ),
    Broken(
        "a revoked grant has ended",
        consent,
        "_revoke",
        "replace(grant, revoked_at=working.height)",
        "grant",
        "state_root",
        revoking,
    ),
    Broken(
        "a revocation moves the generation",
        consent,
        "_revoke",
        "generation += 1",
        "generation += 0",
        "state_root",
        revoking,
    ),
    Broken(
        "an owner who is frozen reissues nothing",
        consent,
        "_revoke",
        "delegate is None and not cosigning.frozen(working, number)",
        "delegate is None",
        "state_root",
        frozen_reissue,
    ),
    Broken(
        "a revoked grant gets no new tags",
        consent,
        "_reissue",
        "grant.revoked_at is not None",
        "False",
        "state_root",
        dead_reissue,
    ),
    Broken(
        "an ended delegate gets no new tags",
        consent,
        "_renew",
        "delegate.ended_at is not None or again.delegate < chart.delegates_from",
        "False",
        "state_root",
        dead_delegates_reissue,
    ),
    Broken(
        "a grant is not both ended and reissued",
        consent,
        "_check_reissues",
        "reissue.grant == operation.grant",
        "False",
        "bad-terms",
        lambda s: revoking(s) and s.owner(Revoke(s.chart, 0, (Reissue(0, s.tags(None, None, [9], [9])),))),
    ),
    Broken(
        "a policy does not undo a later one",
        control,
        "_set_policy",
        "before is not None and before.overtakes(chart.owner_key, signed_as)",
        "False",
        "overtaken",
        held_back_policy,
    ),
    Broken(
        "bars do not undo a later policy",
        consent,
        "_renew_bars",
        "before is not None and before.overtakes(chart.owner_key, number)",
        "False",
        "state_root",
        held_back_bars,
    ),
    Broken(
        "a full chart takes no more",
        working,
        "Working.append",
        "at + kept_free > limits.EVENTS_PER_CHART",
        "False",
        "chart-full",
        full,
    ),
    Broken(
        "owners' and institutions' operations do not mix",
        transition,
        "classify",
        "is not family",
        "is None",
        "mixed-transaction",
        lambda s: [s.world.body(0, s.world.owned(s.patient, granting(s)), AppendRecords(s.chart, (s.entry(),)))],
    ),
]
