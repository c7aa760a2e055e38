"""The Merkle mountain range: paths for every leaf of every size, and none for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.crypto.hashing import Domain, digest
from protocol.errors import BadProof
from protocol.ledger import history


def leaf(number: int) -> bytes:
    return digest(Domain.EVENT_LEAF, number.to_bytes(8, "big"))


def peaks_of(count: int) -> tuple[bytes, ...]:
    """Written again, from the definition: a perfect tree over each run of leaves, largest first."""

    def perfect(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        half = len(leaves) // 2
        return digest(Domain.HISTORY_NODE, perfect(leaves[:half]), perfect(leaves[half:]))

    leaves = [leaf(number) for number in range(count)]
    peaks = []
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            peaks.append(perfect(leaves[: 1 << bit]))
            leaves = leaves[1 << bit :]
    return tuple(peaks)


def path_to(count: int, index: int) -> tuple[bytes, ...]:
    _, first, height = history.mountain(count, index)
    return history.path([leaf(number) for number in range(first, first + (1 << height))], index - first)


def test_every_leaf_of_every_size_is_shown_and_no_other() -> None:
    peaks: tuple[bytes, ...] = ()
    for count in range(1, 71):
        peaks = history.append(peaks, count - 1, leaf(count - 1))
        assert peaks == peaks_of(count)
        for index in range(count):
            path = path_to(count, index)
            history.check(peaks, count, index, leaf(index), path)
            with pytest.raises(BadProof):
                history.check(peaks, count, index, leaf(index + 1), path)
            with pytest.raises(BadProof):
                history.check(peaks, count, index, leaf(index), (*path, leaf(0)))
            with pytest.raises(BadProof):
                history.check(peaks, count, (index + 1) % count if count > 1 else 1, leaf(index), path)


@given(st.integers(0, 200), st.lists(st.binary(min_size=32, max_size=32), max_size=50))
def test_appending_at_once_is_appending_one_by_one(count: int, leaves: list[bytes]) -> None:
    start = one_by_one = peaks_of(count)
    for offset, one in enumerate(leaves):
        one_by_one = history.append(one_by_one, count + offset, one)
    assert history.append_all(start, count, leaves) == one_by_one


def test_root_tells_counts_apart() -> None:
    assert history.root(0, ()) != history.root(1, ())
    assert history.root(1, peaks_of(1)) != history.root(2, peaks_of(1))


@pytest.mark.parametrize("index", [-1, 5, 1 << 60])
def test_there_is_no_such_event(index: int) -> None:
    with pytest.raises(BadProof):
        history.check(peaks_of(5), 5, index, leaf(0), ())


def test_peaks_must_fit_the_count() -> None:
    with pytest.raises(BadProof):
        history.check(peaks_of(5)[:1], 5, 0, leaf(0), path_to(5, 0))
