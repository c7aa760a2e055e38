"""Catches up by ranges of final blocks, and serves them to others.

A node learns that it is behind from a peer's height (asked for whenever one connects) or from consensus, which saw a
finalization of a block that it cannot reach. Ranges come from one peer at a time, the next while the last is executed;
every certificate, link, signature and state root is checked as if the peer were hostile. A range ends where an epoch
does: its last block's state says who signs what follows. Relies on `protocol.sync.planner` for whom to ask, and on
`node.finality` to store what was checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from node.clock import Clock
from node.finality import Finality
from node.logs import get_logger
from node.network.interface import Channel, Network, Refuse
from node.storage.types import StoredBlock
from protocol.codec.canonical import decode, encode
from protocol.consensus.events import CaughtUp
from protocol.consensus.quorum import check_certificate
from protocol.crypto.signing import verify
from protocol.errors import BadCertificate, ChartledgerError
from protocol.sync.messages import BLOCKS_PER_RANGE, HEADERS_PER_RANGE, FinalRange, RangeBlock, RangeRequest, Rest
from protocol.sync.planner import RANGE_BYTES, Planner
from protocol.sync.ranges import Segment, check_range
from protocol.types.block import Block
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Certificate

log = get_logger("sync")

METHOD = "sync.range"
TIMEOUT_S = 20.0
COMPARE_MS = 5_000
"""How often heights are held against what peers' pings said."""
SEGMENT_BLOCKS = 64
"""Blocks handed to finality at once: enough to share a commit, few enough to bound memory."""


Fetched = tuple[int, RangeRequest, FinalRange]
"""Whom was asked for what, and the answer."""


class BlockStore(Protocol):
    """Where final blocks are read from."""

    async def blocks(self, first: int, count: int, max_bytes: int) -> list[StoredBlock]: ...

    async def headers_to_certificate(self, first: int, count: int) -> tuple[list[bytes], bytes | None]: ...

    async def epoch_end(self, height: int) -> int | None: ...


