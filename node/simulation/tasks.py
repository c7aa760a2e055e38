"""Runs a node's coroutines on the virtual clock: what a node awaits on asyncio, a history awaits here.

Only what stands in `Pause` lasts; all else that `node.sansio` awaits is there at once. One pause, one entry of the
world's heap, so a history stays a function of its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

Work = Coroutine["Pause", None, None]


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


def begin(clock: Clock, work: Work, alive: Callable[[], bool]) -> None:
    """Run this as far as it goes at once, then on after each pause, unless it is not `alive` any more: what a node was
    about to do when it went down is never done."""
    if not alive():
        work.close()
        return
    try:
        pause = work.send(None)
    except StopIteration:
        return
    clock.at(pause.delay_us, begin, (clock, work, alive))
