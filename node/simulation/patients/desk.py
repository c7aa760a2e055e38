"""Where something is done about a patient's chart: one node at one moment, and what is sent from there.

`choose` goes by the act's `dice`, so that acts that are to race choose the same grant, record or emergency; whatever
else is random has a generator of its own, of the seed and the act's place in the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from node.simulation.patients.standing import Standing
from node.simulation.patients.wallet import Wallet
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import SigningKey, cosignature_message, owner_possession_message
from protocol.limits import TAGS_PER_BAR, TAGS_PER_POSITION
from protocol.types.operations import (
    ROLE_DELEGATE,
    ROLE_GUARDIAN,
    ROLE_OWNER,
    Cosignature,
    GrantTags,
    Guardians,
    Operation,
    OwnerKeys,
    SignedOperation,
    Tags4,
)

if TYPE_CHECKING:
    from node.simulation.host import Host

T = TypeVar("T")
HOUR_MS: Final = 3_600_000
BARRED_GENERATIONS: Final = TAGS_PER_BAR // 2
LABELS: Final = (("imaging", "laboratory"), ("2023", "2024"), ("plain", "sexual"), ("plain", "psychiatry"))
"""By position."""
SHORT_MS: Final = (400, 6_000)
"""How long what soon ends lasts: a history's clocks may be off by more."""


