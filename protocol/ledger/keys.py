"""The keys of the state: a kind byte and big-endian positions, of one length per kind.

Positions are assigned by the ledger (institution, chart and grant numbers), so neighbours in time are neighbours in
storage and nobody can grind a bucket. The one exception, `owner`, is the index by which a wallet finds its chart.
Functions raise `OverflowError` for a position that has no key; callers compare with the `*_MAX` bounds first.
"""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.crypto.hashing import Domain, digest

KIND_PARAMS: Final = 1
KIND_COUNTERS: Final = 2
KIND_AUTHORITIES: Final = 3
KIND_INSTITUTION: Final = 4
KIND_WINDOW: Final = 5
KIND_CHART: Final = 6
KIND_GRANT: Final = 7
KIND_OWNER: Final = 8
KIND_DENIALS: Final = 9
KIND_MOTION: Final = 10
KIND_OPEN_MOTIONS: Final = 11
KIND_EVIDENCE: Final = 12
KIND_CLAIM: Final = 13
KIND_POLICY: Final = 14
KIND_RECOVERY: Final = 15
KIND_DELEGATE: Final = 16
KIND_EMERGENCY: Final = 17
KIND_EMERGENCIES: Final = 18
KIND_ERASURE: Final = 19
KIND_ERASED: Final = 20
KIND_HOLDS: Final = 21

INSTITUTION_MAX: Final = (1 << 24) - 1
CHART_MAX: Final = (1 << 40) - 1
GRANT_MAX: Final = (1 << 16) - 1
MOTION_MAX: Final = (1 << 32) - 1
DELEGATE_MAX: Final = (1 << 16) - 1

PARAMS: Final = bytes([KIND_PARAMS])
COUNTERS: Final = bytes([KIND_COUNTERS])
OPEN_MOTIONS: Final = bytes([KIND_OPEN_MOTIONS])

KEY_BYTES: Final = {
    KIND_PARAMS: 1,
    KIND_COUNTERS: 1,
    KIND_AUTHORITIES: 9,
    KIND_INSTITUTION: 4,
    KIND_WINDOW: 5,
    KIND_CHART: 6,
    KIND_GRANT: 8,
    KIND_OWNER: 17,
    KIND_DENIALS: 9,
    KIND_MOTION: 5,
    KIND_OPEN_MOTIONS: 1,
    KIND_EVIDENCE: 11,
    KIND_CLAIM: 17,
    KIND_POLICY: 6,
    KIND_RECOVERY: 6,
    KIND_DELEGATE: 8,
    KIND_EMERGENCY: 9,
    KIND_EMERGENCIES: 4,
    KIND_ERASURE: 9,
    KIND_ERASED: 8,
    KIND_HOLDS: 6,
}
"""Length of a whole key by kind. No key is a prefix of another, which the state tree relies on."""


def authorities(epoch: int) -> bytes:
    """Key of the `AuthoritySet` of an epoch."""
    return b"\x03" + epoch.to_bytes(8, "big")


def institution(number: int) -> bytes:
    """Key of an `Institution`."""
    return b"\x04" + number.to_bytes(3, "big")


def window(institution_number: int, key_index: int) -> bytes:
    """Key of the anti-replay `Window` of one operations key of an institution."""
    return b"\x05" + institution_number.to_bytes(3, "big") + key_index.to_bytes(1, "big")


def chart(number: int) -> bytes:
    """Key of a `Chart`."""
    return b"\x06" + number.to_bytes(5, "big")


def grant(chart_number: int, number: int) -> bytes:
    """Key of a `GrantLeaf`."""
    return b"\x07" + chart_number.to_bytes(5, "big") + number.to_bytes(2, "big")


def owner(owner_key: bytes) -> bytes:
    """Key of the `OwnerIndex` leaf: which chart this Ed25519 owner key opened."""
    return b"\x08" + digest(Domain.OWNER_INDEX, owner_key)[:16]


def denials(chart_number: int, institution_number: int) -> bytes:
    """Key of the `Denials` counter of one asker at one chart."""
    return b"\x09" + chart_number.to_bytes(5, "big") + institution_number.to_bytes(3, "big")


def policy(chart_number: int) -> bytes:
    """Key of a chart's `PolicyLeaf`."""
    return b"\x0e" + chart_number.to_bytes(5, "big")


def recovery(chart_number: int) -> bytes:
    """Key of a chart's `Recovery`: its guardians, and what waits."""
    return b"\x0f" + chart_number.to_bytes(5, "big")


def delegate(chart_number: int, number: int) -> bytes:
    """Key of a `DelegateLeaf`."""
    return b"\x10" + chart_number.to_bytes(5, "big") + number.to_bytes(2, "big")


def emergency(chart_number: int, event: int) -> bytes:
    """Key of the `Emergency` that this event of the chart opened."""
    return b"\x11" + chart_number.to_bytes(5, "big") + event.to_bytes(3, "big")


def emergencies(institution_number: int) -> bytes:
    """Key of an institution's `Emergencies`."""
    return b"\x12" + institution_number.to_bytes(3, "big")


def erasure(chart_number: int, event: int) -> bytes:
    """Key of the `Erasure` that this event of the chart ordered."""
    return b"\x13" + chart_number.to_bytes(5, "big") + event.to_bytes(3, "big")


def erased(chart_number: int, event: int) -> bytes:
    """Key of the `ErasedPage` that says of this event of the chart whether it is an erased record."""
    return b"\x14" + chart_number.to_bytes(5, "big") + (event // limits.ERASED_PAGE_EVENTS).to_bytes(2, "big")


def holds(chart_number: int) -> bytes:
    """Key of a chart's `Holds`."""
    return b"\x15" + chart_number.to_bytes(5, "big")


def motion(number: int) -> bytes:
    """Key of a `MotionLeaf`."""
    return b"\x0a" + number.to_bytes(4, "big")


def evidence(epoch: int, index: int) -> bytes:
    """Key of the `EvidenceLeaf` against the authority with this index in this epoch's set."""
    return b"\x0c" + epoch.to_bytes(8, "big") + index.to_bytes(2, "big")


def claim(use: bytes, value: bytes) -> bytes:
    """Key of the `Claim` to a name, certificate or signing key: what one institution ever used, no other may.

    `use` is one byte of `CLAIM_*`.
    """
    return b"\x0d" + digest(Domain.CLAIM, use, value)[:16]


CLAIM_NAME: Final = b"\x01"
CLAIM_SIGNING_KEY: Final = b"\x02"  # operations and vote keys alike
CLAIM_CERTIFICATE: Final = b"\x03"
CLAIM_ENCRYPTION_KEY: Final = b"\x04"
