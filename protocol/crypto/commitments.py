"""Commitments: what stands on the ledger for a record, hiding it, and opening as a whole or one field at a time.

A commitment is a digest over a 64-byte uniform salt and the root of a Merkle tree. Leaf 0 is the record's exact bytes;
the other leaves are its fields and dummies up to a power of two, in an order that a per-record secret draws, each with
a salt of its own from that secret. So the ledger learns nothing; who is shown one field learns no other field, nor how
many there are but for the power of two, nor where it stood. docs/spec/cryptography.md has it byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b, shake_256
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import DIGEST_BYTES, Domain, digest
from protocol.crypto.merkle import merkle_climb, merkle_path, merkle_root
from protocol.errors import BadProof, CommitmentMismatch
from protocol.types.base import U16, Digest, Wire

SALT_BYTES = 64
SECRET_BYTES = 32
LEAVES_MIN = 16
LEAF_SALT_BYTES = 32
_ORDER_BYTES = 8
# A copied state costs half of a new one with parameters, and a record has many leaves.
_field = blake2b(digest_size=DIGEST_BYTES, person=Domain.COMMITTED_FIELD)
_dummy = blake2b(digest_size=DIGEST_BYTES, person=Domain.COMMITTED_DUMMY)


class Opening(Wire, frozen=True):
    """What opens a commitment, both fresh and uniform; it travels with the record's key and dies with it."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class LeafProof(Wire, frozen=True):
    """Shows one leaf of a commitment and tells nothing of the others."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    leaf_salt: Digest
    position: U16
    count: U16
    path: Annotated[tuple[Digest, ...], Meta(max_length=16)]


class Committer:
    """Commits to a record that comes in pieces, in bounded memory: `update` with each, then `finish` or
    `bytes_proof`."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._bytes_leaf = blake2b(digest_size=DIGEST_BYTES, person=Domain.COMMITTED_BYTES)
        # The first leaf's salt comes first in the stream whatever the number of leaves.
        self._bytes_leaf.update(_stream(opening.secret, LEAF_SALT_BYTES))
        self._buffer: bytearray | None = bytearray()

    def update(self, piece: bytes) -> None:
        """The next bytes of the record."""
        self._bytes_leaf.update(piece)
        if self._buffer is not None:
            self._buffer += piece
            if len(self._buffer) > limits.FIELDS_BYTES:
                self._buffer = None  # too large to have fields

    def finish(self) -> bytes:
        """The 32-byte commitment."""
        leaves, _ = self._tree()
        return digest(Domain.COMMITMENT, self._opening.salt, merkle_root(leaves))

    def bytes_proof(self) -> LeafProof:
        """As `bytes_proof` of all the bytes."""
        leaves, salts = self._tree()
        return LeafProof(self._opening.salt, salts[0], 0, len(leaves), merkle_path(leaves, 0))

    def _tree(self) -> tuple[list[bytes], list[bytes]]:
        fields = json_fields(bytes(self._buffer)) if self._buffer is not None else []
        leaves, salts, _ = _leaves(self._bytes_leaf.digest(), fields, self._opening.secret)
        return leaves, salts


def commit(data: bytes, fields: Sequence[tuple[str, bytes]], opening: Opening) -> bytes:
    """The 32-byte commitment to these bytes and fields; a record's fields are `json_fields(data)`."""
    leaves, _, _ = _tree(data, fields, opening)
    return digest(Domain.COMMITMENT, opening.salt, merkle_root(leaves))


def check_record(commitment: bytes, data: bytes, opening: Opening) -> None:
    """Raise `CommitmentMismatch` unless exactly these bytes, with their fields, were committed."""
    if commit(data, json_fields(data), opening) != commitment:
        raise CommitmentMismatch


def bytes_proof(data: bytes, fields: Sequence[tuple[str, bytes]], opening: Opening) -> LeafProof:
    """Shows that exactly `data` was committed, to who holds `data`, without giving the secret away."""
    leaves, salts, _ = _tree(data, fields, opening)
    return LeafProof(opening.salt, salts[0], 0, len(leaves), merkle_path(leaves, 0))


