"""Consent: an owner, or a delegate within its bounds, grants and revokes. Any accredited institution may carry what
they have signed."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import BeyondBounds, DelegateNotInForce
from protocol.errors import BadTerms, TooManyGrants, UnknownGrant, UnknownPurpose
from protocol.ledger import cosigning, decisions, institutions, keys, purposes
from protocol.ledger.events import Granted, Revoked
from protocol.ledger.leaves import Chart, DelegateLeaf, GrantLeaf, PolicyLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule, check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_REVOKE,
    ROLE_DELEGATE,
    Bar,
    DelegateReissue,
    Grant,
    GrantTags,
    GrantTerms,
    Policy,
    Reissue,
    Revoke,
)


def _reads_grant(operation: Grant, call: Call, read: ReadSet) -> None:
    cosigning.reads_delegate(operation.chart, call, read)
    for grantee in operation.terms.grantees:
        if grantee <= keys.INSTITUTION_MAX:
            read.keys.add(keys.institution(grantee))


def _grant(working: Working, operation: Grant, call: Call) -> OperationReceipt:
    number = operation.chart
    chart = working.chart(number)
    signed, delegate = _signed(working, operation, call, chart)
    cosigning.check_not_frozen(working, number)
    _check_terms(working, operation.terms)
    by = None
    if delegate is not None:
        by = call.cosignatures[0].actor
        _check_in_force(working, chart, delegate, by, ACT_GRANT)
        _check_bounds(delegate, operation.terms)
    grant = chart.grants
    if grant >= (limits.GRANTS_PER_CHART if delegate is None else limits.GRANTS_BY_DELEGATES):
        whose = "" if delegate is None else ", beyond which only the owner makes any"
        raise TooManyGrants(f"chart {number} has had {grant} grants, which is the most{whose}")
    granted = Granted(working.height, working.timestamp, call.institution, grant, operation.terms, by)
    after = working.append(number, signed, [granted], begins=1)
    working.put(keys.chart(number), replace(after, grants=grant + 1))
    working.put(keys.grant(number, grant), GrantLeaf(operation.terms, working.height, chart.generation))
    return OperationReceipt(number, chart.events, 1, grant=grant)


def _signed(working: Working, operation: Grant | Revoke, call: Call, chart: Chart) -> tuple[Chart, DelegateLeaf | None]:
    """The chart with the owner's number used up, or as it is beside the delegate that co-signed."""
    if cosigning.role_of(call) == ROLE_DELEGATE:
        return chart, cosigning.delegate_signed(working, operation, call, operation.chart, chart)
    return cosigning.owner_signed(working, operation, call, chart), None


def _check_in_force(working: Working, chart: Chart, delegate: DelegateLeaf, number: int, act: int) -> None:
    if not decisions.delegate_in_force(delegate, number, chart.delegates_from, working.timestamp):
        raise DelegateNotInForce()
    if not delegate.terms.acts & act:
        raise BeyondBounds("the owner did not let this delegate do this")


def _check_bounds(delegate: DelegateLeaf, terms: GrantTerms) -> None:
    bounds = delegate.terms
    checks = (
        (terms.access == ACCESS_READ, "a delegate grants reading only"),
        (terms.not_after <= bounds.not_after, "the grant would outlast the delegate"),
        (decisions.within(terms.tags, bounds.tags), "the grant reaches beyond the delegate's bounds"),
        (
            all(any(purposes.covers(mine, asked) for mine in bounds.purposes) for asked in terms.purposes),
            "the grant is for purposes beyond the delegate's",
        ),
    )
    for holds, sentence in checks:
        if not holds:
            raise BeyondBounds(sentence)


def _check_terms(working: Working, terms: GrantTerms) -> None:
    check_ascending(terms.grantees, "a grant's grantees")
    for grantee in terms.grantees:
        if institutions.institution(working, grantee).status == STATUS_REMOVED:
            raise BadTerms(f"institution {grantee} was removed, and will never read anything again")
    if terms.access not in (ACCESS_READ, ACCESS_WRITE, ACCESS_READ | ACCESS_WRITE):
        raise BadTerms(f"access {terms.access} is not one that this version knows")
    check_period(working, terms.not_before, terms.not_after, "grant")
    check_purposes(terms.purposes)
    check_tags(terms.tags)
    check_ascending(terms.practitioners or (), "a grant's practitioners")


def check_period(working: Working, not_before: int, not_after: int, what: str) -> None:
    """Raise `BadTerms` unless it ends after it begins, and ahead of now."""
    if not_before >= not_after:
        raise BadTerms(f"the {what} would end before it begins")
    if not_after <= working.timestamp:
        raise BadTerms(f"the {what} would have ended already")


def check_purposes(listed: tuple[str, ...]) -> None:
    """Raise `NotAscending`, `UnknownPurpose`, or `BadTerms` for an emergency purpose."""
    check_ascending(listed, "purposes")
    for purpose in listed:
        if purpose not in purposes.PARENTS:
            raise UnknownPurpose()
        if purposes.is_emergency(purpose):
            raise BadTerms("emergency purposes are never granted: they come by break-glass")


def check_tags(tags: GrantTags) -> None:
    """Raise `NotAscending` unless each list ascends strictly."""
    for listed in tags:
        if listed is not None:
            check_ascending(listed, "tags")


def check_bars(policy: Policy) -> None:
    """Raise `NotAscending` unless each list of a bar's ascends strictly."""
    for bar in policy.bars:
        for listed in bar.tags:
            if listed is not None:
                check_ascending(listed, "a bar's tags")


