"""The state tree: a 16-way radix tree over the state's keys, whose root digest stands in every header.

Rules, and why they hold:

- A path is the key's hexadecimal digits, lower case, as ASCII bytes. A node stands at the path that its keys share;
  below the root a node exists exactly where two keys part, so the shape depends on the set of keys alone, not on the
  order or batching of changes. Keys are prefix-free (one length per kind), so no key ends inside the tree.
- A node is an array of 16 slots, nil or a child. A child is 32 bytes of digest, one byte of kind (0 node, 1 leaf) and
  the digits between its slot and where it stands (for a leaf: the rest of its key).
- A leaf's digest is over key and value under its own label, a node's over its slots. A node does not hash its own
  path: the slots and digits that lead to it are hashed in its ancestors. An empty tree has a digest of its own.
- Nothing is ever deleted: state only grows or changes. Absence is shown by the node where the key would part.

Nodes are stored by path. Sans-I/O: a `Walk` says level by level which nodes it still needs, the caller fetches them
(one query a level, upper levels from a cache), and then it updates or proves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.codec.canonical import encode
from protocol.crypto.hashing import DIGEST_BYTES, Domain, digest
from protocol.errors import BadProof, ChartledgerError

Slots = list[Annotated[bytes, Meta(min_length=DIGEST_BYTES + 1)] | None]
_Items = list[tuple[bytes, bytes]]  # (path of a whole key, digest of its leaf), ascending

_NODE: Final = 0
_LEAF: Final = 1
_NODE_BYTE: Final = bytes([_NODE])
_LEAF_BYTE: Final = bytes([_LEAF])
_SKIP: Final = DIGEST_BYTES + 1  # where a child's digits begin
_SLOT: Final = {digit: slot for slot, digit in enumerate(b"0123456789abcdef")}
_DIGIT: Final = b"0123456789abcdef"
_decoder: Final = msgspec.msgpack.Decoder(Annotated[Slots, Meta(min_length=16, max_length=16)])
_node_state: Final = blake2b(digest_size=DIGEST_BYTES, person=Domain.STATE_NODE)
_leaf_state: Final = blake2b(digest_size=DIGEST_BYTES, person=Domain.STATE_LEAF)

ROOT_PATH: Final = b""
EMPTY_ROOT: Final = digest(Domain.STATE_EMPTY)
EMPTY_TREE: Final[Mapping[bytes, bytes]] = {ROOT_PATH: encode([None] * 16)}
"""The nodes of a tree without leaves, to start one from."""


class NeedNodes(ChartledgerError):
    """The tree cannot be walked without nodes that were not given."""

    def __init__(self, paths: list[bytes]) -> None:
        super().__init__(f"{len(paths)} nodes of the state tree are missing, the first at '{paths[0].decode()}'")
        self.paths = paths


@dataclass(frozen=True, slots=True)
class TreeChanges:
    """The root after an update, and each node that changed, by path."""

    root: bytes
    nodes: dict[bytes, bytes]


def path_of(key: bytes) -> bytes:
    """The digits of a key: two ASCII bytes for each of its bytes."""
    return key.hex().encode()


def leaf_digest(key: bytes, value: bytes) -> bytes:
    """32 bytes over a key and its value."""
    state = _leaf_state.copy()
    state.update(key + value)
    return state.digest()


class Walk:
    """The nodes on the way to some keys. Supply what is `wanted` until nothing is, then `update` or `prove` once."""

    __slots__ = ("_changed", "_nodes", "_wanted")

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._nodes: dict[bytes, Slots] = {}
        self._changed: dict[bytes, bytes] = {}
        self._wanted: dict[bytes, list[bytes]] = {ROOT_PATH: sorted({path_of(key) for key in keys})}

    def wanted(self) -> list[bytes]:
        """Paths of the nodes still needed: those of one level, or of several where upper ones were supplied."""
        return list(self._wanted)

    def supply(self, nodes: Mapping[bytes, bytes]) -> None:
        """Go on with whatever wanted nodes `nodes` holds, down to where it holds none.

        Raises `NeedNodes` if it holds none that is wanted: asking the same source again would never end.
        """
        frontier = [path for path in self._wanted if path in nodes]
        if self._wanted and not frontier:
            raise NeedNodes(self.wanted())
        while frontier:
            path = frontier.pop()
            slots = self._nodes[path] = _decode(nodes[path])
            for below, keys in _descend(path, slots, self._wanted.pop(path)):
                self._wanted[below] = keys
                if below in nodes:
                    frontier.append(below)

    def update(self, changes: Mapping[bytes, bytes]) -> TreeChanges:
        """The tree after `changes` (values by key), all of whose keys this walk was made for.

        Raises `NeedNodes` if it was not supplied with all that it wanted. The walk is used up.
        """
        self._require_all()
        if not changes:
            return TreeChanges(_root_digest(self._nodes[ROOT_PATH]), {})
        items = sorted((path_of(key), leaf_digest(key, value)) for key, value in changes.items())
        root = self._update_node(ROOT_PATH, items)
        return TreeChanges(root, self._changed)

    def prove(self, key: bytes) -> tuple[bytes, ...]:
        """The nodes from the root towards `key`, as far as they go: `check_leaf` takes them. None in an empty tree."""
        self._require_all()
        if not any(self._nodes[ROOT_PATH]):
            return ()
        target = path_of(key)
        path: bytes | None = ROOT_PATH
        proof = []
        while path is not None:
            slots = self._nodes[path]
            proof.append(encode(slots))
            path = next((below for below, _ in _descend(path, slots, [target])), None)
        return tuple(proof)

    def prove_all(self) -> tuple[bytes, ...]:
        """Every node on the way to the keys of this walk, each once, as `check_leaves` takes them: what stands at each
        key, or that nothing does. None in an empty tree."""
        self._require_all()
        if not any(self._nodes[ROOT_PATH]):
            return ()
        return tuple(encode(self._nodes[path]) for path in sorted(self._nodes))  # a node sorts before those below it

    def _require_all(self) -> None:
        if self._wanted:
            raise NeedNodes(self.wanted())

    def _update_node(self, path: bytes, items: _Items) -> bytes:
        """Put the items into the node at `path`, all of which lie below it; its new digest."""
        slots = self._nodes[path]
        depth = len(path)
        start, count = 0, len(items)
        while start < count:
            digit = items[start][0][depth]
            end = start + 1
            while end < count and items[end][0][depth] == digit:
                end += 1
            slot = _SLOT[digit]
            slots[slot] = self._update_child(depth + 1, slots[slot], items[start:end])
            start = end
        raw = encode(slots)
        self._changed[path] = raw
        state = _node_state.copy()
        state.update(raw)
        return state.digest()

    def _update_child(self, at: int, child: bytes | None, items: _Items) -> bytes:
        """What stands in a slot, whose path is the first `at` digits of every item, after the items went into it."""
        first, last = items[0][0], items[-1][0]  # ascending: what these two share, all share
        if child is None:
            if len(items) == 1:
                return items[0][1] + _LEAF_BYTE + first[at:]
            part = _shared(first, last, at)
            self._nodes[first[:part]] = [None] * 16
        else:
            stands = first[:at] + child[_SKIP:]
            if first.startswith(stands) and last.startswith(stands):
                if child[DIGEST_BYTES] == _LEAF:
                    return items[0][1] + child[DIGEST_BYTES:]
                return self._update_node(stands, items) + child[DIGEST_BYTES:]
            part = min(_shared(first, stands, at), _shared(last, stands, at))
            slots: Slots = [None] * 16
            slots[_SLOT[stands[part]]] = child[:_SKIP] + stands[part + 1 :]
            self._nodes[first[:part]] = slots
        return self._update_node(first[:part], items) + _NODE_BYTE + first[at:part]


def update(nodes: Mapping[bytes, bytes], changes: Mapping[bytes, bytes]) -> TreeChanges:
    """The tree after `changes`, where `nodes` holds every node on the way (`EMPTY_TREE` to begin with)."""
    walk = Walk(changes)
    walk.supply(nodes)
    return walk.update(changes)


def prove(nodes: Mapping[bytes, bytes], key: bytes) -> tuple[bytes, ...]:
    """The path that shows what stands at `key`, or that nothing does, where `nodes` holds every node on the way."""
    walk = Walk([key])
    walk.supply(nodes)
    return walk.prove(key)


def check_leaf(root: bytes, key: bytes, value: bytes | None, path: Sequence[bytes]) -> None:
    """Raise `BadProof` unless the tree with this root holds `value` at `key`, or nothing if `value` is None."""
    check_leaves(root, {key: value}, path)


def check_leaves(
    root: bytes, leaves: Mapping[bytes, bytes | None], nodes: Sequence[bytes], names: Mapping[bytes, str] | None = None
) -> None:
    """Raise `BadProof` unless the tree with this root holds exactly these values, and nothing where one is None.

    `nodes` are those that `Walk.prove_all` gives for these keys: each once, a node before those below it, in the order
    of the slots, and no other. `names` says what stands at a key, for the error.
    """
    if root == EMPTY_ROOT and not nodes and not any(value is not None for value in leaves.values()):
        return
    waiting = [(root, ROOT_PATH, sorted((path_of(key), key) for key in leaves))]
    number = 0
    while waiting:
        expected, path, targets = waiting.pop()
        at = len(path)
        if number == len(nodes):
            raise BadProof("the state path ends before its key")
        raw = nodes[number]
        if digest(Domain.STATE_NODE, raw) != expected:
            raise BadProof(f"step {number} of the state path is not a node of the state tree")
        number += 1
        below: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = []
        slots = _decode(raw)
        for target, key in targets:
            child = slots[_SLOT[target[at]]] if at < len(target) else None
            stands = target if child is None else target[: at + 1] + child[_SKIP:]
            if child is None or not target.startswith(stands):
                _check_value(None, key, leaves, names)
            elif child[DIGEST_BYTES] == _LEAF:
                _check_value(child[:DIGEST_BYTES], key, leaves, names)
            elif below and below[-1][1] == stands:  # ascending: those that share a node follow each other
                below[-1][2].append((target, key))
            else:
                below.append((child[:DIGEST_BYTES], stands, [(target, key)]))
        waiting += reversed(below)
    if number != len(nodes):
        raise BadProof("the state path goes on past its key")


def _check_value(
    found: bytes | None, key: bytes, leaves: Mapping[bytes, bytes | None], names: Mapping[bytes, str] | None
) -> None:
    """Hold what stands at a key, the digest of a leaf or nothing, against what is said to stand there."""
    value = leaves[key]
    where = f"at this key, where {names[key]} belongs" if names is not None else "at this key"
    if found is None and value is not None:
        raise BadProof(f"the state holds nothing {where}")
    if found is not None and value is None:
        raise BadProof(f"the state holds a value {where}")
    if value is not None and leaf_digest(key, value) != found:
        raise BadProof(f"the state holds another value {where}")


def _decode(raw: bytes) -> Slots:
    try:
        slots: Slots = _decoder.decode(raw)
    except msgspec.DecodeError:
        raise BadProof("a node of the state tree is malformed") from None
    return slots


def _descend(path: bytes, slots: Slots, targets: list[bytes]) -> list[tuple[bytes, list[bytes]]]:
    """The nodes right below that some of the targets (whole paths, ascending) pass through, with those targets."""
    depth = len(path)
    found: list[tuple[bytes, list[bytes]]] = []
    last = b""
    for target in targets:
        child = slots[_SLOT[target[depth]]]
        if child is None or child[DIGEST_BYTES] == _LEAF:
            continue
        stands = target[: depth + 1] + child[_SKIP:]
        if stands == last:  # ascending: those that share a node follow each other
            if target.startswith(stands):
                found[-1][1].append(target)
        elif target.startswith(stands):
            found.append((stands, [target]))
            last = stands
    return found


def _shared(one: bytes, other: bytes, start: int) -> int:
    """How many digits two paths share, known to share the first `start`."""
    at, end = start, min(len(one), len(other))
    while at < end and one[at] == other[at]:
        at += 1
    return at


def _root_digest(slots: Slots) -> bytes:
    raw = encode(slots)
    return EMPTY_ROOT if raw == EMPTY_TREE[ROOT_PATH] else digest(Domain.STATE_NODE, raw)
