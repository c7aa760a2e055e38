"""Key files: secrets sealed under a passphrase, with Argon2id and XChaCha20-Poly1305.

The file is a magic line and one canonical value that carries its own cost, bounded on opening so that a planted file
cannot exhaust memory. Everything before the sealed part is authenticated with it. Relies on PyNaCl.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13

from protocol.codec.canonical import decode, encode
from protocol.crypto import sealing
from protocol.crypto.sealing import secretbox_open, secretbox_seal
from protocol.errors import DecodeError, SealBroken, WrongPassphrase
from protocol.types.base import U16, Wire

MAGIC = b"chartledger keyfile\n"
KDF_ARGON2ID13 = 1
KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = sealing.NONCE_BYTES
KEYFILE_BYTES = 1024 * 1024


class Cost(Wire, frozen=True):
    """What one guess costs: passes over memory, and that memory in KiB. The default takes half a second."""

    passes: Annotated[int, Meta(ge=1, le=16)] = 3
    memory_kib: Annotated[int, Meta(ge=8, le=1024 * 1024)] = 256 * 1024


DEFAULT_COST = Cost()


class KeyfileHeader(Wire, frozen=True):
    """How the key is made from the passphrase. `kdf` is a suite number."""

    kdf: U16
    cost: Cost
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]


class Keyfile(Wire, frozen=True):
    """The value that follows the magic line: `sealed` is the nonce and what it encrypts."""

    header: KeyfileHeader
    sealed: bytes


def seal_keyfile(plain: bytes, passphrase: bytes, salt: bytes, nonce: bytes, cost: Cost = DEFAULT_COST) -> bytes:
    """The bytes of a key file. `salt` (16) and `nonce` (24) must be fresh random bytes."""
    header = KeyfileHeader(KDF_ARGON2ID13, cost, salt)
    return seal_with_key(plain, header, stretch(header, passphrase), nonce)


def seal_with_key(plain: bytes, header: KeyfileHeader, key: bytes, nonce: bytes) -> bytes:
    """As `seal_keyfile`, under the key that `stretch` made of this header before. `nonce` must be fresh."""
    sealed = secretbox_seal(key, nonce, plain, MAGIC + encode(header))
    return MAGIC + encode(Keyfile(header, sealed))


def open_keyfile(data: bytes, passphrase: bytes) -> bytes:
    """What was sealed. Raises `SealBroken` for what is no key file, `WrongPassphrase` for what does not open.

    A wrong passphrase and an altered file look alike by design.
    """
    return open_with_key(data, stretch(keyfile_header(data), passphrase))


def open_with_key(data: bytes, key: bytes) -> bytes:
    """As `open_keyfile`, with the key that `stretch` made of this file's header."""
    keyfile = _read(data)
    try:
        return secretbox_open(key, keyfile.sealed, MAGIC + encode(keyfile.header))
    except SealBroken:
        raise WrongPassphrase from None


def keyfile_header(data: bytes) -> KeyfileHeader:
    """How a key file's key is made. Raises `SealBroken`."""
    return _read(data).header


def stretch(header: KeyfileHeader, passphrase: bytes) -> bytes:
    """The 32-byte key of a passphrase; takes the header's cost."""
    cost = header.cost
    return crypto_pwhash_alg(
        KEY_BYTES, passphrase, header.salt, cost.passes, cost.memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13
    )


def _read(data: bytes) -> Keyfile:
    if not data.startswith(MAGIC):
        raise SealBroken("this is not a chartledger key file")
    try:
        keyfile = decode(Keyfile, data[len(MAGIC) :], KEYFILE_BYTES)
    except DecodeError as error:
        raise SealBroken(f"the key file is damaged: {error}") from None
    if keyfile.header.kdf != KDF_ARGON2ID13:
        raise SealBroken(f"the key file uses key derivation {keyfile.header.kdf}, which this version does not know")
    return keyfile
