"""Several leaves shown by one set of nodes, and runs of events by the subtrees around them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import BadProof
from protocol.ledger import history, keys, tree

some_key = (
    st.builds(keys.chart, st.integers(0, 300))
    | st.builds(keys.grant, st.integers(0, 40), st.integers(0, 4))
    | st.builds(keys.policy, st.integers(0, 40))
    | st.builds(keys.institution, st.integers(0, 20))
    | st.just(keys.PARAMS)
)
states = st.dictionaries(some_key, st.binary(max_size=4), max_size=60)
wanted = st.sets(some_key, min_size=1, max_size=8)


def grown(state: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    nodes = dict(tree.EMPTY_TREE)
    if not state:
        return tree.EMPTY_ROOT, nodes
    after = tree.update(nodes, state)
    return after.root, nodes | after.nodes


def nodes_for(nodes: dict[bytes, bytes], asked: set[bytes]) -> tuple[bytes, ...]:
    walk = tree.Walk(asked)
    walk.supply(nodes)
    return walk.prove_all()


@settings(deadline=None)
@given(states, wanted)
def test_what_stands_at_every_key_and_what_does_not(state: dict[bytes, bytes], asked: set[bytes]) -> None:
    root, nodes = grown(state)
    shown = nodes_for(nodes, asked)
    truth = {key: state.get(key) for key in asked}
    tree.check_leaves(root, truth, shown)
    assert len(set(shown)) == len(shown)
    for key in asked:
        lie = truth | {key: b"made up" if truth[key] is None else None}
        with pytest.raises(BadProof, match="at this key" if state else "ends before its key"):
            tree.check_leaves(root, lie, shown)
        if truth[key] is not None:
            with pytest.raises(BadProof, match="another value"):
                tree.check_leaves(root, truth | {key: b"changed"}, shown)


@settings(deadline=None)
@given(states.filter(bool), wanted, st.data())
def test_nodes_can_be_neither_left_out_nor_changed_nor_added(
    state: dict[bytes, bytes], asked: set[bytes], data: st.DataObject
) -> None:
    root, nodes = grown(state)
    shown = nodes_for(nodes, asked)
    truth = {key: state.get(key) for key in asked}
    at = data.draw(st.integers(0, len(shown) - 1))
    bit = data.draw(st.integers(0, len(shown[at]) * 8 - 1))
    edited = bytearray(shown[at])
    edited[bit // 8] ^= 1 << bit % 8
    for forged in (
        (*shown[:at], *shown[at + 1 :]),
        (*shown[:at], bytes(edited), *shown[at + 1 :]),
        (*shown, shown[at]),
        (*shown[:at], shown[at], *shown[at:]),
    ):
        with pytest.raises(BadProof):
            tree.check_leaves(root, truth, forged)


def test_one_key_is_shown_as_before() -> None:
    root, nodes = grown({keys.chart(number): b"leaf" for number in range(100)})
    for number in (0, 57, 100, 4_000):
        path = tree.prove(nodes, keys.chart(number))
        assert path == nodes_for(nodes, {keys.chart(number)})
        tree.check_leaf(root, keys.chart(number), b"leaf" if number < 100 else None, path)


def leaf(number: int) -> bytes:
    return number.to_bytes(32, "big")


def tops(leaves: list[bytes], start: int, end: int) -> list[bytes]:
    return [history.append_all((), 0, leaves[at : at + (1 << height)])[0] for at, height in history.spans(start, end)]


@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_spans_cover_each_leaf_once_with_aligned_subtrees(one: int, other: int) -> None:
    start, end = sorted((one, other))
    at = start
    for first, height in history.spans(start, end):
        assert first == at
        assert first % (1 << height) == 0
        at += 1 << height
    assert at == end
    assert len(history.spans(start, end)) <= 2 * max(1, end.bit_length())
    from_zero = [height for _, height in history.spans(0, end)]
    assert from_zero == [bit for bit in reversed(range(end.bit_length())) if end >> bit & 1]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 21, 33])
def test_every_run_of_every_history_and_no_other(count: int) -> None:
    leaves = [leaf(number) for number in range(count)]
    peaks = history.append_all((), 0, leaves)
    for first in range(count):
        for end in range(first + 1, count + 1):
            before, after = tops(leaves, 0, first), tops(leaves, end, count)
            run = leaves[first:end]
            history.check_range(peaks, count, first, run, before=before, after=after)
            forged = [run[:-1], run[1:], [*run, leaf(99)], [leaf(99), *run], [*run[:-1], leaf(99)]]
            if len(run) > 1:
                forged += [run[::-1], [*run[:-1], run[0]]]
            for lie in forged:
                with pytest.raises(BadProof):
                    history.check_range(peaks, count, first, lie, before=before, after=after)
            for moved in (first - 1, first + 1):
                if moved >= 0:
                    with pytest.raises(BadProof):
                        history.check_range(peaks, count, moved, run, before=before, after=after)


def test_a_leaf_that_contradicts_itself_shows_nothing() -> None:
    leaves = [leaf(number) for number in range(5)]
    peaks = history.append_all((), 0, leaves)
    with pytest.raises(BadProof, match="has 2 peaks, not 1"):
        history.check_range(peaks[:1], 5, 0, leaves, before=(), after=())
    with pytest.raises(BadProof, match="1 digests stand for the events before those shown, not 0"):
        history.check_range(peaks, 5, 4, leaves[4:], before=(), after=())
