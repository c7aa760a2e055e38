"""From exact bytes to what may be stored and stated: commitment and tags for the ledger, blob, sealed secrets.

A record is sealed under a fresh key. What opens it (the `Secret`) is kept twice: under this institution's
key-encryption key, and in an envelope to the chart's owner. Plain bytes stay in memory and go nowhere else. Sealing is
CPU work and runs in threads, some records at a time; libsodium and zlib release the interpreter lock on large pieces.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Annotated, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from node.records.kek import KeyEncryption
from node.write_permits import WritePermit
from protocol.codec.canonical import decode, encode
from protocol.crypto.commitments import Committer, Opening, commit
from protocol.crypto.details import DetailsOpening
from protocol.crypto.envelopes import envelope_info, seal_envelope
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import Domain, encryption_key_digest, keyed_digest
from protocol.crypto.sealing import KEY_BYTES, NONCE_BYTES, Sealer, seal, secretbox_open, secretbox_seal
from protocol.crypto.shares import KeyShare, split_key
from protocol.crypto.tags import Labels
from protocol.errors import DecodeError
from protocol.types.base import U16, Number, Wire
from protocol.types.operations import RecordEntry, Tags4

BATCH = 32
"""Records a thread seals at once: long enough to be worth the hop, short enough to share the cores."""
MEDIA_TYPE_BYTES = 127  # RFC 6838, section 4.2

OWNER_PLAIN_BYTES = 544
HELD_DETAILS_PLAIN_BYTES = 256
"""Room for the longest media type and labels."""
HELD_DETAILS_BYTES = HELD_DETAILS_PLAIN_BYTES + NONCE_BYTES + 16

TagsOf = Callable[[Labels], Tags4]
"""A record's tags in the chart's present generation. May raise a named error for labels that it has none for."""
SecretBytes = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
_MEDIA_TYPE = r"^[\x21-\x7e]+/[\x20-\x7e]+$(?!\n)"
MediaType = Annotated[str, Meta(min_length=3, max_length=MEDIA_TYPE_BYTES, pattern=_MEDIA_TYPE)]
"""As it may stand in a header; it comes from peers too."""


class RecordKeys(Struct, frozen=True):
    """An institution's secrets that the records side needs: its key-encryption key, and its envelope key's seed.
    `staff_seed` is that of its oldest envelope key, which its practitioners' pseudonyms are made with; without it,
    there is but one."""

    kek: KeyEncryption
    encryption_suite: int
    encryption_seed: bytes
    staff_seed: bytes | None = None

    def __repr__(self) -> str:
        return "RecordKeys(hidden)"


class Secret(Wire, frozen=True):
    """All that opens one record, and what it is; `length` is that of the plain bytes. Never leaves unsealed."""

    key: SecretBytes
    opening: Opening
    media_type: MediaType
    length: Number
    labels: Labels

    def __repr__(self) -> str:
        return "Secret(hidden)"


class ChartSecret(Wire, frozen=True):
    """What a custodian keeps of a chart: the secret behind its tags, and the owner's public envelope key."""

    secret: SecretBytes
    encryption_suite: U16
    encryption_public: bytes

    def __repr__(self) -> str:
        return "ChartSecret(hidden)"


class Plain(Struct, frozen=True):
    """A record on its way in: exact bytes and what is said of them."""

    data: bytes
    media_type: str
    labels: Labels
    supersedes: int | None = None


class Split(Struct, frozen=True):
    """Over how many holders keys are split, and how many of these must agree."""

    threshold: int
    count: int


class Sealed(Struct, frozen=True):
    """What became of a record. `blob` is empty when it was stored piece by piece on the way. `shares` are for the
    holders, `sealed_shares` all of them under the key-encryption key, `details` what holders keep besides: empty
    without a split."""

    entry: RecordEntry
    blob: bytes
    secret: bytes
    owner_envelope: bytes
    shares: tuple[KeyShare, ...] = ()
    sealed_shares: bytes = b""
    details: bytes = b""

    def __repr__(self) -> str:
        return "Sealed(hidden)"


