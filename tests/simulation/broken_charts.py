"""Broken rules about patients' charts: who may read, what ends, who answers for what.

Each is one rule gone in every node's ledger, and in the replay of the oracle too: only the naive ledger still has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from protocol.ledger import (
    access,
    charts,
    consent,
    control,
    cosigning,
    decisions,
    emergency,
    erasure,
    keys,
    recovery,
    registry,
)
from protocol.ledger.leaves import Emergencies, Erasure, GrantLeaf, PolicyLeaf, Recovery
from protocol.ledger.rules import Call, OperationReceipt, Rule
from protocol.ledger.working import Working
from protocol.types.institutions import STATUS_ACCREDITED
from protocol.types.operations import CancelRecovery, ConfirmBreakGlass, ErasureReceipt, ReviewBreakGlass, Revoke
from tests.simulation.mutant import Patch, mutant

Apply = Callable[[Working, Any, Call], OperationReceipt]


def _instead(patch: Patch, kind: type, apply: Apply) -> None:
    """Operations of this kind are applied so."""
    patch.setitem(registry.RULES, kind, _rule(kind, apply))


def _rule(kind: type, apply: Apply) -> Rule:
    return dataclasses.replace(registry.RULES[kind], apply=apply)


# --- reading -----------------------------------------------------------------------------------------------------


@mutant("a revoked grant discloses nothing")
def discloses_after_a_revocation(patch: Patch) -> None:
    right = decisions.by_grant

    def forgetful(asked: Any, grant: GrantLeaf | None, policy: PolicyLeaf | None) -> Any:
        return right(asked, None if grant is None else replace(grant, revoked_at=None), policy)

    patch.setattr(decisions, "by_grant", forgetful)


@mutant("a bar beats every grant")
def forgets_bars(patch: Patch) -> None:
    patch.setattr(decisions, "barred", lambda asked, policy, *, emergency: False)


@mutant("a grant ends with its time")
def accepts_expired_grants(patch: Patch) -> None:
    right = decisions.by_grant

    def patient(asked: Any, grant: GrantLeaf | None, policy: PolicyLeaf | None) -> Any:
        if grant is not None:
            grant = replace(grant, terms=replace(grant.terms, not_after=1 << 50))
        return right(asked, grant, policy)

    patch.setattr(decisions, "by_grant", patient)


@mutant("what was erased is disclosed to nobody")
def discloses_what_was_erased(patch: Patch) -> None:
    patch.setattr(access.reading, "any_erased", lambda working, chart, numbers: False)


@mutant("asking in vain is capped")
def caps_no_denials(patch: Patch) -> None:
    patch.setattr(access, "count_unanswered", lambda working, chart, institution, **_: None)


@mutant("a delegate that was ended reads nothing")
def lets_ended_delegates_act(patch: Patch) -> None:
    patch.setattr(
        decisions,
        "delegate_in_force",
        lambda delegate, number, delegates_from, time_ms: (
            delegate.terms.not_before <= time_ms < delegate.terms.not_after
        ),
    )


@mutant("a reissue brings back no revoked grant")
def reissues_revoked_grants(patch: Patch) -> None:
    def generous(working: Working, chart: int, reissue: Any) -> bool:
        key = keys.grant(chart, reissue.grant)
        grant = working.require(key, GrantLeaf)
        working.put(key, replace(grant, revoked_at=None, terms=replace(grant.terms, tags=reissue.tags)))
        return True

    patch.setattr(consent, "_reissue", generous)


@mutant("a policy that was overtaken comes too late")
def takes_old_policies(patch: Patch) -> None:
    patch.setattr(PolicyLeaf, "overtakes", lambda self, owner_key, number: False)


@mutant("a chart leaves no custodian that remains")
def moves_charts_of_custodians_that_remain(patch: Patch) -> None:
    patch.setattr(charts, "STATUS_REMOVED", STATUS_ACCREDITED)


# --- emergencies -------------------------------------------------------------------------------------------------


@mutant("a review is owed until it is given")
def counts_reviews_wrongly(patch: Patch) -> None:
    right = emergency._review

    def careless(working: Working, operation: ReviewBreakGlass, call: Call) -> OperationReceipt:
        before = working.get(keys.emergencies(operation.institution), Emergencies)
        receipt = right(working, operation, call)
        after = working.require(keys.emergencies(operation.institution), Emergencies)
        if before is not None and len(before.unreviewed) > 1:  # with the one that was reviewed goes another
            after = replace(after, unreviewed=after.unreviewed[1:])
        working.put(keys.emergencies(operation.institution), after)
        return receipt

    _instead(patch, ReviewBreakGlass, careless)


@mutant("a review after its time is late")
def excuses_late_reviews(patch: Patch) -> None:
    right = emergency._review

    def lenient(working: Working, operation: ReviewBreakGlass, call: Call) -> OperationReceipt:
        before = working.get(keys.emergencies(operation.institution), Emergencies)
        receipt = right(working, operation, call)
        after = working.require(keys.emergencies(operation.institution), Emergencies)
        working.put(keys.emergencies(operation.institution), replace(after, late=0 if before is None else before.late))
        return receipt

    _instead(patch, ReviewBreakGlass, lenient)


@mutant("an emergency is confirmed by another institution")
def confirms_its_own_emergencies(patch: Patch) -> None:
    right = emergency._confirm

    def trusting(working: Working, operation: ConfirmBreakGlass, call: Call) -> OperationReceipt:
        if call.institution == operation.institution:
            call = Call(operation.institution + 1, call.cosignatures)
        return right(working, operation, call)

    _instead(patch, ConfirmBreakGlass, trusting)


@mutant("an emergency is confirmed in time")
def confirms_too_late(patch: Patch) -> None:
    right = emergency._found

    def fresh(working: Working, operation: Any) -> Any:
        chart, leaf = right(working, operation)
        return chart, leaf if leaf.review_by is not None else replace(leaf, asked_at=working.timestamp)

    patch.setattr(emergency, "_found", fresh)


# --- erasure -----------------------------------------------------------------------------------------------------


@mutant("a hold keeps records from being erased")
def erases_what_is_held(patch: Patch) -> None:
    patch.setattr(erasure, "_check_holds", lambda working, chart, records: None)


@mutant("a receipt is of who owes it")
def accepts_receipts_that_nobody_owes(patch: Patch) -> None:
    right = erasure._acknowledge

    def generous(working: Working, operation: ErasureReceipt, call: Call) -> OperationReceipt:
        key = keys.erasure(operation.chart, operation.erasure)
        leaf = working.get(key, Erasure)
        if leaf is not None and call.institution not in leaf.owed:
            working.put(key, replace(leaf, owed=tuple(sorted((*leaf.owed, call.institution)))))
        return right(working, operation, call)

    _instead(patch, ErasureReceipt, generous)


@mutant("a receipt is given once")
def takes_receipts_twice(patch: Patch) -> None:
    right = erasure._acknowledge

    def forgetful(working: Working, operation: ErasureReceipt, call: Call) -> OperationReceipt:
        key = keys.erasure(operation.chart, operation.erasure)
        leaf = working.get(key, Erasure)
        if leaf is not None:
            others = tuple(one for one in leaf.receipts if one[0] != call.institution)
            working.put(key, replace(leaf, receipts=others))
        return right(working, operation, call)

    _instead(patch, ErasureReceipt, forgetful)


# --- control -----------------------------------------------------------------------------------------------------


@mutant("a change of keys waits")
def changes_keys_at_once(patch: Patch) -> None:
    right = recovery._waiting

    def hasty(state: Recovery, number: int, change: int) -> Any:
        return replace(right(state, number, change), ready_at=0)

    patch.setattr(recovery, "_waiting", hasty)


@mutant("a frozen owner only withdraws")
def thaws_frozen_owners(patch: Patch) -> None:
    patch.setattr(cosigning, "frozen", lambda working, number: False)


@mutant("the owner cannot veto a recovery that overrules it")
def hears_every_veto(patch: Patch) -> None:
    right = recovery._cancel

    def obedient(working: Working, operation: CancelRecovery, call: Call) -> OperationReceipt:
        state = cosigning.recovery(working, operation.chart)
        if state.pending is not None:
            milder = replace(state, pending=replace(state.pending, overrule=False))
            working.put(keys.recovery(operation.chart), milder)
        return right(working, operation, call)

    _instead(patch, CancelRecovery, obedient)


@mutant("a revocation cannot fail for what happened meanwhile")
def refuses_to_revoke_again(patch: Patch) -> None:
    right = consent._revoke

    def strict(working: Working, operation: Revoke, call: Call) -> OperationReceipt:
        chart = working.chart(operation.chart)
        if operation.grant < chart.grants:
            grant = working.require(keys.grant(operation.chart, operation.grant), GrantLeaf)
            if grant.revoked_at is not None:
                raise consent.UnknownGrant("it was revoked before")
        return right(working, operation, call)

    _instead(patch, Revoke, strict)


@mutant("a delegate has a key and a time")
def names_delegates_without_end(patch: Patch) -> None:
    patch.setattr(control, "check_period", lambda working, not_before, not_after, what: None)
