"""Sealing and envelopes: what went in comes out, in bounded memory, and everything else is noticed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)

from protocol.crypto import envelopes, sealing
from protocol.errors import BadPublicKey, Oversize, SealBroken, UnknownSuite

KEY = bytes(range(32))
CHUNK = sealing.CHUNK_BYTES


def noise(length: int) -> bytes:
    return hashlib.shake_256(b"noise").digest(length)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def seal_inner(inner: bytes, *, tags: tuple[int, ...] | None = None) -> bytes:
    """Chunks as a hostile sealer who holds the key would make them."""
    state = crypto_secretstream_xchacha20poly1305_state()
    out = [crypto_secretstream_xchacha20poly1305_init_push(state, KEY)]
    chunks = [inner[i : i + CHUNK] for i in range(0, len(inner), CHUNK)] or [b""]
    marks = tags or (*[sealing.TAG_MESSAGE] * (len(chunks) - 1), sealing.TAG_FINAL)
    for chunk, mark in zip(chunks, marks, strict=True):
        out.append(crypto_secretstream_xchacha20poly1305_push(state, chunk, None, mark))
    return b"".join(out)


@pytest.mark.parametrize("length", [0, 1, 1000, 1023, CHUNK - 20, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1_000_003])
@pytest.mark.parametrize("make", [noise, bytes], ids=["noise", "zeros"])
def test_what_is_sealed_opens(length: int, make: type) -> None:
    plain = make(length)
    sealed = sealing.seal(plain, KEY)
    assert sealing.open_sealed(sealed, KEY) == plain
    streamed = b"".join(sealing.seal_stream(in_pieces(plain, 7_001), KEY))
    for size in (1_003, 1 << 20):
        assert b"".join(sealing.open_stream(in_pieces(streamed, size), KEY, length)) == plain


@given(st.binary(max_size=3000))
def test_any_bytes_come_back(plain: bytes) -> None:
    assert sealing.open_sealed(sealing.seal(plain, KEY), KEY) == plain


@given(st.integers(0, 2**60))
def test_padme_bounds(length: int) -> None:
    padded = sealing.padme(length)
    assert padded >= max(length, sealing.PADDING_FLOOR_BYTES)
    assert padded <= max(length * 1.12, sealing.PADDING_FLOOR_BYTES)
    assert sealing.padme(padded) == padded
    assert sealing.padme(length + 1) >= padded


def test_sizes_of_records_of_like_length_are_alike() -> None:
    sizes = {len(sealing.seal(noise(length), KEY)) for length in range(1100, 1130)}
    assert len(sizes) <= 2
    assert {len(sealing.seal(noise(n), KEY)) for n in range(0, 1000, 50)} == {24 + 1024 + 17}


def test_two_seals_of_one_record_share_nothing() -> None:
    first, second = sealing.seal(b"same", KEY), sealing.seal(b"same", KEY)
    assert first[:24] != second[:24]
    assert first[24:] != second[24:]


@pytest.mark.parametrize("length", [100, 2 * CHUNK])
def test_every_truncation_and_change_is_noticed(length: int) -> None:
    sealed = sealing.seal(noise(length), KEY)
    step = max(1, len(sealed) // 97)
    for cut in {0, 1, 23, 24, 25, 24 + CHUNK + 17, len(sealed) - 1, *range(0, len(sealed), step)}:
        if cut < len(sealed):
            with pytest.raises(SealBroken):
                sealing.open_sealed(sealed[:cut], KEY)
    for place in range(0, len(sealed), step):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            sealing.open_sealed(changed, KEY)
    with pytest.raises(SealBroken):
        sealing.open_sealed(sealed + b"\0", KEY)
    with pytest.raises(SealBroken):
        sealing.open_sealed(sealed, bytes(32))


def test_chunks_cannot_change_places() -> None:
    sealed = sealing.seal(noise(3 * CHUNK), KEY)
    size = CHUNK + 17
    first, second, rest = sealed[24 : 24 + size], sealed[24 + size : 24 + 2 * size], sealed[24 + 2 * size :]
    for other in (sealed[:24] + second + first + rest, sealed[:24] + second + rest, sealed[:24] + first + rest):
        with pytest.raises(SealBroken):
            sealing.open_sealed(other, KEY)


def _inner(plain: bytes, version: bytes = b"\x01") -> bytes:
    inner = version + zlib.compress(plain)
    return inner.ljust(sealing.padme(len(inner)), b"\0")


def test_a_holder_of_the_key_must_keep_the_format_too() -> None:
    good = _inner(b"plain")
    assert sealing.open_sealed(seal_inner(good), KEY) == b"plain"
    long = _inner(noise(CHUNK))
    bad: dict[str, bytes] = {
        "version": seal_inner(_inner(b"plain", b"\x02")),
        "no version": seal_inner(b""),
        "padding too short": seal_inner(good[:-1]),
        "padding too long": seal_inner(good + bytes(1)),
        "padding not zero": seal_inner(good[:-1] + b"\1"),
        "not zlib": seal_inner(b"\x01" + bytes(1023)),
        "zlib unfinished": seal_inner((b"\x01" + zlib.compress(noise(2000)))[:1024]),
        "first chunk final": seal_inner(long, tags=(sealing.TAG_FINAL,) * 2),
        "last chunk not final": seal_inner(long, tags=(sealing.TAG_MESSAGE,) * 2),
    }
    for sealed in bad.values():
        with pytest.raises(SealBroken):
            sealing.open_sealed(sealed, KEY)


def test_a_small_blob_cannot_fill_the_memory() -> None:
    sealed = sealing.seal(bytes(50_000_000), KEY)
    assert len(sealed) < 500_000
    with pytest.raises(Oversize):
        sealing.open_sealed(sealed, KEY, 1_000_000)
    given_out: list[int] = []
    opened = sealing.Opener(KEY, 1_000_000).update(sealed)
    with pytest.raises(Oversize):
        given_out.extend(len(piece) for piece in opened)
    assert sum(given_out) <= 1_000_000
    sizes = [len(piece) for piece in sealing.open_stream([sealed], KEY, 50_000_000)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= CHUNK


def test_a_long_record_streams_in_bounded_pieces() -> None:
    piece, count = noise(100_000), 60
    hasher, held = hashlib.blake2b(), 0
    opener = sealing.Opener(KEY, len(piece) * count)
    for sealed in sealing.seal_stream((piece for _ in range(count)), KEY):
        held = max(held, len(sealed))
        for plain in opener.update(sealed):
            hasher.update(plain)
    for plain in opener.finish():
        hasher.update(plain)
    assert hasher.digest() == hashlib.blake2b(piece * count).digest()
    assert held <= 4 * CHUNK


def test_incompressible_records_hardly_grow() -> None:
    plain = noise(200_000)
    assert len(sealing.seal(plain, KEY)) <= sealing.padme(len(plain) + 200) + 24 + 4 * 17


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_small_secrets_are_bound_to_their_place(plain: bytes, aad: bytes) -> None:
    sealed = sealing.secretbox_seal(KEY, bytes(24), plain, aad)
    assert sealing.secretbox_open(KEY, sealed, aad) == plain
    wrong = [(KEY, sealed, aad + b"x"), (bytes(32), sealed, aad), (KEY, sealed[:-1], aad), (KEY, b"", aad)]
    for attempt in wrong:
        with pytest.raises(SealBroken):
            sealing.secretbox_open(*attempt)


# --- envelopes -------------------------------------------------------------------------------------------------

SEED = bytes(range(32))
CHAIN, RECORD, RECIPIENT = b"c" * 32, b"r" * 32, b"k" * 32


@pytest.mark.parametrize("suite", envelopes.SUITES)
@settings(max_examples=10, deadline=None)
@given(plain=st.binary(max_size=300))
def test_envelopes_open_for_their_recipient(suite: int, plain: bytes) -> None:
    private, public = envelopes.keypair_from_seed(suite, SEED)
    info = envelopes.envelope_info(CHAIN, 7, RECORD, RECIPIENT)
    sealed = envelopes.seal_envelope(suite, public, info, plain)
    assert len(sealed) == len(plain) + envelopes.OVERHEAD_BYTES[suite]
    assert envelopes.open_envelope(suite, private, info, sealed) == plain


@pytest.mark.parametrize("suite", envelopes.SUITES)
def test_an_envelope_is_for_one_chain_chart_record_and_recipient(suite: int) -> None:
    private, public = envelopes.keypair_from_seed(suite, SEED)
    stranger, _ = envelopes.keypair_from_seed(suite, bytes(32))
    info = envelopes.envelope_info(CHAIN, 7, RECORD, RECIPIENT)
    sealed = envelopes.seal_envelope(suite, public, info, b"key")
    other = b"x" * 32
    for wrong in (
        envelopes.envelope_info(other, 7, RECORD, RECIPIENT),
        envelopes.envelope_info(CHAIN, 8, RECORD, RECIPIENT),
        envelopes.envelope_info(CHAIN, 7, other, RECIPIENT),
        envelopes.envelope_info(CHAIN, 7, RECORD, other),
    ):
        with pytest.raises(SealBroken):
            envelopes.open_envelope(suite, private, wrong, sealed)
    with pytest.raises(SealBroken):
        envelopes.open_envelope(suite, stranger, info, sealed)
    for broken in (
        b"",
        sealed[:-1],
        sealed + b"\0",
        sealed[:40],
        bytes([sealed[0] ^ 1]) + sealed[1:],
        sealed[:-1] + b"?",
    ):
        with pytest.raises(SealBroken):
            envelopes.open_envelope(suite, private, info, broken)


def test_suites_do_not_mix_and_unknown_ones_are_named() -> None:
    hybrid, hybrid_public = envelopes.keypair_from_seed(envelopes.MLKEM768_X25519, SEED)
    _, curve_public = envelopes.keypair_from_seed(envelopes.X25519, SEED)
    assert hybrid_public[-32:] != curve_public
    sealed = envelopes.seal_envelope(envelopes.X25519, curve_public, b"", b"key")
    with pytest.raises(SealBroken):
        envelopes.open_envelope(envelopes.MLKEM768_X25519, hybrid, b"", sealed)
    with pytest.raises(SealBroken):
        envelopes.open_envelope(envelopes.X25519, hybrid, b"", sealed)
    for call in (
        lambda: envelopes.keypair_from_seed(9, SEED),
        lambda: envelopes.seal_envelope(9, curve_public, b"", b""),
        lambda: envelopes.open_envelope(9, hybrid, b"", b""),
        lambda: envelopes.check_public(0, curve_public),
    ):
        with pytest.raises(UnknownSuite):
            call()


def test_bytes_that_are_no_public_key_are_refused() -> None:
    _, hybrid = envelopes.keypair_from_seed(envelopes.MLKEM768_X25519, SEED)
    small_order = [bytes(32), bytes([1]) + bytes(31), hybrid[:-32] + bytes(32)]  # a secret that anybody knows
    for public in (bytes(33), b"", b"\xff" * 1216, *small_order):
        suite = envelopes.X25519 if len(public) < 1000 else envelopes.MLKEM768_X25519
        with pytest.raises(BadPublicKey):
            envelopes.check_public(suite, public)
        with pytest.raises(BadPublicKey):
            envelopes.seal_envelope(suite, public, b"", b"key")


def test_a_keypair_depends_on_its_seed_alone() -> None:
    for suite in envelopes.SUITES:
        assert envelopes.keypair_from_seed(suite, SEED)[1] == envelopes.keypair_from_seed(suite, SEED)[1]
        assert envelopes.keypair_from_seed(suite, SEED)[1] != envelopes.keypair_from_seed(suite, bytes(32))[1]
    with pytest.raises(ValueError):
        envelopes.keypair_from_seed(1, bytes(31))
