"""How long to wait for what, in milliseconds of the monotonic clock that is passed in.

All times of a view are multiples of its `delta`. It is the parameter delta while finality keeps up, doubles with each
further view that passes without, and is capped, so that a chain that stood still for a day resumes within seconds.
Relies on nothing.
"""

from __future__ import annotations

GROWTH_MAX = 16
SLACK_VIEWS = 2  # a view that is being finalized and one lost to a dead leader are nothing to slow down for


class Timeouts:
    """The waits of one view, from its growth: how many views passed without finality, beyond the slack."""

    __slots__ = ("ask", "cap", "certificate", "delta", "growth", "lazy", "leader", "resend")

    def __init__(self, delta_ms: int, cap_ms: int, unfinal_views: int) -> None:
        self.growth = min(max(0, unfinal_views - SLACK_VIEWS), GROWTH_MAX)
        self.cap = max(delta_ms, cap_ms)
        self.delta = max(delta_ms, min(delta_ms << self.growth, cap_ms // 3))
        self.ask = max(1, self.delta // 4)
        """What is lacking may be on its way: so long until it is asked for."""
        self.resend = self.delta
        """Until own votes are sent again; doubles up to the cap."""
        self.lazy = delta_ms + delta_ms // 2
        """A leader that has nothing of its own proposes an empty block, or its epoch's last block again, only if
        finality takes so long. Does not grow: of a view that is long because messages are, most must be left for
        them."""
        self.leader = 2 * self.delta
        """Until a view without a proposal is nullified."""
        self.certificate = 3 * self.delta
        """Until a view without a certificate is nullified."""

    def size_limit(self, block_bytes: int) -> int:
        """Bytes that a block of this view may have: halved with each growth, down to a 256th."""
        return block_bytes >> min(self.growth, 8)
