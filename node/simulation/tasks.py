"""Runs a node's coroutines on the virtual clock: what a node awaits on asyncio, a history awaits here.

Only a `Pause` or a `Promise` lasts; all else that `node.sansio` awaits is there at once. Both go through the world's
heap, so a history stays a function of its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

R = TypeVar("R")
Work = Coroutine[Any, None, None]


class Clock(Protocol):
    """The virtual time; see `node.simulation.world.World`."""

    def at(self, delay_us: int, act: Callable[..., object], args: tuple[Any, ...] = ()) -> None: ...


class Pause:
    """Awaited: so much virtual time passes."""

    __slots__ = ("delay_us",)

    def __init__(self, delay_us: int) -> None:
        self.delay_us = delay_us

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


class Promise:
    """Awaited: until somebody keeps it (see `node.sansio.finality.Promise`). Who waits goes on a moment later."""

    __slots__ = ("_clock", "_done", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done = False
        self._waiting: list[tuple[Work, Callable[[], bool]]] = []

    def done(self) -> bool:
        """Whether it is kept."""
        return self._done

    def set_result(self, result: None = None, /) -> None:
        """Keep it."""
        self._done = True
        for work, alive in self._waiting:
            self._clock.at(0, begin, (self._clock, work, alive))
        self._waiting = []

    def wait(self, work: Work, alive: Callable[[], bool]) -> None:
        """Run this on once it is kept."""
        self._waiting.append((work, alive))

    def __await__(self) -> Generator[Promise, None, None]:
        if not self._done:
            yield self


class Task(Generic[R]):
    """Work that runs beside whoever began it: await it, or `cancel` it (see `node.sansio.catching_up.Running`)."""

    def __init__(self, clock: Clock, work: Coroutine[Any, None, R], alive: Callable[[], bool]) -> None:
        self._cancelled = False
        self._result: list[R] = []
        self._done = Promise(clock)
        if alive():
            begin(clock, self._run(work), lambda: alive() and not self._cancelled)
        else:
            work.close()

    async def _run(self, work: Coroutine[Any, None, R]) -> None:
        self._result.append(await work)
        self._done.set_result()

    def cancel(self) -> None:
        """Go no further."""
        self._cancelled = True

    def __await__(self) -> Generator[Promise, None, R]:
        yield from self._done.__await__()
        return self._result[0]


def begin(clock: Clock, work: Work, alive: Callable[[], bool]) -> None:
    """Run this as far as it goes at once, then on after each pause, unless it is not `alive` any more: what a node was
    about to do when it went down is never done."""
    if not alive():
        work.close()
        return
    try:
        until = work.send(None)
    except StopIteration:
        return
    if isinstance(until, Pause):
        clock.at(until.delay_us, begin, (clock, work, alive))
    else:
        until.wait(work, alive)
