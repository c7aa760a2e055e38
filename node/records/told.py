"""Who watches a chart, and how far they have been told: so that an emergency's patient hears of it first.

Told is what a watcher's stream has taken up: what comes next out of it, behind nothing but what this watcher has not
read yet. It stands on the ledger for good by then, and a stream that ends is gone on with from there
(`node.api.stream`). Whether the watcher reads is its own affair: nobody who opens a stream and takes nothing of it can
hold up care.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

TELL_S = 2.0
"""A stream takes up what is final within a turn of the event loop. One that does not is broken, and not waited for."""


class Watcher:
    """Somebody who is sent what happens to one chart. `height` is the last final block that its stream has taken up;
    `giving`, that it is being given something now: what is final meanwhile waits in line behind that."""

    __slots__ = ("giving", "height")

    def __init__(self, height: int) -> None:
        self.height = height
        self.giving = False


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

    def taken_up(self, watcher: Watcher, height: int) -> None:
        """What the blocks up to `height` did is what this watcher is given next."""
        watcher.height = max(watcher.height, height)
        self._look_again()

    @contextmanager
    def giving(self, watcher: Watcher) -> Iterator[None]:
        """While the watcher is given a message, for as long as it takes to take it."""
        watcher.giving = True
        self._look_again()
        try:
            yield
        finally:
            watcher.giving = False

    async def everybody(self, chart: int, height: int) -> bool:
        """Wait until what happened up to `height` was handed to every watcher of the chart; False if a stream did not
        take it up in time."""
        before = set(self._watchers.get(chart, ()))

        def waited_for(one: Watcher) -> bool:
            return one.height < height and not one.giving

        try:
            async with asyncio.timeout(TELL_S):
                while any(waited_for(one) for one in before & self._watchers.get(chart, set())):
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _look_again(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
