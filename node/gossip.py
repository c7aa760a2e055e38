"""The asyncio side of spreading transactions: their channel of the network, and the task that feeds the intake.

What is pushed, announced, asked for and admitted is decided by `node.sansio.spreading`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from node.clock import Clock
from node.mempool import Mempool
from node.network.interface import Channel, Network
from node.sansio.spreading import Admission, Intake, Spreading
from protocol.codec.canonical import decode, encode
from protocol.sync.messages import GossipMessage

_MESSAGE = cast(type[GossipMessage], GossipMessage)


class Gossip(Spreading):
    """See `Spreading`; peers are named by their institution's number."""

    def __init__(self, network: Network, pool: Mempool, intake: Intake, admit: Admission, clock: Clock) -> None:
        super().__init__(_Wire(network), pool, intake, admit, clock)
        self._wake = asyncio.Event()

    def on_payload(self, peer: int, payload: bytes) -> None:
        """A message on the channel of transactions. Raises `DecodeError` for what is none."""
        self.hear(peer, decode(_MESSAGE, payload))
        if self.waiting:
            self._wake.set()

    async def run(self, on_new: Callable[[], None]) -> None:
        """Check what came in and admit it, in batches, until cancelled; `on_new` is called after each that brought
        anything."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.admit_waiting(on_new)


class _Wire:
    """The channel of transactions."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def connected(self) -> frozenset[int]:
        return self._network.connected()

    def institution_of(self, peer: int) -> int:
        return peer

    def tell(self, peer: int, message: GossipMessage) -> None:
        self._network.send(peer, Channel.TRANSACTIONS, encode(message))

    def tell_all(self, message: GossipMessage) -> None:
        self._network.broadcast(Channel.TRANSACTIONS, encode(message))
