"""One node's catching up by ranges of final blocks over the simulated network, and its answers to others.

Whom to ask for what, what an answer is worth and what is served is decided by `node.sansio.catching_up`.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from node.sansio.catching_up import TIMEOUT_S, CatchingUp, Checked, Unservable, serve
from node.simulation.disk import Disk, StoredBlock
from node.simulation.tasks import Promise, Task
from protocol.consensus.events import CaughtUp
from protocol.errors import ChartledgerError
from protocol.sync.messages import FinalRange, RangeRequest
from protocol.sync.ranges import Check, check_range
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet

if TYPE_CHECKING:
    from node.simulation.host import Host

R = TypeVar("R")


class Unanswered(ChartledgerError):
    """The request was lost, or the peer went away or refused."""


class Syncing(CatchingUp):
    """One life's; peers are named by their address."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.finality, host, host.memory.verify)
        self._host = host
        self._serial = 0
        self._requests: dict[int, tuple[int, Promise]] = {}
        self._answers: dict[int, FinalRange] = {}
        self._heard = Promise(host.world)
        self._woken = False

    # --- what takes time -----------------------------------------------------------------------------------------

    def connected(self) -> Collection[int]:
        """Whom one can ask."""
        return self._host.connected()

    async def request(self, peer: int, request: RangeRequest) -> FinalRange:
        """Its answer. Raises `Unanswered`."""
        self._serial += 1
        serial, done = self._serial, Promise(self._host.world)
        self._requests[serial] = (peer, done)
        self._host.ask(peer, serial, request)
        self._host.world.idly(TIMEOUT_S * 1_000_000, self._end, (serial,))
        await done
        answer = self._answers.pop(serial, None)
        if answer is None:
            raise Unanswered
        return answer

    def _end(self, serial: int) -> None:
        _, done = self._requests.pop(serial, (0, None))
        if done is not None:
            done.set_result()

    def begin(self, work: Coroutine[Any, None, R]) -> Task[R]:
        """Run this beside whoever calls."""
        return Task(self._host.world, work, self._host.living())

    async def check(self, head: Header, answer: FinalRange, check: Check, held: tuple[Block, ...]) -> Checked:
        """`check_range`."""
        return check_range(head, answer, check, held)

    def heard(self) -> None:
        """A peer told its height."""
        if not self._heard.done():
            self._heard.set_result()

    async def heard_within(self, wait_ms: int) -> None:
        """Wait until `heard`, or so long."""
        self._heard = waiting = Promise(self._host.world)
        self._host.world.idly(wait_ms * 1_000, self._over, (waiting,))
        await waiting

    def _over(self, waiting: Promise) -> None:
        if not waiting.done():
            waiting.set_result()

    def wake(self) -> None:
        """There is a reason to catch up."""
        self._woken = True
        if not self.active:
            self._host.begin(self._run())

    async def _run(self) -> None:
        while self._woken and not self.active:
            self._woken = False
            await self.catch_up()

    def authorities(self, epoch: int) -> AuthoritySet | None:
        """An epoch's set by the final state, or None."""
        return self._host.standing.authorities_of(epoch)

    def caught_up(self, event: CaughtUp) -> None:
        """The final head moved."""
        self._host.post(event)

    def unanswered(self, peer: int, error: ChartledgerError) -> None:
        """This peer gave no answer."""
        self.refused(peer, error)

    def refused(self, peer: int, error: ChartledgerError) -> None:
        """What this peer sent, or that it sent nothing, was held against it."""
        world = self._host.world
        world.log.show(world.now_us, self._host.number, "holds against", f"node {peer}: {error.code}")

    # --- messages ------------------------------------------------------------------------------------------------

    def lost(self, peer: int) -> None:
        """It cannot be reached any more: what it was asked for will not come."""
        self.on_peer_down(peer)
        for serial in [serial for serial, (asked, _) in self._requests.items() if asked == peer]:
            self._end(serial)

    def hear(self, peer: int, serial: int, answer: FinalRange | None) -> None:
        """An answer; None: it refuses."""
        if self._requests.get(serial, (None, None))[0] == peer:
            if answer is not None:
                self._answers[serial] = answer
            self._end(serial)

    async def serve(self, peer: int, serial: int, wanted: RangeRequest) -> None:
        """Answer a request."""
        disk = self._host.disk
        answer: FinalRange | None
        try:
            answer = await serve(wanted, len(disk.blocks), _Blocks(disk))
        except Unservable:
            answer = None
        self._host.answer(peer, serial, answer)


class _Blocks:
    """See `node.sansio.catching_up.BlockStore`."""

    def __init__(self, disk: Disk) -> None:
        self._blocks = disk.blocks

    async def blocks(self, first: int, count: int, max_bytes: int) -> Sequence[StoredBlock]:
        """So many, of about this size, one at least."""
        run: list[StoredBlock] = []
        for one in self._blocks[first - 1 : first - 1 + count]:
            max_bytes -= len(one.block_raw)
            if run and max_bytes < 0:
                break
            run.append(one)
        return run

    async def headers_to_certificate(self, first: int, count: int) -> tuple[list[bytes], bytes | None]:
        """Headers from this height on, up to the next that has a certificate, and that certificate."""
        headers = []
        for one in self._blocks[first - 1 : first - 1 + count]:
            headers.append(one.header_raw)
            if one.certificate_raw is not None:
                return headers, one.certificate_raw
        return headers, None

    async def epoch_end(self, height: int) -> int | None:
        """The height of the last block of the epoch of the block at this one, if it is stored."""
        ends = (one.height for one in self._blocks[height - 1 :] if one.block.header.ends_epoch)
        return next(ends, None)
