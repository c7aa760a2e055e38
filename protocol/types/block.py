"""Blocks. The header does not carry the view: the same block may be proposed again in a later one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U16, Digest, Number, TimeMs, Wire

BLOCK_VERSION = 1


class Header(Wire, frozen=True):
    """`state_root` is the root after the block; `proposer` is the institution that built it.

    `next_authorities` is the digest of the next epoch's `AuthoritySet` if this block ends its epoch, else None.
    """

    version: U16
    chain: Digest
    epoch: Number
    height: Number
    parent: Digest
    proposer: Number
    timestamp: TimeMs
    transactions_root: Digest
    state_root: Digest
    next_authorities: Digest | None

    @property
    def ends_epoch(self) -> bool:
        """Whether what follows belongs to the next epoch."""
        return self.next_authorities is not None

    @property
    def child_epoch(self) -> int:
        """The epoch of the block that follows."""
        return self.epoch + self.ends_epoch


class Block(Wire, frozen=True):
    """A header and its transactions, each in its canonical bytes."""

    header: Header
    transactions: Annotated[tuple[bytes, ...], Meta(max_length=limits.TRANSACTIONS_PER_BLOCK)]
