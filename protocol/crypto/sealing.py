"""Sealing: a record under a fresh key, compressed, padded and in chunks, so that gigabytes stream in bounded memory.

Sealed bytes are secretstream's 24-byte header and its chunks. The plaintext of the chunks, joined, is a version byte,
a zlib stream (RFC 1950; of stored blocks where compression gains nothing) and zeros up to the Padme length; zlib marks
its own end, so no length is written ahead. Every chunk but the last carries exactly 64 KiB, and the last alone carries
TAG_FINAL, so truncation, reordering and appending are noticed. What comes out of an `Opener` before `finish` returned
is not yet known to be whole; use nothing before the commitment checks. Relies on PyNaCl and zlib.

Also small things sealed under a key-encryption key, with XChaCha20-Poly1305 and associated data.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)
from nacl.bindings.crypto_secretstream import (
    crypto_secretstream_xchacha20poly1305_TAG_FINAL as TAG_FINAL,
)
from nacl.bindings.crypto_secretstream import (
    crypto_secretstream_xchacha20poly1305_TAG_MESSAGE as TAG_MESSAGE,
)
from nacl.exceptions import CryptoError as NaclCryptoError

from protocol.errors import Oversize, SealBroken

KEY_BYTES = 32
NONCE_BYTES = 24
PADDING_FLOOR_BYTES = 1024
CHUNK_BYTES = 64 * 1024
HEADER_BYTES = 24
CHUNK_OVERHEAD_BYTES = 17
OPEN_BYTES = 256 * 1024 * 1024
"""What `open_sealed` gives back at most, unless told otherwise: it holds all of it in memory."""

_VERSION = b"\x01"
_SEALED_CHUNK = CHUNK_BYTES + CHUNK_OVERHEAD_BYTES
_LEVEL = 3  # on FHIR JSON 280 MB/s, where level 6 gives 100 for a tenth less size
_STORED = 0
_WORTH_IT = 0.95  # of the size: above that, compression costs time and gains nothing


def padme(length: int) -> int:
    """The padded length in bytes: Padme (Nikitin and others, PETS 2019, section 4) with a floor of 1 KiB.

    It leaks O(log log) bits of the length, for at most 12 % of padding above the floor.
    """
    if length <= PADDING_FLOOR_BYTES:
        return PADDING_FLOOR_BYTES
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (length + mask) & ~mask


def seal(plain: bytes, key: bytes) -> bytes:
    """`plain` sealed whole. `key` (32 bytes) must be fresh: one key seals one record."""
    if len(plain) < CHUNK_BYTES:
        inner = _VERSION + _compress(plain)
        inner = inner.ljust(padme(len(inner)), b"\0")
        if len(inner) <= CHUNK_BYTES:
            state = crypto_secretstream_xchacha20poly1305_state()
            header = crypto_secretstream_xchacha20poly1305_init_push(state, key)
            return header + crypto_secretstream_xchacha20poly1305_push(state, inner, None, TAG_FINAL)
    sealer = Sealer(key)
    return b"".join((sealer.header, sealer.update(plain), *sealer.finish()))


def open_sealed(sealed: bytes, key: bytes, limit_bytes: int = OPEN_BYTES) -> bytes:
    """What was sealed, whole. Raises `SealBroken`, or `Oversize` if it is more than `limit_bytes`."""
    opener = Opener(key, limit_bytes)
    return b"".join((*opener.update(sealed), *opener.finish()))


def seal_stream(pieces: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """The sealed bytes of a record that comes in pieces."""
    sealer = Sealer(key)
    yield sealer.header
    for piece in pieces:
        if sealed := sealer.update(piece):
            yield sealed
    yield from sealer.finish()


def open_stream(pieces: Iterable[bytes], key: bytes, limit_bytes: int) -> Iterator[bytes]:
    """The record whose sealed bytes come in pieces. Raises as `open_sealed`, at the end if it was truncated."""
    opener = Opener(key, limit_bytes)
    for piece in pieces:
        yield from opener.update(piece)
    yield from opener.finish()


class Sealer:
    """Seals a stream: send out `header`, then what `update` gives for each piece, then what `finish` gives.

    `key` (32 bytes) must be fresh: one key seals one record. Memory is bounded by the pieces given.
    """

    def __init__(self, key: bytes) -> None:
        self._state = crypto_secretstream_xchacha20poly1305_state()
        self.header = crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        self._deflate: zlib._Compress | None = None
        self._sample = bytearray()  # until there is enough to choose a level by
        self._inner = bytearray(_VERSION)
        self._inner_bytes = len(_VERSION)

    def update(self, piece: bytes) -> bytes:
        """The sealed bytes that are ready after this piece of the record; often none."""
        if self._deflate is None:
            self._sample += piece
            if len(self._sample) < CHUNK_BYTES:
                return b""
            return self._begin()
        return self._push(self._deflate.compress(piece))

    def finish(self) -> Iterator[bytes]:
        """The rest: what is buffered, the padding and the final chunk."""
        if self._deflate is None:
            yield self._begin()
        assert self._deflate is not None
        yield self._push(self._deflate.flush())
        missing = padme(self._inner_bytes) - self._inner_bytes
        while missing:
            zeros = min(missing, CHUNK_BYTES)
            missing -= zeros
            yield self._push(bytes(zeros))
        yield crypto_secretstream_xchacha20poly1305_push(self._state, bytes(self._inner), None, TAG_FINAL)

    def _begin(self) -> bytes:
        sample = bytes(self._sample)
        self._sample.clear()
        self._deflate = zlib.compressobj(_level(sample[:CHUNK_BYTES]))
        return self._push(self._deflate.compress(sample))

    def _push(self, inner: bytes) -> bytes:
        """Seal whole chunks, always keeping something back for the final one."""
        self._inner += inner
        self._inner_bytes += len(inner)
        sealed = []
        taken = 0
        while len(self._inner) - taken > CHUNK_BYTES:
            chunk = bytes(self._inner[taken : taken + CHUNK_BYTES])
            sealed.append(crypto_secretstream_xchacha20poly1305_push(self._state, chunk, None, TAG_MESSAGE))
            taken += CHUNK_BYTES
        del self._inner[:taken]
        return b"".join(sealed)


class Opener:
    """Opens a stream: consume what `update` gives for each piece of sealed bytes, then what `finish` gives.

    Each must be consumed to its end before the next call. Pieces given out are at most 64 KiB, and at most
    `limit_bytes` in all, so a small blob that decompresses without end is `Oversize`. Everything else that is not as
    `Sealer` makes it is `SealBroken`.
    """

    def __init__(self, key: bytes, limit_bytes: int) -> None:
        self._key = key
        self._left_bytes = limit_bytes
        self._state: crypto_secretstream_xchacha20poly1305_state | None = None
        self._sealed = bytearray()
        self._inflate = zlib.decompressobj()
        self._started = False
        self._padding_bytes = 0
        self._inner_bytes = 0

    def update(self, piece: bytes) -> Iterator[bytes]:
        """What can be opened after this piece."""
        self._sealed += piece
        taken = 0
        if self._state is None:
            if len(self._sealed) < HEADER_BYTES:
                return
            self._state = crypto_secretstream_xchacha20poly1305_state()
            crypto_secretstream_xchacha20poly1305_init_pull(self._state, bytes(self._sealed[:HEADER_BYTES]), self._key)
            taken = HEADER_BYTES
        while len(self._sealed) - taken > _SEALED_CHUNK:
            chunk = bytes(self._sealed[taken : taken + _SEALED_CHUNK])
            taken += _SEALED_CHUNK
            yield from self._inner(self._pull(chunk, TAG_MESSAGE))
        del self._sealed[:taken]

    def finish(self) -> Iterator[bytes]:
        """What the final chunk holds. Raises `SealBroken` if the stream does not end here as it was sealed."""
        yield from self._inner(self._pull(bytes(self._sealed), TAG_FINAL))
        if not self._inflate.eof:
            raise SealBroken("the sealed record is incomplete")
        if self._inner_bytes != padme(self._inner_bytes - self._padding_bytes):
            raise SealBroken("the sealed record is not padded as it must be")

    def _pull(self, chunk: bytes, expected: int) -> bytes:
        if self._state is None or len(chunk) < CHUNK_OVERHEAD_BYTES:
            raise SealBroken("the sealed record is truncated")
        try:
            inner, found = crypto_secretstream_xchacha20poly1305_pull(self._state, chunk)
        except NaclCryptoError:
            raise SealBroken("the sealed record does not open: wrong key, truncated or altered") from None
        if found != expected:
            raise SealBroken("the sealed record is truncated, or goes on after its end")
        return inner

    def _inner(self, inner: bytes) -> Iterator[bytes]:
        self._inner_bytes += len(inner)
        if not self._started:
            if inner[:1] != _VERSION:
                raise SealBroken("the sealed record has a version that this program does not know")
            self._started = True
            inner = inner[1:]
        while inner:
            if self._inflate.eof:
                self._padding_bytes += len(inner)
                if inner.strip(b"\0"):
                    raise SealBroken("the sealed record goes on after its end")
                return
            try:
                plain = self._inflate.decompress(inner, CHUNK_BYTES)
            except zlib.error:
                raise SealBroken("the sealed record does not decompress") from None
            self._left_bytes -= len(plain)
            if self._left_bytes < 0:
                raise Oversize("the sealed record is larger than its reader allows")
            if plain:
                yield plain
            inner = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail


def secretbox_seal(key: bytes, nonce: bytes, plain: bytes, aad: bytes = b"") -> bytes:
    """A small secret under a 32-byte key: the nonce, then XChaCha20-Poly1305-IETF with `aad` authenticated.

    `nonce` is 24 fresh random bytes.
    """
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)


def secretbox_open(key: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    """What `secretbox_seal` sealed with this key and `aad`. Raises `SealBroken`."""
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[NONCE_BYTES:], aad, sealed[:NONCE_BYTES], key)
    except (NaclCryptoError, ValueError):
        raise SealBroken from None


def _level(sample: bytes) -> int:
    return _LEVEL if len(zlib.compress(sample, _LEVEL)) < _WORTH_IT * len(sample) else _STORED


def _compress(plain: bytes) -> bytes:
    compressed = zlib.compress(plain, _LEVEL)
    return compressed if len(compressed) < _WORTH_IT * len(plain) else zlib.compress(plain, _STORED)
