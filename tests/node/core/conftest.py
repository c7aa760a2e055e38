"""A throwaway chain for tests of the core: keys from small integers, a genesis, and signed transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest

from node.intake import Intake
from node.mempool import Entry
from protocol.codec.canonical import encode
from protocol.crypto.hashing import Domain, digest, transaction_digest
from protocol.crypto.signing import SigningKey, sign_transaction
from protocol.ledger.transition import Family, classify
from protocol.types.operations import (
    AppendRecords,
    Grant,
    GrantTerms,
    Operation,
    RecordEntry,
    SignedOperation,
)
from protocol.types.transaction import TransactionBody

CHAIN = bytes(range(32))


def seed(label: str, number: int = 0) -> bytes:
    return hashlib.blake2b(f"{label} {number}".encode(), digest_size=32).digest()


def record(number: int) -> RecordEntry:
    tag = number.to_bytes(16, "big")
    return RecordEntry(number.to_bytes(32, "big"), (tag, tag, tag, tag))


def append(chart: int = 0, number: int = 0) -> AppendRecords:
    return AppendRecords(chart, (record(number),))


def grant(chart: int = 0) -> Grant:
    tag = bytes(16)
    return Grant(chart, GrantTerms(1, (None, None, (tag,), (tag,)), ("TREAT",), 0, 10**15))


def sign(
    institution: int,
    number: int,
    operations: Sequence[Operation] | None = None,
    valid_until: int = 10**14,
    chain: bytes = CHAIN,
    key: int = 0,
) -> bytes:
    """The canonical bytes of a signed transaction."""
    signed = tuple(SignedOperation(one) for one in operations or [append(number=number)])
    body = TransactionBody(chain, institution, key, number, valid_until, signed)
    return encode(sign_transaction(SigningKey(seed("operations", institution)), body))


def entry_of(raw: bytes) -> Entry:
    from protocol.codec.canonical import decode
    from protocol.types.transaction import Transaction

    transaction = decode(Transaction, raw)
    return Entry(
        raw=raw,
        id=digest(Domain.TRANSACTION_ID, encode(transaction.body)),
        digest=transaction_digest(raw),
        transaction=transaction,
        owners=classify(transaction.body) is Family.OWNERS,
    )


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    def make(*args: object, **kwargs: object) -> Entry:
        return entry_of(sign(*args, **kwargs))  # type: ignore[arg-type]

    return make


__all__ = ["CHAIN", "Intake", "append", "entry_of", "grant", "record", "seed", "sign"]
