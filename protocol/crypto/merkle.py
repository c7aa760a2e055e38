"""A Merkle tree over a list of digests, with paths that show a leaf's position and the list's length.

The shape is that of RFC 6962, section 2.1: a left subtree is the largest full one, so an odd node moves up unchanged.
Unlike there, leaves are digests that the caller made under a label of its own, and the root is a digest over the
count and the top node: a path for one count cannot be read as one for another, and the empty list has a root.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from protocol.crypto.hashing import DIGEST_BYTES, Domain, digest
from protocol.errors import BadProof

COUNT_MAX = 1 << 32
_node = blake2b(digest_size=DIGEST_BYTES, person=Domain.MERKLE_NODE)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """32 bytes over any number of 32-byte leaf digests, in order."""
    return _root(len(leaves), _levels(leaves)[-1][0] if leaves else b"")


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings of leaf `index`, from the bottom up: at most ceil(log2(count)) of 32 bytes."""
    if not 0 <= index < len(leaves):
        raise BadProof(f"there is no leaf {index} among {len(leaves)}")
    path = []
    for level in _levels(leaves)[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return tuple(path)


def merkle_check(root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> None:
    """Raise `BadProof` unless the list of `count` leaves with this root holds `leaf` at `index`."""
    if merkle_climb(leaf, index, count, path) != root:
        raise BadProof("the path does not lead to the root")


def merkle_climb(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """The root that this path leads to from `leaf` at `index` of `count`. Raises `BadProof` if its shape is wrong."""
    if not 0 <= index < count <= COUNT_MAX:
        raise BadProof("the leaf's position lies outside its tree")
    if len(leaf) != DIGEST_BYTES or any(len(step) != DIGEST_BYTES for step in path):
        raise BadProof("a step of the path is not a digest")
    steps = iter(path)
    node, position, width = leaf, index, count
    while width > 1:
        if position ^ 1 < width:
            sibling = next(steps, None)
            if sibling is None:
                raise BadProof("the path is too short for its tree")
            node = _join(sibling, node) if position & 1 else _join(node, sibling)
        position >>= 1
        width = (width + 1) >> 1
    if next(steps, None) is not None:
        raise BadProof("the path is too long for its tree")
    return _root(count, node)


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level from the leaves to the top node."""
    levels = [list(leaves)]
    while len(below := levels[-1]) > 1:
        level = [_join(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) & 1:
            level.append(below[-1])
        levels.append(level)
    return levels


def _join(left: bytes, right: bytes) -> bytes:
    # A copied state costs half of a new one with parameters; this is the inner loop of every tree.
    state = _node.copy()
    state.update(left + right)
    return state.digest()


def _root(count: int, top: bytes) -> bytes:
    return digest(Domain.MERKLE_ROOT, count.to_bytes(8, "big"), top)
