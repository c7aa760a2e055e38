"""Whether a record may be released now: the last word before a key leaves its custodian. Pure, but for the last.

The rules decided in the block; this asks them again on the newest final state, since a grant may have ended meanwhile,
and refuses to trust a state that is not fresh (design, sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from node.records.errors import (
    GrantEnded,
    NotDisclosed,
    NotFresh,
    RecordErased,
    RecordUnknownHere,
    ReleaseDenied,
    ReleaseOverdue,
)
from node.services import Queries
from protocol.errors import NotAccredited, UnknownChart
from protocol.ledger import decisions, keys, reading
from protocol.ledger.decisions import Asked
from protocol.ledger.events import Disclosed, Event, GlassBroken, Outcome, Reason, RecordAppended, reason_text
from protocol.ledger.leaves import (
    Chart,
    DelegateLeaf,
    Emergency,
    ErasedPage,
    GrantLeaf,
    Leaf,
    PolicyLeaf,
    Recovery,
    decode_leaf,
)
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import STATUS_ACCREDITED, Institution

Asking = Disclosed | GlassBroken
"""What stands on the ledger when somebody asked to read."""
Leaves = Mapping[bytes, Leaf]
"""Decoded leaves of the final state, by key; absent ones are left out."""


def check_asking(event: Event | None, reader: int, records: Sequence[int], *, for_delegate: bool = False) -> Asking:
    """The final asking by which `reader` may want these records: a disclosure, or an emergency. What a delegate asked
    for, which the custodian only carried, is for the delegate alone.

    Raises `NotDisclosed` if it is neither, another's, or does not name them all; `ReleaseDenied` if denied.
    """
    if not isinstance(event, Disclosed | GlassBroken):
        raise NotDisclosed("there is no final disclosure of that event number on this chart")
    # A delegate's may be carried by whoever serves it: what is released opens under the delegate's own key alone.
    of_delegate = isinstance(event, Disclosed) and event.delegate is not None
    if event.institution != reader and not of_delegate:
        raise NotDisclosed("that disclosure is another institution's")
    if (isinstance(event, Disclosed) and event.delegate is not None) is not for_delegate:
        raise NotDisclosed("what a delegate asked to read is for the delegate alone, and nothing else is for it")
    if event.outcome is Outcome.DENIED:
        raise ReleaseDenied(f"the disclosure was denied: {reason_text(event.reason)}")
    if not set(event.records).issuperset(records):
        raise NotDisclosed("that disclosure does not name this record")
    return event


def check_fresh(head: Header, now_ms: int, params: Params) -> None:
    """Raise `NotFresh` unless the final head is young enough to release anything by it."""
    age_ms = now_ms - head.timestamp
    if age_ms > params.freshness_ms:
        raise NotFresh(
            f"the last final block is {age_ms // 1_000} s old, and at most {params.freshness_ms // 1_000} s are allowed"
        )


def leaves_needed(chart: int, number: int, asking: Asking, records: Iterable[int]) -> list[bytes]:
    """The keys of the leaves that `check_in_force` judges by. `number` is the event number of the asking."""
    needed = {keys.chart(chart), keys.policy(chart), keys.recovery(chart), keys.institution(asking.institution)}
    needed |= {keys.erased(chart, record) for record in records}
    if isinstance(asking, GlassBroken):
        needed.add(keys.emergency(chart, number))
    elif asking.delegate is not None:
        needed.add(keys.delegate(chart, asking.delegate))
    elif asking.grant is not None and asking.grant <= keys.GRANT_MAX:
        needed.add(keys.grant(chart, asking.grant))
    return sorted(needed)


def check_in_force(
    chart: int,
    number: int,
    asking: Asking,
    leaves: Leaves,
    records: Mapping[int, RecordAppended],
    time_ms: int,
) -> None:
    """Raise unless the asking may still be acted on at `time_ms`: the later of the head's time and the clock.

    `ReleaseOverdue` past its deadline, `ReleaseDenied` for an emergency that still waits for a second institution,
    `NotAccredited` if the reader lost its standing, `RecordErased`, `GrantEnded` if the rules would deny it now.
    """
    institution = leaves.get(keys.institution(asking.institution))
    if not isinstance(institution, Institution) or institution.status != STATUS_ACCREDITED:
        raise NotAccredited("the institution that asks is no longer accredited")
    release_until = asking.release_until
    if isinstance(asking, GlassBroken):
        emergency = leaves.get(keys.emergency(chart, number))
        release_until = emergency.release_until if isinstance(emergency, Emergency) else None
        if release_until is None:
            raise ReleaseDenied("the emergency waits for a second institution to vouch for it")
    if release_until is None or time_ms >= release_until:
        raise ReleaseOverdue
    check_not_erased(leaves, chart, records)
    asked = Asked(asking.institution, asking.purpose, time_ms, asking.practitioner, list(records.values()), False)
    reason = _judge(chart, asking, asked, leaves)
    if reason is not Reason.NONE:
        raise GrantEnded(f"the permission behind this disclosure no longer holds: {reason_text(reason)}")


def _judge(chart: int, asking: Asking, asked: Asked, leaves: Leaves) -> Reason:
    policy = leaves.get(keys.policy(chart))
    assert policy is None or isinstance(policy, PolicyLeaf)
    if isinstance(asking, GlassBroken):
        return decisions.by_emergency(asked, policy)
    if asking.delegate is None:
        known = asking.grant is not None and asking.grant <= keys.GRANT_MAX
        grant = leaves.get(keys.grant(chart, asking.grant)) if known and asking.grant is not None else None
        assert grant is None or isinstance(grant, GrantLeaf)
        return decisions.by_grant(asked, grant, policy)
    delegate, leaf = leaves.get(keys.delegate(chart, asking.delegate)), leaves.get(keys.chart(chart))
    if not isinstance(leaf, Chart):
        raise UnknownChart(f"there is no chart {chart}")
    assert isinstance(delegate, DelegateLeaf), "a disclosure names a delegate that there is"
    recovery = leaves.get(keys.recovery(chart))
    frozen = isinstance(recovery, Recovery) and recovery.pending is not None and recovery.pending.overrule
    in_force = decisions.delegate_in_force(delegate, asking.delegate, leaf.delegates_from, asked.time_ms)
    return decisions.by_delegate(asked, delegate, in_force and not frozen)


def check_not_erased(leaves: Leaves, chart: int, records: Iterable[int]) -> None:
    """Raise `RecordErased` if one of these records was erased, by the leaves of their pages."""
    for record in records:
        page = leaves.get(keys.erased(chart, record))
        if isinstance(page, ErasedPage) and reading.is_erased(page.bitmap, record):
            raise RecordErased(f"record {record} of chart {chart} was erased")


async def refuse_erased(node: Queries, chart: int, records: Iterable[int]) -> None:
    """Raise `RecordErased` if one of these records was erased, at the final head."""
    wanted = {keys.erased(chart, record) for record in records if chart <= keys.CHART_MAX}
    found = await node.leaves(sorted(wanted))
    check_not_erased({key: decode_leaf(key, leaf) for key, leaf in found.items()}, chart, records)


def record_of(event: Event | None, record: int) -> RecordAppended:
    """A record as it stands on the ledger. Raises `RecordUnknownHere`."""
    if not isinstance(event, RecordAppended):
        raise RecordUnknownHere(f"event {record} of that chart is no record")
    return event
