"""Bounded memory of what was used last."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from protocol.crypto.signing import Verifier

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 200
"""What an entry of two byte strings takes besides their contents: two objects and its place in the table."""


def _one(_key: object, _value: object) -> int:
    return 1


def bytes_of(key: bytes, value: bytes) -> int:
    """What two byte strings take in memory, about."""
    return len(key) + len(value) + ENTRY_BYTES


class Lru(Generic[K, V]):
    """The most recently used values, as many as weigh `capacity` together; one each unless `weigh` says otherwise.
    None is no value."""

    __slots__ = ("_capacity", "_values", "_weigh", "_weight")

    def __init__(self, capacity: int, weigh: Callable[[K, V], int] = _one) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._weight = 0
        self._values: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, which counts as used."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def update(self, values: Mapping[K, V]) -> None:
        """Put values in place of what stood under their keys, and forget the longest unused."""
        held, weigh = self._values, self._weigh
        for key, value in values.items():
            before = held.pop(key, None)
            if before is not None:
                self._weight -= weigh(key, before)
            held[key] = value
            self._weight += weigh(key, value)
        while self._weight > self._capacity:
            oldest = next(iter(held))
            self._weight -= weigh(oldest, held.pop(oldest))


class VerifiedSignatures:
    """A `Verifier` that remembers which signatures it found good, so that each is checked once."""

    def __init__(self, verifier: Verifier, capacity: int) -> None:
        self._verify = verifier
        self._good: Lru[tuple[bytes, bytes, bytes], bool] = Lru(capacity)

    def __call__(self, public: bytes, message: bytes, signature: bytes) -> bool:
        key = (public, message, signature)
        if self._good.get(key):
            return True
        if not self._verify(public, message, signature):
            return False
        self._good.update({key: True})
        return True
