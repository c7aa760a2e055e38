"""An institution's standing: who may submit, with which key, until when, and never twice."""

from __future__ import annotations

from collections.abc import Callable

from protocol import limits
from protocol.errors import (
    Expired,
    ForeignChain,
    NotAccredited,
    UnknownInstitution,
    UnknownKey,
    ValidTooLong,
    WrongKey,
)
from protocol.ledger import keys, windows
from protocol.ledger.view import ReadSet
from protocol.ledger.windows import FRESH, Window
from protocol.ledger.working import Working
from protocol.types.institutions import RETIRED_KEY, STATUS_ACCREDITED, Institution
from protocol.types.transaction import TransactionBody


def reads(body: TransactionBody, read: ReadSet) -> None:
    """What `check_standing` looks at."""
    if body.institution <= keys.INSTITUTION_MAX:
        read.keys.add(keys.institution(body.institution))
        read.keys.add(keys.window(body.institution, body.key))


def institution(working: Working, number: int) -> Institution:
    """The institution of this number, whatever its status. Raises `UnknownInstitution`."""
    found = working.get(keys.institution(number), Institution) if number <= keys.INSTITUTION_MAX else None
    if found is None:
        raise UnknownInstitution(f"there is no institution {number}")
    return found


def check_standing(working: Working, body: TransactionBody, signed_by: Callable[[bytes], bool]) -> None:
    """Raise unless this transaction is for this chain and time, from an accredited institution, signed with the key
    that stands on the ledger here and now, under a number of it that is unused; use the number up.
    """
    if body.chain != working.chain:
        raise ForeignChain()
    if working.timestamp > body.valid_until:
        raise Expired()
    if body.valid_until - working.timestamp > working.params.valid_until_max_ms:
        raise ValidTooLong(f"valid_until lies more than {working.params.valid_until_max_ms} ms ahead of ledger time")
    signer = institution(working, body.institution)
    if signer.status != STATUS_ACCREDITED:
        raise NotAccredited()
    if body.key >= len(signer.operation_keys):
        raise UnknownKey(f"institution {body.institution} has no operations key {body.key}")
    public = signer.operation_keys[body.key]
    if public == RETIRED_KEY:
        raise UnknownKey(f"operations key {body.key} of institution {body.institution} is retired")
    if not signed_by(public):
        raise WrongKey(f"it is not signed with operations key {body.key} of institution {body.institution}")
    key = keys.window(body.institution, body.key)
    window = working.get(key, Window) or FRESH
    working.put(key, windows.use(window, body.number, limits.WINDOW_BITS_INSTITUTION))
