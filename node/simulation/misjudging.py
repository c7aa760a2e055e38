"""A block as its leader would have it if the rules judged askings the other way: who was refused may read, who may is
refused. Transactions, events and tree are sound; only what is decided in them is not, and the state root says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.ledger import history, keys, tree
from protocol.ledger.events import Disclosed, Event, GlassBroken, Outcome, Reason, decode_event, event_digest
from protocol.ledger.leaves import Chart, decode_leaf
from protocol.types.block import Block

if TYPE_CHECKING:
    from node.simulation.chainstate import Executed, State


def misjudged(parent: State, executed: Executed) -> Block | None:
    """The block that states other outcomes than `executed`, which stands on `parent`; None if nobody asked in it."""
    state, lies = executed.state, 0
    leaves = {key: state.leaves[key] for key in executed.changed}
    for key in sorted(leaves):
        if key[0] != keys.KIND_CHART:
            continue
        number = int.from_bytes(key[1:], "big")
        before = _chart(key, parent.leaves[key]) if key in parent.leaves else None
        first, peaks = (0, ()) if before is None else (before.events, before.peaks)
        after = _chart(key, leaves[key])
        raws = [state.events[number, event] for event in range(first, after.events)]
        told = [_otherwise(raw) for raw in raws]
        lies += told != raws
        digests = [event_digest(number, first + place, raw) for place, raw in enumerate(told)]
        leaves[key] = encode(replace(after, peaks=history.append_all(peaks, first, digests)))
    if not lies:
        return None
    root = tree.update(parent.nodes, leaves).root
    return Block(replace(executed.header, state_root=root), executed.block.transactions)


def _chart(key: bytes, raw: bytes) -> Chart:
    chart = decode_leaf(key, raw)
    assert isinstance(chart, Chart)
    return chart


def _otherwise(raw: bytes) -> bytes:
    event: Event = decode_event(raw)
    if not isinstance(event, Disclosed | GlassBroken):
        return raw
    if event.outcome is Outcome.DISCLOSED:
        return encode(replace(event, outcome=Outcome.DENIED, reason=Reason.NO_GRANT, release_until=None))
    return encode(replace(event, outcome=Outcome.DISCLOSED, reason=Reason.NONE, release_until=event.time_ms + 1_000))
