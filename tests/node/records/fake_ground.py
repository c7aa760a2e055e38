"""What the fake chain stands on: a clock, a state in memory, and institutions whose keys come from their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.crypto.envelopes import keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey
from protocol.types.institutions import STATUS_ACCREDITED, Institution

START_MS = 1_900_000_000_000
SUITE = 1
HOUR_MS = 3_600_000


def seed(label: str) -> bytes:
    return label.encode().ljust(32, b".")[:32]


@dataclass
class View:
    leaves: dict[bytes, bytes]
    events: dict[tuple[int, int], bytes]

    def leaf(self, key: bytes) -> bytes | None:
        return self.leaves.get(key)

    def event(self, chart: int, number: int) -> bytes | None:
        return self.events.get((chart, number))


@dataclass
class Clock:
    ms: int = START_MS + 1_000


def institution(number: int) -> Institution:
    encryption = keypair_from_seed(SUITE, seed(f"encryption {number}"))[1]
    operations = SigningKey(seed(f"operations {number}")).public
    vote = SigningKey(seed(f"vote {number}")).public
    return Institution(
        f"hospital {number}", STATUS_ACCREDITED, (operations,), vote, (b"certificate %d" % number,), SUITE,
        encryption_key_digest(SUITE, encryption),
    )  # fmt: skip
