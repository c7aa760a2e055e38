"""From the model's words to the ledger's: labels become tags, names of keys Ed25519 keys, steps operations.

A wallet's and a custodian's part in the game, written again for it: nothing here judges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from protocol.crypto.signing import SigningKey, cosign, owner_possession_message
from protocol.crypto.tags import tag
from protocol.types import governance, operations
from protocol.types.operations import Cosignature, Operation, SignedOperation
from tests.protocol.ledger.access_model import BarModel, Cover, GuardiansModel, Mark
from tests.protocol.ledger.access_rules import Signed, Step

ROLES = {"owner": operations.ROLE_OWNER, "delegate": operations.ROLE_DELEGATE, "guardian": operations.ROLE_GUARDIAN}
ACTS = {"grant": operations.ACT_GRANT, "revoke": operations.ACT_REVOKE, "read": operations.ACT_READ}
ACCESS = {"read": operations.ACCESS_READ, "write": operations.ACCESS_WRITE, "own": 8}
MOTIONS = {
    "suspended": governance.Suspend,
    "accredited": governance.Reinstate,
    "removed": governance.Remove,
}
MOTION_MS = 3_600_000


def name(label: str) -> bytes:
    """32 bytes that stand for this label, and for no other."""
    return hashlib.blake2b(label.encode(), digest_size=32).digest()


class Words:
    """One world's keys and chart secrets."""

    def __init__(self, chain: bytes) -> None:
        self.chain = chain
        self.signers: dict[str, SigningKey] = {}

    def signed(self, step: Step, now: int) -> SignedOperation:
        """The step as the ledger's operation, with its co-signatures."""
        operation = self.operation(step, now)
        return SignedOperation(operation, tuple(self.cosignature(operation, one) for one in step.signed))

    def key(self, signer: str) -> SigningKey:
        if signer not in self.signers:
            self.signers[signer] = SigningKey(name(signer))
        return self.signers[signer]

    def tags(self, chart: int, position: int, marks: Iterable[Mark] | None) -> tuple[bytes, ...] | None:
        """The chart's tags for these marks, ascending."""
        if marks is None:
            return None
        secret = name(f"chart {chart}")
        return tuple(sorted(tag(secret, generation, position, label) for generation, label in marks))

    def cover(self, chart: int, cover: Cover) -> Any:
        return tuple(self.tags(chart, position, marks) for position, marks in enumerate(cover))

    def four(self, chart: int, marks: Sequence[Mark]) -> Any:
        return tuple(self.tags(chart, position, [mark])[0] for position, mark in enumerate(marks))  # type: ignore[index]

    def bars(self, chart: int, bars: Iterable[BarModel]) -> tuple[operations.Bar, ...]:
        return tuple(
            operations.Bar(
                bar.institution,
                (
                    self.tags(chart, 0, bar.categories),
                    self.tags(chart, 1, bar.years),
                    None
                    if bar.sensitivities is None
                    else tuple(sorted(one for at in (2, 3) for one in self.tags(chart, at, bar.sensitivities) or ())),
                ),
                bar.emergencies,
                bar.generation,
            )
            for bar in bars
        )

    def guardians(self, guardians: GuardiansModel | None) -> operations.Guardians | None:
        if guardians is None:
            return None
        return operations.Guardians(guardians.threshold, tuple(self.key(key).public for key in guardians.keys))

    def owner_keys(self, to: tuple[str, str]) -> operations.OwnerKeys:
        return operations.OwnerKeys(self.key(to[0]).public, 1, name(to[1]))

    def operation(self, step: Step, now: int) -> Operation:
        """The step as the ledger's operation."""
        chart, what = step.chart, step.what
        match step.kind:
            case "open":
                to = self.owner_keys(what.owner)
                return operations.OpenChart(what.custodian, to.owner_key, 1, to.encryption_key)
            case "move":
                return operations.MoveChart(chart, what.former, what.custodian)
            case "append":
                entries = tuple(
                    operations.RecordEntry(name("record"), self.four(chart, marks), supersedes, disputes)
                    for marks, supersedes, disputes in what.entries
                )
                return operations.AppendRecords(chart, entries, tuple(sorted(what.holders)), what.grant)
            case "grant":
                return operations.Grant(chart, self.terms(chart, what.grant))
            case "revoke":
                bars = None if what.bars is None else self.bars(chart, what.bars)
                return operations.Revoke(
                    chart,
                    what.grant,
                    tuple(operations.Reissue(n, self.cover(chart, what.reissues[n])) for n in sorted(what.reissues)),
                    tuple(
                        operations.DelegateReissue(n, self.cover(chart, what.renewals[n]))
                        for n in sorted(what.renewals)
                    ),
                    bars,
                )
            case "policy":
                mode = operations.BreakGlassMode[what.mode]
                return operations.SetPolicy(chart, operations.Policy(mode, self.bars(chart, what.bars)))
            case "disclose":
                staff = None if what.staff is None else name(what.staff)[:16]
                return operations.Disclose(chart, what.grant, what.records, what.purpose, staff)
            case "break_glass":
                staff = None if what.staff is None else name(what.staff)[:16]
                return operations.BreakGlass(chart, what.records, what.purpose, name("why"), staff)
            case _:
                return self.other_operation(step, now)

    def other_operation(self, step: Step, now: int) -> Operation:
        chart, what = step.chart, step.what
        match step.kind:
            case "name_delegate":
                return operations.Delegate(chart, self.delegate_terms(chart, what.delegate))
            case "end_delegate":
                return operations.EndDelegate(chart, what.delegate)
            case "set_guardians":
                return operations.SetGuardians(chart, what.change, self.guardians(what.guardians))
            case "rotate":
                return operations.RotateOwnerKey(chart, what.change, self.owner_keys(what.to), self.possession(step))
            case "recover":
                possession = self.possession(step)
                return operations.BeginRecovery(chart, what.change, self.owner_keys(what.to), possession, what.overrule)
            case "cancel":
                return operations.CancelRecovery(chart, what.change)
            case "complete":
                return operations.CompleteRecovery(chart, what.change)
            case "confirm":
                return operations.ConfirmBreakGlass(chart, what.event, what.institution, what.records)
            case "review":
                return operations.ReviewBreakGlass(chart, what.event, what.institution, what.justified)
            case "erase":
                return operations.Erase(chart, what.records, tuple(sorted(what.holders)))
            case "receipt":
                return operations.ErasureReceipt(chart, what.event)
            case "hold":
                return operations.Hold(chart, what.records, name("basis"))
            case "release_hold":
                return operations.ReleaseHold(chart, what.event)
            case "standing":
                return operations.Motion(MOTIONS[what.status](what.institution), now + MOTION_MS)
            case _:
                raise ValueError(step.kind)

    def terms(self, chart: int, grant: Any) -> operations.GrantTerms:
        staff = None if grant.staff is None else tuple(sorted(name(one)[:16] for one in grant.staff))
        return operations.GrantTerms(
            tuple(sorted(grant.readers)),
            self.cover(chart, grant.cover),
            tuple(sorted(grant.purposes)),
            grant.begin,
            grant.end,
            sum(ACCESS[one] for one in grant.access),
            staff,
        )

    def delegate_terms(self, chart: int, delegate: Any) -> operations.DelegateTerms:
        return operations.DelegateTerms(
            self.key(delegate.key).public,
            1,
            name("encryption " + delegate.key),
            sum(ACTS[act] for act in delegate.acts),
            self.cover(chart, delegate.cover),
            tuple(sorted(delegate.purposes)),
            delegate.begin,
            delegate.end,
        )

    def possession(self, step: Step) -> bytes:
        to = self.owner_keys(step.what.to)
        change = step.what.change + (not step.what.possessed)
        message = owner_possession_message(self.chain, step.chart, change, to)
        return self.key(step.what.to[0]).sign(message)

    def cosignature(self, operation: Operation, signed: Signed) -> Cosignature:
        role = ROLES[signed.role]
        of = operations.EndDelegate(0, 9_999) if signed.spoiled else operation
        return cosign(self.key(signed.key), self.chain, of, role, signed.number, signed.until, actor=signed.actor)
