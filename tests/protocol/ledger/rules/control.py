"""Rules about who controls a chart, each broken in a leader's ledger."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from protocol.ledger import cosigning, recovery
from protocol.types.operations import (
    CancelRecovery,
    CompleteRecovery,
    OwnerKeys,
    SetGuardians,
    SignedOperation,
)
from tests.protocol.ledger.rules.broken import Broken, Stage


def no_guardians(stage: Stage) -> SetGuardians:
    return SetGuardians(stage.chart, stage.world.next_change(stage.patient), None)


def rotation(stage: Stage, **changes: Any) -> Any:
    return stage.world.rotating(stage.patient, stage.world.fresh_key(), **changes)


def guarded(stage: Stage) -> Any:
    """What guardians would begin."""
    stage.world.set_guardians(stage.patient)
    return stage.world.recovering(stage.patient, stage.world.fresh_key())


def repeated(stage: Stage) -> list[Any]:
    signed = stage.world.guarded(stage.patient, guarded(stage), 0)
    doubled = SignedOperation(signed.operation, signed.cosignatures * 2)
    return [stage.world.body(2, doubled)]


def forged(stage: Stage) -> list[Any]:
    signed = stage.world.guarded(stage.patient, guarded(stage), 0, 1)
    false = tuple(replace(one, signature=bytes(64)) for one in signed.cosignatures)
    return [stage.world.body(2, replace(signed, cosignatures=false))]


def expired(stage: Stage) -> list[Any]:
    bodies = stage.guardians(guarded(stage), 0, 1, expires_at=stage.world.now)
    stage.world.wait(10)
    return bodies


def replayed(stage: Stage) -> list[Any]:
    signed = stage.world.guarded(stage.patient, guarded(stage), 0, 1)
    stage.world.run(1, signed)
    stage.world.run(1, stage.world.guarded(stage.patient, stage.cancelling(), 0, 1))
    return [stage.world.body(2, signed)]


def second_change(stage: Stage) -> list[Any]:
    stage.world.run(2, stage.world.owned(stage.patient, rotation(stage)))
    return stage.owner(rotation(stage))


def second_guardians(stage: Stage) -> list[Any]:
    stage.world.set_guardians(stage.patient)
    stage.world.run(2, stage.world.owned(stage.patient, rotation(stage)))
    return stage.owner(no_guardians(stage))


def anothers_key(stage: Stage) -> list[Any]:
    other = stage.world.open_chart()
    return stage.owner(stage.world.rotating(stage.patient, other.key))


def spent_key(stage: Stage) -> list[Any]:
    return stage.owner(stage.world.rotating(stage.patient, stage.world.replace_owner_key(stage.patient)))


def guardians_key(stage: Stage) -> list[Any]:
    stage.world.set_guardians(stage.patient)
    return stage.owner(stage.world.rotating(stage.patient, stage.patient.guardians[0]))


def same_keys(stage: Stage) -> list[Any]:
    chart, patient = stage.world.chart(stage.patient), stage.patient
    same = OwnerKeys(chart.owner_key, chart.encryption_suite, chart.encryption_key)
    possession = stage.world.possession(patient, 0, patient.key, same)
    return stage.owner(rotation(stage, keys=same, possession=possession))


def vetoed(stage: Stage) -> list[Any]:
    stage.frozen()
    return stage.owner(stage.cancelling())


def overruling(stage: Stage) -> list[Any]:
    stage.world.set_guardians(stage.patient)
    return stage.guardians(stage.world.recovering(stage.patient, stage.world.fresh_key(), overrule=True), 0, 1)


def waiting(stage: Stage, wait: bool = True) -> None:
    stage.world.run(2, stage.world.owned(stage.patient, rotation(stage)))
    stage.world.wait(stage.world.genesis.params.recovery_ms if wait else 10)


def completing(stage: Stage, wait: bool = True) -> list[Any]:
    waiting(stage, wait)
    return stage.carried(CompleteRecovery(stage.chart, 0))


def completing_another(stage: Stage) -> list[Any]:
    waiting(stage)
    return stage.carried(CompleteRecovery(stage.chart, 9))


def signed_completion(stage: Stage) -> list[Any]:
    waiting(stage)
    return stage.owner(CompleteRecovery(stage.chart, 0))


def recovering(stage: Stage) -> list[Any]:
    stage.world.name_delegate(stage.patient)
    stage.world.set_guardians(stage.patient)
    change = stage.world.begin(stage.patient, stage.world.fresh_key())
    stage.world.wait(stage.world.genesis.params.recovery_ms)
    return stage.carried(CompleteRecovery(stage.chart, change))


def later_guardians(stage: Stage) -> list[Any]:
    stage.world.set_guardians(stage.patient)
    change = stage.world.next_change(stage.patient)
    return stage.owner(SetGuardians(stage.chart, change, stage.world.some_guardians(stage.patient)))


def impossible_guardians(stage: Stage) -> list[Any]:
    few = replace(stage.world.some_guardians(stage.patient), threshold=4)
    return stage.owner(SetGuardians(stage.chart, 0, few))


def owner_as_guardian(stage: Stage) -> list[Any]:
    own = replace(stage.world.some_guardians(stage.patient), threshold=1, keys=(stage.patient.key.public,))
    return stage.owner(SetGuardians(stage.chart, 0, own))


TABLE = [
    Broken(
        "enough guardians sign",
        cosigning,
        "guardians_signed",
        "len(call.cosignatures) < guardians.threshold",
        "False",
        "too-few-guardians",
        lambda s: s.guardians(guarded(s), 0),
    ),
    Broken(
        "each guardian counts once",
        cosigning,
        "guardians_signed",
        "cosignature.actor <= last",
        "False",
        "not-ascending",
        repeated,
    ),
    Broken(
        "guardians sign with their keys",
        cosigning,
        "_verify",
        "if not working.",
        "if False and not working.",
        "bad-cosignature",
        forged,
    ),
    Broken(
        "guardians' co-signatures expire",
        cosigning,
        "guardians_signed",
        "_check_time(working, cosignature)",
        "pass",
        "cosignature-expired",
        expired,
    ),
    Broken(
        "a guardian's number is none",
        cosigning,
        "guardians_signed",
        "or cosignature.number != 0",
        "",
        "unauthorised",
        lambda s: s.guardians(guarded(s), 0, 1, number=7),
    ),
    Broken(
        "what guardians signed is for one change",
        recovery,
        "_next",
        "change != state.changes",
        "False",
        "wrong-change",
        replayed,
    ),
    Broken(
        "a rotation waits its turn",
        recovery,
        "_rotate",
        "state.pending is not None",
        "False",
        "change-pending",
        second_change,
    ),
    Broken(
        "new guardians wait their turn",
        recovery,
        "_set_guardians",
        "state.pending is not None",
        "False",
        "change-pending",
        second_guardians,
    ),
    Broken(
        "who has the new key wants it so",
        recovery,
        "_claim_keys",
        "if not working.",
        "if False and not working.",
        "bad-possession",
        lambda s: s.owner(rotation(s, possession=bytes(64))),
    ),
    Broken(
        "the new key is no other chart's",
        recovery,
        "_claim_keys",
        "known is not None and known.chart != number",
        "False",
        "chart-exists",
        anothers_key,
    ),
    Broken(
        "a key that was replaced never comes back",
        recovery,
        "_claim_keys",
        "known is not None and known.spent",
        "False",
        "bad-terms",
        spent_key,
    ),
    Broken(
        "the new key is no guardian's",
        recovery,
        "_claim_keys",
        "state.guardians is not None and to.owner_key in state.guardians.keys",
        "False",
        "bad-terms",
        guardians_key,
    ),
    Broken(
        "a rotation changes something",
        recovery,
        "_claim_keys",
        'raise BadTerms("these are the chart\'s keys already")',
        "pass",
        "bad-terms",
        same_keys,
    ),
    Broken(
        "the custodian alone overrules",
        recovery,
        "_begin",
        "operation.overrule and call.institution != chart.custodian",
        "False",
        "unauthorised",
        overruling,
    ),
    Broken(
        "an overruled key cannot veto", recovery, "_cancel", "if pending.overrule", "if False", "veto-overruled", vetoed
    ),
    Broken(
        "a veto takes the owner or guardians",
        recovery,
        "_cancel",
        "cosigning.owner_signed(working, operation, call, chart)",
        "chart",
        "missing-cosignature",
        lambda s: waiting(s) or s.carried(CancelRecovery(s.chart, 0)),
    ),
    Broken(
        "a change waits",
        recovery,
        "_complete",
        "working.timestamp < pending.ready_at",
        "False",
        "too-early",
        lambda s: completing(s, wait=False),
    ),
    Broken(
        "it waits as long as the parameters say",
        recovery,
        "_pending",
        "(working.params.recovery_ms if wait_ms is None else wait_ms)",
        "5",
        "state_root",
        lambda s: s.owner(rotation(s)),
    ),
    Broken(
        "overruling is written down",
        recovery,
        "_pending",
        "isinstance(operation, BeginRecovery) and operation.overrule",
        "False",
        "state_root",
        lambda s: (
            s.world.set_guardians(s.patient)
            and s.guardians(s.world.recovering(s.patient, s.world.fresh_key(), overrule=True), 0, 1, carrier=0)
        ),
    ),
    Broken(
        "only what waits completes",
        recovery,
        "_waiting",
        "state.pending.change != change",
        "False",
        "wrong-change",
        completing_another,
    ),
    Broken(
        "completing takes no co-signature",
        cosigning,
        "none_needed",
        "if call.cosignatures",
        "if False",
        "unauthorised",
        signed_completion,
    ),
    Broken(
        "a new owner key has a fresh window",
        recovery,
        "_complete",
        "FRESH if fresh else chart.window",
        "chart.window",
        "state_root",
        completing,
    ),
    Broken("the old owner key is spent", recovery, "_complete", "if fresh:", "if False:", "state_root", completing),
    Broken(
        "the new owner key takes over",
        recovery,
        "_complete",
        "owner_key=pending.keys.owner_key,",
        "",
        "state_root",
        completing,
    ),
    Broken(
        "a recovery ends delegates",
        recovery,
        "_complete",
        "chart.delegates if recovered else chart.delegates_from",
        "chart.delegates_from",
        "state_root",
        recovering,
    ),
    Broken(
        "a rotation ends no delegates",
        recovery,
        "_complete",
        "chart.delegates if recovered else chart.delegates_from",
        "chart.delegates",
        "state_root",
        lambda s: s.world.name_delegate(s.patient) and completing(s),
    ),
    Broken(
        "only the first guardians are there at once",
        recovery,
        "_set_guardians",
        "    if state.guardians is None:\n        pending",
        "    if True:\n        pending",
        "state_root",
        later_guardians,
    ),
    Broken(
        "guardians can agree",
        recovery,
        "_check_guardians",
        "guardians.threshold > len(guardians.keys)",
        "False",
        "bad-terms",
        impossible_guardians,
    ),
    Broken(
        "the owner is no guardian",
        recovery,
        "_check_guardians",
        "chart.owner_key in guardians.keys",
        "False",
        "bad-terms",
        owner_as_guardian,
    ),
]
