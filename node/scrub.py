"""Whether the sealed records here, own and held for others, are still what they were: read again, a few at a time, for
ever.

So a lost or altered one is in `status` before somebody needs it, without an examination by hand, and is healed from
another copy where there is one. Each round begins with the first record; what a round found stays said until the
record is found whole. Relies on the blob store's own check of a blob against its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from node.logs import get_logger
from node.storage.blobs import BlobStore
from node.storage.errors import StorageFailed
from node.storage.held_store import HeldStore
from node.storage.records_store import RecordsStore

log = get_logger("scrub")

AT_ONCE = 32
PAUSE_S = 5.0
"""Between two steps. With `AT_ONCE` records of the usual size a step takes some milliseconds: below 0.2 % of a core."""
ROUND_PAUSE_S = 600.0
NAMED_MOST = 1_000

Heal = Callable[[int, int, bytes, int], Awaitable[bool]]
"""(chart, record, blob id, size in bytes) -> whether it is whole again."""


async def _not_healed(_chart: int, _record: int, _blob: bytes, _size: int) -> bool:
    return False


class Scrub:
    """Reads one node's blobs again. `missing` and `corrupt` are (chart, event) of records; `rounds` counts those that
    ended. `heal` is asked to mend what is found damaged."""

    def __init__(self, records: RecordsStore, held: HeldStore, blobs: BlobStore) -> None:
        self._records = records
        self._held = held
        self._blobs = blobs
        self._after = (0, -1)
        self._at_held = False
        self.heal: Heal = _not_healed
        self.missing: set[tuple[int, int]] = set()
        self.corrupt: set[tuple[int, int]] = set()
        self.rounds = 0

    def start(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Begin; what is given back ends it. `fail` is told if it ends by itself."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="scrub")
        task.add_done_callback(ended)
        return task.cancel

    async def _run(self) -> None:
        while True:
            rounds = self.rounds
            try:
                await self.step()
            except StorageFailed as error:
                log.warning("not scrubbed", code=error.code)
            await asyncio.sleep(PAUSE_S if rounds == self.rounds else ROUND_PAUSE_S)

    async def step(self) -> None:
        """Check the next few records, or end the round. Raises `StorageFailed`."""
        found = await self._next()
        if not found and not self._at_held:
            self._after, self._at_held = (0, -1), True
            found = await self._next()
        if not found:
            self._after, self._at_held = (0, -1), False
            self.rounds += 1
            for place in self.missing | self.corrupt:
                if not await self._kept(*place):  # erased since it was found
                    self.missing.discard(place)
                    self.corrupt.discard(place)
            return
        for chart, event, blob_id, size in found:
            await self._check(chart, event, blob_id, size)
            self._after = (chart, event)

    async def _next(self) -> Sequence[tuple[int, int, bytes, int]]:
        if self._at_held:
            held = await self._held.after(*self._after, AT_ONCE)
            return [(one.chart, one.event, one.handed.blob_id, one.handed.blob_bytes) for one in held]
        own = await self._records.after(*self._after, AT_ONCE)
        return [(one.chart, one.event, one.blob_id, one.blob_bytes) for one in own]

    async def _kept(self, chart: int, event: int) -> bool:
        return bool(await self._records.get(chart, [event]) or await self._held.get(chart, [event]))

    async def _check(self, chart: int, event: int, blob_id: bytes, size: int) -> None:
        place = (chart, event)
        state = await self._blobs.check(blob_id)
        if state != "ok" and not await self._kept(chart, event):
            state = "ok"  # it was erased meanwhile
        if state != "ok" and await self.heal(chart, event, blob_id, size):
            state = await self._blobs.check(blob_id)
        for bad, name in ((self.missing, "missing"), (self.corrupt, "corrupt")):
            if state != name:
                bad.discard(place)
            elif place not in bad and len(bad) < NAMED_MOST:
                bad.add(place)
                log.error("blob damaged", state=name, chart=chart, record=event)
