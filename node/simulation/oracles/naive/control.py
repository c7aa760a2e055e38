"""The naive rules of who controls a chart (docs/spec/operations.md)."""

from __future__ import annotations

from typing import Any, Final

from node.simulation.oracles.naive import purposes, signatures
from node.simulation.oracles.naive.charts import ascend, bars_ascend, chart, lists_ascend
from node.simulation.oracles.naive.state import Change, Chart, DelegateOf, Numbers, State, require
from protocol.crypto.signing import owner_possession_message
from protocol.types.operations import (
    BeginRecovery,
    CancelRecovery,
    CompleteRecovery,
    Delegate,
    EndDelegate,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
    SignedOperation,
)

DELEGATES_PER_CHART = 64


def _owners(state: State, signed: SignedOperation, number: int) -> Chart:
    """The chart, whose owner signed and is not frozen."""
    held = chart(state, number)
    signatures.owner(state, signed, held.owner_key, held.numbers)
    require(not held.frozen, "the owner is frozen")
    return held


def set_policy(state: State, operation: SetPolicy, signed: SignedOperation, carrier: int) -> None:
    """Unless the owner signed a later one."""
    held = _owners(state, signed, operation.chart)
    bars_ascend(operation.policy.bars)
    number = signed.cosignatures[0].number
    require(not held.overtakes(number), "the owner signed a later policy")
    held.policy, held.policy_as = operation.policy, (held.owner_key, number)
    held.happened("PolicySet", carrier, {"policy": operation.policy})


def delegate(state: State, operation: Delegate, signed: SignedOperation, carrier: int) -> None:
    """The chart's next delegate."""
    held, terms = _owners(state, signed, operation.chart), operation.terms
    require(0 < terms.acts < 8 and terms.key != held.owner_key, "the delegation is wrong")
    require(terms.not_before < terms.not_after and terms.not_after > state.timestamp, "its times are wrong")
    purposes.check(terms.purposes)
    lists_ascend(terms.tags)
    require(len(held.delegates) < DELEGATES_PER_CHART, "the chart has had as many delegates as it may")
    held.delegates.append(DelegateOf(terms))
    held.happened("DelegateNamed", carrier, {"delegate": len(held.delegates) - 1, "terms": terms})


def end_delegate(state: State, operation: EndDelegate, signed: SignedOperation, carrier: int) -> None:
    """An event the first time only."""
    held = chart(state, operation.chart)
    if signatures.by_delegate(signed):
        number, _ = signatures.delegate(state, signed, held)
        require(number == operation.delegate, "a delegate ends none but itself")
    else:
        signatures.owner(state, signed, held.owner_key, held.numbers)
    require(operation.delegate < len(held.delegates), "there is no such delegate")
    if not held.delegates[operation.delegate].ended:
        held.delegates[operation.delegate].ended = True
        held.happened("DelegateEnded", carrier, {"delegate": operation.delegate}, makes_room=True)


def set_guardians(state: State, operation: SetGuardians, signed: SignedOperation, carrier: int) -> None:
    """At once if there were none."""
    held, guardians = _owners(state, signed, operation.chart), operation.guardians
    require(operation.change == held.changes and held.waiting is None, "the change is not the next one")
    if guardians is not None:
        ascend(guardians.keys, "guardians")
        possible = guardians.threshold <= len(guardians.keys) and held.owner_key not in guardians.keys
        require(possible, "these guardians could not act")
    require(guardians is not None or held.guardians is not None, "nothing would change")
    held.changes += 1
    begun = Change(operation.change, state.timestamp + state.params.recovery_ms, "GUARDIANS", guardians=guardians)
    if held.guardians is None:
        held.guardians, begun.ready_at = guardians, state.timestamp
    else:
        held.waiting = begun
    _said(held, carrier, begun)


def _said(held: Chart, carrier: int, begun: Change) -> None:
    what = {"change": begun.number, "kind": begun.kind, "keys": begun.keys, "guardians": begun.guardians}
    held.happened("ChangeBegun", carrier, {**what, "overrule": begun.overrule, "ready_at": begun.ready_at})


