"""Emergencies as people look at them: where each stands, what is owed, and what an institution's count says.

Reads the final state and judges by time when asked, as the ledger leaves what falls due by time to be (design,
section 4). Relies on `node.services.Queries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from node.services import Queries
from protocol import limits
from protocol.ledger import keys
from protocol.ledger.events import GlassBroken, Outcome, decode_event
from protocol.ledger.leaves import Emergencies, Emergency, decode_leaf

State = Literal["denied", "pending", "lapsed", "unreviewed", "overdue", "justified", "unjustified"]
"""Denied; waiting for a second institution; not confirmed in time; read and not reviewed yet; the same, and late; and
what the review found."""
OPEN: Final[frozenset[State]] = frozenset({"pending", "unreviewed", "overdue"})
"""The states in which somebody has something to do."""
LOOK_BACK: Final = 10_000
AT_ONCE: Final = 500


class Seen(Struct, frozen=True):
    """One emergency. `event` names it on its chart; times are ms of ledger time."""

    chart: int
    event: int
    broken: GlassBroken
    leaf: Emergency | None
    state: State


def state_of(broken: GlassBroken, leaf: Emergency | None, now_ms: int, release_ms: int) -> State:
    """Where an emergency stands at `now_ms`; `leaf` is its state leaf, None for one that was denied."""
    if leaf is None or broken.outcome is Outcome.DENIED:
        return "denied"
    if leaf.review_by is None:
        return "lapsed" if now_ms > leaf.asked_at + release_ms else "pending"
    if leaf.justified is not None:
        return "justified" if leaf.justified else "unjustified"
    return "overdue" if now_ms > leaf.review_by else "unreviewed"


async def open_emergencies(node: Queries, now_ms: int) -> list[Seen]:
    """All, of every institution, that somebody has something to do about, by chart and event."""
    refs: set[tuple[int, int]] = set()
    for _, raw in await node.last_leaves(keys.KIND_EMERGENCIES, limits.INSTITUTIONS):
        leaf = decode_leaf(keys.emergencies(0), raw)
        assert isinstance(leaf, Emergencies)
        refs.update((chart, event) for _, chart, event in leaf.unreviewed)
    refs.update(await _pending(node, now_ms))
    return [one for one in await look(node, sorted(refs), now_ms) if one.state in OPEN]


async def _pending(node: Queries, now_ms: int) -> list[tuple[int, int]]:
    """Those that wait for a second institution: none is older than it may be confirmed."""
    found: list[tuple[int, int]] = []
    since, before, looked = now_ms - node.params.release_ms, None, 0
    while looked < LOOK_BACK and (page := await node.askings(before, AT_ONCE)):
        for one in page:
            if one.raw[1] != GlassBroken.__struct_config__.tag:  # most are none, and name many records
                continue
            event = decode_event(one.raw)
            if isinstance(event, GlassBroken) and event.outcome is Outcome.PENDING and event.time_ms >= since:
                found.append((one.chart, one.event))
        if decode_event(page[-1].raw).time_ms < since:
            return found
        before, looked = page[-1].position, looked + len(page)
    return found


async def look(node: Queries, refs: Sequence[tuple[int, int]], now_ms: int) -> list[Seen]:
    """These emergencies (chart, event), in order; what is none is left out."""
    leaves = await node.leaves([keys.emergency(chart, event) for chart, event in refs])
    found: list[Seen] = []
    for chart, events in _by_chart(refs).items():
        raw = await node.events_at(chart, events)
        for number in events:
            broken = decode_event(raw[number]) if number in raw else None
            if not isinstance(broken, GlassBroken):
                continue
            key = keys.emergency(chart, number)
            leaf = decode_leaf(key, leaves[key]) if key in leaves else None
            assert leaf is None or isinstance(leaf, Emergency)
            found.append(Seen(chart, number, broken, leaf, state_of(broken, leaf, now_ms, node.params.release_ms)))
    return found


def _by_chart(refs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for chart, event in refs:
        found.setdefault(chart, []).append(event)
    return found


class Count(Struct, frozen=True):
    """What one institution did in emergencies, and owes: `overdue` of the `unreviewed` are past their time."""

    institution: int
    opened: int
    unreviewed: int
    overdue: int
    late: int
    unjustified: int


def counts(emergencies: Mapping[int, Emergencies], now_ms: int) -> list[Count]:
    """Of each institution that ever read in an emergency, ascending."""
    return [
        Count(
            institution=number,
            opened=leaf.opened,
            unreviewed=len(leaf.unreviewed),
            overdue=sum(1 for review_by, _, _ in leaf.unreviewed if now_ms > review_by),
            late=leaf.late,
            unjustified=leaf.unjustified,
        )
        for number, leaf in sorted(emergencies.items())
    ]


def owed(count: Count, name: str, own: bool) -> str | None:
    """What to say of an institution whose emergencies were not reviewed in time; None if none is overdue."""
    if not count.overdue:
        return None
    many = "1 emergency" if count.overdue == 1 else f"{count.overdue} emergencies"
    if own:
        return (
            f"reviews overdue: nobody has reviewed {many} of this institution's in time; ask another institution to "
            "(`chartledger access emergencies`)."
        )
    return f"Overdue: {many} of {name}'s nobody has reviewed in time (`chartledger access emergencies`)."
