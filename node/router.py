"""Brings what comes from the network to whom it concerns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from node.clock import Clock
from node.driver import Driver
from node.gossip import Gossip
from node.network.interface import Channel, Refuse
from node.sync import METHOD, Sync

Answerer = Callable[[int, str, bytes], Awaitable[bytes]]
"""(peer, method, payload) -> the answer. Raises `Refuse` or `DecodeError`."""


class Router:
    """See `node.network.interface.Handler`. `away_since_ms`: since when (wall clock) each peer that is not connected
    has not been, None for never seen since the start."""

    def __init__(self, driver: Driver, gossip: Gossip, sync: Sync, clock: Clock) -> None:
        self.away_since_ms: dict[int, int] = {}
        self._driver = driver
        self._gossip = gossip
        self._sync = sync
        self._clock = clock
        self._answerers: dict[str, Answerer] = {}

    def serve(self, family: str, answerer: Answerer) -> None:
        """Requests whose method begins with `family` and a dot go to `answerer`."""
        self._answerers[family] = answerer

    def on_message(self, peer: int, channel: Channel, payload: bytes) -> None:
        """Raises `DecodeError` for what is no message of its channel; other channels carry requests only."""
        if channel is Channel.VOTES:
            self._driver.on_payload(peer, payload)
        elif channel is Channel.TRANSACTIONS:
            self._gossip.on_payload(peer, payload)

    async def on_request(self, peer: int, method: str, payload: bytes) -> bytes:
        """Raises `Refuse` or `DecodeError`."""
        if method == METHOD:
            return await self._sync.answer(payload)
        answerer = self._answerers.get(method.partition(".")[0])
        if answerer is None:
            raise Refuse("unknown-method", "this node does not know the method")
        return await answerer(peer, method, payload)

    def on_peer_up(self, peer: int) -> None:
        self.away_since_ms.pop(peer, None)
        self._driver.on_peer_up(peer)
        self._gossip.on_peer_up(peer)
        self._sync.on_peer_up(peer)

    def on_peer_down(self, peer: int, reason: str) -> None:
        self.away_since_ms[peer] = self._clock.wall_ms()
        self._gossip.on_peer_down(peer)
        self._sync.on_peer_down(peer)
