"""Practitioners' pseudonyms: the same for ever, unlike at every chart, and made from nothing that rotates away."""

from __future__ import annotations

import pytest

from node.keystore import EncryptionKey, Keystore, NetworkKey
from node.practitioners import BadStaffId, Practitioners

CHAIN = b"c" * 32


def keystore(*encryption: bytes, kek: bytes = b"k" * 32) -> Keystore:
    keys = tuple(EncryptionKey(1, seed) for seed in encryption)
    return Keystore((b"o" * 32,), (), (NetworkKey(b"n" * 32, b"der"),), keys, kek)


def test_a_pseudonym_outlives_every_rotation() -> None:
    before = Practitioners(keystore(b"1" * 32), CHAIN).pseudonym(7, "4711")
    after = Practitioners(keystore(b"1" * 32, b"2" * 32, kek=b"x" * 32), CHAIN).pseudonym(7, "4711")
    assert before == after
    assert len(before) == 16


def test_pseudonyms_of_one_person_share_nothing() -> None:
    mine, theirs = Practitioners(keystore(b"1" * 32), CHAIN), Practitioners(keystore(b"2" * 32), CHAIN)
    other_chain = Practitioners(keystore(b"1" * 32), b"d" * 32)
    made = {who.pseudonym(chart, "4711") for who in (mine, theirs, other_chain) for chart in range(50)}
    assert len(made) == 150
    assert mine.pseudonym(7, "4712") not in made


@pytest.mark.parametrize("staff", ["", " 4711", "4711\n", "a\x00b", "é" * 129])
def test_what_is_no_staff_id_is_refused_and_not_repeated(staff: str) -> None:
    with pytest.raises(BadStaffId) as caught:
        Practitioners(keystore(b"1" * 32), CHAIN).pseudonym(7, staff)
    assert not staff or staff not in str(caught.value)


def test_nothing_shows_the_secret() -> None:
    assert "hidden" in repr(Practitioners(keystore(b"1" * 32), CHAIN))