@cache
def tag(patient: int, generation: int, position: int, label: str) -> bytes:
    """As a wallet derives it: nobody who lacks the chart's secret could tell it from random."""
    return blake2b(f"{patient}/{generation}/{position}/{label}".encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Sending:
    """One transaction: who carries it, and whether it stays valid whatever others do."""

    institution: int
    operations: tuple[SignedOperation, ...]
    owed: bool
    until_ms: int


class Desk:
    """One act's. `later`: it makes no sense yet, and is tried again."""

    def __init__(self, host: Host, wallet: Wallet, rng: Random, dice: int) -> None:
        assert host.institution is not None
        self.host = host
        self.institution = host.institution
        self.wallet = wallet
        self.rng = rng
        self.sendings: list[Sending] = []
        self.later = False
        self._dice = dice
        self._header = host.chain.head.header
        self.now_ms = max(host.wall_ms(), self._header.timestamp)
        found = Standing.of_owner(host.chain.head, wallet.first_key().public)
        self._standing = found

    @property
    def knows(self) -> bool:
        """Whether the chart stands here."""
        return self._standing is not None

    @property
    def standing(self) -> Standing:
        """The chart, which must stand here."""
        assert self._standing is not None
        return self._standing

    @property
    def chart(self) -> int:
        """Its number."""
        return self.standing.number

    # --- chance --------------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return self.rng.random() < share

    def choose(self, items: Sequence[T]) -> T:
        """One of them: the same wherever the same are there, for acts of one number."""
        return items[self._dice % len(items)]

    def some(self, items: Sequence[T], most: int) -> list[T]:
        """A few of them, at least one, in their order."""
        count = self.rng.randint(1, min(most, len(items)))
        places = sorted(self.rng.sample(range(len(items)), count))
        return [items[place] for place in places]

    def others(self) -> list[int]:
        """Institutions that are accredited here."""
        return sorted(self.host.accredited)

    def soon_ms(self) -> int:
        """A while from now."""
        return self.now_ms + self.rng.randint(*SHORT_MS)

    def until(self) -> int:
        """When something that is signed now expires: mostly late, now and then too late to count."""
        drawn = self.rng.random()
        if drawn < 0.01:
            return self.now_ms + 1_000 * HOUR_MS
        return self.soon_ms() if drawn < 0.12 else self.now_ms + HOUR_MS

    # --- tags ----------------------------------------------------------------------------------------------------

    def tags(self) -> Tags4:
        """Of a new record."""
        generation = self.standing.chart.generation
        if generation and self.chance(0.1):  # made while a revocation was under way
            generation -= 1
        drawn = (self.rng.choice(labels) if self.chance(0.5) else labels[0] for labels in LABELS)
        first, second, third, fourth = (self._tag(generation, place, label) for place, label in enumerate(drawn))
        return first, second, third, fourth

    def cover(self, ahead: int = 0) -> GrantTags:
        """What a grant or delegate may reach: mostly much, in all generations up to the chart's and so many more."""
        categories, years = (None if self.chance(0.6) else self.listed(place, ahead) for place in (0, 1))
        return categories, years, self.listed(2, ahead), self.listed(3, ahead)

    def barred(self, position: int, ahead: int = 0) -> tuple[bytes, ...]:
        """The same for a bar, which holds few: of the last generations only."""
        return self.listed(position, ahead, BARRED_GENERATIONS)

    def listed(self, position: int, ahead: int = 0, last: int = 1_000) -> tuple[bytes, ...]:
        """Tags of one label or both, in so many generations."""
        labels = LABELS[position] if self.chance(0.7) else LABELS[position][:1]
        end = self.standing.chart.generation + ahead + 1
        generations = range(max(0, end - min(last, TAGS_PER_POSITION // len(labels))), end)
        return tuple(sorted(self._tag(generation, position, label) for label in labels for generation in generations))

    def _tag(self, generation: int, position: int, label: str) -> bytes:
        return tag(self.wallet.patient, generation, position, label)

    # --- signatures ----------------------------------------------------------------------------------------------

    def owner(self, operation: Operation) -> SignedOperation:
        """As the owner signs it: with the key that the chart has here."""
        key = self.wallet.owner(self.standing.chart.owner_key) or self.wallet.first_key()
        return self.signed_with(key, operation)

    def signed_with(self, key: SigningKey, operation: Operation) -> SignedOperation:
        """With this owner key; now and then under a number that another of the patient's devices used."""
        number = self.wallet.number(key.public)
        if number > 1 and self.chance(0.02):
            number -= 1
        return SignedOperation(operation, (self._cosignature(key, operation, ROLE_OWNER, 0, number),))

    def opening(self, operation: Operation) -> SignedOperation:
        """As the owner signs what makes the chart, which nothing can spoil."""
        key, until = self.wallet.first_key(), self.now_ms + HOUR_MS
        signed = self._cosignature(key, operation, ROLE_OWNER, 0, self.wallet.number(key.public), until)
        return SignedOperation(operation, (signed,))

    def delegate(self, operation: Operation, number: int) -> SignedOperation:
        """As delegate `number` signs it."""
        public = self.standing.delegates[number].terms.key
        key = self.wallet.delegate(public)
        assert key is not None
        signed = self._cosignature(key, operation, ROLE_DELEGATE, number, self.wallet.number(public))
        return SignedOperation(operation, (signed,))

    def guardians(self, operation: Operation, guardians: Guardians) -> SignedOperation:
        """As its guardians sign it: enough of them, and now and then one too few."""
        count = guardians.threshold if self.chance(0.95) else guardians.threshold - 1
        places = sorted(self.rng.sample(range(len(guardians.keys)), count))
        signed = []
        for place in places:
            key = self.wallet.guardian(guardians.keys[place])
            assert key is not None
            signed.append(self._cosignature(key, operation, ROLE_GUARDIAN, place, 0))
        return SignedOperation(operation, tuple(signed))

    def possession(self, key: SigningKey, change: int, to: OwnerKeys) -> bytes:
        """That a new owner key is held."""
        message = owner_possession_message(self._header.chain, self.chart, change, to)
        return self.host.memory.sign(key, message)

    def _cosignature(
        self, key: SigningKey, operation: Operation, role: int, actor: int, number: int, until: int | None = None
    ) -> Cosignature:
        until = self.until() if until is None else until
        named = operation_digest(operation)
        message = cosignature_message(self._header.chain, named, role, actor, number, until)
        return Cosignature(role, actor, number, until, self.host.memory.sign(key, message))

    # --- sending -------------------------------------------------------------------------------------------------

    def send(self, *operations: SignedOperation | Operation, by: int | None = None, owed: bool = False) -> None:
        """One transaction of these, carried by this node's institution or by another. `owed`: it stays valid."""
        until_ms = self.now_ms + HOUR_MS if owed or self.chance(0.93) else self.soon_ms()
        signed = tuple(one if isinstance(one, SignedOperation) else SignedOperation(one, ()) for one in operations)
        self.sendings.append(Sending(self.institution if by is None else by, signed, owed, until_ms))
