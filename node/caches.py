"""Bounded memory of what was used last."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from protocol.crypto.signing import Verifier

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """The `capacity` most recently used values. None is no value."""

    __slots__ = ("_capacity", "_values")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
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
        held = self._values
        for key, value in values.items():
            held.pop(key, None)
            held[key] = value
        surplus = len(held) - self._capacity
        if surplus > 0:
            for key in [key for _, key in zip(range(surplus), held, strict=False)]:
                del held[key]


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
