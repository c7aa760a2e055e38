"""What may come of asking the ledger about a block, besides a block that is valid or not.

Relies on `protocol.errors.InvalidBlock` for what is wrong for good.
"""

from __future__ import annotations

from protocol.errors import ChartledgerError
from protocol.params import Params


class Refused(ChartledgerError):
    """The block's time is not acceptable to this voter's clock; it may become final all the same."""


class Obsolete(ChartledgerError):
    """The state that was asked about is not here: another block became final meanwhile."""


def check_clock(timestamp: int, wall_ms: int, params: Params) -> None:
    """The rule of the clock, which is for voting only (design, section 4). Raises `Refused` for a block whose time is
    older than this clock less the drift, or so far ahead that no view lasts until then."""
    ahead = timestamp - wall_ms
    if -ahead > params.drift_ms:
        raise Refused(f"its time lies {-ahead} ms behind this node's clock; {params.drift_ms} are allowed")
    if ahead > params.timeout_cap_ms:
        raise Refused(f"its time lies {ahead} ms ahead of this node's clock: no view lasts that long")
