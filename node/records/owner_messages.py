"""What an owner's reading takes between institutions: canonical messages over the blob channel.

Each carries the owner's reading pass, which whoever is asked judges by its own final state. What is answered opens with
the owner's keys alone; the node in between hands it on and learns nothing.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.reading_pass import ReadingPass
from node.records.holding_messages import OwnerEnvelope
from node.records.messages import EventNumber
from node.records.seal import HELD_DETAILS_BYTES
from protocol.crypto.details import SEALED_BYTES
from protocol.types.base import Number, Wire

OWNER_SHARE = "records.owner-share"
OWNER_BLOB = "records.owner-blob"
OWNER_DETAILS = "records.owner-details"

EVENTS_PER_REQUEST = 256


class OwnerShareRequest(Wire, frozen=True):
    """Ask a record's writer or holder for what lets the owner open it."""

    shown: ReadingPass
    record: EventNumber


class OwnerShareAnswer(Wire, frozen=True):
    """`owner_envelope` holds a `Secret`: at the writer sealed just now to the owner's key in force, at a holder as it
    was handed over, perhaps to an earlier key, or empty. A holder adds its share: `envelope` holds a `Shares` for this
    one record, sealed to the key in force, and `details` are the sealed details that go with it; both empty at the
    writer."""

    owner_envelope: OwnerEnvelope
    envelope: Annotated[bytes, Meta(max_length=8_192)]
    details: Annotated[bytes, Meta(max_length=HELD_DETAILS_BYTES)]
    blob_bytes: Number


class OwnerBlobRequest(Wire, frozen=True):
    """Ask for sealed bytes of one record from `offset` on; a `BlobPiece` comes back."""

    shown: ReadingPass
    record: EventNumber
    offset: Number


class OwnerDetailsRequest(Wire, frozen=True):
    """Ask for what was said to the owner in confidence about these askings and reviews."""

    shown: ReadingPass
    events: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=EVENTS_PER_REQUEST)]


class SaidToOwner(Wire, frozen=True):
    """Details about one event, sealed to the owner."""

    event: EventNumber
    sealed: Annotated[bytes, Meta(min_length=1, max_length=SEALED_BYTES)]


class OwnerDetailsAnswer(Wire, frozen=True):
    """What is here of it: an asker seals what itself stated to the owner's key in force, a custodian gives what it was
    handed. What is not here is left out."""

    said: Annotated[tuple[SaidToOwner, ...], Meta(max_length=EVENTS_PER_REQUEST)]
