"""Motions as people see them: which are open, whose vote they await, what they would do in words, who was convicted.

Everything is read from state leaves at the final head. Relies on `protocol.ledger` for what a leaf means; the socket,
`status` and the command line all ask here, so that they say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

from msgspec import Struct

from protocol.ledger import keys
from protocol.ledger.leaves import Cast, Counters, EvidenceLeaf, MotionLeaf, MotionState, OpenMotions, decode_leaf
from protocol.types.block import Header
from protocol.types.governance import (
    Accredit,
    Change,
    GiveAuthority,
    Reinstate,
    Remove,
    ReplaceKeys,
    SetParameters,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import AuthoritySet, Institution

Standing = Literal["open", "passed", "lost", "expired"]
NameOf = Callable[[int], str]
"""An institution's name by its number."""

Kind = Literal["accredit", "suspend", "reinstate", "remove", "give-authority", "take-authority", "replace-keys", "set"]
KINDS: Final[dict[type[Change], Kind]] = {
    Accredit: "accredit",
    Suspend: "suspend",
    Reinstate: "reinstate",
    Remove: "remove",
    GiveAuthority: "give-authority",
    TakeAuthority: "take-authority",
    ReplaceKeys: "replace-keys",
    SetParameters: "set",
}
"""What each change is called on the socket and the command line."""


RECENT = 32
"""Of the last motions so many are looked at for being open, although the ledger counts them for no proposer."""


class State(Protocol):
    """Where leaves are read: `node.services.NodeServices` is one."""

    def head(self) -> Header: ...

    def now_ms(self) -> int: ...

    async def leaves(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]: ...

    async def last_leaves(self, kind: int, count: int) -> Sequence[tuple[bytes, bytes]]: ...


class Seen(Struct, frozen=True):
    """A motion as it stands now: an open one that ran out is expired although no block has said so."""

    number: int
    leaf: MotionLeaf
    standing: Standing


class Conviction(Struct, frozen=True):
    """Evidence on the ledger. `index` is the authority's in the set of `epoch`."""

    epoch: int
    index: int
    leaf: EvidenceLeaf


async def authorities(state: State) -> AuthoritySet:
    """The set of the epoch that the next block belongs to."""
    key = keys.authorities(state.head().child_epoch)
    leaf = decode_leaf(key, (await state.leaves([key]))[key])
    assert isinstance(leaf, AuthoritySet)
    return leaf


async def open_motions(state: State) -> list[Seen]:
    """All that can still be voted on, ascending; of proposers that lost their authority, only recent ones."""
    raw = await state.leaves([keys.OPEN_MOTIONS, keys.COUNTERS])
    counters = decode_leaf(keys.COUNTERS, raw[keys.COUNTERS])
    assert isinstance(counters, Counters)
    numbers = set(range(max(0, counters.motions - RECENT), counters.motions))
    if keys.OPEN_MOTIONS in raw:
        leaf = decode_leaf(keys.OPEN_MOTIONS, raw[keys.OPEN_MOTIONS])
        assert isinstance(leaf, OpenMotions)
        numbers.update(number for number, _, _ in leaf.motions)
    return [one for one in await _motions(state, sorted(numbers)) if one.standing == "open"]


async def motions(state: State, first: int, count: int) -> list[Seen]:
    """Up to `count` of all that were ever moved, ascending from number `first` on."""
    raw = (await state.leaves([keys.COUNTERS]))[keys.COUNTERS]
    counters = decode_leaf(keys.COUNTERS, raw)
    assert isinstance(counters, Counters)
    return await _motions(state, range(first, min(first + count, counters.motions)))


async def motion(state: State, number: int) -> Seen | None:
    """One motion, or None if there is none of this number."""
    found = await _motions(state, [number]) if number <= keys.MOTION_MAX else []
    return found[0] if found else None


async def convictions(state: State, count: int) -> list[Conviction]:
    """The latest `count` authorities that the ledger holds evidence against, newest epoch first."""
    found = []
    for key, raw in await state.last_leaves(keys.KIND_EVIDENCE, count):
        leaf = decode_leaf(key, raw)
        assert isinstance(leaf, EvidenceLeaf)
        found.append(Conviction(int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big"), leaf))
    return found


async def names(state: State, seen: Sequence[Seen]) -> dict[int, str]:
    """The names of the institutions that these motions are about."""
    numbers = {number for one in seen if (number := getattr(one.leaf.change, "institution", None)) is not None}
    wanted = {keys.institution(number): number for number in numbers}
    found = await state.leaves(list(wanted))
    return {wanted[key]: _institution(key, raw).name for key, raw in found.items()}


def counted(casts: Sequence[Cast], members: AuthoritySet) -> list[int]:
    """The institutions whose ballots count: those that have had authority without a break since they voted."""
    seats = ((cast, members.seat(cast.institution)) for cast in casts)
    return [cast.institution for cast, seat in seats if seat is not None and seat.since <= cast.epoch]


def awaits(seen: Seen, institution: int, members: AuthoritySet) -> bool:
    """Whether the motion is open and this institution may still vote on it."""
    if seen.standing != "open" or members.seat(institution) is None:
        return False
    return institution not in counted((*seen.leaf.favour, *seen.leaf.against), members)


def sentence(change: Change, name_of: NameOf) -> str:
    """What the change would do, for people: no capital, no full stop."""
    match change:
        case Accredit(application):
            return f"accredit {application.institution.name}"
        case ReplaceKeys(number, _):
            return f"give new keys to {name_of(number)} (institution {number})"
        case SetParameters(parameters):
            return "set " + ", ".join(f"{one.name} = {one.value}" for one in parameters)
        case GiveAuthority(number):
            return f"give authority to {name_of(number)} (institution {number})"
        case TakeAuthority(number):
            return f"take authority from {name_of(number)} (institution {number})"
        case Suspend(number) | Reinstate(number) | Remove(number):
            return f"{KINDS[type(change)]} {name_of(number)} (institution {number})"


def _institution(key: bytes, raw: bytes) -> Institution:
    leaf = decode_leaf(key, raw)
    assert isinstance(leaf, Institution)
    return leaf


async def _motions(state: State, numbers: Sequence[int]) -> list[Seen]:
    wanted = {keys.motion(number): number for number in numbers}
    found = await state.leaves(list(wanted))
    now = max(state.head().timestamp, state.now_ms())
    seen = []
    for key, number in wanted.items():
        if key in found:
            leaf = decode_leaf(key, found[key])
            assert isinstance(leaf, MotionLeaf)
            seen.append(Seen(number, leaf, _standing(leaf, now)))
    return seen


def _standing(leaf: MotionLeaf, now_ms: int) -> Standing:
    if leaf.state is MotionState.PASSED:
        return "passed"
    if leaf.state is MotionState.LOST:
        return "lost"
    return "open" if now_ms <= leaf.expires_at else "expired"
