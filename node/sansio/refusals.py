"""Which transactions a node found invalid on some state, and when it hears of each again.

What refused one may pass: what it rests on came later, what stood in its way ended, its time came. An institution that
votes proposes its own then; one without authority has nobody else to bring it to. So a node forgets what it refused
until the institution that signed it says once more that it has it, which that does only while its own head does not
refuse it, and then after a pause that grows, so that whoever is wrong about it costs little. What others still hold and
announce stays forgotten. Sans-I/O; shared with the simulation.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from msgspec import Struct

from node.mempool import Entry

FIRST_MS: Final = 1_000
CAP_MS: Final = 8_000


class _Refused(Struct):
    institution: int
    again_ms: int
    pause_ms: int


class Refusals:
    """One node's, of the newest `most` transactions."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, _Refused] = {}  # by id, oldest first

    def add(self, entries: Iterable[Entry], now_ms: int) -> None:
        """These were found invalid, once more if they were before."""
        for entry in entries:
            before = self._known.pop(entry.id, None)
            pause_ms = FIRST_MS if before is None else min(2 * before.pause_ms, CAP_MS)
            self._known[entry.id] = _Refused(entry.body.institution, now_ms + pause_ms, pause_ms)
        for id_ in list(islice(self._known, max(0, len(self._known) - self._most))):
            del self._known[id_]

    def hears(self, id_: bytes, institution: int | None, now_ms: int) -> bool:
        """Whether to take this transaction from this institution's node."""
        known = self._known.get(id_)
        return known is None or (known.institution == institution and now_ms >= known.again_ms)
