"""What a node forgets in time: old answers and receipts, and what was stored for transactions that never came to be.

Runs now and then on its own, so that a node that stays up for a year does not grow by what nobody can ask for. Relies
on each store to forget a bounded number at once, so that no submission waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.api.writes import KEY_LIFE_MS
from node.logs import get_logger
from node.records.service import Records
from node.services import Queries
from node.storage.errors import StorageFailed
from node.storage.outbox import Idempotency, Outbox

log = get_logger("housekeeping")

EVERY_S = 600.0
MARGIN_MS = 60 * 60 * 1_000
"""How far clocks and ledger time may lie apart before a receipt would go while the key that leads to it still lives."""


class Housekeeping:
    """Sweeps one node's stores."""

    def __init__(self, node: Queries, rows: Idempotency, outbox: Outbox, records: Records) -> None:
        self._node = node
        self._rows = rows
        self._outbox = outbox
        self._records = records

    def start(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Begin, once every ten minutes; what is given back ends it. `fail` is told if it ends by itself. A disk that
        refuses is told of in the log and tried again."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="housekeeping")
        task.add_done_callback(ended)
        return task.cancel

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
            except StorageFailed as error:
                log.warning("not swept", code=error.code)

    async def once(self) -> None:
        """Forget all that is due. A receipt outlives every key that may lead to it: it is kept `KEY_LIFE_MS` and a
        margin beyond the time until which its transaction was valid. Raises `StorageFailed`."""
        now = self._node.now_ms()
        while await self._rows.prune(now):
            pass
        before = min(now, self._node.head().timestamp) - KEY_LIFE_MS - MARGIN_MS
        while await self._outbox.prune_receipts(before):
            pass
        swept = await self._records.submitter.sweep()
        if swept:
            log.info("swept", transactions=swept)
        dropped = await self._records.holding.sweep()
        if dropped:
            log.info("swept of what others handed over", records=dropped)
