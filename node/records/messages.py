"""What a reader's node and a custodian's say to each other about records: canonical messages over the blob channel.

Nothing here is trusted: the custodian checks every request against its own final state, the reader checks what it got
against the ledger's commitment.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.records.seal import MediaType, SecretBytes
from protocol import limits
from protocol.crypto.commitments import Opening
from protocol.types.base import Number, Wire

RELEASE = "records.release"
BLOB = "records.blob"
RECORDS_PER_RELEASE = 256
ANSWER_BYTES = 4 * 1024 * 1024
"""What an answer carries at most, well below a frame."""
INLINE_BYTES = 1024 * 1024
"""A blob up to this size travels with its key; a larger one is fetched in pieces."""
PIECE_BYTES = INLINE_BYTES
"""The size of such a piece: each is copied some times on its way, for each who asks at once."""

RECORD_BYTES = 4 * 1024 * 1024 * 1024
"""What one record holds at most: nobody takes in more, and no reader believes in more."""

EventNumber = Annotated[int, Meta(ge=0, lt=limits.EVENTS_PER_CHART)]
PublicBytes = Annotated[bytes, Meta(min_length=32, max_length=4_096)]


class ReleaseRequest(Wire, frozen=True):
    """Ask for the keys of records under a final disclosure. `public` is the asker's envelope key, whose digest stands
    on the ledger."""

    chart: Number
    disclosure: EventNumber
    records: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=RECORDS_PER_RELEASE)]
    public: PublicBytes


class Released(Wire, frozen=True):
    """One record: a `ReleasedKey` sealed to the asker, and the blob itself or, for a large one, None."""

    record: EventNumber
    envelope: bytes
    blob_bytes: Number
    blob: bytes | None


class ReleaseAnswer(Wire, frozen=True):
    """The first of the records asked for, at least one, in the order of the request; ask again for the rest."""

    released: Annotated[tuple[Released, ...], Meta(min_length=1, max_length=RECORDS_PER_RELEASE)]


class ReleasedKey(Wire, frozen=True):
    """What a reader needs to open one record and to check it; its labels are none of the reader's business."""

    key: SecretBytes
    opening: Opening
    media_type: MediaType
    length: Number

    def __repr__(self) -> str:
        return "ReleasedKey(hidden)"


class BlobRequest(Wire, frozen=True):
    """Ask for sealed bytes of one record from `offset` on."""

    chart: Number
    disclosure: EventNumber
    record: EventNumber
    offset: Number


class BlobPiece(Wire, frozen=True):
    """Sealed bytes; empty beyond the blob's end."""

    data: bytes
