"""What an asker's node and a custodian's say to each other about details: canonical messages over the blob channel.

The custodian checks that the asking which they belong to is the asker's own, and can open none of them; the asker
checks the owner's key against the digest on the ledger.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.records.messages import EventNumber, PublicBytes
from protocol.crypto.details import SEALED_BYTES
from protocol.types.base import U16, Number, Wire

DETAILS = "records.details"
OWNER_KEY = "records.owner-key"


class OwnerKeyRequest(Wire, frozen=True):
    """Ask a chart's custodian for the key to which its owner has things sealed; the ledger holds its digest."""

    chart: Number


class OwnerKeyAnswer(Wire, frozen=True):
    """The owner's public encryption key."""

    suite: U16
    public: PublicBytes


class DetailsRequest(Wire, frozen=True):
    """Keep for the owner of `chart` what was said about the sender's own asking `event`."""

    chart: Number
    event: EventNumber
    sealed: Annotated[bytes, Meta(min_length=1, max_length=SEALED_BYTES)]


class DetailsTaken(Wire, frozen=True):
    """The custodian keeps them, durably."""

    chart: Number
    event: EventNumber