def field_proof(data: bytes, fields: Sequence[tuple[str, bytes]], opening: Opening, pointer: str) -> LeafProof:
    """Shows one field without the rest. Raises `BadProof` if the record has no such field."""
    index = next((i for i, (name, _) in enumerate(fields) if name == pointer), None)
    if index is None:
        raise BadProof("the record has no such field")
    leaves, salts, places = _tree(data, fields, opening)
    position = places[index]
    return LeafProof(opening.salt, salts[position], position, len(leaves), merkle_path(leaves, position))


def check_bytes(commitment: bytes, data: bytes, proof: LeafProof) -> None:
    """Raise `CommitmentMismatch` unless `data` is the committed record."""
    leaf = digest(Domain.COMMITTED_BYTES, proof.leaf_salt, data)
    _check(commitment, leaf, proof, proof.position == 0)


def check_field(commitment: bytes, pointer: str, value: bytes, proof: LeafProof) -> None:
    """Raise `CommitmentMismatch` unless the committed record has `value` (its source bytes) at `pointer`."""
    leaf = _field_leaf(proof.leaf_salt, pointer.encode(), value)
    _check(commitment, leaf, proof, proof.position > 0)


def _check(commitment: bytes, leaf: bytes, proof: LeafProof, placed: bool) -> None:
    try:
        root = merkle_climb(leaf, proof.position, proof.count, proof.path)
    except BadProof as error:
        raise CommitmentMismatch(f"the proof is malformed: {error}") from None
    if not placed or digest(Domain.COMMITMENT, proof.salt, root) != commitment:
        raise CommitmentMismatch


def _tree(
    data: bytes, fields: Sequence[tuple[str, bytes]], opening: Opening
) -> tuple[list[bytes], list[bytes], list[int]]:
    leaf = digest(Domain.COMMITTED_BYTES, _stream(opening.secret, LEAF_SALT_BYTES), data)
    return _leaves(leaf, fields, opening.secret)


def _leaves(
    bytes_leaf: bytes, fields: Sequence[tuple[str, bytes]], secret: bytes
) -> tuple[list[bytes], list[bytes], list[int]]:
    """The leaves by position, their salts by position, and the position of each field."""
    if len(fields) > limits.FIELDS_PER_RECORD:
        raise ValueError(f"a record has at most {limits.FIELDS_PER_RECORD} fields")
    count = max(LEAVES_MIN, 1 << len(fields).bit_length())
    stream = _stream(secret, LEAF_SALT_BYTES * count + _ORDER_BYTES * (count - 1))
    cut = LEAF_SALT_BYTES * count
    salts = [stream[i : i + LEAF_SALT_BYTES] for i in range(0, cut, LEAF_SALT_BYTES)]
    keys = [stream[i : i + _ORDER_BYTES] for i in range(cut, len(stream), _ORDER_BYTES)]
    # Fields come first, then dummies; each goes where its key ranks. Equal keys keep their order, so ties are harmless.
    order = sorted(range(count - 1), key=keys.__getitem__)
    leaves = [bytes_leaf]
    places = [0] * len(fields)
    for position, item in enumerate(order, 1):
        if item < len(fields):
            places[item] = position
            name, value = fields[item]
            leaves.append(_field_leaf(salts[position], name.encode(), value))
        else:
            state = _dummy.copy()
            state.update(salts[position])
            leaves.append(state.digest())
    return leaves, salts, places


def _field_leaf(salt: bytes, name: bytes, value: bytes) -> bytes:
    state = _field.copy()
    state.update(b"".join((salt, len(name).to_bytes(4, "big"), name, value)))
    return state.digest()


def _stream(secret: bytes, length: int) -> bytes:
    """SHAKE-256 over label and secret: all salts, then the keys of the order, in one call."""
    return shake_256(Domain.COMMITTED_STREAM + secret).digest(length)
