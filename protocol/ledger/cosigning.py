"""Co-signatures: that an operation carries those that it needs and no others, and that they are good.

A co-signature is over chain, operation digest, role, actor, number and expiry. An owner's and a delegate's number is
used up in the actor's anti-replay window, so each counts once; a guardian's needs none, since what guardians sign names
a change that happens once. Each counts for a time that the parameters bound: what is signed and held back is dead
soon, whoever has it.
"""

from __future__ import annotations

from msgspec.structs import replace

from protocol import limits
from protocol.chart_errors import OwnerFrozen, TooFewGuardians, UnknownDelegate
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import cosignature_message
from protocol.errors import (
    BadCosignature,
    CosignatureExpired,
    CosignatureTooLong,
    MissingCosignature,
    NotAscending,
    Unauthorised,
)
from protocol.ledger import keys, windows
from protocol.ledger.leaves import Chart, DelegateLeaf, Recovery
from protocol.ledger.rules import Call
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import Window
from protocol.ledger.working import Working
from protocol.types.operations import ROLE_DELEGATE, ROLE_GUARDIAN, ROLE_OWNER, Cosignature, Guardians, Operation


def reads(chart: int, read: ReadSet) -> None:
    """What the checks below look at for an operation on this chart that no delegate signs."""
    if chart <= keys.CHART_MAX:
        read.keys.add(keys.chart(chart))
        read.keys.add(keys.recovery(chart))


def reads_delegate(chart: int, call: Call, read: ReadSet) -> None:
    """The same for one that a delegate may sign: only what one co-signature names, since more are never valid and what
    is read would cost more than what is said."""
    reads(chart, read)
    if len(call.cosignatures) == 1 and chart <= keys.CHART_MAX:
        cosignature = call.cosignatures[0]
        if cosignature.role == ROLE_DELEGATE and cosignature.actor <= keys.DELEGATE_MAX:
            read.keys.add(keys.delegate(chart, cosignature.actor))


def none_needed(call: Call) -> None:
    """Raise `Unauthorised` if an operation of the institution's own carries co-signatures."""
    if call.cosignatures:
        raise Unauthorised("this operation takes no co-signature")


def role_of(call: Call) -> int:
    """The role of the only co-signature. Raises `MissingCosignature`, or `Unauthorised` for more than one."""
    return _only(call).role


def use_owner(working: Working, operation: Operation, call: Call, owner_key: bytes, window: Window) -> Window:
    """The owner's window after the owner's co-signature of `operation` is checked and its number used up.

    Raises `MissingCosignature`, `Unauthorised` for one of another role, `CosignatureExpired`, `CosignatureTooLong`,
    `Replayed`, `NumberTooFar`, `BadCosignature`.
    """
    cosignature = _only(call)
    if cosignature.role != ROLE_OWNER or cosignature.actor != 0:
        raise Unauthorised("this operation takes one co-signature, the owner's")
    after = _use_number(working, cosignature, window)
    _verify(working, operation, cosignature, owner_key)
    return after


def owner_signed(working: Working, operation: Operation, call: Call, chart: Chart) -> Chart:
    """`chart` with its owner's number used up; the caller puts it. Raises as `use_owner`."""
    return replace(chart, window=use_owner(working, operation, call, chart.owner_key, chart.window))


def delegate_signed(working: Working, operation: Operation, call: Call, number: int, chart: Chart) -> DelegateLeaf:
    """The delegate that co-signed for the owner of chart `number`, with its number used up and put.

    Whether it is in force is for the caller to ask. Raises `UnknownDelegate`, and as `use_owner`.
    """
    cosignature = _only(call)
    if cosignature.role != ROLE_DELEGATE:
        raise Unauthorised("this operation takes one co-signature, a delegate's")
    leaf = delegate(working, number, chart, cosignature.actor)
    after = replace(leaf, window=_use_number(working, cosignature, leaf.window))
    _verify(working, operation, cosignature, leaf.terms.key)
    working.put(keys.delegate(number, cosignature.actor), after)
    return after


def delegate(working: Working, number: int, chart: Chart, which: int) -> DelegateLeaf:
    """A delegate of chart `number`, whether in force or not. Raises `UnknownDelegate`."""
    if which >= chart.delegates:
        raise UnknownDelegate(f"chart {number} has no delegate {which}")
    return working.require(keys.delegate(number, which), DelegateLeaf)


def guardians_signed(working: Working, operation: Operation, call: Call, guardians: Guardians) -> None:
    """Raise `TooFewGuardians` unless enough guardians co-signed and nobody else; else as `use_owner`."""
    if not call.cosignatures:
        raise MissingCosignature(f"{guardians.threshold} of the chart's guardians must co-sign this operation")
    last = -1
    for cosignature in call.cosignatures:
        if cosignature.role != ROLE_GUARDIAN or cosignature.actor >= len(guardians.keys) or cosignature.number != 0:
            raise Unauthorised("this operation takes co-signatures of the chart's guardians and no others")
        if cosignature.actor <= last:
            raise NotAscending("co-signatures must be strictly ascending by guardian")
        last = cosignature.actor
    if len(call.cosignatures) < guardians.threshold:
        raise TooFewGuardians(f"{len(call.cosignatures)} guardians co-signed, and {guardians.threshold} must")
    for cosignature in call.cosignatures:
        _check_time(working, cosignature)
        _verify(working, operation, cosignature, guardians.keys[cosignature.actor])


def recovery(working: Working, number: int) -> Recovery:
    """The guardians of this chart, and what waits."""
    return working.get(keys.recovery(number), Recovery) or Recovery()


def frozen(working: Working, number: int) -> bool:
    """Whether the owner's key can only withdraw: a recovery waits that says that it is stolen."""
    pending = recovery(working, number).pending
    return pending is not None and pending.overrule


def check_not_frozen(working: Working, number: int) -> None:
    """Raise `OwnerFrozen` if the owner, and whoever acts for it, can only withdraw."""
    if frozen(working, number):
        raise OwnerFrozen()


def _only(call: Call) -> Cosignature:
    if not call.cosignatures:
        raise MissingCosignature("the chart's owner must co-sign this operation")
    if len(call.cosignatures) > 1:
        raise Unauthorised("this operation takes one co-signature")
    return call.cosignatures[0]


def _check_time(working: Working, cosignature: Cosignature) -> None:
    if working.timestamp > cosignature.expires_at:
        raise CosignatureExpired()
    params = working.params
    most_ms = params.guardian_cosign_ms if cosignature.role == ROLE_GUARDIAN else params.cosign_ms
    if cosignature.expires_at - working.timestamp > most_ms:
        raise CosignatureTooLong(f"a co-signature expires more than {most_ms} ms ahead of ledger time")


def _use_number(working: Working, cosignature: Cosignature, window: Window) -> Window:
    _check_time(working, cosignature)
    return windows.use(window, cosignature.number, limits.WINDOW_BITS_OWNER)


def _verify(working: Working, operation: Operation, cosignature: Cosignature, key: bytes) -> None:
    role, actor = cosignature.role, cosignature.actor
    message = cosignature_message(
        working.chain, operation_digest(operation), role, actor, cosignature.number, cosignature.expires_at
    )
    if not working.check_cosignature(key, message, cosignature.signature):
        raise BadCosignature("a co-signature does not verify under the key that the chart names for it")
