"""Catching up among peers that lie: one that claims the moon and never delivers keeps nobody from asking another."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from node.network.interface import Channel, RequestTimedOut
from node.sync import Sync
from protocol.codec.canonical import decode, encode
from protocol.sync.messages import FinalRange, RangeRequest

LIAR, HONEST = 1, 2


class Wire:
    """The liar tells a height and nothing else; the honest peer is written down when it is asked for blocks."""

    def __init__(self) -> None:
        self.asked_honest = asyncio.Event()
        self.refused = asyncio.Event()

    def connected(self) -> frozenset[int]:
        return frozenset({LIAR, HONEST})

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        wanted = decode(RangeRequest, payload)
        if wanted.count == 0:
            return encode(FinalRange(10**9 if peer == LIAR else 7, ()))
        if peer == LIAR:
            self.refused.set()
            raise RequestTimedOut
        self.asked_honest.set()
        return encode(FinalRange(7, ()))


async def test_a_liar_that_is_left_alone_for_a_minute_does_not_hold_up_the_others() -> None:
    wire = Wire()
    sync = Sync(
        network=cast(Any, wire),
        store=cast(Any, None),
        finality=cast(Any, SimpleNamespace(head=SimpleNamespace(height=0))),
        vote_keys=(),
        epoch=0,
        clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
        caught_up=lambda _: None,
    )
    sync.planner.heard(LIAR, 1)
    for _ in range(6):
        sync.planner.failed(LIAR, -60_000)
    running = asyncio.create_task(sync.run())
    try:
        sync.on_peer_up(LIAR)
        await asyncio.wait_for(wire.refused.wait(), 5)
        await asyncio.sleep(0)
        assert (sync.planner.wait_ms(0) or 0) > 30_000
        sync.on_peer_up(HONEST)
        await asyncio.wait_for(wire.asked_honest.wait(), 5)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sync.stop()
