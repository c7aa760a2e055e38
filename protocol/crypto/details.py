"""What an asker tells the owner in confidence: who asks, and why, committed to on the ledger and sealed to the owner.

The ledger holds a digest over a fresh 64-byte salt and the canonical `Details`: statistically hiding while unopened, so
authorities learn that something was said and nothing of what. The opening travels sealed to the owner's encryption key
and is kept by the asker, so that either can show later what was said at the time. docs/spec/records.md has it byte by
byte. Relies on envelopes and hashing.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.commitments import SALT_BYTES
from protocol.crypto.envelopes import OVERHEAD_BYTES, PrivateKey, envelope_info, open_envelope, seal_envelope
from protocol.crypto.hashing import Domain, digest
from protocol.errors import CommitmentMismatch, DecodeError, SealBroken
from protocol.types.base import Wire

INFO_LABEL: Final = b"details\0"
LENGTH_BYTES: Final = 4
SEALED_BYTES: Final = max(OVERHEAD_BYTES.values()) + limits.DETAILS_BYTES
"""More than this no sealed details have."""

Short = Annotated[str, Meta(max_length=limits.DETAIL_CHARACTERS)]


class Details(Wire, frozen=True):
    """Who asks to read, as their institution knows them, and why. Empty where nothing is said.

    `staff` is the institution's own id of the person, `reference` the asker's own for the matter (a case, a ticket).
    """

    staff: Short = ""
    family: Short = ""
    given: Short = ""
    role: Short = ""
    reason: Annotated[str, Meta(max_length=limits.DETAIL_REASON_CHARACTERS)] = ""
    reference: Short = ""

    def __repr__(self) -> str:
        return "Details(hidden)"


class DetailsOpening(Wire, frozen=True):
    """What opens the ledger's digest: the details and 64 uniform random bytes that were drawn for them alone."""

    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    details: Details

    def __repr__(self) -> str:
        return "DetailsOpening(hidden)"


def commit_details(opening: DetailsOpening) -> bytes:
    """32 bytes: what stands on the ledger for these details."""
    return digest(Domain.DETAILS, opening.salt, encode(opening.details))


def check_details(commitment: bytes, opening: DetailsOpening) -> Details:
    """The details, if they are those that were committed to. Raises `CommitmentMismatch`."""
    if commit_details(opening) != commitment:
        raise CommitmentMismatch("what was said in confidence is not what the ledger has a commitment to")
    return opening.details


def details_info(chain: bytes, chart: int, commitment: bytes, recipient: bytes) -> bytes:
    """The `info` of sealed details: a label, then as a record's, with the details' commitment in its place."""
    return INFO_LABEL + envelope_info(chain, chart, commitment, recipient)


def seal_details(suite: int, public: bytes, info: bytes, opening: DetailsOpening) -> bytes:
    """The opening sealed to the owner's key. All details of a chart have one size, whatever is said: who carries them
    learns nothing of it. Raises `UnknownSuite` or `BadPublicKey`."""
    plain = encode(opening)
    padded = len(plain).to_bytes(LENGTH_BYTES, "big") + plain
    return seal_envelope(suite, public, info, padded.ljust(limits.DETAILS_BYTES, b"\0"))


def open_details(suite: int, private: PrivateKey, info: bytes, commitment: bytes, sealed: bytes) -> Details:
    """What was said, checked against the ledger's commitment. Raises `SealBroken` or `CommitmentMismatch`."""
    padded = open_envelope(suite, private, info, sealed)
    length = int.from_bytes(padded[:LENGTH_BYTES], "big")
    plain, padding = padded[LENGTH_BYTES : LENGTH_BYTES + length], padded[LENGTH_BYTES + length :]
    if len(padded) != limits.DETAILS_BYTES or len(plain) != length or padding.strip(b"\0"):
        raise SealBroken("the envelope holds no details")
    try:
        opening = decode(DetailsOpening, plain)
    except DecodeError:
        raise SealBroken("the envelope holds no details") from None
    return check_details(commitment, opening)
