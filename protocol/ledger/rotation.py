"""An institution changes its own keys. Its number, its name and what it did stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from protocol import limits
from protocol.errors import BadTerms, RotatedTooSoon, UnknownKey
from protocol.ledger import claims, cosigning, institutions, keys, seats
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    AddNetworkCertificate,
    RetireNetworkCertificate,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetEncryptionKey,
    SetOperationsKey,
    SetVoteKey,
)
from protocol.types.institutions import RETIRED_KEY, Institution


def _claimed(change: object) -> list[claims.Value]:
    """What the change puts to use."""
    match change:
        case SetOperationsKey(key=key) | SetVoteKey(key=key):
            return [(keys.CLAIM_SIGNING_KEY, key)]
        case AddNetworkCertificate(certificate=der):
            return [(keys.CLAIM_CERTIFICATE, der)]
        case SetEncryptionKey(key=key):
            return [(keys.CLAIM_ENCRYPTION_KEY, key)]
        case _:
            return []


def _reads(operation: RotateInstitutionKey, call: Call, read: ReadSet) -> None:
    """The institution itself is what every transaction of it reads."""
    claims.reads(_claimed(operation.change), read)


def _rotate(working: Working, operation: RotateInstitutionKey, call: Call) -> OperationReceipt:
    cosigning.none_needed(call)
    change = operation.change
    before = institutions.institution(working, call.institution)
    values = _claimed(change)
    claims.check_free(working, values)
    after = _CHANGES[type(change)](working, before, change)
    claims.take(working, values, call.institution)
    working.put(keys.institution(call.institution), after)
    if after.vote_key != before.vote_key:
        seats.rekey(working, call.institution, after.vote_key)
    return OperationReceipt(None)


def _set_operations_key(working: Working, before: Institution, change: SetOperationsKey) -> Institution:
    """The window of an index goes on under its next key, so no number of it is ever used twice."""
    listed = before.operation_keys
    if change.index > len(listed) or change.index >= limits.OPERATION_KEYS_PER_INSTITUTION:
        raise UnknownKey(f"there are operations keys 0 to {len(listed) - 1}, and no place for one at {change.index}")
    claims.check_possession(working, before.name, USE_OPERATIONS, change.key, change.possession)
    return replace(before, operation_keys=(*listed[: change.index], change.key, *listed[change.index + 1 :]))


def _retire_operations_key(working: Working, before: Institution, change: RetireOperationsKey) -> Institution:
    listed = before.operation_keys
    if change.index >= len(listed) or listed[change.index] == RETIRED_KEY:
        raise UnknownKey(f"there is no operations key {change.index} to retire")
    after = (*listed[: change.index], RETIRED_KEY, *listed[change.index + 1 :])
    if all(key == RETIRED_KEY for key in after):
        raise BadTerms("the last operations key cannot be retired: set another one first")
    return replace(before, operation_keys=after)


def _set_vote_key(working: Working, before: Institution, change: SetVoteKey) -> Institution:
    """Rests between two changes, since an authority's ends the epoch for all."""
    age_ms, rest_ms = working.timestamp - before.vote_key_at, working.params.rotation_rest_ms
    if age_ms < rest_ms:
        raise RotatedTooSoon(f"the vote key was set {age_ms // 1_000} s ago, and stays for {rest_ms // 1_000} s")
    claims.check_possession(working, before.name, USE_VOTE, change.key, change.possession)
    return replace(before, vote_key=change.key, vote_key_at=working.timestamp)


def _add_certificate(working: Working, before: Institution, change: AddNetworkCertificate) -> Institution:
    if len(before.network_certificates) >= limits.CERTIFICATES_PER_INSTITUTION:
        raise BadTerms(f"there are {limits.CERTIFICATES_PER_INSTITUTION} network certificates: retire one first")
    return replace(before, network_certificates=(*before.network_certificates, change.certificate))


def _retire_certificate(working: Working, before: Institution, change: RetireNetworkCertificate) -> Institution:
    listed = before.network_certificates
    if change.index >= len(listed):
        raise UnknownKey(f"there is no network certificate {change.index} to retire")
    if len(listed) == 1:
        raise BadTerms("the last network certificate cannot be retired: add another one first")
    return replace(before, network_certificates=(*listed[: change.index], *listed[change.index + 1 :]))


def _set_encryption_key(working: Working, before: Institution, change: SetEncryptionKey) -> Institution:
    return replace(before, encryption_suite=change.suite, encryption_key=change.key)


_CHANGES: Final[dict[type, Callable[[Working, Institution, Any], Institution]]] = {
    SetOperationsKey: _set_operations_key,
    RetireOperationsKey: _retire_operations_key,
    SetVoteKey: _set_vote_key,
    AddNetworkCertificate: _add_certificate,
    RetireNetworkCertificate: _retire_certificate,
    SetEncryptionKey: _set_encryption_key,
}


def _cost(operation: RotateInstitutionKey) -> int:
    return limits.KEY_CHANGE_COST


RULES: Final[dict[type, Rule]] = {RotateInstitutionKey: Rule(Family.INSTITUTION, _reads, _rotate, _cost)}
