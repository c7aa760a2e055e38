"""How a core ends: what is final reaches the disk first, unless the disk fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.core import Core


class Parts:
    """What a core stops, each at once but finality, which waits for a disk."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stored = asyncio.Event()
        self.feed = SimpleNamespace(close=lambda: None)
        self.ground = SimpleNamespace(network=SimpleNamespace(stop=self._at_once))
        self.driver = self.sync = SimpleNamespace(stop=self._at_once)
        self.finality = SimpleNamespace(drain=self.stored.wait)
        self._tasks = [asyncio.create_task(asyncio.Event().wait())]

    async def _at_once(self) -> None:
        pass

    def stop(self) -> asyncio.Task[None]:
        return asyncio.create_task(Core.stop(cast(Any, self)))


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_stop_waits_for_what_is_final() -> None:
    parts = Parts()
    stopping = parts.stop()
    await turns()
    assert not stopping.done()
    parts.stored.set()
    await asyncio.wait_for(stopping, 30)


async def test_a_disk_that_fails_meanwhile_does_not_keep_the_node_from_ending() -> None:
    parts = Parts()
    stopping = parts.stop()
    await turns()
    parts.failure.set_exception(OSError("the disk is full"))
    await asyncio.wait_for(stopping, 30)
    with pytest.raises(OSError, match="full"):
        await parts.failure
