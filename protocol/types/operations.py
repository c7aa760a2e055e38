"""The operations: each one change to the ledger, perhaps with co-signatures.

Tags of the union are wire numbers and never reused. One new operation adds a class here, one handler in
`protocol/ledger`, one vector and one row in docs/spec/operations.md.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U16, Digest, Number, PublicKey, Signature, Tag, TimeMs, Wire
from protocol.types.governance import Ballot, Motion, ReportEquivocation, RotateInstitutionKey
from protocol.types.terms import (
    ACCESS_READ,
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    Bar,
    BarTags,
    BreakGlassMode,
    DelegateReissue,
    DelegateTerms,
    GrantTags,
    GrantTerms,
    Guardians,
    OwnerKeys,
    Policy,
    Purpose,
    Reissue,
    TagList,
    Tags4,
)

__all__ = [
    "ACCESS_READ",
    "ACCESS_WRITE",
    "ACT_GRANT",
    "ACT_READ",
    "ACT_REVOKE",
    "ROLE_DELEGATE",
    "ROLE_GUARDIAN",
    "ROLE_OWNER",
    "AppendRecords",
    "Ballot",
    "Bar",
    "BarTags",
    "BeginRecovery",
    "BreakGlass",
    "BreakGlassMode",
    "CancelRecovery",
    "CompleteRecovery",
    "ConfirmBreakGlass",
    "Cosignature",
    "Delegate",
    "DelegateReissue",
    "DelegateTerms",
    "Disclose",
    "EndDelegate",
    "Erase",
    "ErasureReceipt",
    "EventNumber",
    "Grant",
    "GrantTags",
    "GrantTerms",
    "Guardians",
    "Hold",
    "Motion",
    "MoveChart",
    "OpenChart",
    "Operation",
    "OwnerKeys",
    "Policy",
    "Purpose",
    "RecordEntry",
    "RecordList",
    "Reissue",
    "ReleaseHold",
    "ReportEquivocation",
    "ReviewBreakGlass",
    "Revoke",
    "RotateInstitutionKey",
    "RotateOwnerKey",
    "SetGuardians",
    "SetPolicy",
    "SignedOperation",
    "TagList",
    "Tags4",
]

ROLE_OWNER = 1
ROLE_DELEGATE = 2
ROLE_GUARDIAN = 3
"""Who co-signs. A `Cosignature`'s actor is 0 for the owner, else the delegate's number or the guardian's place."""

EventNumber = Annotated[int, Meta(ge=0, lt=limits.EVENTS_PER_CHART)]
RecordList = Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_DISCLOSURE)]
"""Event numbers of records, strictly ascending."""


class RecordEntry(Wire, frozen=True):
    """What stands on the ledger for a record.

    `supersedes` is the event number of the record it amends; `disputes` that of the record beside which the owner has
    this one stand as a note of dispute, which takes the owner's co-signature.
    """

    commitment: Digest
    tags: Tags4
    supersedes: Number | None = None
    disputes: Number | None = None


class OpenChart(Wire, frozen=True, tag=1):
    """A patient becomes known to a custodian. Carries the owner's co-signature besides the custodian's transaction.

    `custodian` is the institution that the owner chose: no other can carry this, whoever sees it on its way.
    """

    custodian: Number
    owner_key: PublicKey
    encryption_suite: U16
    encryption_key: Digest


class AppendRecords(Wire, frozen=True, tag=2):
    """New entries of one chart, by its custodian, or by an institution that `grant` lets write.

    `holders` are the institutions, strictly ascending, that store the sealed records and shares of their keys.
    """

    chart: Number
    entries: Annotated[tuple[RecordEntry, ...], Meta(min_length=1, max_length=limits.ENTRIES_PER_OPERATION)]
    holders: Annotated[tuple[Number, ...], Meta(max_length=limits.HOLDERS_PER_RECORD)] = ()
    grant: Number | None = None


class Grant(Wire, frozen=True, tag=3):
    """Co-signed by the owner, or by a delegate within its bounds. The ledger assigns the grant's number."""

    chart: Number
    terms: GrantTerms


class Revoke(Wire, frozen=True, tag=4):
    """Ends a grant; idempotent. Co-signed by the owner, the first time, the chart moves to its next generation: the
    named live grants and delegates get fresh tags, and the policy fresh bars. Co-signed by a delegate, it ends the
    grant and no more."""

    chart: Number
    grant: Number
    reissues: Annotated[tuple[Reissue, ...], Meta(max_length=limits.REISSUES_PER_REVOKE)] = ()
    delegates: Annotated[tuple[DelegateReissue, ...], Meta(max_length=limits.DELEGATES_PER_REVOKE)] = ()
    bars: Annotated[tuple[Bar, ...], Meta(max_length=limits.BARS_PER_CHART)] | None = None


class Disclose(Wire, frozen=True, tag=5):
    """An institution asks to read. Never invalid for want of consent: the rules record disclosed or denied.

    `grant` is the number that the asker relies on, None for none. `practitioner` is who asks, by the pseudonym that the
    institution gave them for this chart. `details` commits to what is said to the owner in confidence. Co-signed by a
    delegate and without `grant`, it is the delegate who reads, whoever carries it.
    """

    chart: Number
    grant: Number | None
    records: RecordList
    purpose: Purpose
    practitioner: Tag | None = None
    details: Digest | None = None


