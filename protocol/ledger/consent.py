"""Consent: an owner grants and revokes. Any accredited institution may carry what an owner has signed."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from protocol import limits
from protocol.errors import BadTerms, TooManyGrants, UnknownGrant, UnknownPurpose
from protocol.ledger import cosigning, institutions, keys, purposes
from protocol.ledger.events import Granted, Revoked
from protocol.ledger.leaves import GrantLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule, check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import ACCESS_READ, Grant, GrantTags, GrantTerms, Reissue, Revoke


def _reads_grant(operation: Grant, institution: int, read: ReadSet) -> None:
    if operation.chart <= keys.CHART_MAX:
        read.keys.add(keys.chart(operation.chart))
    if operation.terms.grantee <= keys.INSTITUTION_MAX:
        read.keys.add(keys.institution(operation.terms.grantee))


def _grant(working: Working, operation: Grant, call: Call) -> OperationReceipt:
    chart = working.chart(operation.chart)
    window = cosigning.use_owner(working, operation, call, chart.owner_key, chart.window)
    _check_terms(working, operation.terms)
    number = chart.grants
    if number >= limits.GRANTS_PER_CHART:
        raise TooManyGrants(f"chart {operation.chart} has had {number} grants, which is the most")
    granted = Granted(working.height, working.timestamp, call.institution, number, operation.terms)
    after = working.append(operation.chart, chart, [granted])
    working.put(keys.chart(operation.chart), replace(after, grants=number + 1, window=window))
    working.put(keys.grant(operation.chart, number), GrantLeaf(operation.terms, working.height, chart.generation))
    return OperationReceipt(operation.chart, chart.events, 1, grant=number)


def _check_terms(working: Working, terms: GrantTerms) -> None:
    if institutions.institution(working, terms.grantee).status == STATUS_REMOVED:
        raise BadTerms(f"institution {terms.grantee} was removed, and will never read anything again")
    if terms.access != ACCESS_READ:
        raise BadTerms(f"access {terms.access} is not one that this version knows")
    if terms.not_before >= terms.not_after:
        raise BadTerms("the grant would end before it begins")
    if terms.not_after <= working.timestamp:
        raise BadTerms("the grant would have ended already")
    check_ascending(terms.purposes, "a grant's purposes")
    for purpose in terms.purposes:
        if purpose not in purposes.PARENTS:
            raise UnknownPurpose()
        if purposes.is_emergency(purpose):
            raise BadTerms("emergency purposes are never granted: they come by break-glass")
    _check_tags(terms.tags)


def _check_tags(tags: GrantTags) -> None:
    for listed in tags:
        if listed is not None:
            check_ascending(listed, "a grant's tags")


def _reads_revoke(operation: Revoke, institution: int, read: ReadSet) -> None:
    if operation.chart > keys.CHART_MAX:
        return
    read.keys.add(keys.chart(operation.chart))
    for number in (operation.grant, *(reissue.grant for reissue in operation.reissues)):
        if number <= keys.GRANT_MAX:
            read.keys.add(keys.grant(operation.chart, number))


def _revoke(working: Working, operation: Revoke, call: Call) -> OperationReceipt:
    """Nothing that can change under way makes a well-formed revocation invalid: it must get through.

    A grant revoked before is left as it is and the reissues with it; a reissue for a grant that was revoked meanwhile
    is skipped.
    """
    number = operation.chart
    chart = working.chart(number)
    window = cosigning.use_owner(working, operation, call, chart.owner_key, chart.window)
    grant = _existing(working, number, chart.grants, operation.grant)
    check_ascending((reissue.grant for reissue in operation.reissues), "reissued grants")
    for reissue in operation.reissues:
        _check_tags(reissue.tags)
        if reissue.grant == operation.grant:
            raise BadTerms("the grant being revoked is among those reissued")
        _existing(working, number, chart.grants, reissue.grant)
    if grant.revoked_at is not None:
        working.put(keys.chart(number), replace(chart, window=window))
        return OperationReceipt(number, chart.events, 0, grant=operation.grant)
    working.put(keys.grant(number, operation.grant), replace(grant, revoked_at=working.height))
    reissued = tuple(reissue for reissue in operation.reissues if _reissue(working, number, reissue))
    generation = chart.generation + 1
    revoked = Revoked(working.height, working.timestamp, call.institution, operation.grant, generation, reissued)
    after = working.append(number, chart, [revoked], reserve=0)
    working.put(keys.chart(number), replace(after, generation=generation, window=window))
    return OperationReceipt(number, chart.events, 1, grant=operation.grant)


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


def _cost_grant(operation: Grant) -> int:
    return limits.OPERATION_COST + limits.GRANT_COST


def _cost_revoke(operation: Revoke) -> int:
    return limits.OPERATION_COST + limits.GRANT_COST * (1 + len(operation.reissues))


RULES: Final[dict[type, Rule]] = {
    Grant: Rule(Family.OWNERS, _reads_grant, _grant, _cost_grant),
    Revoke: Rule(Family.OWNERS, _reads_revoke, _revoke, _cost_revoke),
}