class Kek:
    """What is kept at rest, sealed under the key-encryption key and bound to where it belongs."""

    __slots__ = ("keys",)

    def __init__(self, keys: KeyEncryption) -> None:
        self.keys = keys

    def seal_secret(self, secret: Secret, chart: int, commitment: bytes) -> bytes:
        return self.keys.seal(encode(secret), _record_context(chart, commitment))

    def open_secret(self, sealed: bytes, chart: int, commitment: bytes) -> Secret:
        """Raises `SealBroken` for what was sealed under another key, or for another record."""
        return decode(Secret, self.keys.open(sealed, _record_context(chart, commitment)))

    def seal_chart(self, secret: ChartSecret) -> bytes:
        """The chart has no number yet, so this is bound to the chain alone; `open_chart` checks the owner's key."""
        return self.keys.seal(encode(secret), b"chart")

    def open_chart(self, sealed: bytes) -> ChartSecret:
        return decode(ChartSecret, self.keys.open(sealed, b"chart"))

    def seal_permit(self, permit: WritePermit) -> bytes:
        """What an owner gave this institution to write with."""
        return self.keys.seal(encode(permit), _permit_context(permit.chart, permit.grant))

    def open_permit(self, sealed: bytes, chart: int, grant: int) -> WritePermit:
        """Raises `SealBroken` for what was sealed under another key, or for another grant."""
        return decode(WritePermit, self.keys.open(sealed, _permit_context(chart, grant)))

    def seal_details(self, opening: DetailsOpening, commitment: bytes) -> bytes:
        """What this institution stated in confidence, bound to what the ledger has of it."""
        return self.keys.seal(encode(opening), b"details" + commitment)

    def open_details(self, sealed: bytes, commitment: bytes) -> DetailsOpening:
        return decode(DetailsOpening, self.keys.open(sealed, b"details" + commitment))

    def seal_shares(self, shares: tuple[KeyShare, ...], chart: int, commitment: bytes) -> bytes:
        """Shares of a record's key: all of them at its writer, one at a holder."""
        return self.keys.seal(encode(shares), _shares_context(chart, commitment))

    def open_shares(self, sealed: bytes, chart: int, commitment: bytes) -> tuple[KeyShare, ...]:
        """Raises `SealBroken` for what was sealed under another key, or for another record."""
        return decode(tuple[KeyShare, ...], self.keys.open(sealed, _shares_context(chart, commitment)))

    def __repr__(self) -> str:
        return "Kek(hidden)"


def _record_context(chart: int, commitment: bytes) -> bytes:
    return b"record" + chart.to_bytes(8, "big") + commitment


def _shares_context(chart: int, commitment: bytes) -> bytes:
    return b"shares" + chart.to_bytes(8, "big") + commitment


def _permit_context(chart: int, grant: int) -> bytes:
    return b"permit" + chart.to_bytes(8, "big") + grant.to_bytes(8, "big")


def owner_plain(secret: Secret) -> bytes:
    """What is in the owner's envelope: always of one length, since holders keep a copy and labels differ in theirs."""
    return _padded(encode(secret), OWNER_PLAIN_BYTES)


def read_owner_plain(plain: bytes) -> Secret:
    """The secret in an opened envelope of the owner's. Raises `DecodeError`."""
    return decode(Secret, _unpadded(plain))


def held_details(secret: Secret, chain: bytes, chart: int, commitment: bytes) -> bytes:
    """What a reader needs besides the key, sealed under a key that only the record's own gives."""
    plain = _padded(encode((secret.opening, secret.media_type, secret.length)), HELD_DETAILS_PLAIN_BYTES)
    context = chain + chart.to_bytes(8, "big") + commitment
    key = keyed_digest(Domain.HELD_DETAILS, secret.key)
    return secretbox_seal(key, os.urandom(NONCE_BYTES), plain, context)


def open_held_details(key: bytes, sealed: bytes, chain: bytes, chart: int, commitment: bytes) -> bytes:
    """The canonical bytes that a reader needs besides the record's key. Raises `SealBroken` for another record or key,
    `DecodeError` for what no writer makes."""
    context = chain + chart.to_bytes(8, "big") + commitment
    return _unpadded(secretbox_open(keyed_digest(Domain.HELD_DETAILS, key), sealed, context))


def _padded(plain: bytes, size: int) -> bytes:
    assert len(plain) <= size - 2, "bounded by its fields"
    return (len(plain).to_bytes(2, "big") + plain).ljust(size, b"\0")


