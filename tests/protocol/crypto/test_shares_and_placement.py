"""Keys in parts: a threshold opens, fewer learn nothing. Placement: the same everywhere, even, and it moves little."""

from __future__ import annotations

import os
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.crypto.placement import ranked
from protocol.crypto.shares import (
    COMBINATIONS_MOST,
    KeyShare,
    candidate_sets,
    combine_shares,
    split_key,
    threshold_of,
)
from protocol.errors import BadShares

CHAIN = b"c" * 32


@pytest.mark.parametrize("count", range(2, 9))
def test_any_threshold_of_the_shares_gives_the_key_back(count: int) -> None:
    key, threshold = os.urandom(32), threshold_of(count)
    made = split_key(key, threshold, count)
    assert [one.index for one in made] == list(range(1, count + 1))
    assert all(combine_shares(chosen) == key for chosen in list(combinations(made, threshold))[:6])
    assert combine_shares(made[::-1]) == key, "more than enough, in any order"


def test_thresholds_are_more_than_half() -> None:
    assert [threshold_of(count) for count in range(2, 9)] == [2, 2, 3, 3, 4, 4, 5]


def test_one_share_says_nothing_of_the_key() -> None:
    """For each share that a lone holder may have, every key is possible: some second share leads to it."""
    one = split_key(bytes(32), 2, 3)[0]
    other = split_key(b"\xff" * 32, 2, 3)[0]
    assert one.share != bytes(32)
    assert one.share[:16] != one.share[16:], "halves of one key are split apart"
    assert {len(one.share), len(other.share)} == {32}
    with pytest.raises(BadShares, match="too few"):
        combine_shares([one])


def test_two_splits_of_one_key_have_no_share_in_common() -> None:
    key = os.urandom(32)
    first, second = split_key(key, 2, 3), split_key(key, 2, 3)
    assert not {one.share for one in first} & {one.share for one in second}
    assert combine_shares([first[0], second[1]]) != key


def test_what_cannot_be_shares_of_one_key_is_refused_by_name() -> None:
    made = split_key(os.urandom(32), 3, 4)
    for bad in ([], made[:2], [made[0], made[0], made[1]], [made[0], made[1], replace(made[2], threshold=2)]):
        with pytest.raises(BadShares):
            combine_shares(bad)
    with pytest.raises(BadShares):
        combine_shares([replace(one, threshold=1) for one in made[:1]])
    for threshold, count in ((1, 3), (4, 3), (2, 9)):
        with pytest.raises(ValueError, match="split"):
            split_key(bytes(32), threshold, count)


def test_a_wrong_share_is_found_by_trying_sets_of_shares() -> None:
    key = os.urandom(32)
    made = list(split_key(key, 2, 3))
    made[0] = replace(made[0], share=os.urandom(32))
    sets = list(candidate_sets(made))
    assert sets == [(0, 1), (0, 2), (1, 2)]
    assert [combine_shares([made[at] for at in chosen]) == key for chosen in sets] == [False, False, True]


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=12))
def test_the_sets_to_try_are_bounded_and_each_can_be_combined(claims: list[tuple[int, int]]) -> None:
    held = [KeyShare(index, threshold, bytes(32)) for index, threshold in claims]
    sets = list(candidate_sets(held))
    assert len(sets) <= COMBINATIONS_MOST
    for chosen in sets:
        indexes = {held[at].index for at in chosen}
        assert len(indexes) == len(chosen) == held[chosen[0]].threshold >= 2


def test_a_share_shows_nothing_of_itself_when_it_is_printed() -> None:
    assert repr(KeyShare(1, 2, b"\x07" * 32)) == "KeyShare(index=1, threshold=2)"


# --- placement -------------------------------------------------------------------------------------------------


def test_everybody_finds_the_same_holders_and_never_the_writer() -> None:
    assert ranked(CHAIN, 5, 2, [4, 1, 3, 2, 0]) == ranked(CHAIN, 5, 2, {0, 1, 3, 4})
    assert 2 not in ranked(CHAIN, 5, 2, range(5))
    assert ranked(CHAIN, 5, 2, range(5)) != ranked(b"d" * 32, 5, 2, range(5)) or ranked(
        CHAIN, 6, 2, range(5)
    ) != ranked(b"d" * 32, 6, 2, range(5))


def test_holders_are_spread_evenly() -> None:
    held = Counter(one for chart in range(2_000) for one in ranked(CHAIN, chart, 0, range(11))[:3])
    assert sorted(held) == list(range(1, 11))
    assert all(abs(count - 600) < 120 for count in held.values()), "five standard deviations"


def test_only_what_an_institution_held_moves_when_it_leaves() -> None:
    for chart in range(300):
        before = ranked(CHAIN, chart, 0, range(9))
        after = ranked(CHAIN, chart, 0, [one for one in range(9) if one != 4])
        assert after == [one for one in before if one != 4]
