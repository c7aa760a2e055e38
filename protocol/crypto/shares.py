"""Key shares: a record's key split over its holders, so that a threshold of them opens it and fewer learn nothing.

Shamir's scheme (CACM 1979) over GF(2^128) as PyCryptodome has it, which splits 16 bytes: a key is two halves, each
split by itself, and a share holds the shares of both under one index. What it assumes: the shares reach their holders
over channels that hide them; holders keep them apart; and nothing here tells a wrong share from a right one, so whoever
combines shares must see whether what opens matches the record's commitment. PyCryptodome draws the polynomials'
coefficients itself, as secretstream and HPKE draw their own randomness. It computes in constant time when it splits and
not when it combines, which only the reader does, who may have the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import Annotated, Final

from Crypto.Protocol.SecretSharing import Shamir
from msgspec import Meta

from protocol import limits
from protocol.errors import BadShares
from protocol.types.base import Wire

KEY_BYTES: Final = 32
_HALF: Final = KEY_BYTES // 2
COMBINATIONS_MOST: Final = 70
"""How many sets of shares are tried for one record at most: all that eight holders can make."""

ShareIndex = Annotated[int, Meta(ge=1, le=limits.HOLDERS_PER_RECORD)]


class KeyShare(Wire, frozen=True):
    """One holder's part of a key: any `threshold` shares of one split with different indexes give it back."""

    index: ShareIndex
    threshold: ShareIndex
    share: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]

    def __repr__(self) -> str:
        return f"KeyShare(index={self.index}, threshold={self.threshold})"


def threshold_of(holders: int) -> int:
    """How many of this many holders (at least 2) must agree to release a key: more than half, so 2 of 2, 2 of 3, 3 of
    4."""
    return holders // 2 + 1


def split_key(key: bytes, threshold: int, count: int) -> tuple[KeyShare, ...]:
    """`count` shares of a 32-byte key, indexes 1 to `count`, of which any `threshold` (at least 2) give it back."""
    if len(key) != KEY_BYTES or not 2 <= threshold <= count <= limits.HOLDERS_PER_RECORD:
        raise ValueError("a key of 32 bytes is split at least 2 of 2, at most over as many as may hold a record")
    halves = [Shamir.split(threshold, count, half) for half in (key[:_HALF], key[_HALF:])]
    return tuple(
        KeyShare(index, threshold, first + second) for (index, first), (_, second) in zip(*halves, strict=True)
    )


def combine_shares(shares: Sequence[KeyShare]) -> bytes:
    """The 32-byte key that these shares give: the right one only if all are right, which the record's commitment says.

    Takes the first `threshold` of them. Raises `BadShares` if they are too few, disagree about the threshold, or two
    have one index.
    """
    if not shares:
        raise BadShares("there is no share")
    threshold = shares[0].threshold
    if any(share.threshold != threshold for share in shares):
        raise BadShares("the shares are not of one split: they disagree about how many are needed")
    if len({share.index for share in shares}) != len(shares):
        raise BadShares("two of the shares are the same holder's part")
    if threshold < 2 or len(shares) < threshold:
        raise BadShares(f"{len(shares)} shares are too few: {max(threshold, 2)} are needed")
    used = shares[:threshold]
    halves = [[(one.index, one.share[at : at + _HALF]) for one in used] for at in (0, _HALF)]
    return b"".join(Shamir.combine(half) for half in halves)


def candidate_sets(shares: Sequence[KeyShare]) -> Iterator[tuple[int, ...]]:
    """Positions in `shares` of each set that might give the key, those of earlier shares first; at most
    `COMBINATIONS_MOST`. For whoever cannot know which of the shares are right."""
    return islice(_sets(shares), COMBINATIONS_MOST)


def _sets(shares: Sequence[KeyShare]) -> Iterator[tuple[int, ...]]:
    by_threshold: dict[int, list[int]] = {}
    for position, share in enumerate(shares):
        by_threshold.setdefault(share.threshold, []).append(position)
    for threshold, positions in by_threshold.items():
        if threshold < 2:
            continue
        for chosen in combinations(positions, threshold):
            if len({shares[position].index for position in chosen}) == threshold:
                yield chosen
