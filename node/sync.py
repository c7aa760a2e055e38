"""The asyncio side of catching up: requests over the network, checks in a thread, and the task that fetches.

Whom to ask for what, what an answer is worth and what is served is decided by `node.sansio.catching_up`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from node.clock import Clock
from node.finality import Finality
from node.logs import get_logger
from node.network.interface import Channel, Network, Refuse
from node.sansio.catching_up import TIMEOUT_S, BlockStore, CatchingUp, Checked, Unservable, serve
from protocol.codec.canonical import decode, encode
from protocol.consensus.events import CaughtUp
from protocol.crypto.signing import verify
from protocol.errors import ChartledgerError
from protocol.sync.messages import FinalRange, RangeRequest
from protocol.sync.ranges import Check, check_range
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet

log = get_logger("sync")

METHOD = "sync.range"

R = TypeVar("R")


class Sync(CatchingUp):
    """See `CatchingUp`; peers are named by their institution's number. `caught_up` is told each time that the final
    head moved by it. `authorities` gives an epoch's set from the final state, or None."""

    def __init__(
        self,
        *,
        network: Network,
        store: BlockStore,
        finality: Finality,
        authorities: Callable[[int], AuthoritySet | None],
        clock: Clock,
        caught_up: Callable[[CaughtUp], None],
    ) -> None:
        super().__init__(finality, clock, verify)
        self._network = network
        self._store = store
        self._authorities = authorities
        self._caught_up = caught_up
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Catch up whenever there is a reason to, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.catch_up()

    async def stop(self) -> None:
        """Ask no more."""
        tasks = [task for _, task in self._asking.values() if isinstance(task, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking.clear()  # also of those that had not begun

    def compare_pings(self) -> None:
        """See `CatchingUp.compare`: with what peers' pings say."""
        self.compare({peer.institution: peer.height for peer in self._network.peers() if peer.height is not None})

    async def answer(self, payload: bytes) -> bytes:
        """The canonical `FinalRange` for a canonical `RangeRequest`. Raises `DecodeError`, `Refuse`."""
        try:
            return encode(await serve(decode(RangeRequest, payload), self._finality.head.height, self._store))
        except Unservable as error:
            raise Refuse(error.refusal, str(error)) from None

    # --- what takes time -----------------------------------------------------------------------------------------

    def connected(self) -> Collection[int]:
        return self._network.connected()

    async def request(self, peer: int, request: RangeRequest) -> FinalRange:
        raw = await self._network.request(peer, Channel.SYNC, METHOD, encode(request), TIMEOUT_S)
        return decode(FinalRange, raw)

    def begin(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        return asyncio.create_task(work, name="sync")

    async def check(self, head: Header, answer: FinalRange, check: Check, held: tuple[Block, ...]) -> Checked:
        return await asyncio.to_thread(check_range, head, answer, check, held)

    def heard(self) -> None:
        self._heard.set()

    async def heard_within(self, wait_ms: int) -> None:
        self._heard.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), wait_ms / 1_000)

    def wake(self) -> None:
        self._wake.set()

    def authorities(self, epoch: int) -> AuthoritySet | None:
        return self._authorities(epoch)

    def caught_up(self, event: CaughtUp) -> None:
        self._caught_up(event)

    def unanswered(self, peer: int, error: ChartledgerError) -> None:
        log.info("sync not answered", peer=peer, code=error.code)

    def refused(self, peer: int, error: ChartledgerError) -> None:
        height = self._finality.head.height
        log.warning("sync refused", peer=peer, height=height, code=error.code, reason=str(error))
