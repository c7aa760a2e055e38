"""The JSON of reading with keys of one's own, an owner's or a delegate's. See `node.api.schemas`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from node.api.access_schemas import SealedDetails
from node.api.schemas import EventNumber, Request
from node.records.owner_messages import EVENTS_PER_REQUEST
from node.records.parts import PartKind


class OwnerReadIn(Request, frozen=True):
    """The owner's reading pass: a canonical `ReadingPass` for this node's institution."""

    reading_pass: bytes


class OwnerDetailsIn(Request, frozen=True):
    """The owner's reading pass, and the askings and reviews about which it wants to know what was said."""

    reading_pass: bytes
    events: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=EVENTS_PER_REQUEST)]


class OwnerDetailsOut(Struct, frozen=True):
    """What was given; for one event perhaps by who asked and by the chart's custodian."""

    details: list[SealedDetails]


class PartOut(Struct, frozen=True):
    """What one institution gave, sealed to the reader: "key" a `ReleasedKey`, "owner" an owner's `Secret`, "share" a
    `Shares` of one, with the sealed `details` that open under the record's key. `blob_bytes` is how large its sealed
    record is by its word."""

    institution: int
    kind: PartKind
    envelope: bytes
    details: bytes
    blob_bytes: int


class PartsOut(Struct, frozen=True):
    """Parts, and by institution why others gave none."""

    parts: list[PartOut]
    refused: dict[str, str]
