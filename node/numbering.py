"""Hands out the numbers of this node's own transactions, each once whatever crashes.

A number is reserved on disk in ranges before it is used. Relies on the outbox, which keeps what is reserved, and on
`node.intake.Standing` for the anti-replay window at the final head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from node.standing import Standing
from node.storage.outbox import Outbox
from protocol import limits

RESERVED = 256
"""Numbers reserved at once: one write for so many transactions, and so many lost by a crash."""


class Numbers:
    """Hands out the numbers of one operations key."""

    def __init__(self, outbox: Outbox, standing: Standing, institution: int, key: int) -> None:
        self._outbox = outbox
        self._standing = standing
        self._institution = institution
        self._key = key
        self._next = 0
        self._end = 0
        self._spare: list[int] = []
        self._lock = asyncio.Lock()

    async def take(self, count: int) -> list[int]:
        """`count` numbers that were never used before."""
        async with self._lock:
            floor = self._standing.window(self._institution, self._key).highest + 1
            lowest = floor - limits.WINDOW_BITS_INSTITUTION // 2
            # Others may use the same key elsewhere: never lag behind what the ledger has seen.
            if self._next < lowest:
                self._next = self._end
            spare = [number for number in self._spare if number >= lowest]
            numbers, self._spare = spare[:count], spare[count:]
            while len(numbers) < count:
                if self._next == self._end:
                    wanted = max(RESERVED, count - len(numbers))
                    self._next = await self._outbox.reserve_numbers(self._institution, self._key, wanted, floor)
                    self._end = self._next + wanted
                numbers.append(self._next)
                self._next += 1
            return numbers

    def give_back(self, numbers: Sequence[int]) -> None:
        """These were not used. They go out again first: or refused requests alone would lead further and further from
        the window, until the ledger takes no number that is still to come."""
        self._spare = sorted([*self._spare, *numbers])
