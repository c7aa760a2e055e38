"""The naive rules of charts, records and grants (docs/spec/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from node.simulation.oracles.naive import purposes, signatures
from node.simulation.oracles.naive.state import Chart, DelegateOf, GrantOf, Record, State, require
from protocol.types.institutions import STATUS_REMOVED
from protocol.types.operations import (
    AppendRecords,
    Bar,
    Grant,
    GrantTags,
    GrantTerms,
    MoveChart,
    OpenChart,
    Revoke,
    SignedOperation,
    Tags4,
)

Ordered = TypeVar("Ordered", int, str, bytes)
GRANTS_PER_CHART, GRANTS_BY_DELEGATES = 1_024, 768
ACT_GRANT, ACT_REVOKE = 1, 2


def chart(state: State, number: int) -> Chart:
    """The chart of this number."""
    require(number < len(state.charts), f"there is no chart {number}")
    return state.charts[number]


def ascend(items: Sequence[Ordered], what: str) -> None:
    """A set has one form."""
    require(list(items) == sorted(set(items)), f"{what} do not ascend")


def lists_ascend(lists: Sequence[tuple[bytes, ...] | None]) -> None:
    """Each list of tags has one form."""
    for listed in lists:
        ascend(listed or (), "tags")


def records_of(held: Chart, numbers: Sequence[int]) -> list[Record]:
    """The records that an operation names."""
    ascend(numbers, "records")
    require(all(number in held.records for number in numbers), "the operation names what is no record")
    return [held.records[number] for number in numbers]


def open_chart(state: State, operation: OpenChart, signed: SignedOperation, carrier: int) -> None:
    """A chart gets the next number."""
    require(operation.custodian == carrier, "the chart's custodian is another institution than the carrier")
    encryption = (operation.encryption_suite, operation.encryption_key)
    fresh = Chart(len(state.charts), carrier, operation.owner_key, state.said, encryption=encryption)
    signatures.owner(state, signed, operation.owner_key, fresh.numbers)
    require(operation.owner_key not in state.owners, "this owner key has opened a chart, or was named for one, before")
    state.owners[operation.owner_key] = len(state.charts)
    state.charts.append(fresh)
    fresh.happened("ChartOpened", carrier, {"encryption_suite": encryption[0], "encryption_key": encryption[1]})


def append_records(state: State, operation: AppendRecords, signed: SignedOperation, carrier: int) -> None:
    """One event an entry."""
    held = chart(state, operation.chart)
    tags = [entry.tags for entry in operation.entries]
    if operation.grant is None:
        require(held.custodian == carrier, "the carrier is not the chart's custodian")
    else:
        require(held.custodian != carrier, "the custodian writes under no grant")
        require(_lets_write(state, held, operation.grant, carrier, tags), "no grant lets the carrier write this")
    ascend(operation.holders, "holders")
    for holder in operation.holders:
        state.institution(holder)
    if any(entry.disputes is not None for entry in operation.entries):
        signatures.owner(state, signed, held.owner_key, held.numbers)
        require(not held.frozen, "the owner is frozen")
    else:
        signatures.nobody(signed)
    for entry in operation.entries:
        for other in (entry.supersedes, entry.disputes):
            require(other is None or other in held.records, "an entry names what is no record before it")
        if operation.grant is not None and entry.supersedes is not None:
            listed = held.grants[operation.grant].terms.tags
            require(covers(listed, held.records[entry.supersedes].tags), "no grant lets the carrier amend this")
        held.records[held.events] = Record(held.generation, entry.tags, {carrier, *operation.holders})
        what = {"generation": held.generation, "entry": entry, "holders": operation.holders, "grant": operation.grant}
        held.happened("RecordAppended", carrier, what)


def _lets_write(state: State, held: Chart, number: int, carrier: int, tags: Sequence[Tags4]) -> bool:
    if number >= len(held.grants) or held.grants[number].ended:
        return False
    terms = held.grants[number].terms
    begun = terms.not_before <= state.timestamp < terms.not_after
    return carrier in terms.grantees and terms.access >= 2 and begun and all(covers(terms.tags, one) for one in tags)


def covers(granted: GrantTags, tags: Tags4) -> bool:
    """Whether lists cover a record, position by position."""
    return all(listed is None or tag in listed for listed, tag in zip(granted, tags, strict=True))


def grant(state: State, operation: Grant, signed: SignedOperation, carrier: int) -> None:
    """The chart's next grant."""
    held, terms = chart(state, operation.chart), operation.terms
    by = None
    if signatures.by_delegate(signed):
        by, who = signatures.delegate(state, signed, held)
        acting(state, held, by, who, ACT_GRANT)
        _within(who, terms)
    else:
        signatures.owner(state, signed, held.owner_key, held.numbers)
    require(not held.frozen, "the owner is frozen")
    ascend(terms.grantees, "a grant's grantees")
    for grantee in terms.grantees:
        require(state.institution(grantee).status != STATUS_REMOVED, "a grantee was removed")
    require(terms.access in (1, 2, 3), "the grant's access is unknown")
    require(terms.not_before < terms.not_after and terms.not_after > state.timestamp, "the grant's times are wrong")
    purposes.check(terms.purposes)
    ascend(terms.practitioners or (), "a grant's practitioners")
    lists_ascend(terms.tags)
    most = GRANTS_BY_DELEGATES if signatures.by_delegate(signed) else GRANTS_PER_CHART
    require(len(held.grants) < most, "the chart has had as many grants as it may")
    held.grants.append(GrantOf(terms))
    held.happened("Granted", carrier, {"grant": len(held.grants) - 1, "terms": terms, "delegate": by})


