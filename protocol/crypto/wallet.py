"""A patient's keys, all from one 32-byte seed, and the words that back it up.

Every chart has keys of its own, derived with the chain, its custodian and an index, so that nothing public ties two
charts of one patient: without the seed, derived keys are independent. So are those by which a seed's holder acts for
the owner of somebody else's chart, one for each chart. Relies on `mnemonic` for the BIP39 word list.
"""

from __future__ import annotations

from functools import cache

from mnemonic import Mnemonic

from protocol.crypto.hashing import Domain, keyed_digest
from protocol.crypto.signing import SigningKey
from protocol.errors import BadWords

SEED_BYTES = 32
WORDS = 24


class ChartKeys:
    """One chart's secrets, 32 bytes each. Never prints them.

    `signing_seed` makes the owner's Ed25519 key; `chart_secret` keys the tags and is shared with the custodian;
    `encryption_seed` makes the owner's envelope key of whatever suite.
    """

    __slots__ = ("chart_secret", "encryption_seed", "signing_seed")

    def __init__(self, signing_seed: bytes, chart_secret: bytes, encryption_seed: bytes) -> None:
        self.signing_seed = signing_seed
        self.chart_secret = chart_secret
        self.encryption_seed = encryption_seed

    def signing_key(self) -> SigningKey:
        """The owner's key, whose public half stands on the ledger."""
        return SigningKey(self.signing_seed)

    def __repr__(self) -> str:
        return "ChartKeys(hidden)"


def chart_keys(seed: bytes, chain: bytes, custodian: int, index: int, version: int = 0) -> ChartKeys:
    """The keys of this wallet's chart number `index` (u32, from 0) with that custodian (u64) on that chain.

    `version` (u32) counts how often the owner's keys were rotated; the chart's secret stays what it was, since the
    tags on the ledger were made with it.
    """
    _check_seed(seed)
    root = keyed_digest(Domain.WALLET_CHART, seed, chain, custodian.to_bytes(8, "big"), index.to_bytes(4, "big"))
    turned = root if version == 0 else keyed_digest(Domain.WALLET_VERSION, root, version.to_bytes(4, "big"))
    return ChartKeys(
        signing_seed=keyed_digest(Domain.WALLET_SIGNING, turned),
        chart_secret=keyed_digest(Domain.WALLET_SECRET, root),
        encryption_seed=keyed_digest(Domain.WALLET_ENCRYPTION, turned),
    )


class DelegateKeys:
    """What a delegate of one chart acts with, 32 bytes each. Never prints them. `signing_seed` makes its Ed25519 key,
    `encryption_seed` the key that what it reads is sealed to."""

    __slots__ = ("encryption_seed", "signing_seed")

    def __init__(self, signing_seed: bytes, encryption_seed: bytes) -> None:
        self.signing_seed = signing_seed
        self.encryption_seed = encryption_seed

    def signing_key(self) -> SigningKey:
        """The key whose public half stands in the delegate's terms."""
        return SigningKey(self.signing_seed)

    def __repr__(self) -> str:
        return "DelegateKeys(hidden)"


def delegate_keys(seed: bytes, chain: bytes, chart: int) -> DelegateKeys:
    """The keys with which this seed's holder acts as a delegate of that chart (u64), and of no other."""
    _check_seed(seed)
    root = keyed_digest(Domain.WALLET_DELEGATE, seed, chain, chart.to_bytes(8, "big"))
    return DelegateKeys(keyed_digest(Domain.WALLET_SIGNING, root), keyed_digest(Domain.WALLET_ENCRYPTION, root))


def guardian_key(seed: bytes, chain: bytes, chart: int) -> SigningKey:
    """The key with which this seed's holder is a guardian of that chart (u64), and of no other."""
    _check_seed(seed)
    root = keyed_digest(Domain.WALLET_GUARDIAN, seed, chain, chart.to_bytes(8, "big"))
    return SigningKey(keyed_digest(Domain.WALLET_SIGNING, root))


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED_BYTES:
        raise ValueError("a wallet's seed is 32 bytes")


def words_from_entropy(entropy: bytes) -> str:
    """The 24 English BIP39 words of a 32-byte seed. The seed is the entropy itself, not BIP39's stretched one."""
    if len(entropy) != SEED_BYTES:
        raise ValueError("a wallet's seed is 32 bytes")
    return _bip39().to_mnemonic(entropy)


def entropy_from_words(words: str) -> bytes:
    """The 32-byte seed behind 24 words, whatever their case and spacing. Raises `BadWords`, naming no word."""
    listed = words.lower().split()
    if len(listed) != WORDS:
        raise BadWords(f"a phrase has {WORDS} words, and this has {len(listed)}")
    known = set(_bip39().wordlist)
    strangers = [str(place) for place, word in enumerate(listed, 1) if word not in known]
    if strangers:
        raise BadWords(f"not on the English BIP39 list: word {', '.join(strangers)} of the phrase")
    try:
        return bytes(_bip39().to_entropy(listed))
    except ValueError:
        raise BadWords("the checksum of the phrase is wrong: a word is another one or out of order") from None


@cache
def _bip39() -> Mnemonic:
    return Mnemonic("english")
