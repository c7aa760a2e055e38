"""The JSON of erasures, holds, notes of dispute, and of how a record stands. See `node.api.schemas`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node.api.schemas import CosignatureIn, EventNumber, Hex32, Request
from node.records.seal import MediaType
from protocol import limits


class ReceiptOut(Struct, frozen=True):
    """An institution that owes a receipt for an erasure: "received" in the block `height`, "outstanding", or "gone",
    since it was removed from the consortium and will answer no more."""

    institution: int
    name: str
    state: Literal["received", "outstanding", "gone"]
    height: int | None


class ErasureOut(Struct, frozen=True):
    """An order to erase: its event number, the records, and who has answered. `complete` once all have that can."""

    erasure: int
    height: int
    time_ms: int
    records: list[int]
    receipts: list[ReceiptOut]
    complete: bool


class HoldersOut(Struct, frozen=True):
    """Institutions that store, or ever stored, any of the records, besides the custodian: an erasure names them all."""

    chart: int
    records: list[int]
    holders: list[int]


class HoldIn(Request, frozen=True):
    """Keep these records (without: all of the chart). `basis` is a digest that commits to the order behind it."""

    basis: Hex32
    records: Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_HOLD)] | None = None


class HoldOut(Struct, frozen=True):
    """A hold in force; `records` is null for all of the chart."""

    hold: int
    institution: int
    height: int
    time_ms: int
    records: list[int] | None
    basis: str


class HoldDone(Struct, frozen=True):
    """A hold is placed, or released: `hold` is its event number."""

    chart: int
    hold: int
    event: int
    height: int
    time_ms: int
    transaction: str


class NoteIn(Request, frozen=True):
    """What a chart's owner wants to stand beside record `disputes`: exact bytes (base64) and how to read them."""

    disputes: EventNumber
    media_type: MediaType
    data: bytes


class NoteDraft(Struct, frozen=True):
    """A note that is sealed and waits for the owner: canonical bytes of the `AppendRecords` to be signed, and the
    owner's own envelope, by which it can see that the entry is of its note. Forgotten after ten minutes."""

    draft: int
    operation: bytes
    owner_envelope: bytes


class NoteSigned(Request, frozen=True):
    """The owner's co-signature of the draft's operation."""

    cosignature: CosignatureIn


class StandingOut(Struct, frozen=True):
    """How a record stands: which records amend it, ascending (the last is the newest version), which notes of its owner
    dispute it, and which erasure erased it."""

    chart: int
    record: int
    superseded_by: list[int]
    disputed_by: list[int]
    erased_by: int | None
    sentences: list[str]
