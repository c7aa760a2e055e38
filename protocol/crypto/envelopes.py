"""Envelopes: a record's key sealed to one recipient by HPKE (RFC 9180), single-shot, base mode.

Suite 1 is the hybrid of ML-KEM-768 and X25519, since records must stay secret for decades; suite 2 is X25519 alone,
the smaller one. `info` binds the suite and what the envelope is for, so one sealed for another chain, chart, record or
recipient does not open. Relies on `cryptography`, which draws HPKE's randomness itself.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocol.codec.canonical import encode
from protocol.crypto.hashing import Domain, digest, keyed_digest
from protocol.errors import BadPublicKey, SealBroken, UnknownSuite
from protocol.types.base import Digest, Number, Wire

MLKEM768_X25519: Final = 1
X25519: Final = 2
SUITES: Final = (MLKEM768_X25519, X25519)

SEED_BYTES = 32
LABEL = b"chartledger envelope v1\0"

PrivateKey = hpke.MLKEM768X25519PrivateKey | X25519PrivateKey
PublicKey = hpke.MLKEM768X25519PublicKey | X25519PublicKey

_MLKEM_PUBLIC_BYTES = 1184
_X25519_BYTES = 32
PUBLIC_BYTES: Final = {MLKEM768_X25519: _MLKEM_PUBLIC_BYTES + _X25519_BYTES, X25519: _X25519_BYTES}
OVERHEAD_BYTES: Final = {MLKEM768_X25519: 1088 + 32 + 16, X25519: 32 + 16}

_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes(_X25519_BYTES))
_HPKE: Final = {
    MLKEM768_X25519: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305),
    X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305),
}


class EnvelopeContext(Wire, frozen=True):
    """What an envelope is for. `record` is the record's commitment, known before the ledger numbers the record;
    `recipient` is the digest of the key that it is sealed to, as it stands on the ledger."""

    chain: Digest
    chart: Number
    record: Digest
    recipient: Digest


def envelope_info(chain: bytes, chart: int, record: bytes, recipient: bytes) -> bytes:
    """The `info` of a record's envelope: the canonical bytes of its `EnvelopeContext`."""
    return encode(EnvelopeContext(chain, chart, record, recipient))


def secret_info(chain: bytes, chart: int, recipient: bytes) -> bytes:
    """The `info` of the envelope in which an owner gets the chart's secret."""
    return envelope_info(chain, chart, digest(Domain.CHART_SECRET, chart.to_bytes(8, "big")), recipient)


def keypair_from_seed(suite: int, seed: bytes) -> tuple[PrivateKey, bytes]:
    """The private key of a 32-byte seed and its public bytes (suite 1: ML-KEM's 1,184, then X25519's 32).

    Suite 1 expands the seed as X-Wing does (draft-connolly-cfrg-xwing-kem, section 5.2): SHAKE-256 to 64 bytes for
    ML-KEM and 32 for X25519. Raises `UnknownSuite`.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError("an encryption seed is 32 bytes")
    if suite == MLKEM768_X25519:
        expanded = shake_256(seed).digest(64 + _X25519_BYTES)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        return hpke.MLKEM768X25519PrivateKey(lattice, curve), public
    if suite == X25519:
        curve = X25519PrivateKey.from_private_bytes(keyed_digest(Domain.X25519_SEED, seed))
        return curve, curve.public_key().public_bytes_raw()
    raise UnknownSuite(f"there is no envelope suite {suite}")


def check_public(suite: int, public: bytes) -> None:
    """Raise `UnknownSuite`, or `BadPublicKey` unless these bytes are a usable public key of the suite."""
    _public_key(suite, public)


def seal_envelope(suite: int, public: bytes, info: bytes, plain: bytes) -> bytes:
    """`plain` sealed to a public key: encapsulation, then ciphertext, `OVERHEAD_BYTES` longer than `plain`.

    Raises `UnknownSuite` or `BadPublicKey`.
    """
    key = _public_key(suite, public)
    return _HPKE[suite].encrypt(plain, key, info=_labelled(suite, info))


def open_envelope(suite: int, private: PrivateKey, info: bytes, sealed: bytes) -> bytes:
    """What was sealed. Raises `SealBroken` if key, info or bytes are not those that it was sealed with."""
    if suite not in _HPKE:
        raise UnknownSuite(f"there is no envelope suite {suite}")
    try:
        return _HPKE[suite].decrypt(sealed, private, info=_labelled(suite, info))
    except (InvalidTag, ValueError, TypeError):
        raise SealBroken("the envelope does not open: it is for another key or purpose, or was altered") from None


def _labelled(suite: int, info: bytes) -> bytes:
    return LABEL + suite.to_bytes(2, "big") + info


@lru_cache(maxsize=1024)
def _public_key(suite: int, public: bytes) -> PublicKey:
    if suite not in _HPKE:
        raise UnknownSuite(f"there is no envelope suite {suite}")
    if len(public) != PUBLIC_BYTES[suite]:
        raise BadPublicKey(f"a public key of suite {suite} has {PUBLIC_BYTES[suite]} bytes, not {len(public)}")
    try:
        curve = X25519PublicKey.from_public_bytes(public[-_X25519_BYTES:])
        _PROBE.exchange(curve)  # a point of small order gives a secret that anybody knows, and is refused here
        if suite == X25519:
            return curve
        lattice = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
    except ValueError:
        raise BadPublicKey(f"these bytes are no usable public key of suite {suite}") from None
    return hpke.MLKEM768X25519PublicKey(lattice, curve)
