"""Practitioners' pseudonyms: the same for ever, unlike at every chart, and unrelated without the secret."""

from __future__ import annotations

import pytest

from node.practitioners import BadStaffId, Practitioners

CHAIN = b"c" * 32


def test_a_pseudonym_stays() -> None:
    first, again = (Practitioners(b"1" * 32, CHAIN).pseudonym(7, "4711") for _ in range(2))
    assert first == again
    assert len(first) == 16


def test_pseudonyms_of_one_person_share_nothing() -> None:
    mine, theirs, other_chain = (
        Practitioners(b"1" * 32, CHAIN), Practitioners(b"2" * 32, CHAIN), Practitioners(b"1" * 32, b"d" * 32)
    )  # fmt: skip
    made = {who.pseudonym(chart, "4711") for who in (mine, theirs, other_chain) for chart in range(50)}
    assert len(made) == 150
    assert mine.pseudonym(7, "4712") not in made


@pytest.mark.parametrize("staff", ["", " 4711", "4711\n", "a\x00b", "é" * 129])
def test_what_is_no_staff_id_is_refused_and_not_repeated(staff: str) -> None:
    with pytest.raises(BadStaffId) as caught:
        Practitioners(b"1" * 32, CHAIN).pseudonym(7, staff)
    assert not staff or staff not in str(caught.value)


def test_nothing_shows_the_secret() -> None:
    assert "hidden" in repr(Practitioners(b"1" * 32, CHAIN))