def acting(state: State, held: Chart, number: int, who: DelegateOf, act: int) -> None:
    """The delegate is in force and may do this."""
    require(in_force(state, held, number, who), "the delegate is not in force")
    require(bool(who.terms.acts & act), "the delegate may not do this")


def in_force(state: State, held: Chart, number: int, who: DelegateOf) -> bool:
    """Whether the delegate may act at all."""
    begun = who.terms.not_before <= state.timestamp < who.terms.not_after
    return begun and not who.ended and number >= held.delegates_from


def _within(who: DelegateOf, terms: GrantTerms) -> None:
    bounds = who.terms
    inside = all(
        bound is None or (mine is not None and set(mine) <= set(bound))
        for mine, bound in zip(terms.tags, bounds.tags, strict=True)
    )
    require(inside and terms.access == 1 and terms.not_after <= bounds.not_after, "the grant is beyond its bounds")
    meant = all(any(purposes.below(one, bound) for bound in bounds.purposes) for one in terms.purposes)
    require(meant, "the grant is for other purposes than the delegate's")


def revoke(state: State, operation: Revoke, signed: SignedOperation, carrier: int) -> None:
    """An event the first time only."""
    held = chart(state, operation.chart)
    whole, by = not held.frozen, None
    if signatures.by_delegate(signed):
        by, who = signatures.delegate(state, signed, held)
        acting(state, held, by, who, ACT_REVOKE)
        more = operation.reissues or operation.delegates or operation.bars is not None
        require(not more, "a delegate reissues nothing")
        whole = False
    else:
        signatures.owner(state, signed, held.owner_key, held.numbers)
    again = [reissue.grant for reissue in operation.reissues]
    helpers = [one.delegate for one in operation.delegates]
    require(all(number < len(held.grants) for number in (operation.grant, *again)), "there is no such grant")
    require(all(number < len(held.delegates) for number in helpers), "there is no such delegate")
    ascend(again, "reissued grants")
    ascend(helpers, "reissued delegates")
    for tags in (*(one.tags for one in operation.reissues), *(one.tags for one in operation.delegates)):
        lists_ascend(tags)
    bars_ascend(operation.bars or ())
    require(operation.grant not in again, "the revoked grant is reissued")
    if held.grants[operation.grant].ended:
        return
    held.grants[operation.grant].ended = True
    anew: dict[str, Any] = {"reissues": (), "delegates": (), "bars": None}
    if whole:
        anew = _next_generation(held, operation, signed.cosignatures[0].number)
    what = {"grant": operation.grant, "generation": held.generation, "delegate": by, **anew}
    held.happened("Revoked", carrier, what, makes_room=True)


def bars_ascend(bars: Sequence[Bar]) -> None:
    """Each list of each bar has one form."""
    for bar in bars:
        lists_ascend(bar.tags)


def _next_generation(held: Chart, operation: Revoke, number: int) -> dict[str, Any]:
    """What is anew, as the event lists it."""
    held.generation += 1
    reissued, renewed, bars = [], [], None
    for reissue in operation.reissues:
        one = held.grants[reissue.grant]
        if not one.ended:
            one.terms = replace(one.terms, tags=reissue.tags)
            reissued.append(reissue)
    for again in operation.delegates:
        who = held.delegates[again.delegate]
        if not who.ended and again.delegate >= held.delegates_from:
            who.terms = replace(who.terms, tags=again.tags)
            renewed.append(again)
    if operation.bars is not None and not held.overtakes(number):
        held.policy = replace(held.policy, bars=operation.bars)
        held.policy_as = (held.owner_key, number)
        bars = operation.bars
    return {"reissues": tuple(reissued), "delegates": tuple(renewed), "bars": bars}


def move_chart(state: State, operation: MoveChart, signed: SignedOperation, carrier: int) -> None:
    """Whom the owner chose keeps the chart of a custodian that is gone."""
    held = chart(state, operation.chart)
    require(operation.custodian == carrier, "the chart's next custodian is another institution than the carrier")
    signatures.owner(state, signed, held.owner_key, held.numbers)
    require(not held.frozen, "the owner is frozen")
    require(held.custodian == operation.former, "another institution is the custodian")
    require(state.institution(operation.former).status == STATUS_REMOVED, "the custodian was not removed")
    held.custodian = carrier
    held.happened("ChartMoved", carrier, {"former": operation.former})


HANDLERS: Final[dict[type, Any]] = {
    OpenChart: open_chart,
    MoveChart: move_chart,
    AppendRecords: append_records,
    Grant: grant,
    Revoke: revoke,
}
