"""History: all that happened to a chart up to a final block, in order, with nothing left out, moved or put in.

The chart's leaf, under the block's `state_root`, counts the events and commits to all of them. A proof carries a run of
events and, for those before and after it, the tops of the subtrees that stand for them: from all of it the peaks in the
leaf follow or they do not. A run from the first event to the last is the whole history; a longer one comes in several
proofs, each of which says what it leaves to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof
from protocol.ledger import history, keys
from protocol.ledger.events import Event, event_digest
from protocol.ledger.leaves import Chart
from protocol.proofs.final import Anchor, Finality, check_anchor
from protocol.proofs.light import Checkpoint
from protocol.proofs.parts import (
    HISTORY_STEPS,
    ChartNumber,
    EventBytes,
    EventPlace,
    LeafBytes,
    Path,
    check_state,
    events_of,
    leaf_at,
)
from protocol.types.base import Digest, Wire
from protocol.types.institutions import Genesis


class HistoryProof(Wire, frozen=True, tag=3):
    """Events `first`, `first + 1` and so on of a chart. `before` and `after` are the tops of `history.spans`."""

    anchor: Anchor
    chart: ChartNumber
    leaf: LeafBytes
    state_path: Path
    first: EventPlace
    events: Annotated[tuple[EventBytes, ...], Meta(min_length=1, max_length=limits.EVENTS_PER_PROOF)]
    before: Annotated[tuple[Digest, ...], Meta(max_length=HISTORY_STEPS)]
    after: Annotated[tuple[Digest, ...], Meta(max_length=2 * HISTORY_STEPS)]


@dataclass(frozen=True, slots=True)
class HistoryClaim:
    """What a history proof has shown: these are the events of the chart from `first` on, without a gap, and `total` is
    how many it had after the block of `final`."""

    final: Finality
    chart: int
    leaf: Chart
    first: int
    events: tuple[Event, ...]

    @property
    def total(self) -> int:
        """How many events the chart had."""
        return self.leaf.events

    @property
    def end(self) -> int:
        """The number that follows the last event shown."""
        return self.first + len(self.events)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to other proofs."""
        return self.first == 0 and self.end == self.total


def prove(
    anchor: Anchor,
    *,
    chart: int,
    leaf: bytes,
    state_path: Sequence[bytes],
    first: int,
    events: Sequence[bytes],
    before: Sequence[bytes],
    after: Sequence[bytes],
) -> HistoryProof:
    """The proof of a run of a chart's events; `before` and `after` are the tops of `history.spans` of the others."""
    return HistoryProof(anchor, chart, leaf, tuple(state_path), first, tuple(events), tuple(before), tuple(after))


def check(
    proof: HistoryProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> HistoryClaim:
    """What `proof` shows. Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed."""
    final = check_anchor(proof.anchor, genesis=genesis, checkpoint=checkpoint, verifier=verifier)
    key = keys.chart(proof.chart)
    check_state(final.header.state_root, {key: proof.leaf}, proof.state_path)
    leaf = leaf_at(key, proof.leaf, Chart)
    events = events_of(proof.events)
    digests = [event_digest(proof.chart, at, raw) for at, raw in enumerate(proof.events, proof.first)]
    try:
        history.check_range(leaf.peaks, leaf.events, proof.first, digests, before=proof.before, after=proof.after)
    except BadProof as error:
        raise BadProof(f"history: {error}") from None
    return HistoryClaim(final, proof.chart, leaf, proof.first, tuple(events))
