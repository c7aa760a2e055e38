"""How much one peer may send: a token bucket, without I/O or clock (time is passed in)."""

from __future__ import annotations

MESSAGE_COST = 2_000  # what a message costs besides its bytes: handling it takes about as long as reading these


class Meter:
    """Refills at `cost_per_s`; holds `burst_s` seconds of that."""

    def __init__(self, cost_per_s: float, now_s: float, burst_s: float = 2.0) -> None:
        self._rate = cost_per_s
        self._full = cost_per_s * burst_s
        self._left = self._full
        self._at_s = now_s

    def charge(self, size_bytes: int, messages: int, now_s: float) -> float:
        """Take what came in; how many seconds to read nothing more (0: go on)."""
        self._left = min(self._full, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        self._left -= size_bytes + messages * MESSAGE_COST
        return max(0.0, -self._left / self._rate)
