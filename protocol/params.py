"""The parameters of a chain: they stand under the state root and change only by motion."""

from __future__ import annotations

from protocol import limits
from protocol.errors import BadTerms
from protocol.types.base import Wire

LONGEST_MS = 100 * 365 * 24 * 3600 * 1_000
"""A hundred years: with much more, a time that an event states could leave the range that decodes."""


class Params(Wire, frozen=True):
    """Times are milliseconds of ledger time unless the name says otherwise."""

    delta_ms: int = 500  # the network's assumed one-way bound; leader timer 2, certificate timer 3
    timeout_cap_ms: int = 8_000
    heartbeat_ms: int = 15 * 60 * 1_000
    drift_ms: int = 30_000  # how far a block's time may lie behind a voter's clock
    block_bytes: int = 1024 * 1024
    block_transactions: int = 4_000
    valid_until_max_ms: int = 24 * 3600 * 1_000
    denials_per_day: int = 100  # per asker, chart and day
    release_ms: int = 24 * 3600 * 1_000  # how long after a disclosure its keys may be released
    freshness_ms: int = 60 * 60 * 1_000  # a custodian releases only if its last final block is no older
    motion_ms: int = 30 * 24 * 3600 * 1_000  # how far ahead a motion may expire
    rotation_rest_ms: int = 3600 * 1_000  # between two changes of one institution's vote key

    def check(self) -> None:
        """Raise `BadTerms` unless each parameter lies within its bounds."""
        if not 1 <= self.delta_ms <= self.timeout_cap_ms <= 600_000:
            raise BadTerms("delta_ms must be at least 1 and at most timeout_cap_ms, which is at most 600000")
        if not 1_024 <= self.block_bytes <= limits.BLOCK_BYTES:
            raise BadTerms(f"block_bytes must lie between 1024 and {limits.BLOCK_BYTES}")
        if not 1 <= self.block_transactions <= limits.TRANSACTIONS_PER_BLOCK:
            raise BadTerms(f"block_transactions must lie between 1 and {limits.TRANSACTIONS_PER_BLOCK}")
        for name in (
            "heartbeat_ms",
            "drift_ms",
            "valid_until_max_ms",
            "release_ms",
            "freshness_ms",
            "motion_ms",
            "rotation_rest_ms",
        ):
            if not 1 <= getattr(self, name) <= LONGEST_MS:
                raise BadTerms(f"{name} must lie between 1 and {LONGEST_MS}")
        if not 1 <= self.denials_per_day <= limits.U53:
            raise BadTerms(f"denials_per_day must lie between 1 and {limits.U53}")
        if self.freshness_ms <= self.heartbeat_ms:
            raise BadTerms("freshness_ms must exceed heartbeat_ms, or an idle chain could release nothing")
