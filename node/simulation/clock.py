"""A node's clocks: a wall clock that is off and jumps, and a monotonic one that only drifts.

Virtual time is whole microseconds since the history began; nodes see milliseconds.
"""

from __future__ import annotations

MILLION = 1_000_000


class HostClock:
    """One node's view of time. `rate`: microseconds that pass on it in a million of virtual time."""

    __slots__ = ("_base_ms", "_epoch_ms", "ahead_ms", "rate")

    def __init__(self, epoch_ms: int, base_ms: int, ahead_ms: int, drift_ppm: int) -> None:
        self._epoch_ms = epoch_ms
        self._base_ms = base_ms
        self.ahead_ms = ahead_ms
        self.rate = MILLION + drift_ppm

    def monotonic_ms(self, now_us: int) -> int:
        """For timers."""
        return self._base_ms + now_us * self.rate // (1_000 * MILLION)

    def wall_ms(self, now_us: int) -> int:
        """Since 1970, as this node believes."""
        return self._epoch_ms + self.ahead_ms + now_us * self.rate // (1_000 * MILLION)

    def when_us(self, monotonic_ms: int, now_us: int) -> int:
        """The first virtual time, not before `now_us`, at which the monotonic clock shows this."""
        passed = (monotonic_ms - self._base_ms) * 1_000 * MILLION
        return max(now_us, -(-passed // self.rate))

    def set_right(self, now_us: int) -> None:
        """The wall clock shows the time from now on, and neither drifts; the monotonic one goes on where it is."""
        self._base_ms = self.monotonic_ms(now_us) - now_us // 1_000
        self.ahead_ms = 0
        self.rate = MILLION
