"""The transaction: an institution's signed list of operations, applied whole or not at all."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U8, Digest, Number, Signature, TimeMs, Wire
from protocol.types.operations import SignedOperation


class TransactionBody(Wire, frozen=True):
    """What the institution signs. The id of a transaction is the digest of this.

    `key` is the index of the institution's operations key; `number` is used up in that key's anti-replay window.
    """

    chain: Digest
    institution: Number
    key: U8
    number: Number
    valid_until: TimeMs
    operations: Annotated[tuple[SignedOperation, ...], Meta(min_length=1, max_length=limits.OPERATIONS_PER_TRANSACTION)]


class Transaction(Wire, frozen=True):
    """A body and the institution's Ed25519 signature over it."""

    body: TransactionBody
    signature: Signature
