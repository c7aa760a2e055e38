"""Overlays: what they show is what a state with all their blocks stored would show."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.crypto.signing import verify
from protocol.ledger import tree
from protocol.ledger.blocks import build_block
from protocol.ledger.overlay import LayeredView, Overlay, to_fetch
from protocol.ledger.state import ReadSet, read_set
from protocol.ledger.transition import Execution
from protocol.types.operations import AppendRecords


class Stored:
    """A final state, and blocks executed above it without storing any."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.nodes = dict(world.nodes)

    def execute(self, parent: Overlay | None, *bodies: Any) -> Overlay:
        world = self.world
        head = parent.header if parent is not None else world.head
        read = read_set(bodies, head.child_epoch)
        fetch = to_fetch(parent, read)
        leaves = {key: world.leaves[key] for key in fetch.keys if key in world.leaves}
        events = {place: world.events[place] for place in fetch.events if place in world.events}
        view = LayeredView(parent, read, leaves, events)
        execution = Execution(view, head, head.timestamp + 1, verify)
        for body in bodies:
            world.apply(execution, body)
        changes = execution.changes()
        walk = tree.Walk(changes.leaves)
        while wanted := walk.wanted():
            above = parent.nodes(wanted) if parent is not None else {}
            walk.supply({path: above.get(path) or self.nodes[path] for path in wanted})
        after = walk.update(changes.leaves)
        block = build_block(head, 0, head.timestamp + 1, [], after.root)
        return Overlay(parent, block.header, changes, after)


def test_a_chain_of_overlays_is_the_chain_of_blocks(world: Any, new_world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    stored = Stored(world)
    bodies = [
        world.body(0, AppendRecords(patient.chart, (make_entry(supersedes=max(0, n) or None, commitment=n),)))
        for n in range(5)
    ]
    top: Overlay | None = None
    roots = []
    for body in bodies:
        top = stored.execute(top, body)
        roots.append(top.header.state_root)
    assert top is not None
    assert len(list(top.lineage())) == 5
    for body, root in zip(bodies, roots, strict=True):
        world.block(body)
        assert world.head.state_root == root


def test_siblings_do_not_see_each_other(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    stored = Stored(world)
    body = world.body(0, AppendRecords(patient.chart, (make_entry(),)))
    parent = stored.execute(None)
    one, other = stored.execute(parent, body), stored.execute(parent, body)
    assert one.header == other.header
    assert one.event(patient.chart, 1) is not None
    assert parent.event(patient.chart, 1) is None


def test_rebase_lets_go_of_what_is_stored(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    stored = Stored(world)
    lower = stored.execute(None, world.body(0, AppendRecords(patient.chart, (make_entry(),))))
    upper = stored.execute(lower, world.body(0, AppendRecords(patient.chart, (make_entry(),))))
    assert upper.event(patient.chart, 1) is not None
    upper.rebase()
    assert list(upper.lineage()) == [upper]
    assert upper.event(patient.chart, 1) is None
    assert upper.event(patient.chart, 2) is not None


def test_asking_outside_the_read_set_is_a_bug() -> None:
    view = LayeredView(None, ReadSet({b"named"}, {(1, 2)}), {}, {})
    assert view.leaf(b"named") is None
    assert view.event(1, 2) is None
    with pytest.raises(KeyError):
        view.leaf(b"other")
    with pytest.raises(KeyError):
        view.event(1, 3)
