"""Catches up by ranges of final blocks, and serves them to others.

A node learns that it is behind from a peer's height (asked for whenever one connects) or from consensus, which saw a
finalization of a block that it cannot reach. Ranges come from one peer at a time, the next while the last is executed;
every certificate, link, signature and state root is checked as if the peer were hostile. A range ends where an epoch
does: its last block's state says who signs what follows. Sans-I/O: requests, waits and threads are ports. Relies on
`protocol.sync.planner` for whom to ask, on `protocol.sync.ranges` for what an answer is worth, and on
`node.sansio.finality` to store what was checked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from node.sansio.finality import Promise
from protocol.consensus.events import CaughtUp
from protocol.consensus.quorum import check_certificate
from protocol.crypto.signing import Verifier
from protocol.errors import BadCertificate, ChartledgerError
from protocol.sync.messages import BLOCKS_PER_RANGE, HEADERS_PER_RANGE, FinalRange, RangeBlock, RangeRequest, Rest
from protocol.sync.planner import RANGE_BYTES, Planner
from protocol.sync.ranges import Check, Segment
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Certificate

TIMEOUT_S = 20
"""How long an answer may take."""
COMPARE_MS = 5_000
"""How often heights are held against what peers' pings said."""
SEGMENT_BLOCKS = 64
"""Blocks handed to finality at once: enough to share a commit, few enough to bound memory."""

