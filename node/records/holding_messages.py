"""What writers, holders and readers say to each other about copies and key shares: canonical messages over the blob
channel.

Nothing here is trusted: a holder checks a writer's and a reader's word against its own final state, a writer believes
a holder's acknowledgement no further than its next question, a reader what opens and matches the commitment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from node.records.messages import RECORDS_PER_RELEASE, EventNumber, PublicBytes
from node.records.seal import HELD_DETAILS_BYTES, MediaType
from protocol.crypto.commitments import Opening
from protocol.crypto.hashing import Domain, digest
from protocol.crypto.shares import KeyShare
from protocol.types.base import U16, Digest, Number, Wire

HOLDER_KEY = "records.holder-key"
HOLD = "records.hold"
SHARE = "records.share"
LACKING = "records.lacking"
SEALED = "records.sealed"

HELD_PER_REQUEST = 500
"""As many as one transaction has entries."""

SealedDetails = Annotated[bytes, Meta(min_length=HELD_DETAILS_BYTES, max_length=HELD_DETAILS_BYTES)]
OwnerEnvelope = Annotated[bytes, Meta(max_length=4_096)]


class HolderKeyRequest(Wire, frozen=True):
    """Ask for the key to seal shares to; the ledger has its digest."""

    chain: Digest


class HolderKeyAnswer(Wire, frozen=True):
    """The institution's public encryption key."""

    suite: U16
    public: PublicBytes


class Handover(Wire, frozen=True):
    """One record to hold. `record` is its event number, None while its entry is not final. `details` are sealed under a
    key that only the record's own key gives, `owner_envelope` to the owner; all of one length, so that a holder learns
    from neither. Without `blob`, the holder fetches it by `SealedRequest`."""

    commitment: Digest
    record: EventNumber | None
    blob_id: Digest
    blob_bytes: Number
    blob: bytes | None
    details: SealedDetails
    owner_envelope: OwnerEnvelope


class HoldRequest(Wire, frozen=True):
    """Store these records of `chart`. `envelope` holds a `Shares` for them, in order, sealed to the holder; with
    `owner_public`, details of an emergency can be sealed to the chart's owner while its custodian is down (empty if
    the writer has it not)."""

    chart: Number
    owner_suite: U16
    owner_public: Annotated[bytes, Meta(max_length=4_096)]
    envelope: bytes
    records: Annotated[tuple[Handover, ...], Meta(min_length=1, max_length=HELD_PER_REQUEST)]


class Shares(Wire, frozen=True):
    """Shares of the keys of some records. Never leaves unsealed."""

    shares: Annotated[tuple[KeyShare, ...], Meta(min_length=1, max_length=HELD_PER_REQUEST)]


def batch_digest(commitments: Sequence[bytes]) -> bytes:
    """32 bytes: what an envelope with the shares of these records is bound to."""
    return digest(Domain.HOLDING, *commitments)


class HoldAnswer(Wire, frozen=True):
    """All of it is durable at the holder."""

    held: Number


class ShareRequest(Wire, frozen=True):
    """Ask a holder for its shares of the keys of records under a final asking (a disclosure or an emergency). `public`
    is the key to seal them to, whose digest stands on the ledger; `height` the least final height to judge by: that
    of the asker, so that nobody behind it releases what it knows is over. `blobs` says whether the sealed records
    are wanted too."""

    chart: Number
    asking: EventNumber
    records: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=RECORDS_PER_RELEASE)]
    public: PublicBytes
    height: Number
    blobs: bool


class Shared(Wire, frozen=True):
    """One record: its details, and the blob if it was wanted and is small."""

    record: EventNumber
    details: SealedDetails
    blob_bytes: Number
    blob: bytes | None


class ShareAnswer(Wire, frozen=True):
    """The first of the records asked for, at least one, in the order of the request; `envelope` holds a `Shares` for
    them, sealed to the asker."""

    envelope: bytes
    shared: Annotated[tuple[Shared, ...], Meta(min_length=1, max_length=RECORDS_PER_RELEASE)]


class LackingRequest(Wire, frozen=True):
    """A writer asks a holder which of these records it has not, whole."""

    chart: Number
    records: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=RECORDS_PER_RELEASE)]


class LackingAnswer(Wire, frozen=True):
    """Those that the holder lacks, in the order of the request."""

    records: Annotated[tuple[EventNumber, ...], Meta(max_length=RECORDS_PER_RELEASE)]


class SealedRequest(Wire, frozen=True):
    """Ask for sealed bytes from `offset` on: for copies alone, by whom the ledger names for the record, or whom its
    writer just asked to hold it (then `record` may be None). `blob_id` is the digest of all of them."""

    chart: Number
    record: EventNumber | None
    blob_id: Digest
    offset: Number


class HeldDetails(Wire, frozen=True):
    """What a reader needs besides the key. Never leaves unsealed."""

    opening: Opening
    media_type: MediaType
    length: Number

    def __repr__(self) -> str:
        return "HeldDetails(hidden)"
