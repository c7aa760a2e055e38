"""Tags, the wallet's derivation and words, and key files."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto import keyfiles, tags, wallet
from protocol.errors import BadWords, DecodeError, SealBroken, WrongPassphrase
from protocol.types.operations import GrantTerms, RecordEntry

SECRET = bytes(range(32))


def test_a_tag_depends_on_everything_that_it_is_over() -> None:
    made = {
        tags.tag(SECRET, 0, 0, "Observation"),
        tags.tag(bytes(32), 0, 0, "Observation"),
        tags.tag(SECRET, 1, 0, "Observation"),
        tags.tag(SECRET, 0, 1, "Observation"),
        tags.tag(SECRET, 0, 0, "observation"),
        tags.tag(SECRET, 0, 0, ""),
    }
    assert len(made) == 6
    assert {len(tag) for tag in made} == {tags.TAG_BYTES}


def test_sensitivities_fill_two_positions_and_never_hide_a_third() -> None:
    assert tags.record_labels("Condition", "2021", []) == tags.Labels("Condition", "2021", "none", "none")
    assert tags.record_labels("Condition", "2021", ["PSY"]) == tags.Labels("Condition", "2021", "PSY", "none")
    assert tags.record_labels("x", "y", ["PSY", "HIV", "PSY"]) == tags.Labels("x", "y", "HIV", "PSY")
    assert tags.record_labels("x", "y", ["PSY", "HIV", "ETH"]) == tags.Labels("x", "y", "ETH", "several")


def _covers(grant: tags.GrantLabels, record: tags.Labels) -> bool:
    """As the ledger matches: all four tags, each in its position's list."""
    listed, shown = tags.grant_tags(SECRET, 3, grant), tags.tags_of(SECRET, 3, record)
    return all(allowed is None or tag in allowed for allowed, tag in zip(listed, shown, strict=True))


def test_a_grant_opens_what_it_names_and_sensitive_records_only_by_name() -> None:
    plain = tags.record_labels("Observation", "2021", [])
    mental = tags.record_labels("Observation", "2021", ["PSY"])
    both = tags.record_labels("Observation", "2021", ["PSY", "HIV"])
    three = tags.record_labels("Observation", "2021", ["PSY", "HIV", "ETH"])
    everything = tags.GrantLabels()
    assert _covers(everything, plain)
    assert not any(_covers(everything, record) for record in (mental, both, three))
    named = tags.GrantLabels(sensitivities=("PSY",))
    assert _covers(named, plain)
    assert _covers(named, mental)
    assert not _covers(named, both)
    assert _covers(tags.GrantLabels(sensitivities=("HIV", "PSY")), both)
    assert not _covers(tags.GrantLabels(sensitivities=("ETH", "HIV")), three)
    assert _covers(tags.GrantLabels(categories=("Observation",), years=("2021",)), plain)
    assert not _covers(tags.GrantLabels(categories=("Condition",)), plain)
    assert not _covers(tags.GrantLabels(years=("2020", "2022")), plain)


def test_tags_of_grants_and_records_are_what_the_wire_takes() -> None:
    labels = tags.GrantLabels(tuple(f"c{i}" for i in range(9)), ("2021", "2021", "2020"), ("PSY", "HIV"))
    listed = tags.grant_tags(SECRET, 0, labels)
    for position in listed:
        assert position is not None
        assert list(position) == sorted(set(position))
    terms = GrantTerms((1,), listed, ("TREAT",), 0, 1)
    assert decode(GrantTerms, encode(terms)) == terms
    entry = RecordEntry(bytes(32), tags.tags_of(SECRET, 0, tags.Labels()))
    assert decode(RecordEntry, encode(entry)) == entry
    with pytest.raises(DecodeError):
        decode(tags.Labels, encode(tags.Labels("x" * (limits.LABEL_BYTES + 1))))


# --- wallet ----------------------------------------------------------------------------------------------------


def test_charts_of_one_wallet_share_nothing() -> None:
    chain, other = b"c" * 32, b"d" * 32
    places = [(chain, 0, 0), (chain, 0, 1), (chain, 1, 0), (chain, 256, 0), (chain, 1, 256), (other, 0, 0)]
    made: set[bytes] = set()
    for seed in (SECRET, bytes(32)):
        for place in places:
            keys = wallet.chart_keys(seed, *place)
            made |= {keys.signing_seed, keys.chart_secret, keys.encryption_seed}
    assert len(made) == 2 * 3 * len(places)
    assert {len(key) for key in made} == {32}


