"""What a simulated patient holds: its keys, and which numbers it has signed under. It outlives every node."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from node.simulation import keyring
from protocol.crypto.signing import SigningKey
from protocol.types.operations import OwnerKeys

GUARDIANS: Final = 4


class Wallet:
    """One patient's. `keys` and `delegates`: how many owner keys, and keys for delegates, were made so far."""

    def __init__(self, patient: int) -> None:
        self.patient = patient
        self.keys = 1
        self.delegates = 0
        self._numbers: dict[bytes, int] = {}

    def number(self, public: bytes) -> int:
        """The next number to sign under with this key."""
        number = self._numbers.get(public, 0) + 1
        self._numbers[public] = number
        return number

    def first_key(self) -> SigningKey:
        """What opens the chart."""
        return keyring.patient_key(self.patient, 0)

    def new_key(self) -> SigningKey:
        """Another owner key."""
        self.keys += 1
        return keyring.patient_key(self.patient, self.keys - 1)

    def new_delegate(self) -> SigningKey:
        """The key of another delegate."""
        self.delegates += 1
        return keyring.delegate_key(self.patient, self.delegates - 1)

    def owner(self, public: bytes) -> SigningKey | None:
        """The owner key with this public half; None if it is not this patient's."""
        made = (keyring.patient_key(self.patient, number) for number in range(self.keys))
        return next((key for key in made if key.public == public), None)

    def delegate(self, public: bytes) -> SigningKey | None:
        """The key of the delegate with this public half."""
        made = (keyring.delegate_key(self.patient, number) for number in range(self.delegates))
        return next((key for key in made if key.public == public), None)

    def guardian(self, public: bytes) -> SigningKey | None:
        """The key of the guardian with this public half."""
        made = (keyring.guardian_key(self.patient, number) for number in range(GUARDIANS))
        return next((key for key in made if key.public == public), None)


def owner_keys(public: bytes, variant: int = 0) -> OwnerKeys:
    """The keys that a chart has with this owner key, and an encryption key of which only the digest is of interest."""
    return OwnerKeys(public, 1, blake2b(public + bytes([variant]), digest_size=32).digest())
