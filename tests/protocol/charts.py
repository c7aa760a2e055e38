"""Who acts for patients in tests: delegates, guardians, and the operations that they and owners sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from protocol.crypto.signing import SigningKey, cosign, owner_possession_message
from protocol.ledger import keys
from protocol.ledger.leaves import DelegateLeaf, Emergencies, Emergency, Recovery
from protocol.types.operations import (
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    ROLE_DELEGATE,
    ROLE_GUARDIAN,
    AppendRecords,
    BeginRecovery,
    BreakGlass,
    CompleteRecovery,
    Cosignature,
    Delegate,
    DelegateTerms,
    EndDelegate,
    Erase,
    Guardians,
    Operation,
    OwnerKeys,
    Policy,
    RecordEntry,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
    SignedOperation,
)

HOUR_MS = 3_600_000
ALL_ACTS = ACT_GRANT | ACT_REVOKE | ACT_READ


class Helper:
    """A delegate of one chart, with its key and the numbers that it has used."""

    def __init__(self, key: SigningKey, chart: int, number: int) -> None:
        self.key, self.chart, self.number = key, chart, number
        self.next_number = 0


def key_of(kind: int, number: int) -> SigningKey:
    return SigningKey(bytes([kind]) * 16 + number.to_bytes(16, "big"))


def owner_keys(key: SigningKey, encryption: bytes = b"n" * 32) -> OwnerKeys:
    return OwnerKeys(key.public, 1, encryption)


class ChartHelpers:
    """What `World` can do with charts beyond opening, granting and reading."""

    if TYPE_CHECKING:
        head: Any
        now: int
        owned: Any
        run: Any
        leaf: Any
        wait: Any
        genesis: Any
        terms: Any
        helpers: int

    # --- delegates

    def delegate_terms(self, key: SigningKey, **changes: Any) -> DelegateTerms:
        """Every act, for treatment, on whatever has the sensitivities 3 and 4."""
        plain = self.terms()
        fields: dict[str, Any] = {
            "key": key.public,
            "encryption_suite": 1,
            "encryption_key": b"d" * 32,
            "acts": ALL_ACTS,
            "tags": plain.tags,
            "purposes": plain.purposes,
            "not_before": plain.not_before,
            "not_after": plain.not_after + 1_000 * HOUR_MS,
        }
        return DelegateTerms(**{**fields, **changes})

    def name_delegate(self, patient: Any, **changes: Any) -> Helper:
        """One block in which the owner names a delegate."""
        self.helpers += 1
        key = key_of(7, self.helpers)
        terms = self.delegate_terms(key, **changes)
        receipt = self.run(2, self.owned(patient, Delegate(patient.chart, terms)))
        return Helper(key, patient.chart, receipt.delegate)

    def delegated(
        self, helper: Helper, operation: Operation, number: int | None = None, expires_at: int | None = None
    ) -> SignedOperation:
        if number is None:
            number = helper.next_number
            helper.next_number += 1
        until = self.now + HOUR_MS if expires_at is None else expires_at
        chain = self.head.chain
        given = cosign(helper.key, chain, operation, ROLE_DELEGATE, number, until, actor=helper.number)
        return SignedOperation(operation, (given,))

    def end_delegate(self, patient: Any, helper: Helper) -> Any:
        return self.run(2, self.owned(patient, EndDelegate(patient.chart, helper.number)))

    def delegate_leaf(self, helper: Helper) -> DelegateLeaf:
        found = self.leaf(keys.delegate(helper.chart, helper.number))
        assert isinstance(found, DelegateLeaf)
        return found

    # --- guardians and changes

    def some_guardians(self, patient: Any, threshold: int = 2, count: int = 3) -> Guardians:
        """New guardians for a patient, whose keys it remembers as those that will sign from now on."""
        made = []
        for _ in range(count):
            self.helpers += 1
            made.append(key_of(8, self.helpers))
        patient.guardians = sorted(made, key=lambda key: key.public)
        return Guardians(threshold, tuple(key.public for key in patient.guardians))

    def set_guardians(self, patient: Any, threshold: int = 2, count: int = 3) -> Any:
        """One block with the first guardians."""
        guardians = self.some_guardians(patient, threshold, count)
        return self.run(2, self.owned(patient, SetGuardians(patient.chart, self.next_change(patient), guardians)))

    def guarded(
        self, patient: Any, operation: Operation, *who: int, expires_at: int | None = None, number: int = 0
    ) -> SignedOperation:
        """Co-signed by these of the patient's guardians, by place."""
        until = self.now + HOUR_MS if expires_at is None else expires_at
        given = [self._guardian(patient, operation, place, number, until) for place in who]
        return SignedOperation(operation, tuple(given))

    def _guardian(self, patient: Any, operation: Operation, place: int, number: int, until: int) -> Cosignature:
        key = patient.guardians[place]
        return cosign(key, self.head.chain, operation, ROLE_GUARDIAN, number, until, actor=place)

    def recovery(self, patient: Any) -> Recovery:
        found = self.leaf(keys.recovery(patient.chart))
        assert found is None or isinstance(found, Recovery)
        return found or Recovery()

    def next_change(self, patient: Any) -> int:
        return self.recovery(patient).changes

    def fresh_key(self) -> SigningKey:
        self.helpers += 1
        return key_of(9, 10_000 + self.helpers)

    def possession(self, patient: Any, change: int, key: SigningKey, to: OwnerKeys) -> bytes:
        return key.sign(owner_possession_message(self.head.chain, patient.chart, change, to))

    def rotating(self, patient: Any, key: SigningKey, **changes: Any) -> RotateOwnerKey:
        to, change = owner_keys(key), self.next_change(patient)
        made = RotateOwnerKey(patient.chart, change, to, self.possession(patient, change, key, to))
        return replace(made, **changes)

    def recovering(self, patient: Any, key: SigningKey, overrule: bool = False, **changes: Any) -> BeginRecovery:
        to, change = owner_keys(key), self.next_change(patient)
        made = BeginRecovery(patient.chart, change, to, self.possession(patient, change, key, to), overrule)
        return replace(made, **changes)

    def replace_owner_key(self, patient: Any) -> SigningKey:
        """A rotation, from its beginning to its end; the key that was the owner's until then."""
        old, new = patient.key, self.fresh_key()
        change = self.next_change(patient)
        self.run(2, self.owned(patient, self.rotating(patient, new)))
        self.wait(self.genesis.params.recovery_ms)
        self.run(2, CompleteRecovery(patient.chart, change))
        patient.key, patient.next_number = new, 0
        return old  # type: ignore[no-any-return]

    def begin(self, patient: Any, key: SigningKey, *who: int, carrier: int = 2, overrule: bool = False) -> int:
        """One block in which guardians (the first two) begin a recovery; its number."""
        operation = self.recovering(patient, key, overrule)
        self.run(carrier, self.guarded(patient, operation, *(who or (0, 1))))
        return operation.change

    def recover(self, patient: Any, overrule: bool = False) -> SigningKey:
        """A recovery, from its beginning to its end; the key that was the owner's until then."""
        old, new = patient.key, self.fresh_key()
        change = self.begin(patient, new, carrier=0, overrule=overrule)
        self.wait(self.genesis.params.recovery_ms)
        self.run(2, CompleteRecovery(patient.chart, change))
        patient.key, patient.next_number = new, 0
        return old  # type: ignore[no-any-return]

    # --- policy, writing, emergencies, erasure

    def set_policy(self, patient: Any, policy: Policy) -> Any:
        return self.run(2, self.owned(patient, SetPolicy(patient.chart, policy)))

    def append_held(self, patient: Any, *holders: int, entries: tuple[RecordEntry, ...]) -> list[int]:
        """Records that these institutions store."""
        receipt = self.run(0, AppendRecords(patient.chart, entries, holders))
        return list(range(receipt.first_event, receipt.first_event + receipt.events))

    def break_glass(self, patient: Any, *records: int, reader: int = 1, purpose: str = "ETREAT") -> Any:
        return self.run(reader, BreakGlass(patient.chart, records, purpose, b"j" * 32))

    def emergency(self, patient: Any, event: int) -> Emergency:
        found = self.leaf(keys.emergency(patient.chart, event))
        assert isinstance(found, Emergency)
        return found

    def emergencies(self, institution: int) -> Emergencies:
        found = self.leaf(keys.emergencies(institution))
        assert found is None or isinstance(found, Emergencies)
        return found or Emergencies()

    def erasing(self, patient: Any, *records: int, holders: tuple[int, ...] = ()) -> SignedOperation:
        return self.owned(patient, Erase(patient.chart, records, holders))  # type: ignore[no-any-return]

    def erase(self, patient: Any, *records: int, holders: tuple[int, ...] = (), custodian: int = 0) -> Any:
        return self.run(custodian, self.erasing(patient, *records, holders=holders))
