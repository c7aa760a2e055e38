"""A patient's keys, all from one 32-byte seed, and the words that back it up.

Every chart has keys of its own, derived with the chain, its custodian and an index, so that nothing public ties two
charts of one patient: without the seed, derived keys are independent. Relies on `mnemonic` for the BIP39 word list.
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


def chart_keys(seed: bytes, chain: bytes, custodian: int, index: int) -> ChartKeys:
    """The keys of this wallet's chart number `index` (u32, from 0) with that custodian (u64) on that chain."""
    if len(seed) != SEED_BYTES:
        raise ValueError("a wallet's seed is 32 bytes")
    root = keyed_digest(Domain.WALLET_CHART, seed, chain, custodian.to_bytes(8, "big"), index.to_bytes(4, "big"))
    return ChartKeys(
        signing_seed=keyed_digest(Domain.WALLET_SIGNING, root),
        chart_secret=keyed_digest(Domain.WALLET_SECRET, root),
        encryption_seed=keyed_digest(Domain.WALLET_ENCRYPTION, root),
    )


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
