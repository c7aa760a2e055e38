"""Practitioners' pseudonyms: 16 bytes by which one institution names one of its staff towards one chart.

A keyed digest under a secret that only the institution has: without it, pseudonyms of one person at two charts are
unrelated, and none tells who it is. The institution can compute it again whenever it is asked whom it meant.
"""

from __future__ import annotations

from hashlib import blake2b

from protocol.crypto.hashing import Domain, keyed_digest

PSEUDONYM_BYTES = 16
STAFF_ID_BYTES = 256


def practitioner_secret(stable: bytes, chain: bytes) -> bytes:
    """32 bytes: the secret behind an institution's pseudonyms on one chain, from a 32-byte secret that it keeps for
    ever."""
    return keyed_digest(Domain.PRACTITIONERS, stable, chain)


def pseudonym(secret: bytes, chart: int, staff: str) -> bytes:
    """16 bytes: what the institution calls the staff member with this id (any text that it has for them) towards the
    owner of this chart (u64)."""
    place = chart.to_bytes(8, "big")
    return blake2b(place + staff.encode(), digest_size=PSEUDONYM_BYTES, key=secret, person=Domain.PRACTITIONER).digest()
