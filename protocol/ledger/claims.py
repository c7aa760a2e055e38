"""Claims: a name, certificate or key belongs to one institution and one use, once and for all.

So a peer is one institution's, a signature is one institution's, and nobody who was removed, or whose key was
stolen, comes back by what has stood on the ledger before. A signing key is claimed only with proof that its holder
wants it used so; certificates and digests of encryption keys prove nothing here, since holding another's is of no use.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.crypto.signing import application_message, possession_message
from protocol.errors import BadPossession, BadTerms, Claimed
from protocol.ledger import keys
from protocol.ledger.leaves import Claim
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.governance import Application
from protocol.types.institutions import RETIRED_KEY, STATUS_ACCREDITED, Institution

Value = tuple[bytes, bytes]
"""What can be claimed: one byte of `keys.CLAIM_*`, and the bytes."""

_WORDS = {
    keys.CLAIM_NAME: "this name",
    keys.CLAIM_SIGNING_KEY: "a signing key",
    keys.CLAIM_CERTIFICATE: "a network certificate",
    keys.CLAIM_ENCRYPTION_KEY: "the encryption key",
}


def name_of(institution: Institution) -> Value:
    """What claims an institution's name."""
    return keys.CLAIM_NAME, institution.name.encode()


def signing_of(institution: Institution) -> list[Value]:
    """Its operations keys that are not retired, and its vote key."""
    signing = (*institution.operation_keys, institution.vote_key)
    return [(keys.CLAIM_SIGNING_KEY, key) for key in signing if key != RETIRED_KEY]


def keys_of(institution: Institution) -> list[Value]:
    """All keys and certificates of an institution that are in use, one by one."""
    certificates = ((keys.CLAIM_CERTIFICATE, der) for der in institution.network_certificates)
    return [*signing_of(institution), *certificates, (keys.CLAIM_ENCRYPTION_KEY, institution.encryption_key)]


def reads(values: Iterable[Value], read: ReadSet) -> None:
    """What checking and taking these looks at."""
    read.keys.update(keys.claim(use, value) for use, value in values)


def check_free(working: Working, values: Iterable[Value]) -> None:
    """Raise `Claimed` unless nobody, the asker included, ever used any of these, and none is named twice."""
    seen = set()
    for use, value in values:
        if (use, value) in seen:
            raise Claimed(f"{_WORDS[use]} is named twice")
        seen.add((use, value))
        claim = working.get(keys.claim(use, value), Claim)
        if claim is not None:
            raise Claimed(f"{_WORDS[use]} is, or was, institution {claim.institution}'s")


def take(working: Working, values: Iterable[Value], institution: int) -> None:
    """From here on these are the institution's of this number."""
    for use, value in values:
        working.put(keys.claim(use, value), Claim(institution))


def check_possession(working: Working, institution: str, use: int, key: bytes, signature: bytes) -> None:
    """Raise `BadPossession` unless `key` itself says that the institution of this name uses it so (`USE_*`)."""
    if key == RETIRED_KEY or not working.check_cosignature(
        key, possession_message(working.chain, institution, use, key), signature
    ):
        raise BadPossession()


def check_application(working: Working, application: Application) -> None:
    """Raise `BadTerms`, or `BadPossession` unless each signing key of the application has signed the whole of it.

    Says the same at any time, so it is asked when the motion is made and not again when that passes.
    """
    institution = application.institution
    if institution.status != STATUS_ACCREDITED or institution.vote_key_at != 0:
        raise BadTerms("an application says that its institution is accredited, and not since when its vote key is")
    fault = name_fault(institution.name)
    if fault is not None:
        raise BadTerms(f"the name {fault}")
    signing = (*institution.operation_keys, institution.vote_key)
    if len(application.possessions) != len(signing):
        raise BadPossession(f"{len(application.possessions)} proofs for {len(signing)} keys")
    message = application_message(working.chain, institution)
    for key, signature in zip(signing, application.possessions, strict=True):
        if key == RETIRED_KEY or not working.check_cosignature(key, message, signature):
            raise BadPossession()


def name_fault(name: str) -> str | None:
    """Why nobody may be called so, or None. Two names that people cannot tell apart at all are the least of it: who
    votes for an applicant looks."""
    if name != name.strip(" "):
        return "begins or ends with a space"
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in name):
        return "holds a control character"
    return None
