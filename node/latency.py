"""Percentiles of recent durations, in bounded memory."""

from __future__ import annotations

from collections import deque

RECENT = 1_024


class Latencies:
    """The last `RECENT` durations, milliseconds."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=RECENT)
        self.count = 0

    def add(self, duration_ms: int) -> None:
        """One more."""
        self._recent.append(duration_ms)
        self.count += 1

    def percentile(self, share: float) -> int | None:
        """The smallest duration that at least `share` (0 to 1) of the recent ones do not exceed; None without any."""
        if not self._recent:
            return None
        ordered = sorted(self._recent)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
