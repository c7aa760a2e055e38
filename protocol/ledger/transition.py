"""The transition: transactions applied to a state, whole or not at all, one after the other.

`Execution` is what a leader builds a block with, transaction by transaction; `blocks.apply_block` runs a whole block
through one. A transaction comes with a `SignedBy`, which may remember the key that it was verified under once;
co-signatures are checked by a `Verifier` that the node may put a cache in front of.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol import limits
from protocol.crypto.signing import Verifier
from protocol.errors import InvalidTransaction, MixedTransaction, TooCostly
from protocol.ledger import institutions, keys
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Call, Family, OperationReceipt
from protocol.ledger.view import Changes, StateView
from protocol.ledger.working import Working
from protocol.types.base import Wire
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet
from protocol.types.transaction import TransactionBody

__all__ = ["Execution", "Family", "OperationReceipt", "Receipt", "SignedBy", "check_form", "classify", "cost"]

SignedBy = Callable[[bytes], bool]
"""Whether a transaction's signature verifies under this public key (32 bytes). Which key counts is for the state to
say at the very place in the chain where the transaction stands, since keys rotate."""


class Receipt(Wire, frozen=True):
    """What a valid transaction did, operation by operation."""

    operations: tuple[OperationReceipt, ...]


def classify(body: TransactionBody) -> Family:
    """Whose operations these are. Raises `MixedTransaction` if both owners' and an institution's are among them."""
    operations = body.operations
    family = RULES[type(operations[0].operation)].family
    for signed in operations[1:]:
        if RULES[type(signed.operation)].family is not family:
            raise MixedTransaction()
    return family


def cost(body: TransactionBody) -> int:
    """What applying this takes at most, in the units of `limits.BLOCK_COST`: its bytes alone say it."""
    return sum(RULES[type(signed.operation)].cost(signed.operation) for signed in body.operations)


def check_form(body: TransactionBody) -> Family:
    """Whose operations these are. Raises `MixedTransaction`, or `TooCostly` for more than any block need take in."""
    total = cost(body)
    if total > limits.TRANSACTION_COST:
        raise TooCostly(f"the transaction costs {total} units, and one may cost {limits.TRANSACTION_COST}")
    return classify(body)


class Execution:
    """Applies transactions in order to the state that `view` shows, for the block on `parent` with time `timestamp`.

    `timestamp` is milliseconds of ledger time. In a block, transactions of `Family.OWNERS` come first: whoever builds
    one applies them first.
    """

    __slots__ = ("_working",)

    def __init__(self, view: StateView, parent: Header, timestamp: int, check_cosignature: Verifier) -> None:
        self._working = Working(view, parent, timestamp, check_cosignature)

    def apply(self, body: TransactionBody, signed_by: SignedBy) -> Receipt:
        """Apply one transaction. Raises a subclass of `InvalidTransaction` and leaves no trace if it is not valid."""
        check_form(body)
        working = self._working
        try:
            institutions.check_standing(working, body, signed_by)
            receipts = []
            for signed in body.operations:
                call = Call(body.institution, signed.cosignatures)
                receipts.append(RULES[type(signed.operation)].apply(working, signed.operation, call))
        except InvalidTransaction:
            working.forget()
            raise
        working.commit()
        return Receipt(tuple(receipts))

    def next_authorities(self) -> AuthoritySet | None:
        """The next epoch's set if the transactions applied so far end this epoch, else None."""
        return self._working.written(keys.authorities(self._working.epoch + 1), AuthoritySet)

    def changes(self) -> Changes:
        """All that the transactions applied so far change."""
        return self._working.changes()
