"""Who waits for which transactions to be final or dead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class _Waiter:
    """Somebody who waits until `left` transactions are settled."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Waiters:
    """Those who wait, by the ids that they wait for."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[_Waiter]] = {}

    def __len__(self) -> int:
        """Ids that somebody waits for."""
        return len(self._waiting)

    async def wait(self, ids: Sequence[bytes], wait_s: float) -> None:
        """Until all of these, each named once, are settled, but no longer than this."""
        waiter = _Waiter(len(ids))
        for id_ in ids:
            self._waiting.setdefault(id_, []).append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await waiter.done
        except TimeoutError:
            pass
        finally:
            self._forget(ids, waiter)

    def settled(self, id_: bytes) -> None:
        """This one is final or dead."""
        for waiter in self._waiting.pop(id_, ()):
            waiter.left -= 1
            if waiter.left == 0 and not waiter.done.done():
                waiter.done.set_result(None)

    def _forget(self, ids: Sequence[bytes], waiter: _Waiter) -> None:
        for id_ in ids:
            left = [one for one in self._waiting.get(id_, ()) if one is not waiter]
            if left:
                self._waiting[id_] = left
            else:
                self._waiting.pop(id_, None)
