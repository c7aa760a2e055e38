"""Which authorities show signs of life, counted in views (rule 10) so that no clock decides who may lead.

A sign is a vote or proposal that came from the authority itself, over its authenticated connection. That it may be for
an old view or badly signed does not matter here: a liar gains only that its turn is waited for.
"""

from __future__ import annotations

SILENT_TURNS = 2  # turns of all authorities


class Presence:
    """Signs of life by index. Memory: one slot for each authority."""

    __slots__ = ("_limit", "_passed", "last_ms", "last_view")

    def __init__(self, authorities: int) -> None:
        self._limit = SILENT_TURNS * authorities
        self._passed = [0] * authorities
        self.last_view: list[int | None] = [None] * authorities
        """The view in which each last gave a sign, None for never since the start."""
        self.last_ms: list[int | None] = [None] * authorities
        """The same by the monotonic clock."""

    def sign(self, index: int, view: int, now_ms: int) -> None:
        """The authority spoke while this node was in `view`."""
        self._passed[index] = 0
        self.last_view[index] = view
        self.last_ms[index] = now_ms

    def passed(self) -> None:
        """A view passed by votes of a quorum, this node taking part."""
        self._passed = [count + 1 for count in self._passed]

    def leapt(self) -> None:
        """This node skipped views that others had without it: who was silent there, it cannot know."""
        self._passed = [0] * len(self._passed)

    def silent(self, index: int) -> bool:
        """Whether this authority let its last two turns, and everyone's, pass without a sign."""
        return self._passed[index] > self._limit
