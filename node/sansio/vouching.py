"""Under which key a transaction that comes into a node is signed, and what is refused for want of it.

Relies on `node.standing`: the keys at the head.
"""

from __future__ import annotations

from node.standing import Standing
from protocol.crypto.signing import Verifier, transaction_message_of
from protocol.errors import BadSignature, ForeignChain, UnknownInstitution, UnknownKey
from protocol.types.transaction import Transaction


def signed_with(
    transaction: Transaction, raw: bytes, chain: bytes, standing: Standing, verifier: Verifier, *, in_block: bool
) -> bytes | None:
    """The key at the head that the signature verifies under. Raises `ForeignChain`, `UnknownInstitution`, `UnknownKey`
    or `BadSignature`.

    `in_block`: it stands in a block, or was taken in here once, so no key at the head refuses it: None then, and the
    transition decides with the state at that very place.
    """
    body = transaction.body
    if body.chain != chain:
        raise ForeignChain
    try:
        public = standing.operation_key(body.institution, body.key)
    except (UnknownInstitution, UnknownKey):
        if in_block:
            return None
        raise
    if verifier(public, transaction_message_of(raw), transaction.signature):
        return public
    if in_block:
        return None
    raise BadSignature(f"it is not signed with operations key {body.key} of institution {body.institution}")
