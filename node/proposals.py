"""Answers what the consensus machine asks of the ledger: build, validate, make final.

The link between `node.driver`, which knows no ledger, and `node.execution` and `node.finality`, which know no votes.
"""

from __future__ import annotations

import asyncio

from node.execution import Executor
from node.finality import Finality
from protocol.consensus.effects import Build, Finalized, Validate
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block

BACKLOG_BLOCKS = 32
"""Final blocks that may wait for the disk before this node stops taking on new ones."""


class Proposals:
    """See `node.driver.Ledger`."""

    def __init__(self, executor: Executor, finality: Finality) -> None:
        self._executor = executor
        self._finality = finality
        self._notarized: set[bytes] = set()  # of those not executed yet

    async def build(self, wanted: Build) -> Block | None:
        """A block as wanted; None if nothing goes in, none is wanted empty and no
        heartbeat is due. Raises `Obsolete`."""
        await self._finality.backlog_below(BACKLOG_BLOCKS)
        while True:
            block, bad = await self._executor.build(wanted)
            self._finality.refuse(bad)
            # A blockful of what is invalid must not cost the turn of what waits behind it. Each round empties the pool
            # of what it tried.
            if block is not None or not bad:
                return block

    async def validate(self, wanted: Validate) -> None:
        """Raises `InvalidBlock`, `Refused` or `Obsolete`."""
        await self._finality.backlog_below(BACKLOG_BLOCKS)
        await self._executor.validate(wanted)
        digest = block_digest(wanted.block.header)
        if digest in self._notarized:
            self.notarized(digest)

    def notarized(self, digest: bytes) -> None:
        """A quorum voted for this block."""
        executed = self._executor.known(digest)
        if executed is None:
            self._notarized.add(digest)
        else:
            self._notarized.discard(digest)
            self._finality.notarized(executed)

    def finalized(self, effect: Finalized) -> asyncio.Future[None]:
        """Take final blocks to disk; done once they are durable."""
        self._notarized.clear()
        return self._finality.put(effect.blocks, effect.certificate, effect.nullifications)
