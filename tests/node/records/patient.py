"""A patient of the fake chain."""

from __future__ import annotations

from typing import Any

from protocol.crypto.envelopes import keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import cosign
from protocol.crypto.tags import GrantLabels, grant_tags
from protocol.crypto.wallet import ChartKeys, chart_keys
from protocol.types.operations import ROLE_OWNER, Grant, GrantTerms, OpenChart, Operation, Revoke, SignedOperation
from tests.node.records.fake_core import HOUR_MS, SUITE, Chain, seed


class Patient:
    """An owner's keys for one chart, and what it signs."""

    def __init__(self, chain: Chain, custodian: int, name: str = "patient") -> None:
        self.chain = chain
        self.custodian = custodian
        self.keys: ChartKeys = chart_keys(seed(name), chain.id, custodian, 0)
        self.key = self.keys.signing_key()
        self.private, self.public = keypair_from_seed(SUITE, self.keys.encryption_seed)
        self.number = 0

    def sign(self, operation: Operation) -> SignedOperation:
        self.number += 1
        expires_at = self.chain.clock.ms + HOUR_MS
        return SignedOperation(
            operation, (cosign(self.key, self.chain.id, operation, ROLE_OWNER, self.number, expires_at),)
        )

    def open_chart(self) -> SignedOperation:
        digest = encryption_key_digest(SUITE, self.public)
        return self.sign(OpenChart(self.custodian, self.key.public, SUITE, digest))

    def grant(
        self, chart: int, grantee: int, labels: GrantLabels, generation: int = 0, **terms: Any
    ) -> SignedOperation:
        tags = grant_tags(self.keys.chart_secret, 0, labels)
        now = self.chain.clock.ms
        values = {"purposes": ("TREAT",), "not_before": now - HOUR_MS, "not_after": now + 240 * HOUR_MS} | terms
        return self.sign(Grant(chart, GrantTerms((grantee,), tags, **values)))

    def revoke(self, chart: int, grant: int) -> SignedOperation:
        return self.sign(Revoke(chart, grant))
