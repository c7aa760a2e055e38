"""Anti-replay windows against a set that remembers every number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.errors import NumberTooFar, Replayed
from protocol.ledger.windows import FRESH, Window, use, used

BITS = 64


@given(st.lists(st.integers(0, 300) | st.integers(0, 3 * limits.NUMBER_JUMP), max_size=200))
def test_agrees_with_a_set(numbers: list[int]) -> None:
    window = FRESH
    seen: set[int] = set()
    highest = 0
    for number in numbers:
        if number > highest + limits.NUMBER_JUMP:
            assert not used(window, number, BITS)
            with pytest.raises(NumberTooFar):
                use(window, number, BITS)
        elif number in seen or number <= highest - BITS:
            assert used(window, number, BITS)
            with pytest.raises(Replayed):
                use(window, number, BITS)
        else:
            assert not used(window, number, BITS)
            window = use(window, number, BITS)
            seen.add(number)
            highest = max(highest, number)
            assert decode(Window, encode(window)) == window


@given(st.sets(st.integers(0, 400), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_order_within_the_window_does_not_matter(numbers: set[int], random: object) -> None:
    shuffled = sorted(numbers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = two = FRESH
    for number in sorted(numbers):
        one = use(one, number, limits.WINDOW_BITS_INSTITUTION)
    for number in shuffled:
        two = use(two, number, limits.WINDOW_BITS_INSTITUTION)
    assert one == two


def test_the_lowest_number_still_in_the_window_is_usable_once() -> None:
    window = use(FRESH, 1_000, BITS)
    with pytest.raises(Replayed):
        use(window, 1_000 - BITS, BITS)
    window = use(window, 1_000 - BITS + 1, BITS)
    with pytest.raises(Replayed):
        use(window, 1_000 - BITS + 1, BITS)


def test_the_highest_number_that_there_is_can_be_used() -> None:
    window = Window(limits.U53 - 1, b"\x01")
    assert use(window, limits.U53, BITS) == Window(limits.U53, b"\x03")


def test_a_full_institution_window_fits_its_leaf() -> None:
    window = Window(limits.WINDOW_BITS_INSTITUTION, b"\xff" * (limits.WINDOW_BITS_INSTITUTION // 8))
    assert decode(Window, encode(use(window, window.highest + 1, limits.WINDOW_BITS_INSTITUTION)))
