"""BLAKE2b-256 under labels, and the digests by which the ledger names things.

A digest's label is BLAKE2b's 16-byte `person` parameter (RFC 7693, section 2.5), so no digest of one use can pass for
one of another. `Domain` lists every label that exists. Relies on hashlib and on the canonical encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from protocol.codec.canonical import encode
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.operations import Operation
from protocol.types.transaction import TransactionBody

DIGEST_BYTES = 32


class Domain:
    """Every label of a hash: at most 16 ASCII bytes, zero-padded to 16 by BLAKE2b, none used for two things."""

    # what the ledger names
    CHAIN: Final = b"cl/chain"
    BLOCK: Final = b"cl/block"
    TRANSACTION_ID: Final = b"cl/tx/id"
    TRANSACTION_LEAF: Final = b"cl/tx/leaf"
    OPERATION: Final = b"cl/operation"
    AUTHORITIES: Final = b"cl/authorities"
    ENCRYPTION_KEY: Final = b"cl/enckey"
    BLOB: Final = b"cl/blob"
    RECORDS: Final = b"cl/records"

    # trees
    MERKLE_NODE: Final = b"cl/merkle/node"
    MERKLE_ROOT: Final = b"cl/merkle/root"
    EVENT_LEAF: Final = b"cl/event/leaf"
    HISTORY_NODE: Final = b"cl/history/node"
    HISTORY_ROOT: Final = b"cl/history/root"
    STATE_LEAF: Final = b"cl/state/leaf"
    STATE_NODE: Final = b"cl/state/node"
    STATE_EMPTY: Final = b"cl/state/empty"
    OWNER_INDEX: Final = b"cl/state/owner"
    CLAIM: Final = b"cl/state/claim"

    # a record's commitment
    COMMITMENT: Final = b"cl/commit"
    COMMITTED_BYTES: Final = b"cl/commit/bytes"
    COMMITTED_FIELD: Final = b"cl/commit/field"
    COMMITTED_DUMMY: Final = b"cl/commit/dummy"
    COMMITTED_STREAM: Final = b"cl/commit/stream"  # before the record's secret in SHAKE-256, not in BLAKE2b

    # for holders: PLACEMENT is keyed by the chain's id, HELD_DETAILS by a record's key
    PLACEMENT: Final = b"cl/placement"
    HOLDING: Final = b"cl/holding"
    HELD_DETAILS: Final = b"cl/held/details"

    # what an asker says to the owner in confidence
    DETAILS: Final = b"cl/details"

    # keyed by a chart's secret
    TAG: Final = b"cl/tag"

    # wallet derivation, keyed by the wallet's seed and then by a chart's own
    WALLET_CHART: Final = b"cl/wallet/chart"
    WALLET_SIGNING: Final = b"cl/wallet/sign"
    WALLET_SECRET: Final = b"cl/wallet/tags"
    WALLET_ENCRYPTION: Final = b"cl/wallet/enc"
    WALLET_VERSION: Final = b"cl/wallet/vers"
    WALLET_DELEGATE: Final = b"cl/wallet/deleg"
    WALLET_GUARDIAN: Final = b"cl/wallet/guard"
    X25519_SEED: Final = b"cl/suite2/seed"

    # keyed by an institution's secret
    PRACTITIONERS: Final = b"cl/staff/secret"
    PRACTITIONER: Final = b"cl/staff"

    # what an envelope to a chart's owner holds besides a record
    CHART_SECRET: Final = b"cl/chart/secret"

    # a node's own, never on the wire
    IDEMPOTENCY: Final = b"cl/node/idem"


def digest(domain: bytes, *parts: bytes) -> bytes:
    """BLAKE2b-256 of the parts, concatenated, under a label of `Domain`.

    Parts must have a fixed length or be canonical encodings, of which at most the last varies; otherwise two lists
    of parts could be one input.
    """
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, person=domain).digest()


def keyed_digest(domain: bytes, key: bytes, *parts: bytes) -> bytes:
    """BLAKE2b-256 keyed with up to 64 bytes: a PRF, under a label of `Domain`. Parts as in `digest`."""
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, key=key, person=domain).digest()


def chain_id(genesis: Genesis) -> bytes:
    """32 bytes: what every signature of this chain names."""
    return digest(Domain.CHAIN, encode(genesis))


def transaction_id(body: TransactionBody) -> bytes:
    """32 bytes: the digest of the unsigned body, so that no signature malleability changes it."""
    return digest(Domain.TRANSACTION_ID, encode(body))


def transaction_digest(raw: bytes) -> bytes:
    """32 bytes: the digest of a whole signed transaction in its canonical bytes, a leaf of `transactions_root`."""
    return digest(Domain.TRANSACTION_LEAF, raw)


def block_digest(header: Header) -> bytes:
    """32 bytes: what votes name and what the next header's `parent` is."""
    return digest(Domain.BLOCK, encode(header))


def operation_digest(op: Operation) -> bytes:
    """32 bytes: what a co-signature is over."""
    return digest(Domain.OPERATION, encode(op))


def authorities_digest(authorities: AuthoritySet) -> bytes:
    """32 bytes: what the header that ends an epoch says of the next one's set."""
    return digest(Domain.AUTHORITIES, encode(authorities))


def encryption_key_digest(suite: int, public: bytes) -> bytes:
    """32 bytes: what stands on the ledger for a public encryption key of this suite (u16)."""
    return digest(Domain.ENCRYPTION_KEY, suite.to_bytes(2, "big"), public)


def records_digest(numbers: Sequence[int]) -> bytes:
    """32 bytes: what an emergency's leaf has of the records, by event number, that it asks for."""
    return digest(Domain.RECORDS, encode(tuple(numbers)))


def blob_id(*parts: bytes) -> bytes:
    """32 bytes: the name of a blob, the digest of its sealed bytes, which may come in parts."""
    return digest(Domain.BLOB, *parts)
