"""What an asker says in confidence: opens to the owner alone, is what the ledger has, and its size tells nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto import details
from protocol.crypto.details import Details, DetailsOpening
from protocol.crypto.envelopes import SUITES, X25519, envelope_info, keypair_from_seed, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import CommitmentMismatch, DecodeError, SealBroken

CHAIN, SALT = b"c" * 32, b"s" * 64
PRIVATE, PUBLIC = keypair_from_seed(X25519, b"owner".ljust(32))
RECIPIENT = encryption_key_digest(X25519, PUBLIC)


def sealed(opening: DetailsOpening, chart: int = 7) -> tuple[bytes, bytes, bytes]:
    commitment = details.commit_details(opening)
    info = details.details_info(CHAIN, chart, commitment, RECIPIENT)
    return commitment, info, details.seal_details(X25519, PUBLIC, info, opening)


short = st.text(max_size=limits.DETAIL_CHARACTERS)


@given(st.builds(Details, short, short, short, short, st.text(max_size=limits.DETAIL_REASON_CHARACTERS), short))
def test_what_was_said_opens_and_its_size_tells_nothing(said: Details) -> None:
    commitment, info, made = sealed(DetailsOpening(SALT, said))
    assert details.open_details(X25519, PRIVATE, info, commitment, made) == said
    assert len(made) == len(sealed(DetailsOpening(SALT, Details()))[2]) <= details.SEALED_BYTES


def test_the_longest_details_fit() -> None:
    widest = "\U0001f3e5" * limits.DETAIL_CHARACTERS
    reason = "\U0001f3e5" * limits.DETAIL_REASON_CHARACTERS
    said = Details(widest, widest, widest, widest, reason, widest)
    commitment, info, made = sealed(DetailsOpening(SALT, said))
    assert details.open_details(X25519, PRIVATE, info, commitment, made) == said
    with pytest.raises(DecodeError):
        decode(Details, encode(Details(widest + "x")))
    with pytest.raises(DecodeError):
        decode(Details, encode(Details(reason=reason + "x")))


def test_it_opens_for_nothing_else() -> None:
    commitment, info, made = sealed(DetailsOpening(SALT, Details(reason="found unconscious")))
    other_chart = details.details_info(CHAIN, 8, commitment, RECIPIENT)
    as_a_record = envelope_info(CHAIN, 7, commitment, RECIPIENT)
    for wrong in (other_chart, as_a_record, info + b"\0"):
        with pytest.raises(SealBroken):
            details.open_details(X25519, PRIVATE, wrong, commitment, made)
    stranger, _ = keypair_from_seed(X25519, b"stranger".ljust(32))
    with pytest.raises(SealBroken):
        details.open_details(X25519, stranger, info, commitment, made)


def test_another_story_than_the_committed_one_is_told_apart() -> None:
    commitment, info, _ = sealed(DetailsOpening(SALT, Details(reason="found unconscious")))
    other = details.seal_details(X25519, PUBLIC, info, DetailsOpening(SALT, Details(reason="curious")))
    with pytest.raises(CommitmentMismatch):
        details.open_details(X25519, PRIVATE, info, commitment, other)


def test_the_same_words_with_another_salt_are_another_commitment() -> None:
    said = Details(reason="follow-up")
    assert details.commit_details(DetailsOpening(SALT, said)) != details.commit_details(DetailsOpening(b"t" * 64, said))


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"short",
        (1 << 20).to_bytes(4, "big").ljust(limits.DETAILS_BYTES, b"\0"),
        (3).to_bytes(4, "big").ljust(limits.DETAILS_BYTES, b"\0"),
        (0).to_bytes(4, "big").ljust(limits.DETAILS_BYTES, b"\1"),
    ],
    ids=["empty", "short", "length beyond the end", "no opening", "padding that is not zero"],
)
def test_an_envelope_of_something_else_is_named(plain: bytes) -> None:
    commitment, info, _ = sealed(DetailsOpening(SALT, Details()))
    with pytest.raises(SealBroken):
        details.open_details(X25519, PRIVATE, info, commitment, seal_envelope(X25519, PUBLIC, info, plain))


def test_nothing_of_it_is_printed() -> None:
    opening = DetailsOpening(SALT, Details(family="O'Neill", reason="found unconscious"))
    assert "Neill" not in repr(opening) + str(opening.details)


def test_published_ones_open(vectors: Callable[[str], Any]) -> None:
    cases = vectors("crypto/sealed_details")
    assert {case["suite"] for case in cases} == set(SUITES)
    for case in cases:
        private, public = keypair_from_seed(case["suite"], bytes.fromhex(case["seed"]))
        commitment = bytes.fromhex(case["commitment"])
        recipient = encryption_key_digest(case["suite"], public)
        info = details.details_info(bytes.fromhex(case["chain"]), case["chart"], commitment, recipient)
        found = details.open_details(case["suite"], private, info, commitment, bytes.fromhex(case["sealed"]))
        assert found == decode(DetailsOpening, bytes.fromhex(case["opening"])).details
