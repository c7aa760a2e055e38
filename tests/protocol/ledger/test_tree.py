"""The state tree against a dictionary, a tree made from scratch, and whoever shows what is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec.canonical import decode
from protocol.crypto.hashing import Domain, digest
from protocol.errors import BadProof
from protocol.ledger import keys, tree

small = st.integers(0, 40) | st.integers(0, keys.CHART_MAX)
some_key = (
    st.builds(keys.chart, small)
    | st.builds(keys.grant, small, st.integers(0, 20))
    | st.builds(keys.institution, st.integers(0, 20))
    | st.builds(keys.owner, st.binary(min_size=1, max_size=1))
    | st.sampled_from([keys.PARAMS, keys.COUNTERS])
)
batches = st.lists(st.dictionaries(some_key, st.binary(max_size=8), max_size=12), max_size=8)


def grown(changes: list[dict[bytes, bytes]]) -> tuple[bytes, dict[bytes, bytes]]:
    root, nodes = tree.EMPTY_ROOT, dict(tree.EMPTY_TREE)
    for one in changes:
        after = tree.update(nodes, one)
        nodes.update(after.nodes)
        root = after.root
    return root, nodes


def reference_root(values: dict[bytes, bytes]) -> bytes:
    """The root written again, recursively, from the definition in docs/spec/ledger.md."""
    if not values:
        return digest(Domain.STATE_EMPTY)

    def shared(paths: list[str]) -> int:
        low, high = min(paths), max(paths)
        at = 0
        while at < min(len(low), len(high)) and low[at] == high[at]:
            at += 1
        return at

    def node(below: dict[str, bytes], depth: int) -> bytes:
        out = b"\xdc\x00\x10"
        for slot in "0123456789abcdef":
            inside = {path: value for path, value in below.items() if path[depth] == slot}
            if not inside:
                out += b"\xc0"
                continue
            if len(inside) == 1:
                ((path, value),) = inside.items()
                child = digest(Domain.STATE_LEAF, bytes.fromhex(path) + value) + b"\x01" + path[depth + 1 :].encode()
            else:
                part = shared(list(inside))
                skip = next(iter(inside))[depth + 1 : part]
                child = node(inside, part) + b"\x00" + skip.encode()
            out += b"\xc4" + bytes([len(child)]) + child
        return digest(Domain.STATE_NODE, out)

    return node({key.hex(): value for key, value in values.items()}, 0)


@given(batches)
def test_root_is_that_of_the_values_alone(changes: list[dict[bytes, bytes]]) -> None:
    root, nodes = grown(changes)
    values: dict[bytes, bytes] = {}
    for one in changes:
        values.update(one)
    assert root == reference_root(values)
    assert grown([values])[0] == root
    assert grown([{key: value} for key, value in sorted(values.items(), reverse=True)])[0] == root
    if values:
        assert grown([values])[1] == nodes


@given(batches, st.lists(some_key, max_size=10))
def test_shows_what_is_there_and_what_is_not(changes: list[dict[bytes, bytes]], others: list[bytes]) -> None:
    root, nodes = grown(changes)
    values: dict[bytes, bytes] = {}
    for one in changes:
        values.update(one)
    for key in [*values, *others]:
        path = tree.prove(nodes, key)
        value = values.get(key)
        tree.check_leaf(root, key, value, path)
        for wrong in {value, b"another", None} - {value}:
            with pytest.raises(BadProof):
                tree.check_leaf(root, key, wrong, path)
        if path:
            with pytest.raises(BadProof):
                tree.check_leaf(root, key, value, path[:-1])
            with pytest.raises(BadProof):
                tree.check_leaf(root, key, value, (*path, path[-1]))
        with pytest.raises(BadProof):
            tree.check_leaf(digest(Domain.STATE_EMPTY, b"x"), key, value, path)


def test_a_path_shows_its_own_key_only() -> None:
    root, nodes = grown([{keys.chart(n): b"same" for n in range(100)}])
    path = tree.prove(nodes, keys.chart(33))
    with pytest.raises(BadProof):
        tree.check_leaf(root, keys.chart(50), b"same", path)
    with pytest.raises(BadProof):
        tree.check_leaf(root, keys.chart(34)[:-1], b"same", path)


@given(st.binary(max_size=60))
def test_garbage_for_a_node_is_a_bad_proof(garbage: bytes) -> None:
    with pytest.raises(BadProof):
        tree.check_leaf(digest(Domain.STATE_NODE, garbage), keys.PARAMS, b"", (garbage,))


def test_a_walk_asks_level_by_level_for_nothing_else() -> None:
    _, nodes = grown([{keys.chart(n): bytes(8) for n in range(5_000)}])
    changed = {keys.chart(n): b"new" for n in (3, 4, 4_000, 9_000)}
    walk = tree.Walk(changed)
    asked: list[list[bytes]] = []
    while wanted := walk.wanted():
        asked.append(wanted)
        assert len({len(path) for path in wanted}) == 1
        walk.supply({path: nodes[path] for path in wanted})
    after = walk.update(changed)
    everything = [path for level in asked for path in level]
    assert len(everything) == len(set(everything)) <= 12
    assert set(after.nodes) - set(everything) == set()
    assert after.root == tree.update(nodes, changed).root


def test_missing_nodes_are_named() -> None:
    _, nodes = grown([{keys.chart(n): bytes(8) for n in range(5_000)}])
    lost = tree.Walk([keys.chart(70)])
    lost.supply({tree.ROOT_PATH: nodes[tree.ROOT_PATH]})
    (path,) = lost.wanted()
    del nodes[path]
    with pytest.raises(tree.NeedNodes):
        lost.supply(nodes)  # or a caller that asks until nothing is wanted would ask forever
    with pytest.raises(tree.NeedNodes) as raised:
        tree.update(nodes, {keys.chart(70): b"new"})
    assert raised.value.paths == [path]


def test_no_changes_leave_the_root() -> None:
    root, nodes = grown([{keys.PARAMS: b"1"}])
    assert tree.update(nodes, {}) == tree.TreeChanges(root, {})
    assert tree.update(tree.EMPTY_TREE, {}).root == tree.EMPTY_ROOT


def test_keys_are_prefix_free() -> None:
    made = [
        keys.PARAMS,
        keys.COUNTERS,
        keys.authorities(0),
        keys.institution(0),
        keys.window(0, 0),
        keys.chart(0),
        keys.grant(0, 0),
        keys.owner(b""),
        keys.denials(0, 0),
        keys.motion(0),
        keys.OPEN_MOTIONS,
        keys.evidence(0, 0),
        keys.claim(keys.CLAIM_NAME, b""),
        keys.policy(0),
        keys.recovery(0),
        keys.delegate(0, 0),
        keys.emergency(0, 0),
        keys.emergencies(0),
        keys.erasure(0, 0),
        keys.erased(0, 0),
        keys.holds(0),
    ]
    assert {key[0]: len(key) for key in made} == keys.KEY_BYTES
    assert decode(list[bytes | None], tree.EMPTY_TREE[tree.ROOT_PATH]) == [None] * 16