def _reads_revoke(operation: Revoke, call: Call, read: ReadSet) -> None:
    cosigning.reads_delegate(operation.chart, call, read)
    if operation.chart > keys.CHART_MAX:
        return
    read.keys.add(keys.policy(operation.chart))
    for number in (operation.grant, *(reissue.grant for reissue in operation.reissues)):
        if number <= keys.GRANT_MAX:
            read.keys.add(keys.grant(operation.chart, number))
    for again in operation.delegates:
        if again.delegate <= keys.DELEGATE_MAX:
            read.keys.add(keys.delegate(operation.chart, again.delegate))


def _revoke(working: Working, operation: Revoke, call: Call) -> OperationReceipt:
    """Nothing that can change under way makes a well-formed revocation invalid: it must get through.

    A grant revoked before is left as it is and the reissues with it; a reissue for a grant that was revoked meanwhile
    is skipped. A delegate, and an owner whose key is said to be stolen, ends the grant and no more.
    """
    number = operation.chart
    chart = working.chart(number)
    signed, delegate = _signed(working, operation, call, chart)
    by = None
    if delegate is not None:
        by = call.cosignatures[0].actor
        _check_in_force(working, chart, delegate, by, ACT_REVOKE)
        if operation.reissues or operation.delegates or operation.bars is not None:
            raise BeyondBounds("a delegate ends a grant and reissues nothing")
    grant = _existing(working, number, chart.grants, operation.grant)
    _check_reissues(working, operation, chart)
    if grant.revoked_at is not None:
        working.put(keys.chart(number), signed)
        return OperationReceipt(number, chart.events, 0, grant=operation.grant)
    working.put(keys.grant(number, operation.grant), replace(grant, revoked_at=working.height))
    generation = chart.generation
    grants: tuple[Reissue, ...] = ()
    delegates: tuple[DelegateReissue, ...] = ()
    bars: tuple[Bar, ...] | None = None
    if delegate is None and not cosigning.frozen(working, number):
        generation += 1
        grants = tuple(reissue for reissue in operation.reissues if _reissue(working, number, reissue))
        delegates = tuple(again for again in operation.delegates if _renew(working, number, again, chart))
        bars = _renew_bars(working, operation, chart, call.cosignatures[0].number)
    revoked = Revoked(
        working.height,
        working.timestamp,
        call.institution,
        operation.grant,
        generation,
        grants,
        delegates,
        bars,
        by,
    )
    after = working.append(number, signed, [revoked], ends=1)
    working.put(keys.chart(number), replace(after, generation=generation))
    return OperationReceipt(number, chart.events, 1, grant=operation.grant)


def _check_reissues(working: Working, operation: Revoke, chart: Chart) -> None:
    number = operation.chart
    check_ascending((reissue.grant for reissue in operation.reissues), "reissued grants")
    check_ascending((again.delegate for again in operation.delegates), "reissued delegates")
    for reissue in operation.reissues:
        check_tags(reissue.tags)
        if reissue.grant == operation.grant:
            raise BadTerms("the grant being revoked is among those reissued")
        _existing(working, number, chart.grants, reissue.grant)
    for again in operation.delegates:
        check_tags(again.tags)
        cosigning.delegate(working, number, chart, again.delegate)
    if operation.bars is not None:
        check_bars(Policy(bars=operation.bars))


def _existing(working: Working, chart: int, grants: int, number: int) -> GrantLeaf:
    if number >= grants:
        raise UnknownGrant(f"chart {chart} has no grant {number}")
    return working.require(keys.grant(chart, number), GrantLeaf)


def _reissue(working: Working, chart: int, reissue: Reissue) -> bool:
    key = keys.grant(chart, reissue.grant)
    grant = working.require(key, GrantLeaf)
    if grant.revoked_at is not None:
        return False
    working.put(key, replace(grant, terms=replace(grant.terms, tags=reissue.tags)))
    return True


def _renew(working: Working, number: int, again: DelegateReissue, chart: Chart) -> bool:
    key = keys.delegate(number, again.delegate)
    delegate = working.require(key, DelegateLeaf)
    if delegate.ended_at is not None or again.delegate < chart.delegates_from:
        return False
    working.put(key, replace(delegate, terms=replace(delegate.terms, tags=again.tags)))
    return True


def _renew_bars(working: Working, operation: Revoke, chart: Chart, number: int) -> tuple[Bar, ...] | None:
    """The bars that stand from here on, None if not these: the owner signed others since, which bar whatever they say
    nothing about."""
    if operation.bars is None:
        return None
    key = keys.policy(operation.chart)
    before = working.get(key, PolicyLeaf)
    if before is not None and before.overtakes(chart.owner_key, number):
        return None
    policy = Policy() if before is None else before.policy
    working.put(key, PolicyLeaf(replace(policy, bars=operation.bars), chart.owner_key, number))
    return operation.bars


def _cost_grant(operation: Grant) -> int:
    bounds = limits.DELEGATE_COST + limits.ITEM_COST * len(operation.terms.grantees)
    return limits.OPERATION_COST + limits.GRANT_COST + bounds


def _cost_revoke(operation: Revoke) -> int:
    reissues = limits.GRANT_COST * (1 + len(operation.reissues))
    delegates = limits.DELEGATE_COST * (1 + len(operation.delegates))
    return limits.OPERATION_COST + reissues + delegates + limits.POLICY_COST


RULES: Final[dict[type, Rule]] = {
    Grant: Rule(Family.OWNERS, _reads_grant, _grant, _cost_grant),
    Revoke: Rule(Family.OWNERS, _reads_revoke, _revoke, _cost_revoke),
}
