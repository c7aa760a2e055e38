"""What a block will look at, named before it is applied: the read set.

The node fetches it in one query and hands it to the transition as a `StateView`.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.ledger import institutions, keys
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Call
from protocol.ledger.view import Changes, ReadSet, StateView
from protocol.types.transaction import TransactionBody

__all__ = ["Changes", "ReadSet", "StateView", "read_set"]


def read_set(transactions: Iterable[TransactionBody], epoch: int) -> ReadSet:
    """All that applying these transactions in a block of this epoch may read; never raises, whatever they say."""
    read = ReadSet()
    read.keys.update((keys.PARAMS, keys.COUNTERS, keys.authorities(epoch)))
    for body in transactions:
        institutions.reads(body, read)
        for signed in body.operations:
            call = Call(body.institution, signed.cosignatures)
            RULES[type(signed.operation)].reads(signed.operation, call, read)
    return read
