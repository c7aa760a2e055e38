"""What proofs are put together from, and how each part is checked: leaves of one state, and events of one history.

Every check raises `BadProof` that begins with its name: "state: ", "decoding: ", "history: ".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, cast

from msgspec import Meta

from protocol import limits
from protocol.codec.canonical import decode
from protocol.errors import BadProof, DecodeError
from protocol.ledger import history, keys, tree
from protocol.ledger.events import Event, event_digest
from protocol.ledger.leaves import KINDS, Chart
from protocol.types.base import Digest, Wire

NODE_BYTES = 2_048  # a node of 16 children with the longest digits has 1,200
LEAF_BYTES = 64 * 1024  # a grant's may hold 37 kB of tags
PATH_STEPS = 40  # the longest key has 34 digits
NODES_PER_PROOF = 8_192
HISTORY_STEPS = 53

ChartNumber = Annotated[int, Meta(ge=0, le=keys.CHART_MAX)]
GrantNumber = Annotated[int, Meta(ge=0, le=keys.GRANT_MAX)]
InstitutionNumber = Annotated[int, Meta(ge=0, le=keys.INSTITUTION_MAX)]
EventPlace = Annotated[int, Meta(ge=0, lt=limits.EVENTS_PER_CHART)]
LeafBytes = Annotated[bytes, Meta(max_length=LEAF_BYTES)]
EventBytes = Annotated[bytes, Meta(max_length=limits.TRANSACTION_BYTES)]
NodeBytes = Annotated[bytes, Meta(max_length=NODE_BYTES)]
Path = Annotated[tuple[NodeBytes, ...], Meta(min_length=1, max_length=PATH_STEPS)]
"""The nodes of the state tree from the root to one leaf."""
Nodes = Annotated[tuple[NodeBytes, ...], Meta(min_length=1, max_length=NODES_PER_PROOF)]
"""The nodes of the state tree on the way to several keys, as `tree.check_leaves` takes them."""
HistoryPath = Annotated[tuple[Digest, ...], Meta(max_length=HISTORY_STEPS)]

L = TypeVar("L", bound=Wire)

_NAMES: Final = {
    keys.KIND_CHART: "the chart's leaf",
    keys.KIND_GRANT: "the grant's leaf",
    keys.KIND_POLICY: "the policy's leaf",
    keys.KIND_INSTITUTION: "an institution's leaf",
    keys.KIND_ERASURE: "the erasure's leaf",
    keys.KIND_ERASED: "the leaf of what was erased",
}


class EventShown(Wire, frozen=True):
    """One event of a chart: its number, its canonical bytes, and its path to a peak of the chart's history."""

    number: EventPlace
    event: EventBytes
    path: HistoryPath


def check_state(root: bytes, leaves: Mapping[bytes, bytes | None], nodes: Sequence[bytes]) -> None:
    """The state with this root holds these leaves by key, and nothing where None stands. Raises `BadProof`."""
    try:
        tree.check_leaves(root, leaves, nodes, {key: _NAMES.get(key[0], "another leaf") for key in leaves})
    except BadProof as error:
        raise BadProof(f"state: {error}") from None


def leaf_at(key: bytes, raw: bytes, kind: type[L]) -> L:
    """A leaf that a proof holds, which is of the kind that its key says. Raises `BadProof`."""
    assert KINDS[key[0]] is kind
    try:
        return decode(kind, raw)
    except DecodeError as error:
        raise BadProof(f"decoding: {error}") from None


def maybe_leaf_at(key: bytes, raw: bytes | None, kind: type[L]) -> L | None:
    """The same where nothing may stand."""
    return None if raw is None else leaf_at(key, raw, kind)


def events_of(raws: Iterable[bytes]) -> list[Event]:
    """Events that a proof holds. Raises `BadProof`."""
    try:
        return [decode(cast(Any, Event), raw) for raw in raws]
    except DecodeError as error:
        raise BadProof(f"decoding: {error}") from None


def check_event(chart: int, leaf: Chart, shown: EventShown) -> Event:
    """The event, which stands in the history that the chart's leaf commits to. Raises `BadProof`."""
    (event,) = events_of([shown.event])
    try:
        digest = event_digest(chart, shown.number, shown.event)
        history.check(leaf.peaks, leaf.events, shown.number, digest, shown.path)
    except BadProof as error:
        raise BadProof(f"history: {error}") from None
    return event


def events_needed(chart: Chart, number: int) -> range:
    """The numbers of the events whose bytes `show_event` needs. Raises `BadProof` if there is no such event."""
    _, first, height = history.mountain(chart.events, number)
    return range(first, first + (1 << height))


def show_event(chart: int, leaf: Chart, number: int, events: Sequence[bytes]) -> EventShown:
    """An event with its path; `events` are the bytes of `events_needed`, in order."""
    needed = events_needed(leaf, number)
    if len(events) != len(needed):
        raise BadProof(f"{len(needed)} events are needed for the path, {len(events)} were given")
    digests = [event_digest(chart, at, raw) for at, raw in zip(needed, events, strict=True)]
    place = number - needed.start
    return EventShown(number, events[place], history.path(digests, place))
