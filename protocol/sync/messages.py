"""What nodes say to each other beside consensus: pending transactions, and final blocks by range.

Transactions and blocks travel inside as byte strings in their canonical encoding, so that a node which knows them
already need not decode them again.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from protocol import limits
from protocol.types.base import Digest, Number, Wire

IDS_PER_MESSAGE: Final = 4_096
TRANSACTIONS_PER_MESSAGE: Final = 4_096
BLOCKS_PER_RANGE: Final = 512
NULLIFICATIONS_PER_BLOCK: Final = 1_024
CERTIFICATE_BYTES: Final = 32 * 1024
HEADERS_PER_RANGE: Final = 8_192
HEADER_BYTES: Final = 256

RawTransaction = Annotated[bytes, Meta(min_length=1, max_length=limits.TRANSACTION_BYTES)]
RawHeader = Annotated[bytes, Meta(min_length=1, max_length=HEADER_BYTES)]
RawCertificate = Annotated[bytes, Meta(min_length=1, max_length=CERTIFICATE_BYTES)]


class Transactions(Wire, frozen=True, tag=1):
    """Pending transactions in full: pushed by who submitted them, or in answer to `Want`."""

    transactions: Annotated[tuple[RawTransaction, ...], Meta(min_length=1, max_length=TRANSACTIONS_PER_MESSAGE)]


class Have(Wire, frozen=True, tag=2):
    """Ids of pending transactions that the sender holds."""

    ids: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=IDS_PER_MESSAGE)]


class Want(Wire, frozen=True, tag=3):
    """Ids that the sender lacks, out of a `Have`."""

    ids: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=IDS_PER_MESSAGE)]


GossipMessage = Transactions | Have | Want


class RangeRequest(Wire, frozen=True):
    """Final blocks from height `first` on: at most `count` of together about `size_bytes`.

    The answer is a `FinalRange`. A `count` of 0 asks for the peer's head alone.
    """

    first: Number
    count: Annotated[int, Meta(ge=0, le=BLOCKS_PER_RANGE)]
    size_bytes: Annotated[int, Meta(ge=0, le=limits.FRAME_BYTES // 2)]


class RangeBlock(Wire, frozen=True):
    """A canonical `Block` and, if it was the last of those that became final together, its finalization."""

    block: Annotated[bytes, Meta(min_length=1, max_length=limits.BLOCK_BYTES + 64 * 1024)]
    certificate: RawCertificate | None


class Rest(Wire, frozen=True):
    """What vouches for blocks whose certificate stands above them: the canonical `Header`s that follow, oldest first,
    up to the one that `certificate` finalizes."""

    headers: Annotated[tuple[RawHeader, ...], Meta(min_length=1, max_length=HEADERS_PER_RANGE)]
    certificate: RawCertificate


class FinalRange(Wire, frozen=True):
    """Blocks at consecutive heights, and the sender's final height.

    `rest` is there if the last block carries no certificate: those that became final together may be too many for one
    answer. Empty when the sender has no block from the height asked for.
    """

    height: Number
    blocks: Annotated[tuple[RangeBlock, ...], Meta(max_length=BLOCKS_PER_RANGE)]
    rest: Rest | None
