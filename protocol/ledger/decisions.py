"""Who may read what, and why not: pure judgements over what stands on the ledger.

The transition asks them in the block. Whoever holds keys asks them again on its latest final state before it releases
any, since a grant may have ended, a bar been raised or a record been erased meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.ledger import purposes
from protocol.ledger.events import Reason, RecordAppended
from protocol.ledger.leaves import DelegateLeaf, GrantLeaf, PolicyLeaf
from protocol.types.operations import ACCESS_READ, ACCESS_WRITE, ACT_READ, Bar, BreakGlassMode, GrantTags, Tags4


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks to read what: `institution` at `time_ms` for a known `purpose`, perhaps by one `practitioner` of its
    own. `erased` says whether any of the records is."""

    institution: int
    purpose: str
    time_ms: int
    practitioner: bytes | None
    records: Sequence[RecordAppended]
    erased: bool = False


def by_grant(asked: Asked, grant: GrantLeaf | None, policy: PolicyLeaf | None) -> Reason:
    """Why this may not be read under this grant: the first rule against it, or `Reason.NONE`."""
    if purposes.is_emergency(asked.purpose):
        return Reason.EMERGENCY_PURPOSE
    if grant is None:
        return Reason.NO_GRANT
    terms = grant.terms
    for against, reason in (
        (asked.institution not in terms.grantees, Reason.WRONG_INSTITUTION),
        (not terms.access & ACCESS_READ, Reason.WRITE_ONLY),
        (grant.revoked_at is not None, Reason.REVOKED),
        (asked.time_ms < terms.not_before, Reason.NOT_YET),
        (asked.time_ms >= terms.not_after, Reason.EXPIRED),
        (not any(purposes.covers(granted, asked.purpose) for granted in terms.purposes), Reason.PURPOSE),
        (terms.practitioners is not None and asked.practitioner not in terms.practitioners, Reason.PRACTITIONER),
        (not covered(terms.tags, [record.entry.tags for record in asked.records]), Reason.OUTSIDE),
    ):
        if against:
            return reason
    return _bars_and_erasure(asked, policy, emergency=False)


def by_delegate(asked: Asked, delegate: DelegateLeaf, in_force: bool) -> Reason:
    """The same for a delegate, who reads as the owner would: bars are about institutions. `in_force` as
    `delegate_in_force` says."""
    if purposes.is_emergency(asked.purpose):
        return Reason.EMERGENCY_PURPOSE
    if not in_force:
        return Reason.DELEGATE_ENDED
    terms = delegate.terms
    allowed = (
        terms.acts & ACT_READ
        and any(purposes.covers(granted, asked.purpose) for granted in terms.purposes)
        and covered(terms.tags, [record.entry.tags for record in asked.records])
    )
    if not allowed:
        return Reason.DELEGATE_BOUNDS
    return Reason.ERASED if asked.erased else Reason.NONE


def delegate_in_force(delegate: DelegateLeaf, number: int, delegates_from: int, time_ms: int) -> bool:
    """Whether delegate `number` may act at this ledger time; `delegates_from` is its chart's."""
    terms = delegate.terms
    return number >= delegates_from and delegate.ended_at is None and terms.not_before <= time_ms < terms.not_after


def by_emergency(asked: Asked, policy: PolicyLeaf | None, unreviewed_full: bool = False) -> Reason:
    """Why this may not be read without grant in an emergency, or `Reason.NONE`: then `needs_two` says whether a second
    institution must vouch for it. The purpose is ETREAT or below."""
    if break_glass_mode(policy) is BreakGlassMode.FORBIDDEN:
        return Reason.BREAK_GLASS_FORBIDDEN
    reason = _bars_and_erasure(asked, policy, emergency=True)
    if reason is Reason.NONE and unreviewed_full:
        return Reason.REVIEWS_OWED
    return reason


def break_glass_mode(policy: PolicyLeaf | None) -> BreakGlassMode:
    """What the chart says about emergencies; a chart without a word allows them."""
    return BreakGlassMode.ALLOWED if policy is None else policy.policy.break_glass


def may_write(grant: GrantLeaf | None, institution: int, time_ms: int, records: Sequence[Tags4]) -> bool:
    """Whether a grant lets this institution write records with these tags now."""
    if grant is None or grant.revoked_at is not None:
        return False
    terms = grant.terms
    return (
        institution in terms.grantees
        and bool(terms.access & ACCESS_WRITE)
        and terms.not_before <= time_ms < terms.not_after
        and covered(terms.tags, records)
    )


def covered(granted: GrantTags, tags: Sequence[Tags4]) -> bool:
    """Whether every record with these tags is covered: at each position, listed or the grant says any."""
    for position, listed in enumerate(granted):
        if listed is not None and {record[position] for record in tags}.difference(listed):
            return False
    return True


def within(inner: GrantTags, outer: GrantTags) -> bool:
    """Whether `inner` covers nothing that `outer` does not."""
    for mine, bound in zip(inner, outer, strict=True):
        if bound is not None and (mine is None or set(mine).difference(bound)):
            return False
    return True


def _bars_and_erasure(asked: Asked, policy: PolicyLeaf | None, *, emergency: bool) -> Reason:
    if policy is not None and barred(asked, policy, emergency=emergency):
        return Reason.BARRED
    return Reason.ERASED if asked.erased else Reason.NONE


def barred(asked: Asked, policy: PolicyLeaf, *, emergency: bool) -> bool:
    """Whether a bar stands against it. A bar's tags say nothing of records of a later generation than the owner made
    them for, so until they are renewed such records count as barred: what a patient forbade never opens by itself, not
    even if the policy was under way while the chart moved on."""
    alike = {(record.generation, record.entry.tags): record for record in asked.records}  # ten thousand are a few kinds
    for bar in policy.policy.bars:
        if bar.institution not in (None, asked.institution) or (emergency and not bar.emergencies):
            continue
        if any(_stands_against(bar, record) for record in alike.values()):
            return True
    return False


def _stands_against(bar: Bar, record: RecordAppended) -> bool:
    if record.generation > bar.generation:
        return True
    categories, years, sensitivities = bar.tags
    category, year, first, second = record.entry.tags
    return (
        (categories is None or category in categories)
        and (years is None or year in years)
        and (sensitivities is None or first in sensitivities or second in sensitivities)
    )
