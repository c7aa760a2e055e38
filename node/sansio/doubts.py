"""When to try what waits in the pool on a final head that stands still.

A pooled transaction is work, and work makes views pass (rule 9 of consensus). One that the head refuses leaves the pool
when a block is built or an empty one becomes final; but where it came to one node alone, after all others had found it
invalid and forgotten it, that node may prod them in vain until its own turn comes, and nullify what they propose late.
So while no block becomes final, each node looks for itself, ever less often. Sans-I/O; shared with the simulation.
"""

from __future__ import annotations

from node.mempool import Entry, Mempool

FIRST_MS = 2_000
"""So long the head must have stood still, and a transaction have waited: longer than finality takes if it keeps up."""
CAP_MS = 8_000


class Doubts:
    """One node's. The caller tries what is `due` on the head, and tells the pool unless the head moved meanwhile."""

    def __init__(self, pool: Mempool) -> None:
        self._pool = pool
        self._height = -1
        self._due_ms = 0
        self._pause_ms = FIRST_MS

    def due(self, height: int, now_ms: int, carrying: bool) -> list[Entry]:
        """What to try now on the final head, of this height. Nothing while a notarized block above it carries anything
        (`carrying`): what waits may rest on that."""
        if height != self._height:
            self._height, self._pause_ms = height, FIRST_MS
            self._due_ms = now_ms + FIRST_MS
        if carrying or now_ms < self._due_ms or not len(self._pool):
            return []
        self._pause_ms = min(2 * self._pause_ms, CAP_MS)
        self._due_ms = now_ms + self._pause_ms
        return self._pool.oldest(now_ms - FIRST_MS)