def test_a_wallet_comes_back_from_its_seed_and_hides_it() -> None:
    keys, again = (wallet.chart_keys(SECRET, b"c" * 32, 3, 1) for _ in range(2))
    assert keys.signing_key().public == again.signing_key().public
    assert keys.chart_secret == again.chart_secret
    for secret in (keys.signing_seed, keys.chart_secret, keys.encryption_seed):
        assert secret.hex() not in repr(keys)
        assert repr(secret) not in repr(keys)
    with pytest.raises(ValueError):
        wallet.chart_keys(bytes(31), b"c" * 32, 0, 0)


@given(st.binary(min_size=32, max_size=32))
def test_words_bring_back_the_seed(seed: bytes) -> None:
    words = wallet.words_from_entropy(seed)
    assert len(words.split()) == 24
    assert wallet.entropy_from_words(words) == seed
    assert wallet.entropy_from_words("  " + words.upper().replace(" ", " \n")) == seed


def test_wrong_words_are_refused_and_not_repeated() -> None:
    words = wallet.words_from_entropy(SECRET).split()
    swapped = [words[1], words[0], *words[2:]]
    wrong = {
        "23 words": words[:-1],
        "25 words": [*words, words[0]],
        "12 words": words[:12],
        "none": [],
        "a word that is on no list": [*words[:5], "abrikadabra", *words[6:]],
        "two words swapped": swapped,
        "another word": [*words[:-1], "zoo" if words[-1] != "zoo" else "zone"],
    }
    for attempt in wrong.values():
        with pytest.raises(BadWords) as caught:
            wallet.entropy_from_words(" ".join(attempt))
        assert not any(f" {word} " in f" {caught.value} " for word in attempt if len(word) > 4)
    with pytest.raises(ValueError):
        wallet.words_from_entropy(bytes(16))


# --- key files -------------------------------------------------------------------------------------------------

LOW = keyfiles.Cost(passes=1, memory_kib=8)
SEALED = keyfiles.seal_keyfile(b"the keys", b"passphrase", bytes(16), bytes(24), LOW)


def test_a_key_file_opens_with_its_passphrase_only() -> None:
    assert keyfiles.open_keyfile(SEALED, b"passphrase") == b"the keys"
    assert b"the keys" not in SEALED
    for wrong in (b"", b"Passphrase", b"passphrase "):
        with pytest.raises(WrongPassphrase):
            keyfiles.open_keyfile(SEALED, wrong)


def test_every_changed_byte_of_a_key_file_is_noticed() -> None:
    for place in range(len(SEALED)):
        changed = SEALED[:place] + bytes([SEALED[place] ^ 1]) + SEALED[place + 1 :]
        with pytest.raises((SealBroken, WrongPassphrase)):
            keyfiles.open_keyfile(changed, b"passphrase")
    for other in (b"", SEALED[:-1], SEALED + b"\0", keyfiles.MAGIC, b"{}"):
        with pytest.raises((SealBroken, WrongPassphrase)):
            keyfiles.open_keyfile(other, b"passphrase")


def _with_cost(passes: int, memory_kib: int) -> bytes:
    tree = msgspec.msgpack.decode(SEALED[len(keyfiles.MAGIC) :])
    tree[0][1] = [passes, memory_kib]
    return keyfiles.MAGIC + msgspec.msgpack.encode(tree)


@pytest.mark.parametrize(
    ("passes", "memory_kib"), [(1, 1 << 30), (1, (1 << 20) + 1), (17, 8), (1 << 40, 8), (0, 8), (1, 7)]
)
def test_a_planted_file_cannot_ask_for_any_cost(passes: int, memory_kib: int) -> None:
    with pytest.raises(SealBroken):
        keyfiles.open_keyfile(_with_cost(passes, memory_kib), b"passphrase")


def test_a_cheaper_cost_is_another_key() -> None:
    with pytest.raises(WrongPassphrase):
        keyfiles.open_keyfile(_with_cost(2, 8), b"passphrase")


def test_the_default_cost_is_what_the_design_asks() -> None:
    assert keyfiles.Cost().memory_kib == 256 * 1024
    assert keyfiles.Cost().passes >= 3
