"""The transition: transactions applied to a state, whole or not at all, one after the other.

`Execution` is what a leader builds a block with, transaction by transaction; `blocks.apply_block` runs a whole block
through one. An institution's signature on its transaction is checked outside, once per node and transaction;
co-signatures are checked here, by a `Verifier` that the node may put a cache in front of.
"""

from __future__ import annotations

from protocol import limits
from protocol.crypto.signing import Verifier
from protocol.errors import MixedTransaction, TooCostly
from protocol.ledger import institutions
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Call, Family, OperationReceipt
from protocol.ledger.view import Changes, StateView
from protocol.ledger.working import Working
from protocol.types.base import Wire
from protocol.types.transaction import TransactionBody

__all__ = ["Execution", "Family", "OperationReceipt", "Receipt", "check_form", "classify", "cost"]


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
    """Applies transactions in order to the state that `view` shows, for the block at `height` with time `timestamp`.

    `timestamp` is milliseconds of ledger time. In a block, transactions of `Family.OWNERS` come first: whoever builds
    one applies them first.
    """

    __slots__ = ("_working",)

    def __init__(self, view: StateView, chain: bytes, height: int, timestamp: int, check_cosignature: Verifier) -> None:
        self._working = Working(view, chain, height, timestamp, check_cosignature)

    def apply(self, body: TransactionBody) -> Receipt:
        """Apply one transaction. Raises a subclass of `InvalidTransaction` and leaves no trace if it is not valid."""
        check_form(body)
        working = self._working
        working.begin()
        institutions.check_standing(working, body)
        receipts = []
        for signed in body.operations:
            call = Call(body.institution, signed.cosignatures)
            receipts.append(RULES[type(signed.operation)].apply(working, signed.operation, call))
        working.commit()
        return Receipt(tuple(receipts))

    def changes(self) -> Changes:
        """All that the transactions applied so far change."""
        return self._working.changes()
