"""Who watches a chart, and how far they have been told: so that an emergency's patient hears of it first.

A custodian releases nothing by an emergency before everybody who watches that chart has been sent what happened to it,
the emergency included. Somebody who takes nothing cannot hold up care for longer than `TELL_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

TELL_S = 2.0


class Watcher:
    """Somebody who is sent what happens to one chart; `height` is the last final block sent in full."""

    __slots__ = ("height",)

    def __init__(self, height: int) -> None:
        self.height = height


class Told:
    """The watchers of all charts."""

    def __init__(self) -> None:
        self._watchers: dict[int, set[Watcher]] = {}
        self._changed = asyncio.Event()

    @contextmanager
    def watching(self, chart: int | None, height: int) -> Iterator[Watcher]:
        """A watcher of `chart`, who knows all up to `height`. One of no chart in particular is waited for by nobody."""
        watcher = Watcher(height)
        if chart is not None:
            self._watchers.setdefault(chart, set()).add(watcher)
        try:
            yield watcher
        finally:
            if chart is not None:
                self._watchers[chart].discard(watcher)
                if not self._watchers[chart]:
                    del self._watchers[chart]
                self._look_again()

    def sent(self, watcher: Watcher, height: int) -> None:
        """All that the blocks up to `height` did has left for this watcher."""
        watcher.height = max(watcher.height, height)
        self._look_again()

    async def everybody(self, chart: int, height: int) -> bool:
        """Wait until every watcher of the chart has been sent all up to `height`; False if one did not take it."""
        before = set(self._watchers.get(chart, ()))
        try:
            async with asyncio.timeout(TELL_S):
                while any(one.height < height for one in before & self._watchers.get(chart, set())):
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _look_again(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