def rotate(state: State, operation: RotateOwnerKey, signed: SignedOperation, carrier: int) -> None:
    """It waits."""
    held = _owners(state, signed, operation.chart)
    require(held.waiting is None, "another change waits")
    _said(held, carrier, _begin(state, operation, held))


def begin_recovery(state: State, operation: BeginRecovery, signed: SignedOperation, carrier: int) -> None:
    """It waits, in place of what waited."""
    held = chart(state, operation.chart)
    signatures.guardians(state, signed, held)
    require(not operation.overrule or carrier == held.custodian, "only the custodian overrules")
    replaced, begun = held.waiting, _begin(state, operation, held)
    if replaced is not None:
        what = {"change": replaced.number, "by_guardians": True}
        held.happened("ChangeCancelled", carrier, what, makes_room=True)
    _said(held, carrier, begun)


def _begin(state: State, operation: RotateOwnerKey | BeginRecovery, held: Chart) -> Change:
    to = operation.keys
    require(operation.change == held.changes, "the change is not the next one")
    message = owner_possession_message(state.chain, operation.chart, operation.change, to)
    require(state.verify(to.owner_key, message, operation.possession), "the new key has not signed")
    require(state.owners.get(to.owner_key, operation.chart) == operation.chart, "the new key is another chart's")
    require(to.owner_key not in state.spent, "the new key was replaced before")
    require(held.guardians is None or to.owner_key not in held.guardians.keys, "the new key is a guardian's")
    same = (to.owner_key, to.encryption_suite, to.encryption_key) == (held.owner_key, *held.encryption)
    require(not same, "nothing would change")
    state.owners[to.owner_key] = operation.chart
    overrule = isinstance(operation, BeginRecovery) and operation.overrule
    kind = "RECOVERY" if isinstance(operation, BeginRecovery) else "ROTATION"
    ready_at = state.timestamp + state.params.recovery_ms
    held.waiting = Change(operation.change, ready_at, kind, to, None, overrule)
    held.changes += 1
    return held.waiting


def cancel(state: State, operation: CancelRecovery, signed: SignedOperation, carrier: int) -> None:
    """By guardians, or by an owner who is not overruled."""
    held = chart(state, operation.chart)
    waiting = held.waiting
    require(waiting is not None and waiting.number == operation.change, "no such change waits")
    by_guardians = signatures.by_guardians(signed)
    if by_guardians:
        signatures.guardians(state, signed, held)
    else:
        _owners(state, signed, operation.chart)
    held.waiting = None
    what = {"change": operation.change, "by_guardians": by_guardians}
    held.happened("ChangeCancelled", carrier, what, makes_room=True)


def complete(state: State, operation: CompleteRecovery, signed: SignedOperation, carrier: int) -> None:
    """Once it is ready."""
    signatures.nobody(signed)
    held = chart(state, operation.chart)
    waiting = held.waiting
    require(waiting is not None and waiting.number == operation.change, "no such change waits")
    assert waiting is not None
    require(state.timestamp >= waiting.ready_at, "the change is not ready")
    if waiting.kind == "GUARDIANS":
        held.guardians = waiting.guardians
    else:
        assert waiting.keys is not None
        if waiting.keys.owner_key != held.owner_key:
            state.spent.add(held.owner_key)
            held.owner_key, held.numbers = waiting.keys.owner_key, Numbers(64)
        held.encryption = (waiting.keys.encryption_suite, waiting.keys.encryption_key)
        if waiting.kind == "RECOVERY":
            held.delegates_from = len(held.delegates)
    held.waiting = None
    held.happened("ChangeCompleted", carrier, {"change": waiting.number, "kind": waiting.kind}, makes_room=True)


HANDLERS: Final[dict[type, Any]] = {
    SetPolicy: set_policy,
    Delegate: delegate,
    EndDelegate: end_delegate,
    SetGuardians: set_guardians,
    RotateOwnerKey: rotate,
    BeginRecovery: begin_recovery,
    CancelRecovery: cancel,
    CompleteRecovery: complete,
}