class SetPolicy(Wire, frozen=True, tag=10):
    """Co-signed by the owner: the chart's standing rules from here on, whole."""

    chart: Number
    policy: Policy


class Delegate(Wire, frozen=True, tag=11):
    """Co-signed by the owner. The ledger assigns the delegate's number."""

    chart: Number
    terms: DelegateTerms


class EndDelegate(Wire, frozen=True, tag=12):
    """Co-signed by the owner or by that delegate; idempotent."""

    chart: Number
    delegate: Number


class SetGuardians(Wire, frozen=True, tag=13):
    """Co-signed by the owner: these guardians from now on if there were none, else after the waiting time; None for
    none. `change` is the number that the ledger will give to this change."""

    chart: Number
    change: Number
    guardians: Guardians | None


class RotateOwnerKey(Wire, frozen=True, tag=14):
    """Co-signed by the owner: new keys after the waiting time. `possession` is the new owner key's own signature."""

    chart: Number
    change: Number
    keys: OwnerKeys
    possession: Signature


class BeginRecovery(Wire, frozen=True, tag=15):
    """Co-signed by enough guardians: new owner keys after the waiting time, unless the owner's key vetoes. Carried by
    the custodian with `overrule`, no veto of the owner's key counts: it is said to be stolen."""

    chart: Number
    change: Number
    keys: OwnerKeys
    possession: Signature
    overrule: bool = False


class CancelRecovery(Wire, frozen=True, tag=16):
    """The change that waits is off. Co-signed by the owner, whose veto an overruling recovery does not hear, or by
    enough guardians."""

    chart: Number
    change: Number


class CompleteRecovery(Wire, frozen=True, tag=17):
    """The change that waited takes effect. Whoever carries it, it takes no co-signature."""

    chart: Number
    change: Number


class BreakGlass(Wire, frozen=True, tag=18):
    """An institution reads in an emergency, without grant, by the chart's policy, and answers for it.

    `justification` commits to the reason given, which is sealed to the owner; `purpose` is ETREAT or below.
    """

    chart: Number
    records: RecordList
    purpose: Purpose
    justification: Digest
    practitioner: Tag | None = None


class ConfirmBreakGlass(Wire, frozen=True, tag=19):
    """A second institution vouches for an emergency that the chart's policy wants two for. `emergency` is the event
    number of the `BreakGlass`, `institution` whose it is; `records` are those that it asks for, to be judged anew."""

    chart: Number
    emergency: EventNumber
    institution: Number
    records: RecordList


class ReviewBreakGlass(Wire, frozen=True, tag=20):
    """Another institution's finding about an emergency of `institution`; `findings` commits to its report, if there is
    one."""

    chart: Number
    emergency: EventNumber
    institution: Number
    justified: bool
    findings: Digest | None = None


class Erase(Wire, frozen=True, tag=21):
    """Ordered by the owner (co-signature) and the custodian (carrier): these records are to be deleted everywhere.

    `holders`, strictly ascending, are all the institutions that ever stored any of them besides the custodian; each
    owes a receipt.
    """

    chart: Number
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_ERASURE)]
    holders: Annotated[tuple[Number, ...], Meta(max_length=limits.HOLDERS_PER_ERASURE)]


class ErasureReceipt(Wire, frozen=True, tag=22):
    """The carrier states that it deleted all that it had of what this erasure ordered, keys and their key-encryption
    key included. `erasure` is the event number of the `Erase`."""

    chart: Number
    erasure: EventNumber


class Hold(Wire, frozen=True, tag=23):
    """The custodian is bound by law to keep these records (None: all of the chart). `basis` commits to the order."""

    chart: Number
    records: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_HOLD)] | None
    basis: Digest


class ReleaseHold(Wire, frozen=True, tag=24):
    """The custodian is bound no more. `hold` is the event number of the `Hold`."""

    chart: Number
    hold: EventNumber


class MoveChart(Wire, frozen=True, tag=25):
    """The owner's chart gets a new custodian, in place of `former`, which was removed from the consortium.

    Co-signed by the owner and carried by `custodian`, whom the owner chose: no other can carry this.
    """

    chart: Number
    former: Number
    custodian: Number


Operation = (
    OpenChart
    | AppendRecords
    | Grant
    | Revoke
    | Disclose
    | Motion
    | Ballot
    | RotateInstitutionKey
    | ReportEquivocation
    | SetPolicy
    | Delegate
    | EndDelegate
    | SetGuardians
    | RotateOwnerKey
    | BeginRecovery
    | CancelRecovery
    | CompleteRecovery
    | BreakGlass
    | ConfirmBreakGlass
    | ReviewBreakGlass
    | Erase
    | ErasureReceipt
    | Hold
    | ReleaseHold
    | MoveChart
)


class Cosignature(Wire, frozen=True):
    """An actor's consent to one operation, over chain, operation digest, role, actor, number and expiry.

    `number` is used up in the anti-replay window of an owner or delegate; a guardian's is 0, since what guardians sign
    names a change that happens once. `expires_at` is ledger time.
    """

    role: U16
    actor: Number
    number: Number
    expires_at: TimeMs
    signature: Signature


class SignedOperation(Wire, frozen=True):
    """An operation and its co-signatures, strictly ascending by role and actor."""

    operation: Operation
    cosignatures: Annotated[tuple[Cosignature, ...], Meta(max_length=limits.COSIGNATURES_PER_OPERATION)] = ()
