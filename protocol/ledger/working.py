"""The state while a block is applied: decoded leaves, with a scope for the transaction under way.

A transaction writes into its own scope; `commit` moves that into the block's, and `forget` drops what an invalid one
left, so a transaction applies whole or not at all. Leaves are decoded once a block and encoded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import UNSET, UnsetType

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.signing import Verifier
from protocol.errors import ChartFull, UnknownChart
from protocol.ledger import history, keys
from protocol.ledger.events import Event, decode_event, event_digest
from protocol.ledger.leaves import Chart, Leaf, decode_leaf
from protocol.ledger.view import Changes, StateView
from protocol.params import Params
from protocol.types.block import Header

L = TypeVar("L", bound=Leaf)


class Working:
    """One block's working state. `epoch`, `height` and `timestamp` (ms) are the block's, `chain` its chain id."""

    __slots__ = (
        "_block_events",
        "_block_leaves",
        "_params",
        "_read",
        "_tx_events",
        "_tx_leaves",
        "_view",
        "chain",
        "check_cosignature",
        "epoch",
        "height",
        "timestamp",
    )

    def __init__(self, view: StateView, parent: Header, timestamp: int, check_cosignature: Verifier) -> None:
        self.chain = parent.chain
        self.epoch = parent.child_epoch
        self.height = parent.height + 1
        self.timestamp = timestamp
        self.check_cosignature = check_cosignature
        self._view = view
        self._params: Params | None = None
        self._read: dict[bytes, Leaf | None] = {}
        self._block_leaves: dict[bytes, Leaf] = {}
        self._block_events: dict[tuple[int, int], bytes] = {}
        self._tx_leaves: dict[bytes, Leaf] = {}
        self._tx_events: dict[tuple[int, int], bytes] = {}

    @property
    def params(self) -> Params:
        """The chain's parameters as this block's parent left them: what a motion sets counts from the next block on,
        whatever the order of transactions."""
        if self._params is None:
            raw = self._view.leaf(keys.PARAMS)
            params = None if raw is None else decode_leaf(keys.PARAMS, raw)
            if not isinstance(params, Params):
                raise AssertionError("the state has no Params leaf")
            self._params = params
        return self._params

    def get(self, key: bytes, kind: type[L]) -> L | None:
        """The leaf of type `kind` at `key` as it stands at this point of the transaction, or None."""
        leaf: Leaf | UnsetType | None = self._tx_leaves.get(key)
        if leaf is None:
            leaf = self._block_leaves.get(key)
        if leaf is None:
            leaf = self._read.get(key, UNSET)
            if leaf is UNSET:
                raw = self._view.leaf(key)
                leaf = self._read[key] = None if raw is None else decode_leaf(key, raw)
        if leaf is None:
            return None
        assert isinstance(leaf, kind)
        return leaf

    def written(self, key: bytes, kind: type[L]) -> L | None:
        """The leaf at `key` if this block has written it so far; asks nothing of the state before the block."""
        leaf = self._tx_leaves.get(key) or self._block_leaves.get(key)
        assert leaf is None or isinstance(leaf, kind)
        return leaf

    def require(self, key: bytes, kind: type[L]) -> L:
        """The leaf at a key that every state has; its absence means that the state is not a ledger's."""
        leaf = self.get(key, kind)
        if leaf is None:
            raise AssertionError(f"the state has no {kind.__name__} leaf")
        return leaf

    def chart(self, number: int) -> Chart:
        """The chart of this number. Raises `UnknownChart`."""
        chart = self.get(keys.chart(number), Chart) if number <= keys.CHART_MAX else None
        if chart is None:
            raise UnknownChart(f"there is no chart {number}")
        return chart

    def put(self, key: bytes, leaf: Leaf) -> None:
        """Write a leaf in the transaction's scope."""
        self._tx_leaves[key] = leaf

    def event(self, chart: int, number: int) -> Event | None:
        """An event of a chart that has more than `number` events, from this block or before."""
        place = (chart, number)
        raw = self._tx_events.get(place) or self._block_events.get(place) or self._view.event(chart, number)
        return None if raw is None else decode_event(raw)

    def append(self, number: int, chart: Chart, events: Iterable[Event], *, begins: int = 0, ends: int = 0) -> Chart:
        """`chart` with these events at the end of its history, which the transaction now holds; the caller puts it.

        `number` is the chart's. Events get the numbers from `chart.events` on, in order. What they begin that another
        event must be able to end (a grant, a delegate, a change, a hold, a receipt or review that is owed) keeps one
        number free for each: `begins` so many, while `ends` are taken up. So whatever was begun ends even on a chart
        that is full. Raises `ChartFull`.
        """
        first = at = chart.events
        leaves = []
        for event in events:
            raw = encode(event)
            self._tx_events[(number, at)] = raw
            leaves.append(event_digest(number, at, raw))
            at += 1
        kept_free = chart.kept_free + begins - ends
        assert kept_free >= 0, "nothing ends that did not begin"
        if at + kept_free > limits.EVENTS_PER_CHART:
            raise ChartFull(f"chart {number} has {first} events, and no room for {at - first} more")
        return Chart(
            chart.custodian,
            chart.owner_key,
            chart.encryption_suite,
            chart.encryption_key,
            chart.opened_at,
            chart.generation,
            chart.grants,
            chart.window,
            at,
            history.append_all(chart.peaks, first, leaves),
            chart.delegates,
            chart.delegates_from,
            kept_free,
        )

    def forget(self) -> None:
        """The transaction is not valid: nothing of it stays."""
        self._tx_leaves = {}
        self._tx_events = {}

    def commit(self) -> None:
        """The transaction is valid: what it wrote is the block's."""
        self._block_leaves.update(self._tx_leaves)
        self._block_events.update(self._tx_events)
        self._tx_leaves = {}
        self._tx_events = {}

    def changes(self) -> Changes:
        """All that committed transactions wrote, encoded. Uncommitted writes are not in it."""
        return Changes(
            leaves={key: encode(leaf) for key, leaf in self._block_leaves.items()},
            events=[(chart, number, raw) for (chart, number), raw in self._block_events.items()],
        )
