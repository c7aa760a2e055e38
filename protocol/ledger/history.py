"""A chart's history as a Merkle mountain range: append in O(1) amortised, prove an event in O(log n).

The range over n leaves is the sequence of perfect binary trees whose sizes are the powers of two in n, largest first
(Todd, "Merkle mountain ranges", 2012; the peaks are those of RFC 6962's tree). A chart's leaf holds the peaks
themselves, so a path ends at a peak and needs no bagging; `root` folds them into one digest for whoever wants one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from protocol.crypto.hashing import DIGEST_BYTES, Domain, digest
from protocol.errors import BadProof

_ROOT = Domain.HISTORY_ROOT
_node = blake2b(digest_size=DIGEST_BYTES, person=Domain.HISTORY_NODE)


def append(peaks: Sequence[bytes], count: int, leaf: bytes) -> tuple[bytes, ...]:
    """The peaks (32 bytes each, largest mountain first) after one more leaf; `count` is the number before."""
    return append_all(peaks, count, (leaf,))


def append_all(peaks: Sequence[bytes], count: int, leaves: Iterable[bytes]) -> tuple[bytes, ...]:
    """The peaks after all of `leaves` (digests) in order; `count` is the number of leaves before."""
    stack = list(peaks)
    for leaf in leaves:
        node = leaf
        merges = count
        while merges & 1:
            node = _join(stack.pop(), node)
            merges >>= 1
        stack.append(node)
        count += 1
    return tuple(stack)


def root(count: int, peaks: Sequence[bytes]) -> bytes:
    """One digest for the whole history: the number of events (8 bytes, big-endian) and its peaks, largest first."""
    return digest(_ROOT, count.to_bytes(8, "big"), *peaks)


def mountain(count: int, index: int) -> tuple[int, int, int]:
    """Where leaf `index` of `count` lies: (number of its peak, first leaf of that mountain, the mountain's height).

    A prover needs the leaf digests `first .. first + 2**height` and nothing else. Raises `BadProof` if there is no
    such leaf.
    """
    if not 0 <= index < count:
        raise BadProof(f"a history of {count} events has no event {index}")
    first = 0
    for number, height in enumerate(bit for bit in reversed(range(count.bit_length())) if count >> bit & 1):
        size = 1 << height
        if index < first + size:
            return number, first, height
        first += size
    raise AssertionError("unreachable: the mountains cover every leaf")


def path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings from leaf `index` up to its peak; `leaves` are the digests of one whole mountain, from its first.

    With `mountain(count, n)` giving (peak, first, height), pass the digests from `first` and `n - first`.
    """
    siblings = []
    level = list(leaves)
    while len(level) > 1:
        siblings.append(level[index ^ 1])
        level = [_join(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        index >>= 1
    return tuple(siblings)


def check(peaks: Sequence[bytes], count: int, index: int, leaf: bytes, siblings: Sequence[bytes]) -> None:
    """Raise `BadProof` unless `leaf` is leaf number `index` of the history with these peaks and this count."""
    number, first, height = mountain(count, index)
    if len(peaks) != count.bit_count():
        raise BadProof(f"a history of {count} events has {count.bit_count()} peaks, not {len(peaks)}")
    if len(siblings) != height:
        raise BadProof(f"the path to event {index} has {height} steps, not {len(siblings)}")
    node = leaf
    position = index - first
    for sibling in siblings:
        node = _join(sibling, node) if position & 1 else _join(node, sibling)
        position >>= 1
    if node != peaks[number]:
        raise BadProof("the path does not lead from the event to the chart's history")


def spans(start: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees that cover the leaves `start` to `end` (excluded) of any history with at least `end` leaves:
    (first leaf, height), in order. From 0 on they are the mountains of a history of `end` leaves."""
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        found.append((start, height))
        start += 1 << height
    return found


def check_range(
    peaks: Sequence[bytes],
    count: int,
    first: int,
    leaves: Sequence[bytes],
    *,
    before: Sequence[bytes],
    after: Sequence[bytes],
) -> None:
    """Raise `BadProof` unless `leaves` are the leaves from number `first` on, without a gap, of this history.

    `before` and `after` are the tops of `spans(0, first)` and of `spans(first + len(leaves), count)`.
    """
    end = first + len(leaves)
    if end > count:
        raise BadProof(f"a history of {count} events has no event {end - 1}")
    if len(peaks) != count.bit_count():
        raise BadProof(f"a history of {count} events has {count.bit_count()} peaks, not {len(peaks)}")
    tops: list[tuple[int, bytes]] = []
    for what, covered, given in (("before", spans(0, first), before), ("after", spans(end, count), after)):
        if len(covered) != len(given):
            raise BadProof(f"{len(covered)} digests stand for the events {what} those shown, not {len(given)}")
        tops += [(height, top) for (_, height), top in zip(covered, given, strict=True)]
    parts = [*tops[: len(before)], *((0, leaf) for leaf in leaves), *tops[len(before) :]]
    stack: list[tuple[int, bytes]] = []
    for height, node in parts:
        while stack and stack[-1][0] == height:
            node = _join(stack.pop()[1], node)  # noqa: PLW2901 - it climbs until it stands
            height += 1  # noqa: PLW2901
        stack.append((height, node))
    if tuple(node for _, node in stack) != tuple(peaks):
        raise BadProof("the events shown are not those of the chart's history, in its order and without a gap")


def _join(left: bytes, right: bytes) -> bytes:
    # A copied state costs half of a new one with parameters; this runs once an event, on every authority.
    state = _node.copy()
    state.update(left + right)
    return state.digest()
