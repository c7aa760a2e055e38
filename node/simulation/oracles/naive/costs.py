"""What operations cost, and whose they are, as the table of docs/spec/operations.md has it."""

from __future__ import annotations

from protocol.types.governance import Ballot, Motion, ReportEquivocation, RotateInstitutionKey
from protocol.types.operations import (
    AppendRecords,
    BeginRecovery,
    BreakGlass,
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    Delegate,
    Disclose,
    EndDelegate,
    Erase,
    ErasureReceipt,
    Grant,
    Hold,
    MoveChart,
    OpenChart,
    Operation,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
)

EACH = {
    OpenChart: 4,
    MoveChart: 4,
    AppendRecords: 4,
    Grant: 36,
    Revoke: 40,
    Disclose: 24,
    BreakGlass: 24,
    Erase: 36,
    Hold: 36,
    SetPolicy: 8,
    Delegate: 20,
    EndDelegate: 20,
    SetGuardians: 100,
    RotateOwnerKey: 100,
    BeginRecovery: 100,
    CancelRecovery: 100,
    CompleteRecovery: 100,
    ConfirmBreakGlass: 24,
    ReviewBreakGlass: 24,
    ErasureReceipt: 20,
    ReleaseHold: 36,
    Motion: 112,
    Ballot: 112,
    RotateInstitutionKey: 16,
    ReportEquivocation: 32,
}


def owners(operation: Operation) -> bool:
    """Whether an operation is an owner's, which come first in a block and never ride with others."""
    kinds = (Grant, Revoke, SetPolicy, Delegate, EndDelegate, SetGuardians, RotateOwnerKey)
    return isinstance(operation, (*kinds, BeginRecovery, CancelRecovery))


def cost(operation: Operation) -> int:
    """What the operation counts towards a block's cost."""
    named = 0
    match operation:
        case AppendRecords():
            named = len(operation.entries) + (0 if operation.grant is None else 16)
        case Disclose() | BreakGlass() | ConfirmBreakGlass() | Hold():
            named = len(operation.records or ())
        case Grant():
            named = len(operation.terms.grantees)
        case Revoke():
            named = 16 * (len(operation.reissues) + len(operation.delegates))
        case Erase():
            named = len(operation.records) + len(operation.holders)
    return EACH[type(operation)] + named
