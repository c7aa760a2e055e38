"""Plans of histories, by seed (`schedule` says what is in one, `profiles` what one is drawn from)."""

from __future__ import annotations

from node.simulation.profiles import draw_plan
from node.simulation.schedule import (
    CHANGES,
    PROFILES,
    Act,
    Action,
    BlackHole,
    ClockJump,
    Crash,
    Move,
    OneWay,
    Partition,
    Plan,
    Profile,
    SlowDisk,
    SlowNet,
    Submit,
)

__all__ = [
    "CHANGES",
    "PROFILES",
    "Act",
    "Action",
    "BlackHole",
    "ClockJump",
    "Crash",
    "Move",
    "OneWay",
    "Partition",
    "Plan",
    "Profile",
    "SlowDisk",
    "SlowNet",
    "Submit",
    "draw",
]


def draw(
    seed: int,
    nodes: int | None = None,
    traitors: int | None = None,
    profile: str | None = None,
    *,
    patients: bool = True,
) -> Plan:
    """The plan of a seed. `nodes`: authorities of the genesis; None leaves each to the seed. Without `patients`, all
    else is the same and nobody does anything about a chart but append records to it.

    Raises ValueError for more traitors than the protocol bears, or a profile that does not exist.
    """
    return draw_plan(seed, nodes, traitors, profile, patients)
