"""Changes of owners and guardians that have waited long enough: the custodian's node completes them by itself.

Anybody may; the custodian does, so that nobody need remember. Then it seals the owner's envelopes anew, if the keys
changed. It follows final blocks, and after a start looks through its charts once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from node.logs import get_logger
from node.records.owner_keys import OwnerKeys, recovery_of
from node.services import FinalBlock, NodeServices, Waiting
from node.storage.errors import StorageFailed
from protocol.chart_errors import TooEarly, WrongChange
from protocol.errors import ChartledgerError
from protocol.ledger import keys
from protocol.ledger.events import ChangeBegun, ChangeCancelled, ChangeCompleted, ChartMoved, decode_event
from protocol.ledger.leaves import Pending, Recovery, decode_leaf
from protocol.types.operations import CompleteRecovery, SignedOperation

log = get_logger("changes")

CHARTS_AT_ONCE = 1_000
AGAIN_S = 5.0
"""How often what is due is tried again: the chain may stand still, or have no room."""
IDLE_S = 600.0
_KINDS = (ChangeBegun, ChangeCancelled, ChangeCompleted, ChartMoved)


class Changes:
    """What waits at this custodian's charts."""

    def __init__(self, node: NodeServices, owner_keys: OwnerKeys) -> None:
        self._node = node
        self._owner_keys = owner_keys
        self._look: set[int] = set()  # charts to which something of the kind happened
        self._waiting: dict[int, Pending] = {}
        self._sent: dict[int, bytes] = {}  # by chart, the transaction that is to complete its change
        self._wake = asyncio.Event()

    def start(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Begin; what is given back ends it. `fail` is told if it ends by itself."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="changes")
        task.add_done_callback(ended)
        return task.cancel

    async def load(self) -> None:
        """Look through this custodian's charts for what waits."""
        first = 0
        while charts := await self._node.charts_of_custodian(self._node.institution, first, CHARTS_AT_ONCE):
            for key, raw in (await self._node.leaves([keys.recovery(chart) for chart in charts])).items():
                leaf = decode_leaf(key, raw)
                if isinstance(leaf, Recovery) and leaf.pending is not None:
                    self._look.add(int.from_bytes(key[1:], "big"))
            first = charts[-1] + 1

    async def once(self) -> bool:
        """Complete what is due and seal envelopes anew; whether more is to be done soon. Raises `StorageFailed`."""
        while self._look:
            await self._look_at(self._look.pop())
        now = self._node.now_ms()
        due = [chart for chart, pending in self._waiting.items() if pending.ready_at <= now]
        for chart in due:
            await self._complete(chart, self._waiting[chart].change)
        return await self._owner_keys.once()

    async def _look_at(self, chart: int) -> None:
        leaf = await self._node.chart(chart)
        if leaf is None or leaf.custodian != self._node.institution:
            return
        pending = (await recovery_of(self._node, chart)).pending
        if pending is None:
            self._waiting.pop(chart, None)
            self._sent.pop(chart, None)
        else:
            self._waiting[chart] = pending

    async def _complete(self, chart: int, change: int) -> None:
        sent = self._sent.get(chart)
        if sent is not None and await self._node.outcomes([sent], 0) == [Waiting.PENDING]:
            return
        try:
            prepared = await self._node.prepare([[SignedOperation(CompleteRecovery(chart, change))]])
            await self._node.submit(prepared)
        except WrongChange:
            self._look.add(chart)
        except TooEarly:
            return
        except ChartledgerError as error:
            log.warning("change not completed yet", chart=chart, reason=error.code)
        else:
            self._sent[chart] = prepared[0].id
            log.info("change completed", chart=chart, change=change)

    async def _run(self) -> None:
        while True:
            async with self._node.subscribe() as blocks:
                await self.load()  # after subscribing, so that nothing falls between
                watcher = asyncio.create_task(self._watch(blocks))
                try:
                    while not watcher.done():
                        await self._turn()
                finally:
                    watcher.cancel()
            # The stream ends for who fell behind, and when the node stops: then this task is cancelled.
            await asyncio.sleep(AGAIN_S)

    async def _turn(self) -> None:
        self._wake.clear()
        pause_s = IDLE_S
        try:
            if await self.once():
                return
        except StorageFailed as error:
            log.warning("changes not looked at", code=error.code)
            pause_s = AGAIN_S
        if self._waiting:
            ahead_ms = min(pending.ready_at for pending in self._waiting.values()) - self._node.now_ms()
            pause_s = min(pause_s, ahead_ms / 1_000 if ahead_ms > 0 else AGAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()

    async def _watch(self, blocks: AsyncIterator[FinalBlock]) -> None:
        async for block in blocks:
            self.note(block)
        self._wake.set()

    def note(self, block: FinalBlock) -> None:
        """Take note of a final block."""
        found = {chart for chart, _, raw in block.events if isinstance(decode_event(raw), _KINDS)}
        if found:
            self._look |= found
            self._wake.set()

    def wake(self) -> None:
        """Something was handed in."""
        self._wake.set()
