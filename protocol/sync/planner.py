"""Decides whom to ask for which final blocks. Pure: the caller says what happened, and when.

One range is under way at a time; the caller executes one while the next is fetched. A peer that failed is left alone
for a while, longer each time, so that one broken peer cannot hold a node back while another has the blocks.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from protocol import limits
from protocol.sync.messages import BLOCKS_PER_RANGE, RangeRequest

PAUSE_MS: Final = 1_000
PAUSE_CAP_MS: Final = 60_000
RANGE_BYTES: Final = limits.FRAME_BYTES // 2


class _Source(Struct):
    """What is known of one peer."""

    height: int = 0
    failures: int = 0
    not_before_ms: int = 0
    asked: int = 0


class Planner:
    """Fetching towards the greatest height that any reachable peer claims. `height` is the final head's."""

    def __init__(self, height: int) -> None:
        self._next = height + 1
        self._sources: dict[int, _Source] = {}

    @property
    def next_height(self) -> int:
        """The lowest height that is not fetched yet."""
        return self._next

    @property
    def target(self) -> int:
        """The greatest height that a reachable peer claims; 0 without peers."""
        return max((source.height for source in self._sources.values()), default=0)

    @property
    def behind(self) -> int:
        """How many blocks are still to be fetched."""
        return max(0, self.target + 1 - self._next)

    def heard(self, peer: int, height: int) -> None:
        """A reachable peer says that its final height is `height`."""
        source = self._sources.setdefault(peer, _Source())
        source.height = max(source.height, height)

    def lost(self, peer: int) -> None:
        """The peer cannot be reached any more. How it did is remembered, or one that stalls would only have to come
        again to be asked first."""
        source = self._sources.get(peer)
        if source is not None:
            source.height = 0

    def reset(self, height: int) -> None:
        """The final head is at `height` now: what was fetched above it is not used, or more is there already."""
        self._next = height + 1

    def next_request(self, now_ms: int) -> tuple[int, RangeRequest] | None:
        """Whom to ask for what, or None: nobody who may be asked has more."""
        able = [
            (source.failures, source.asked, peer)
            for peer, source in self._sources.items()
            if source.height >= self._next and source.not_before_ms <= now_ms
        ]
        if not able:
            return None
        peer = min(able)[2]
        self._sources[peer].asked += 1
        return peer, RangeRequest(self._next, BLOCKS_PER_RANGE, RANGE_BYTES)

    def wait_ms(self, now_ms: int) -> int | None:
        """How long until somebody who has more may be asked again; None if nobody has more."""
        times = [source.not_before_ms for source in self._sources.values() if source.height >= self._next]
        return max(0, min(times) - now_ms) if times else None

    def answered(self, peer: int, blocks: int, height: int) -> None:
        """`peer` sent `blocks` good blocks from `next_height` on, and says that its final height is `height`."""
        self._next += blocks
        source = self._sources.get(peer)
        if source is not None:
            source.failures = 0
            # A peer that claimed more than it sends must not be asked for ever.
            source.height = height if blocks else min(height, self._next - 1)

    def failed(self, peer: int, now_ms: int) -> None:
        """`peer` did not answer, or what it sent was no good."""
        source = self._sources.get(peer)
        if source is not None:
            source.failures += 1
            source.not_before_ms = now_ms + min(PAUSE_CAP_MS, PAUSE_MS << min(source.failures - 1, 6))