def _unpadded(padded: bytes) -> bytes:
    end = 2 + int.from_bytes(padded[:2], "big")
    if len(padded) < max(end, 2) or padded[end:].strip(b"\0"):
        raise DecodeError("what was sealed is not padded as it must be")
    return padded[2:end]


class ChartSealer:
    """Seals records of one chart. Without the owner's public key no envelope is made: that comes once it is handed
    in."""

    def __init__(
        self, kek: Kek, chain: bytes, chart: int, tags: TagsOf, owner: tuple[int, bytes], split: Split | None = None
    ) -> None:
        """`owner`: suite and bytes of the public envelope key, empty if it is not known. `split`: how keys are split
        over holders; None for no holders."""
        self._split = split
        self._kek = kek
        self._chain = chain
        self._chart = chart
        self._tags = tags
        self.owner = owner
        self._recipient = encryption_key_digest(*owner)

    def seal(self, plain: Plain) -> Sealed:
        """One record, whole. CPU work. Raises what the tags do."""
        tags = self._tags(plain.labels)
        secret = _fresh(plain.media_type, len(plain.data), plain.labels)
        commitment = commit(plain.data, json_fields(plain.data), secret.opening)
        blob = seal(plain.data, secret.key)
        return self._finish(secret, RecordEntry(commitment, tags, plain.supersedes), blob)

    def stream(self, media_type: str, labels: Labels, supersedes: int | None) -> StreamSealer:
        """For one record that comes in pieces. Raises what the tags do, before the first piece."""
        return StreamSealer(self, media_type, labels, self._tags(labels), supersedes)

    def _finish(self, secret: Secret, entry: RecordEntry, blob: bytes) -> Sealed:
        commitment = entry.commitment
        info = envelope_info(self._chain, self._chart, commitment, self._recipient)
        suite, public = self.owner
        envelope = seal_envelope(suite, public, info, owner_plain(secret)) if public else b""
        sealed = self._kek.seal_secret(secret, self._chart, commitment)
        done = Sealed(entry, blob, sealed, envelope)
        if self._split is None:
            return done
        shares = split_key(secret.key, self._split.threshold, self._split.count)
        return replace(
            done,
            shares=shares,
            sealed_shares=self._kek.seal_shares(shares, self._chart, commitment),
            details=held_details(secret, self._chain, self._chart, commitment),
        )


class StreamSealer:
    """One record piece by piece, in bounded memory: `update` gives sealed bytes to store, `finish` the rest."""

    def __init__(
        self, chart: ChartSealer, media_type: str, labels: Labels, tags: Tags4, supersedes: int | None
    ) -> None:
        self._chart = chart
        self._tags = tags
        self._secret = _fresh(media_type, 0, labels)
        self._supersedes = supersedes
        self._committer = Committer(self._secret.opening)
        self._sealer = Sealer(self._secret.key)
        self._length = 0
        self.header = self._sealer.header

    def update(self, piece: bytes) -> bytes:
        self._length += len(piece)
        self._committer.update(piece)
        return self._sealer.update(piece)

    def finish(self) -> Iterator[bytes]:
        """The rest, in chunks: of a large record the padding alone is tens of megabytes."""
        return self._sealer.finish()

    def sealed(self) -> Sealed:
        """After `finish`: what belongs to the blob that was given out."""
        drawn = self._secret
        secret = Secret(drawn.key, drawn.opening, drawn.media_type, self._length, drawn.labels)
        return self._chart._finish(secret, RecordEntry(self._committer.finish(), self._tags, self._supersedes), b"")


def _fresh(media_type: str, length: int, labels: Labels) -> Secret:
    drawn = os.urandom(KEY_BYTES + 64 + 32)
    return Secret(drawn[:32], Opening(drawn[32:96], drawn[96:]), media_type, length, labels)


T = TypeVar("T")


def batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The items in order, in lists of `size`, the last perhaps shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


async def seal_all(sealer: ChartSealer, plains: Sequence[Plain], threads: Executor) -> list[Sealed]:
    """All records, in order, sealed in `threads`."""
    loop = asyncio.get_running_loop()

    def seal_part(part: Sequence[Plain]) -> list[Sealed]:
        return [sealer.seal(plain) for plain in part]

    done = await asyncio.gather(*(loop.run_in_executor(threads, seal_part, part) for part in batched(plains, BATCH)))
    return [sealed for part in done for sealed in part]
