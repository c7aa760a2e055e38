"""This institution's envelope key, as the records side uses it: what peers seal to it is opened here.

The key that stands on the ledger changes by rotation while the node runs; what was sealed to the one before is still
opened with that.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.crypto.envelopes import PrivateKey, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest

KEYS_KEPT = 4


class EnvelopeKey(NamedTuple):
    """A key that others seal to; `digest` is what the ledger has of it."""

    suite: int
    private: PrivateKey
    public: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"EnvelopeKey({self.digest.hex()[:16]})"


class EnvelopeKeys:
    """The key in force and those before it, newest first."""

    def __init__(self, suite: int, seed: bytes) -> None:
        self._keys: list[EnvelopeKey] = []
        self.set(suite, seed)

    def set(self, suite: int, seed: bytes) -> None:
        """The key that stands on the ledger from now on."""
        private, public = keypair_from_seed(suite, seed)
        key = EnvelopeKey(suite, private, public, encryption_key_digest(suite, public))
        self._keys = [key, *(one for one in self._keys if one.digest != key.digest)][:KEYS_KEPT]

    @property
    def current(self) -> EnvelopeKey:
        return self._keys[0]

    def all(self) -> list[EnvelopeKey]:
        """Newest first."""
        return list(self._keys)
