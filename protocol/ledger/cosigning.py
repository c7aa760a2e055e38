"""Co-signatures: that an operation carries those that it needs and no others, and that they are good.

A co-signature is over chain, operation digest, role, number and expiry, and its number is used up in the actor's
anti-replay window, so it counts once, here, and for a bounded time.
"""

from __future__ import annotations

from protocol import limits
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import cosignature_message
from protocol.errors import BadCosignature, CosignatureExpired, MissingCosignature, Unauthorised
from protocol.ledger import windows
from protocol.ledger.rules import Call
from protocol.ledger.windows import Window
from protocol.ledger.working import Working
from protocol.types.operations import ROLE_OWNER, Operation


def none_needed(call: Call) -> None:
    """Raise `Unauthorised` if an operation of the institution's own carries co-signatures."""
    if call.cosignatures:
        raise Unauthorised("this operation takes no co-signature")


def use_owner(working: Working, operation: Operation, call: Call, owner_key: bytes, window: Window) -> Window:
    """The owner's window after the owner's co-signature of `operation` is checked and its number used up.

    Raises `MissingCosignature`, `Unauthorised` for one of another role, `CosignatureExpired`, `Replayed`,
    `NumberTooFar`, `BadCosignature`.
    """
    if not call.cosignatures:
        raise MissingCosignature("the chart's owner must co-sign this operation")
    if len(call.cosignatures) > 1 or call.cosignatures[0].role != ROLE_OWNER:
        raise Unauthorised("this operation takes one co-signature, the owner's")
    cosignature = call.cosignatures[0]
    if working.timestamp > cosignature.expires_at:
        raise CosignatureExpired()
    after = windows.use(window, cosignature.number, limits.WINDOW_BITS_OWNER)
    message = cosignature_message(
        working.chain, operation_digest(operation), ROLE_OWNER, cosignature.number, cosignature.expires_at
    )
    if not working.check_cosignature(owner_key, message, cosignature.signature):
        raise BadCosignature("the owner's co-signature does not verify under the chart's owner key")
    return after
