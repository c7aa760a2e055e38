"""What `chartledger bench` submits: charts of made-up owners, and transactions signed before the clock starts.

Each institution has a second operations key, whose seed the load generator holds; numbers of that key are its own, so
it never gets into the way of the node's. Relies on `protocol` alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from protocol.codec.canonical import encode
from protocol.crypto.envelopes import MLKEM768_X25519
from protocol.crypto.hashing import digest
from protocol.crypto.signing import SigningKey, cosign, sign_transaction
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    OpenChart,
    Operation,
    RecordEntry,
    SignedOperation,
    Tags4,
)
from protocol.types.transaction import TransactionBody

OUTSIDE_KEY = 1
"""The index on the ledger of the key that the load generator holds."""
LIFE_MS = 60 * 60 * 1_000


class Signer:
    """Signs one institution's transactions with the key that its node does not hold."""

    def __init__(self, chain: bytes, institution: int, seed: bytes, entries: int, charts_each: int) -> None:
        """Transactions of `entries` record entries, spread over `charts_each` of the charts opened."""
        self.institution = institution
        self.charts: list[int] = []
        self._chain = chain
        self._key = SigningKey(seed)
        self.entries = entries
        self._charts_each = charts_each
        self._number = 0
        self._turn = 0

    def openings(self, count: int, now_ms: int) -> Iterator[bytes]:
        """Transactions that open charts with owners of their own, whom nobody remembers."""
        for _ in range(count):
            owner = SigningKey(secrets.token_bytes(32))
            operation = OpenChart(self.institution, owner.public, MLKEM768_X25519, digest(b"cl/bench", owner.public))
            consent = cosign(owner, self._chain, operation, ROLE_OWNER, 1, now_ms + LIFE_MS)
            yield self._sign((SignedOperation(operation, (consent,)),), now_ms)

    def appends(self, now_ms: int) -> Iterator[bytes]:
        """Endless transactions that append entries, over the charts in turn."""
        while True:
            each = self.entries // self._charts_each
            operations: list[Operation] = []
            for _ in range(self._charts_each):
                chart = self.charts[self._turn % len(self.charts)]
                self._turn += 1
                operations.append(AppendRecords(chart, tuple(_entry() for _ in range(each))))
            yield self._sign(tuple(SignedOperation(operation) for operation in operations), now_ms)

    def _sign(self, operations: tuple[SignedOperation, ...], now_ms: int) -> bytes:
        self._number += 1
        body = TransactionBody(
            chain=self._chain,
            institution=self.institution,
            key=OUTSIDE_KEY,
            number=self._number,
            valid_until=now_ms + LIFE_MS,
            operations=operations,
        )
        return encode(sign_transaction(self._key, body))


def _entry() -> RecordEntry:
    """An entry as incompressible as a real one: a commitment and four tags."""
    drawn = secrets.token_bytes(96)
    tags: Tags4 = (drawn[32:48], drawn[48:64], drawn[64:80], drawn[80:96])
    return RecordEntry(drawn[:32], tags)
