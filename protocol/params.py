"""The parameters of a chain: they stand under the state root and change only by motion."""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.errors import BadTerms
from protocol.types.base import Wire

LONGEST_MS = 100 * 365 * 24 * 3600 * 1_000
"""A hundred years: with much more, a time that an event states could leave the range that decodes."""
DAY_MS = 24 * 3600 * 1_000
TIMEOUT_CAP_MS_MOST = 600_000


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
    recovery_ms: int = 7 * 24 * 3600 * 1_000  # what changes a chart's owner key or guardians waits so long
    review_ms: int = 72 * 3600 * 1_000  # within which another institution must review an emergency
    cosign_ms: int = 24 * 3600 * 1_000  # how far ahead a co-signature of an owner or delegate may expire
    guardian_cosign_ms: int = 30 * 24 * 3600 * 1_000  # and one of a guardian, since the others must be found

    def check(self) -> None:
        """Raise `BadTerms` unless each parameter lies within its bounds.

        Whatever a motion sets, the chain goes on and another motion can set it right: timers outlast a slow network,
        a block is not too old to vote for by the time that it arrives, a transaction can reach a block, a motion lives
        long enough to be voted on, and the smallest block holds a motion that makes blocks larger.
        """
        for name, (least, most) in BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise BadTerms(f"{name} must lie between {least} and {most}")
        if self.delta_ms > self.timeout_cap_ms:
            raise BadTerms("delta_ms must not exceed timeout_cap_ms")
        if self.timeout_cap_ms > self.drift_ms:
            raise BadTerms("timeout_cap_ms must not exceed drift_ms, or a block could be too old before it arrives")
        if self.freshness_ms <= self.heartbeat_ms:
            raise BadTerms("freshness_ms must exceed heartbeat_ms, or an idle chain could release nothing")


BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "delta_ms": (1, TIMEOUT_CAP_MS_MOST),
    "timeout_cap_ms": (5_000, TIMEOUT_CAP_MS_MOST),
    "heartbeat_ms": (1_000, LONGEST_MS),
    "drift_ms": (5_000, LONGEST_MS),
    "block_bytes": (1_024, limits.BLOCK_BYTES),
    "block_transactions": (1, limits.TRANSACTIONS_PER_BLOCK),
    "valid_until_max_ms": (10 * 60 * 1_000, LONGEST_MS),
    "denials_per_day": (1, limits.U53),
    "release_ms": (1, LONGEST_MS),
    "freshness_ms": (1_001, LONGEST_MS),
    "motion_ms": (3600 * 1_000, 366 * DAY_MS),
    "rotation_rest_ms": (1, 30 * DAY_MS),
    "recovery_ms": (1_000, 366 * DAY_MS),
    "review_ms": (1_000, 366 * DAY_MS),
    "cosign_ms": (2 * 3600 * 1_000, 30 * DAY_MS),
    "guardian_cosign_ms": (15 * DAY_MS, 366 * DAY_MS),
}
"""The least and the most of each parameter. docs/spec/limits.md says why."""
