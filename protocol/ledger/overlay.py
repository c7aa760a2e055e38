"""Speculative states: what blocks above the last final one would change, each over its parent.

An overlay holds one block's changes and looks up through its ancestors; what none of them changed is the final
state's, which storage holds. When a block becomes final its overlay's changes go to storage, and its children let go
of it with `rebase`, so memory is bounded by the depth of unfinalized blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from protocol.ledger.tree import TreeChanges
from protocol.ledger.view import Changes, ReadSet
from protocol.types.block import Header


class Overlay:
    """The state after one executed block. Lookups answer None where neither it nor an ancestor changed anything."""

    __slots__ = ("_events", "changes", "header", "parent", "tree")

    def __init__(self, parent: Overlay | None, header: Header, changes: Changes, tree: TreeChanges) -> None:
        self.parent = parent
        self.header = header
        self.changes = changes
        self.tree = tree
        self._events = {(chart, number): raw for chart, number, raw in changes.events}

    def lineage(self) -> Iterator[Overlay]:
        """This overlay and its ancestors, youngest first."""
        at: Overlay | None = self
        while at is not None:
            yield at
            at = at.parent

    def leaf(self, key: bytes) -> bytes | None:
        """The leaf's bytes, if a block of the lineage wrote it."""
        return next((raw for one in self.lineage() if (raw := one.changes.leaves.get(key)) is not None), None)

    def event(self, chart: int, number: int) -> bytes | None:
        """The event's bytes, if a block of the lineage appended it."""
        place = (chart, number)
        return next((raw for one in self.lineage() if (raw := one._events.get(place)) is not None), None)

    def node(self, path: bytes) -> bytes | None:
        """The tree node's bytes, if a block of the lineage wrote it."""
        return next((raw for one in self.lineage() if (raw := one.tree.nodes.get(path)) is not None), None)

    def nodes(self, paths: Iterable[bytes]) -> dict[bytes, bytes]:
        """Those of the tree nodes that a block of the lineage wrote."""
        return {path: raw for path in paths if (raw := self.node(path)) is not None}

    def rebase(self) -> None:
        """The parent is final and stored: look it up there from now on."""
        self.parent = None


class LayeredView:
    """A `StateView`: an overlay's lineage above what was fetched from the final state.

    `leaves` and `events` hold what the final state has of the read set; what it lacks may be left out.
    """

    __slots__ = ("_events", "_leaves", "_overlay", "_read")

    def __init__(
        self,
        overlay: Overlay | None,
        read: ReadSet,
        leaves: Mapping[bytes, bytes],
        events: Mapping[tuple[int, int], bytes],
    ) -> None:
        self._overlay = overlay
        self._read = read
        self._leaves = leaves
        self._events = events

    def leaf(self, key: bytes) -> bytes | None:
        """As `StateView.leaf`. `KeyError` outside the read set, which is a bug."""
        found = self._overlay.leaf(key) if self._overlay is not None else None
        found = found if found is not None else self._leaves.get(key)
        if found is None and key not in self._read.keys:
            raise KeyError(key)
        return found

    def event(self, chart: int, number: int) -> bytes | None:
        """As `StateView.event`. `KeyError` outside the read set, which is a bug."""
        place = (chart, number)
        found = self._overlay.event(chart, number) if self._overlay is not None else None
        found = found if found is not None else self._events.get(place)
        if found is None and place not in self._read.events:
            raise KeyError(place)
        return found


def to_fetch(overlay: Overlay | None, read: ReadSet) -> ReadSet:
    """What of a read set the final state must be asked for, since no block of the lineage wrote it."""
    if overlay is None:
        return read
    return ReadSet(
        {key for key in read.keys if overlay.leaf(key) is None},
        {(chart, number) for chart, number in read.events if overlay.event(chart, number) is None},
    )
