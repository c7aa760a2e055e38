"""Final blocks for whoever subscribes: bounded queues, so a slow reader is cut off and never slows the node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.execution import Executed
from node.services import FinalBlock

BEHIND_BLOCKS = 64


class _Reader:
    def __init__(self) -> None:
        self.blocks: deque[FinalBlock] = deque()
        self.wake = asyncio.Event()
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[FinalBlock]:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.blocks:
                yield self.blocks.popleft()
            if self.ended:
                return


class Feed:
    """Hands each final block to every subscriber."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self._closed = False

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[FinalBlock]]:
        """Final blocks from now on. The iterator ends for who falls `BEHIND_BLOCKS` behind, and at a stop."""
        reader = _Reader()
        if self._closed:
            _end(reader)
        self._readers.add(reader)
        try:
            yield aiter(reader)
        finally:
            self._readers.discard(reader)

    def on_final(self, executed: Executed) -> None:
        """A block is final and durable."""
        if not self._readers:
            return
        events = tuple(executed.overlay.changes.events)
        block = FinalBlock(executed.header, executed.digest, executed.block.transactions, events)
        for reader in list(self._readers):
            if len(reader.blocks) >= BEHIND_BLOCKS:
                reader.blocks.clear()
                _end(reader)
                self._readers.discard(reader)
            else:
                reader.blocks.append(block)
                reader.wake.set()

    def close(self) -> None:
        """End every subscription, after what is queued."""
        self._closed = True
        for reader in self._readers:
            _end(reader)


def _end(reader: _Reader) -> None:
    reader.ended = True
    reader.wake.set()
