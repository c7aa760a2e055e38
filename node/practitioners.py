"""What an institution calls its own staff towards patients: a pseudonym for each practitioner and chart.

A patient may permit certain practitioners only, and is told who asked; the ledger learns neither name nor staff id.
The secret behind the pseudonyms must never change, or grants that name them would cover nobody. It is made from the
institution's oldest encryption key, which its keystore keeps for ever; the key-encryption key is made anew with each
erasure and would not do.
"""

from __future__ import annotations

from protocol.crypto.pseudonyms import STAFF_ID_BYTES, practitioner_secret, pseudonym
from protocol.errors import ChartledgerError


class BadStaffId(ChartledgerError):
    """A staff id is not usable."""

    advice = (
        f"Give the id by which your institution knows the person: 1 to {STAFF_ID_BYTES} bytes without blanks around."
    )


class Practitioners:
    """The pseudonyms of one institution's staff on one chain."""

    def __init__(self, oldest_seed: bytes, chain: bytes) -> None:
        """`oldest_seed` is that of the oldest encryption key in the institution's keystore (`encryption[0].seed`)."""
        self._secret = practitioner_secret(oldest_seed, chain)

    def pseudonym(self, chart: int, staff: str) -> bytes:
        """16 bytes: what this institution calls the staff member with that id towards that chart's owner. The same
        for ever. Raises `BadStaffId`."""
        if not staff or staff != staff.strip() or not staff.isprintable() or len(staff.encode()) > STAFF_ID_BYTES:
            raise BadStaffId(f"a staff id is 1 to {STAFF_ID_BYTES} bytes of printable text without blanks around it")
        return pseudonym(self._secret, chart, staff)

    def __repr__(self) -> str:
        return "Practitioners(hidden)"