class Sync:
    """One node's catching up. `caught_up` is told each time that the final head moved by it, and so of each block that
    ended an epoch. `authorities` gives an epoch's set from the final state, or None."""

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
        self.planner = Planner(finality.head.height)
        self.active = False
        self._network = network
        self._store = store
        self._finality = finality
        self._authorities = authorities
        self._clock = clock
        self._caught_up = caught_up
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()
        self._asking: dict[asyncio.Task[None], int] = {}
        self._said: dict[int, int] = {}
        self._compared_ms = 0

    @property
    def blocks_behind(self) -> int:
        """How many blocks the furthest peer is ahead of what is final here, however that came to be final."""
        return max(0, self.planner.target - self._finality.head.height)

    # --- hints ---------------------------------------------------------------------------------------------------

    def on_peer_up(self, peer: int) -> None:
        """Ask how far it is."""
        task = asyncio.create_task(self._ask_height(peer), name="ask height")
        self._asking[task] = peer
        task.add_done_callback(self._asking.pop)

    def on_peer_down(self, peer: int) -> None:
        """It cannot be asked any more."""
        self.planner.lost(peer)

    def compare(self) -> None:
        """Ask whoever was ahead a while ago already, as its ping said. The news of what is final may be lost on its way
        and, when nothing else happens, nobody repeats it: least of all to one that only follows."""
        now = self._clock.monotonic_ms()
        if now - self._compared_ms < COMPARE_MS:
            return
        self._compared_ms = now
        head, before = self._finality.head.height, self._said
        self._said = {peer.institution: peer.height for peer in self._network.peers() if peer.height is not None}
        if not self.active:
            for peer in self._said:
                if before.get(peer, 0) > head:
                    self.on_peer_up(peer)

    def behind(self) -> None:
        """Consensus saw finality that it cannot reach, or was told of a later epoch: ask everyone anew, but whoever has
        yet to answer. Anybody can tell of a later epoch."""
        for peer in self._network.connected().difference(self._asking.values()):
            self.on_peer_up(peer)

    async def _ask_height(self, peer: int) -> None:
        try:
            answer = await self._request(peer, RangeRequest(0, 0, 0))
        except ChartledgerError as error:
            log.info("peer did not tell its height", peer=peer, code=error.code)
            return
        self.planner.heard(peer, answer.height)
        self._heard.set()
        if answer.height > self._finality.head.height:
            self._wake.set()

    # --- fetching ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Catch up whenever there is a reason to, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.active = True
            try:
                await self._catch_up()
            finally:
                self.active = False

    async def stop(self) -> None:
        """Ask no more."""
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _catch_up(self) -> None:
        self.planner.reset(self._finality.head.height)
        held: tuple[Block, ...] = ()  # proven to be final, and their own certificate is not fetched yet
        fetch: asyncio.Task[Fetched | None] | None = None
        try:
            fetch = asyncio.create_task(self._fetch())
            while (got := await fetch) is not None:
                peer, request, answer = got
                head = self._finality.head
                if held and held[0].header.height != head.height + 1:
                    held = ()
                if request.first != head.height + len(held) + 1:  # consensus was faster
                    held = ()
                    self.planner.reset(head.height)
                    fetch = asyncio.create_task(self._fetch())
                    continue
                try:
                    segments, held = await asyncio.to_thread(check_range, head, answer, self._check_certificate, held)
                    self.planner.answered(peer, len(answer.blocks), answer.height)
                    fetch = asyncio.create_task(self._fetch())
                    await self._apply(segments)
                except ChartledgerError as error:
                    log.warning("sync refused", peer=peer, height=head.height, code=error.code, reason=str(error))
                    held = ()
                    self.planner.failed(peer, self._clock.monotonic_ms())
                    self.planner.reset(self._finality.head.height)
                    fetch.cancel()
                    fetch = asyncio.create_task(self._fetch())
        finally:
            if fetch is not None:
                fetch.cancel()

    async def _apply(self, segments: Sequence[Segment]) -> None:
        """Execute and store; raises `InvalidBlock` for what does not execute as its header says."""
        last: Segment | None = None
        waiting = []
        for segment in segments:
            waiting.append(self._finality.put(segment.blocks, segment.certificate))
            last = segment
            if len(waiting) >= SEGMENT_BLOCKS:
                await asyncio.gather(*waiting)
                self._tell(segment)
                waiting = []
        if waiting and last is not None:
            await asyncio.gather(*waiting)
            self._tell(last)

    def _tell(self, segment: Segment) -> None:
        self._caught_up(CaughtUp(segment.blocks[-1], segment.certificate))

    async def _fetch(self) -> Fetched | None:
        """The next range, from whoever has it; None when nobody who is connected has more."""
        while True:
            now = self._clock.monotonic_ms()
            wanted = self.planner.next_request(now)
            if wanted is None:
                wait = self.planner.wait_ms(now)
                if wait is None:
                    return None
                self._heard.clear()
                with suppress(TimeoutError):  # of one that failed; somebody better may come meanwhile
                    await asyncio.wait_for(self._heard.wait(), max(wait, 10) / 1_000)
                continue
            peer, request = wanted
            try:
                answer = await self._request(peer, request)
            except ChartledgerError as error:
                log.info("sync failed", peer=peer, code=error.code)
                self.planner.failed(peer, self._clock.monotonic_ms())
                continue
            if answer.blocks:
                return peer, request, answer
            self.planner.answered(peer, 0, answer.height)

    async def _request(self, peer: int, request: RangeRequest) -> FinalRange:
        raw = await self._network.request(peer, Channel.SYNC, METHOD, encode(request), TIMEOUT_S)
        return decode(FinalRange, raw)

    def _check_certificate(self, certificate: Certificate) -> None:
        epoch = certificate.subject.epoch
        authorities = self._authorities(epoch)
        if authorities is None:
            raise BadCertificate(f"who the authorities of epoch {epoch} are is not known here")
        keys = [member.vote_key for member in authorities.members]
        check_certificate(certificate, self._finality.head.chain, epoch, keys, verify)

    # --- serving -------------------------------------------------------------------------------------------------

    async def answer(self, payload: bytes) -> bytes:
        """The canonical `FinalRange` for a canonical `RangeRequest`. Raises `DecodeError`, `Refuse`."""
        wanted = decode(RangeRequest, payload)
        head = self._finality.head
        if wanted.count == 0 or wanted.first > head.height:
            return encode(FinalRange(head.height, (), None))
        if wanted.first == 0:
            raise Refuse("bad-range", "the block at height 0 is the genesis, which every node has")
        size = min(wanted.size_bytes, RANGE_BYTES)
        count = min(wanted.count, BLOCKS_PER_RANGE)
        end = await self._store.epoch_end(wanted.first)
        if end is not None:
            count = min(count, end + 1 - wanted.first)
        stored = await self._store.blocks(wanted.first, count, size)
        # A whole run of blocks that became final together if there is one, or the first part of one.
        whole = next((n for n in range(len(stored), 0, -1) if stored[n - 1].certificate_raw is not None), 0)
        rest = None if whole or not stored else await self._rest(stored[-1].height + 1)
        blocks = tuple(RangeBlock(block.block_raw, block.certificate_raw) for block in stored[: whole or None])
        return encode(FinalRange(head.height, blocks, rest))

    async def _rest(self, first: int) -> Rest:
        headers, certificate = await self._store.headers_to_certificate(first, HEADERS_PER_RANGE)
        if certificate is None:
            raise Refuse("no-certificate", "no certificate was found for these blocks")
        return Rest(tuple(headers), certificate)
