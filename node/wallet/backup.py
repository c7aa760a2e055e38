"""Shares of a wallet's seed: SLIP-39, any `threshold` of them bring it back, fewer tell nothing.

https://github.com/satoshilabs/slips/blob/master/slip-0039.md, one group, no passphrase. Relies on `shamir_mnemonic`,
which draws its own randomness. No error repeats a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share
from shamir_mnemonic.wordlist import WORD_INDEX_MAP

from protocol.crypto.wallet import SEED_BYTES
from protocol.errors import ChartledgerError

SHARES = 16
WORDS = 33
"""Of a share of a 32-byte seed."""


class BadShare(ChartledgerError):
    """A share is not as it was written down."""

    advice = "Compare it with the paper: every word, and their order."


class TooFewShares(ChartledgerError):
    """Fewer shares than it takes."""

    advice = "Add more of the shares of this wallet, each once."


class MixedShares(ChartledgerError):
    """The shares are not of one set."""

    advice = "Give shares of one backup of one wallet: each backup makes a set of its own."


class RepeatedShare(ChartledgerError):
    """One share was given twice."""

    advice = "Give each share once."


class BadSharing(ChartledgerError):
    """So many shares, or such a threshold, cannot be made."""

    advice = f"Take 2 to {SHARES} shares, and a threshold from 2 up to their number."


def make_shares(seed: bytes, shares: int, threshold: int) -> list[str]:
    """That many shares, each of 33 English words, any `threshold` of which bring the seed back. Raises
    `BadSharing`."""
    if not 2 <= threshold <= shares <= SHARES:
        raise BadSharing(f"{threshold} of {shares} shares cannot be made")
    made: list[str]
    (made,) = generate_mnemonics(1, [(threshold, shares)], seed)
    return made


def threshold_of(share: str) -> int:
    """How many shares it takes, as this one says. Raises `BadShare`."""
    return int(_read(share, 1).member_threshold)


def combine_shares(shares: Sequence[str]) -> bytes:
    """The 32-byte seed. Raises `BadShare`, `RepeatedShare`, `MixedShares` or `TooFewShares`."""
    read = [_read(share, place) for place, share in enumerate(shares, 1)]
    if not read:
        raise TooFewShares("no share was given")
    first = read[0]
    for place, share in enumerate(read, 1):
        if share.group_parameters() != first.group_parameters():
            raise MixedShares(f"share {place} belongs to another set than share 1")
    known: dict[int, int] = {}
    for place, share in enumerate(read, 1):
        if share.index in known:
            raise RepeatedShare(f"share {place} is share {known[share.index]} again")
        known[share.index] = place
    if len(read) < first.member_threshold:
        raise TooFewShares(f"it takes {first.member_threshold} shares, and {len(read)} were given")
    try:
        seed: bytes = combine_mnemonics([_plain(share) for share in shares[: first.member_threshold]])
    except MnemonicError:
        raise MixedShares("these shares do not belong together") from None
    if len(seed) != SEED_BYTES:
        raise MixedShares("these are shares of something else than a wallet's seed")
    return seed


def _read(text: str, place: int) -> Share:
    words = text.lower().split()
    strangers = [str(at) for at, word in enumerate(words, 1) if word not in WORD_INDEX_MAP]
    if strangers:
        raise BadShare(f"share {place}: not on the SLIP-39 list: word {', '.join(strangers)}")
    if len(words) != WORDS:
        raise BadShare(f"share {place} has {len(words)} words, and a share of a wallet has {WORDS}")
    try:
        share = Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        raise BadShare(f"share {place}: its checksum is wrong: a word is another one or out of order") from None
    if (share.group_count, share.group_threshold) != (1, 1):
        raise MixedShares(f"share {place} is of a set of several groups, which wallets here do not make")
    return share


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