Fetched = tuple[int, RangeRequest, FinalRange]
"""Whom was asked for what, and the answer."""
Checked = tuple[list[Segment], tuple[Block, ...]]
"""What `protocol.sync.ranges.check_range` gives."""

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Unservable(ChartledgerError):
    """Blocks were asked for that cannot be given. `refusal` is the stable code that the peer gets."""

    def __init__(self, refusal: str, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = refusal


class FinalHead(Protocol):
    """See `node.sansio.finality.FinalityCore`."""

    @property
    def head(self) -> Header: ...

    def put(self, blocks: tuple[Block, ...], certificate: Certificate) -> Promise: ...


class Clock(Protocol):
    """The node's own, for what is asked for again after a while."""

    def monotonic_ms(self) -> int: ...


class Stored(Protocol):
    """A final block as it is kept."""

    @property
    def height(self) -> int: ...

    @property
    def block_raw(self) -> bytes: ...

    @property
    def certificate_raw(self) -> bytes | None: ...


class BlockStore(Protocol):
    """Where final blocks are read from."""

    async def blocks(self, first: int, count: int, max_bytes: int) -> Sequence[Stored]: ...

    async def headers_to_certificate(self, first: int, count: int) -> tuple[list[bytes], bytes | None]: ...

    async def epoch_end(self, height: int) -> int | None: ...


class Running(Protocol[R_co]):
    """Work that was begun, as `asyncio.Task`: await it, or `cancel` it."""

    def cancel(self) -> object: ...

    def __await__(self) -> Generator[Any, Any, R_co]: ...


class CatchingUp(ABC):
    """One node's catching up. When `wake` was called, somebody calls `catch_up`, one at a time."""

    def __init__(self, finality: FinalHead, clock: Clock, verifier: Verifier) -> None:
        self.planner = Planner(finality.head.height)
        self.active = False
        self._finality = finality
        self._clock = clock
        self._verifier = verifier
        self._asked = 0
        self._asking: dict[int, tuple[int, Running[None] | None]] = {}  # whom was asked its height, by number
        self._said: Mapping[int, int] = {}
        self._compared_ms = 0

    # --- what takes time -----------------------------------------------------------------------------------------

    @abstractmethod
    def connected(self) -> Collection[int]:
        """Whom one can ask."""

    @abstractmethod
    async def request(self, peer: int, request: RangeRequest) -> FinalRange:
        """Its answer. Raises a named error if there is none within `TIMEOUT_S`, or it is no answer."""

    @abstractmethod
    def begin(self, work: Coroutine[Any, Any, R]) -> Running[R]:
        """Run this beside whoever calls."""

    @abstractmethod
    async def check(self, head: Header, answer: FinalRange, check: Check, held: tuple[Block, ...]) -> Checked:
        """`check_range`, wherever it disturbs nobody."""

    @abstractmethod
    def heard(self) -> None:
        """A peer told its height: whoever waits in `heard_within` goes on."""

    @abstractmethod
    async def heard_within(self, wait_ms: int) -> None:
        """Wait until `heard`, or so long."""

    @abstractmethod
    def wake(self) -> None:
        """There is a reason to catch up."""

    @abstractmethod
    def authorities(self, epoch: int) -> AuthoritySet | None:
        """An epoch's set by the final state, or None."""

    @abstractmethod
    def caught_up(self, event: CaughtUp) -> None:
        """The final head moved; told each time, and so of each block that ended an epoch."""

    @abstractmethod
    def unanswered(self, peer: int, error: ChartledgerError) -> None:
        """This peer gave no answer; of blocks, that is held against it for a while."""

    @abstractmethod
    def refused(self, peer: int, error: ChartledgerError) -> None:
        """The blocks that this peer sent are not what it says; held against it for a while."""

    # --- hints ---------------------------------------------------------------------------------------------------

    @property
    def blocks_behind(self) -> int:
        """How many blocks the furthest peer is ahead of what is final here, however that came to be final."""
        return max(0, self.planner.target - self._finality.head.height)

    def on_peer_up(self, peer: int) -> None:
        """Ask how far it is."""
        self._asked += 1
        number = self._asked
        self._asking[number] = (peer, None)
        running = self.begin(self._ask_height(number, peer))
        if number in self._asking:
            self._asking[number] = (peer, running)

    def on_peer_down(self, peer: int) -> None:
        """It cannot be asked any more."""
        self.planner.lost(peer)

    def compare(self, heights: Mapping[int, int]) -> None:
        """Ask whoever was ahead a while ago already, as its ping said (`heights` by peer). Call often. The news of what
        is final may be lost on its way and, when nothing else happens, nobody repeats it: least of all to one that only
        follows."""
        now = self._clock.monotonic_ms()
        if now - self._compared_ms < COMPARE_MS:
            return
        self._compared_ms = now
        head, before = self._finality.head.height, self._said
        self._said = heights
        if not self.active:
            for peer in self._said:
                if before.get(peer, 0) > head:
                    self.on_peer_up(peer)

    def behind(self) -> None:
        """Consensus saw finality that it cannot reach, or was told of a later epoch: ask everyone anew, but whoever has
        yet to answer. Anybody can tell of a later epoch."""
        asking = {peer for peer, _ in self._asking.values()}
        for peer in self.connected():
            if peer not in asking:
                self.on_peer_up(peer)

    async def _ask_height(self, number: int, peer: int) -> None:
        try:
            answer = await self.request(peer, RangeRequest(0, 0, 0))
        except ChartledgerError as error:
            self.unanswered(peer, error)
            return
        finally:
            self._asking.pop(number, None)
        self.planner.heard(peer, answer.height)
        self.heard()
        if answer.height > self._finality.head.height:
            self.wake()

    # --- fetching ------------------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Fetch until nobody who is connected has more."""
        self.active = True
        try:
            await self._catch_up()
        finally:
            self.active = False

    async def _catch_up(self) -> None:
        self.planner.reset(self._finality.head.height)
        held: tuple[Block, ...] = ()  # proven to be final, and their own certificate is not fetched yet
        fetch = self.begin(self._fetch())
        try:
            while (got := await fetch) is not None:
                peer, request, answer = got
                head = self._finality.head
                if held and held[0].header.height != head.height + 1:
                    held = ()
                if request.first != head.height + len(held) + 1:  # consensus was faster
                    held = ()
                    self.planner.reset(head.height)
                    fetch = self.begin(self._fetch())
                    continue
                try:
                    segments, held = await self.check(head, answer, self.check_certificate, held)
                    self.planner.answered(peer, len(answer.blocks), answer.height)
                    fetch = self.begin(self._fetch())
                    await self._apply(segments)
                except ChartledgerError as error:
                    self.refused(peer, error)
                    held = ()
                    self.planner.failed(peer, self._clock.monotonic_ms())
                    self.planner.reset(self._finality.head.height)
                    fetch.cancel()
                    fetch = self.begin(self._fetch())
        finally:
            fetch.cancel()

    async def _apply(self, segments: Sequence[Segment]) -> None:
        """Have it executed and stored."""
        last: Segment | None = None
        waiting: list[Promise] = []
        for segment in segments:
            waiting.append(self._finality.put(segment.blocks, segment.certificate))
            last = segment
            if len(waiting) >= SEGMENT_BLOCKS:
                await self._stored(waiting, segment)
                waiting = []
        if waiting and last is not None:
            await self._stored(waiting, last)

    async def _stored(self, waiting: Sequence[Promise], last: Segment) -> None:
        for done in waiting:
            await done
        self.caught_up(CaughtUp(last.blocks[-1], last.certificate))

    async def _fetch(self) -> Fetched | None:
        """The next range, from whoever has it; None when nobody who is connected has more."""
        while True:
            now = self._clock.monotonic_ms()
            wanted = self.planner.next_request(now)
            if wanted is None:
                wait_ms = self.planner.wait_ms(now)
                if wait_ms is None:
                    return None
                await self.heard_within(max(wait_ms, 10))  # of one that failed; somebody better may come meanwhile
                continue
            peer, request = wanted
            try:
                answer = await self.request(peer, request)
            except ChartledgerError as error:
                self.unanswered(peer, error)
                self.planner.failed(peer, self._clock.monotonic_ms())
                continue
            if answer.blocks:
                return peer, request, answer
            self.planner.answered(peer, 0, answer.height)

    def check_certificate(self, certificate: Certificate) -> None:
        """Raises `BadCertificate` for what is none by the authorities of its epoch, as this node's state knows them."""
        epoch = certificate.subject.epoch
        authorities = self.authorities(epoch)
        if authorities is None:
            raise BadCertificate(f"who the authorities of epoch {epoch} are is not known here")
        keys = [member.vote_key for member in authorities.members]
        check_certificate(certificate, self._finality.head.chain, epoch, keys, self._verifier)


async def serve(wanted: RangeRequest, height: int, store: BlockStore) -> FinalRange:
    """The answer of a node whose final head has this height. Raises `Unservable`."""
    if wanted.count == 0 or wanted.first > height:
        return FinalRange(height, (), None)
    if wanted.first == 0:
        raise Unservable("bad-range", "the block at height 0 is the genesis, which every node has")
    size = min(wanted.size_bytes, RANGE_BYTES)
    count = min(wanted.count, BLOCKS_PER_RANGE)
    end = await store.epoch_end(wanted.first)
    if end is not None:
        count = min(count, end + 1 - wanted.first)
    stored = await store.blocks(wanted.first, count, size)
    # A whole run of blocks that became final together if there is one, or the first part of one.
    whole = next((n for n in range(len(stored), 0, -1) if stored[n - 1].certificate_raw is not None), 0)
    rest = None if whole or not stored else await _rest(stored[-1].height + 1, store)
    blocks = tuple(RangeBlock(block.block_raw, block.certificate_raw) for block in stored[: whole or None])
    return FinalRange(height, blocks, rest)


async def _rest(first: int, store: BlockStore) -> Rest:
    headers, certificate = await store.headers_to_certificate(first, HEADERS_PER_RANGE)
    if certificate is None:
        raise Unservable("no-certificate", "no certificate was found for these blocks")
    return Rest(tuple(headers), certificate)
