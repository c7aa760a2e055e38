"""Whether the ledger recorded what the naive ledger says: events field by field, outcomes and reasons among them, and
what stands of the charts that they touch.

Relies on the types and keys of events and leaves, and on none of the rules that they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from msgspec.structs import astuple

from node.simulation.oracles.naive.ledger import NaiveLedger
from node.simulation.oracles.naive.state import Answers, Change, Chart, EmergencyOf, Said, State
from protocol.crypto.hashing import records_digest
from protocol.ledger import keys
from protocol.ledger.events import decode_event
from protocol.ledger.leaves import decode_leaf
from protocol.types.block import Header

PAGE_EVENTS: Final = 4_096
_Stands = tuple[str, bytes, dict[str, Any]]
"""What is compared, the key of its leaf, and the leaf's fields."""


def disagreement(
    ledger: NaiveLedger,
    header: Header,
    events: Sequence[tuple[int, int, bytes]],
    leaves: Mapping[bytes, bytes],
) -> str | None:
    """The first thing that ledger and naive ledger say differently of the block with this header: `events` are those
    that the ledger recorded in it, `leaves` what stands after it. What stands is only looked at if the block is the
    naive ledger's head."""
    said = ledger.said[header.height]
    recorded = {(chart, number): raw for chart, number, raw in events}
    for one in said:
        fault = _event(one, header, recorded.pop((one.chart, one.event), None))
        if fault is not None:
            return fault
    if recorded:
        chart, number = min(recorded)
        return f"event {number} of chart {chart} is recorded, and nothing happened"
    if ledger.height != header.height:
        return None
    touched = sorted({one.chart for one in said})
    return next((fault for stands in _all_that_stands(ledger.state, touched) if (fault := _leaf(stands, leaves))), None)


def _event(said: Said, header: Header, raw: bytes | None) -> str | None:
    where = f"event {said.event} of chart {said.chart}"
    if raw is None:
        return f"{where} is not recorded, which is a {said.kind}"
    event = decode_event(raw)
    if type(event).__name__ != said.kind:
        return f"{where} is recorded as a {type(event).__name__}, and is a {said.kind}"
    for name, value in {"height": header.height, "time_ms": header.timestamp, **said.fields}.items():
        recorded = _plain(getattr(event, name))
        if recorded != value:
            return f"{where}, a {said.kind}, records {name} {_short(recorded)}, and it is {_short(value)}"
    return None


def _leaf(stands: _Stands, leaves: Mapping[bytes, bytes]) -> str | None:
    what, key, fields = stands
    raw = leaves.get(key)
    if raw is None:
        return f"nothing stands for {what}" if any(fields.values()) else None
    leaf = decode_leaf(key, raw)
    for name, value in fields.items():
        found = _found(leaf, name)
        if found != value:
            return f"of {what} stands {name} {_short(found)}, and it is {_short(value)}"
    return None


def _found(leaf: Any, name: str) -> object:
    """A leaf's field as the naive ledger has it."""
    match name:
        case "revoked" | "ended":
            return getattr(leaf, f"{name}_at") is not None
        case "waits":
            waits = leaf.pending
            return waits and (waits.change, waits.kind.name, *astuple(waits)[2:])
        case "gave":
            return tuple(institution for institution, _ in leaf.receipts)
        case "marked":
            return int.from_bytes(leaf.bitmap, "little")
    return _plain(getattr(leaf, name))


def _plain(value: object) -> object:
    return value.name if isinstance(value, Enum) else value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _all_that_stands(state: State, charts: Sequence[int]) -> Iterator[_Stands]:
    for number in charts:
        yield from _chart(state.charts[number])
        yield from _control(state.charts[number])
        yield from _care(state.charts[number])
    for (number, asker), (day, count) in state.unanswered.items():
        if number in charts:
            what = f"what institution {asker} asked of chart {number} in vain"
            yield what, keys.denials(number, asker), {"day": day, "count": count}
    for institution, answers in state.answers.items():
        yield _answers(institution, answers)


def _chart(chart: Chart) -> Iterator[_Stands]:
    number = chart.number
    fields = {
        "custodian": chart.custodian,
        "owner_key": chart.owner_key,
        "encryption_suite": chart.encryption[0],
        "encryption_key": chart.encryption[1],
        "events": chart.events,
        "generation": chart.generation,
        "grants": len(chart.grants),
        "delegates": len(chart.delegates),
        "delegates_from": chart.delegates_from,
        "kept_free": chart.unfinished,
    }
    yield f"chart {number}", keys.chart(number), fields
    yield f"the owner of chart {number}", keys.owner(chart.owner_key), {"chart": number, "spent": False}
    for place, grant in enumerate(chart.grants):
        what = f"grant {place} of chart {number}"
        yield what, keys.grant(number, place), {"terms": grant.terms, "revoked": grant.ended}


def _control(chart: Chart) -> Iterator[_Stands]:
    number = chart.number
    for place, delegate in enumerate(chart.delegates):
        what = f"delegate {place} of chart {number}"
        yield what, keys.delegate(number, place), {"terms": delegate.terms, "ended": delegate.ended}
    if chart.policy_as is not None:
        fields = {"policy": chart.policy, "owner_key": chart.policy_as[0], "number": chart.policy_as[1]}
        yield f"the policy of chart {number}", keys.policy(number), fields
    if chart.changes:
        fields = {"changes": chart.changes, "guardians": chart.guardians, "waits": _waits(chart.waiting)}
        yield f"what changes in chart {number}", keys.recovery(number), fields


def _waits(waiting: Change | None) -> tuple[Any, ...] | None:
    if waiting is None:
        return None
    one = waiting
    return one.number, one.kind, one.keys, one.guardians, one.overrule, one.ready_at


def _care(chart: Chart) -> Iterator[_Stands]:
    number = chart.number
    for event, emergency in chart.emergencies.items():
        yield f"emergency {event} of chart {number}", keys.emergency(number, event), _emergency(emergency)
    for event, ordered in chart.ordered.items():
        given = ordered - chart.owed[event]
        fields = {"owed": tuple(sorted(ordered)), "gave": tuple(sorted(given))}
        yield f"erasure {event} of chart {number}", keys.erasure(number, event), fields
    for page in {event // PAGE_EVENTS for event in chart.erased}:
        marked = sum(1 << event % PAGE_EVENTS for event in chart.erased if event // PAGE_EVENTS == page)
        what = f"what was erased of chart {number}"
        yield what, keys.erased(number, page * PAGE_EVENTS), {"marked": marked}
    yield f"the holds of chart {number}", keys.holds(number), {"holds": tuple(chart.holds.items())}


def _emergency(emergency: EmergencyOf) -> dict[str, Any]:
    names = ("institution", "asked_at", "release_until", "review_by", "confirmed_by", "reviewed_by", "justified")
    return {"records": records_digest(emergency.records), **{name: getattr(emergency, name) for name in names}}


def _answers(institution: int, answers: Answers) -> _Stands:
    fields = {
        "opened": answers.opened,
        "late": answers.late,
        "unjustified": answers.unjustified,
        "unreviewed": tuple(sorted(answers.unreviewed)),
    }
    return f"the emergencies of institution {institution}", keys.emergencies(institution), fields
