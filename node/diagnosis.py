"""Why the chain does not go on, and whose clock is off, in words. Figures go in, sentences come out.

`node.status` collects what these functions judge. A sentence names who, since when, how many are needed and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median_low

from msgspec import Struct

from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, Institution, quorum_of


class AuthorityStatus(Struct, frozen=True):
    """One authority as this node sees it. `since_ms`: since when (Unix ms) it is silent or does not vote, None if it
    does or that is not known. `clock_offset_ms`: how far its clock is ahead of this node's, None if not known."""

    index: int
    institution: int
    name: str
    state: str  # "voting", "lagging", "silent" (not connected), or "not voting" (connected, or this node itself)
    since_ms: int | None
    last_view: int | None
    leader: bool
    clock_offset_ms: int | None = None


class Clocks(Struct, frozen=True):
    """`ahead_ms`: how far this node's clock is ahead of most authorities', negative if behind, None if that cannot be
    told. `worry` is about this node's own clock, `notes` about others'."""

    ahead_ms: int | None
    worry: str | None
    notes: list[str]


def stalled(authorities: Sequence[AuthorityStatus], *, follows: bool = False) -> str | None:
    """What to say if too few authorities vote to make anything final, or None. `follows`: this node is none of them, so
    that it need not reach them all, and cannot tell whether they reach each other."""
    needed = quorum_of(len(authorities))
    silent = [one for one in authorities if one.state == "silent"]
    mute = [one for one in authorities if one.state == "not voting"]
    if len(authorities) - len(silent) - len(mute) >= needed:
        return None
    if follows:
        return (
            f"out of reach: {len(silent)} of {len(authorities)} authorities cannot be reached from here "
            f"({_since(silent)}), so this node cannot tell whether the chain goes on; look for their addresses under "
            "[peers], and at the network, and ask them whether they suspended or removed this institution."
        )
    parts, advice = [], []
    if silent:
        parts.append(f"{len(silent)} of {len(authorities)} authorities are silent ({_since(silent)})")
        advice.append("start them or check the network")
    if mute:
        among = "" if silent else f" of {len(authorities)} authorities"
        parts.append(f"{len(mute)}{among} do not vote although they can be reached ({_since(mute)})")
        advice.append("`chartledger status` there says why they do not vote")
    return f"stalled: {' and '.join(parts)}; {needed} are needed; {'; '.join(advice)}."


def cast_out(institution: Institution | None) -> str | None:
    """What to say on the node of an institution that motions put out of the consortium, as its own ledger has it, or
    None. Nobody connects to such a node, so all that it sees besides is silence."""
    if institution is None or institution.status == STATUS_ACCREDITED:
        return None
    if institution.status == STATUS_REMOVED:
        return "removed: a motion removed this institution for good; no node connects to this one any more. Stop it."
    return (
        "suspended: a motion suspended this institution; until another reinstates it, nothing that it signs counts and "
        "no node connects to this one. `chartledger motion list --all` shows both; call the other institutions."
    )


def slow(authorities: Sequence[AuthorityStatus], waited_ms: int) -> str:
    """What to say of a transaction that waits although a quorum could vote."""
    lagging = ", ".join(one.name for one in authorities if one.state == "lagging") or "none by its own fault"
    needed = quorum_of(len(authorities))
    return (
        f"slow: a transaction has waited for {waited_ms // 1_000} s although a quorum ({needed} of {len(authorities)}) "
        f"is connected (lagging: {lagging}); look at `chartledger peers` for slow connections."
    )


def all_well(authorities: Sequence[AuthorityStatus]) -> str:
    """The one line for a chain that goes on: who votes, and how many more may fail."""
    away = [one for one in authorities if one.state in {"silent", "not voting"}]
    voting = sum(1 for one in authorities if one.state == "voting")
    if not away:
        return f"healthy: {voting} of {len(authorities)} authorities vote."
    spare = len(authorities) - len(away) - quorum_of(len(authorities))
    kind = "are silent" if all(one.state == "silent" for one in away) else "do not vote"
    return (
        f"healthy, but {len(away)} of {len(authorities)} authorities {kind} ({_since(away)}); "
        f"{spare if spare else 'no'} more may fail before the chain stops."
    )


def clocks(authorities: Sequence[AuthorityStatus], own: int, limit_ms: int) -> Clocks:
    """Whose clock is more than `limit_ms` away from most authorities'. `own` is this node's institution.

    What most say is right: nobody asks a clock outside. Of two clocks alone nobody can tell which is off.
    """
    known = [(one.name, one.clock_offset_ms) for one in authorities if one.clock_offset_ms is not None]
    offsets = [offset for _, offset in known]
    if any(one.institution == own for one in authorities):
        offsets.append(0)
    if not known:
        return Clocks(None, None, [])
    if len(known) == 1:
        name, offset = known[0]
        apart = f"the clocks of {name} and of this node are {_seconds(offset)} apart; set the one that is wrong."
        return Clocks(None, apart if abs(offset) > limit_ms else None, [])
    middle = median_low(offsets)
    worry = None
    if abs(middle) > limit_ms:
        worry = f"this node's clock is {_off(-middle)} most authorities' clocks; set it, best by NTP."
    notes = [
        f"The clock of {name} is {_off(offset - middle)} most authorities' clocks; its operators should set it."
        for name, offset in known
        if abs(offset - middle) > limit_ms
    ]
    return Clocks(-middle, worry, notes)


def clock_time(time_ms: int | None) -> str:
    """The time of day of a Unix time in ms, for people."""
    return "the start" if time_ms is None else datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%H:%M:%S UTC")


def _since(those: Sequence[AuthorityStatus]) -> str:
    return ", ".join(f"{one.name} since {clock_time(one.since_ms)}" for one in those)


def _off(ahead_ms: int) -> str:
    return f"{_seconds(ahead_ms)} {'ahead of' if ahead_ms > 0 else 'behind'}"


def _seconds(time_ms: int) -> str:
    return f"{abs(time_ms) / 1_000:,.0f} s"
