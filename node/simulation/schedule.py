"""What happens in one history: a value drawn from a seed, so that it can be printed, shrunk and played again.

Swarm style (Groce and others, 2012): each seed also draws which faults are on at all, so that each history has a mix of
its own. Whatever is random while a history runs has a generator of its own, seeded by the seed and its place (a link, a
disk, a traitor), so taking an action out of a plan leaves the rest as it was. Relies on `profiles` for the ranges.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Profile = Literal["lan", "wan", "chaos"]
PROFILES: tuple[Profile, ...] = ("lan", "wan", "chaos")

CHANGES = ("accredit", "suspend", "reinstate", "remove", "give", "take", "rotate", "replace", "set")
"""What `Move.change` may say."""


class Submit(Struct, frozen=True, tag=True):
    """A client hands `count` transactions of `size` entries each to a node."""

    at_ms: int
    node: int
    count: int = 1
    size: int = 1


class Crash(Struct, frozen=True, tag=True):
    """A node goes down for `down_ms`, and what was not synced is lost: all of it, or if `torn`, all but a beginning.

    `after`: not at once but in the first step from then on that persists something, when that many of its effects were
    carried out; 0 is before the sync ends. `journal` "old" or "lost": meanwhile a copy from some time before takes the
    place of its journal of votes, or nothing does.
    """

    at_ms: int
    node: int
    down_ms: int
    torn: bool = True
    after: int | None = None
    journal: Literal["kept", "old", "lost"] = "kept"


class Partition(Struct, frozen=True, tag=True):
    """For so long, nodes of different groups cannot reach each other. Who is in no group is alone."""

    at_ms: int
    groups: tuple[tuple[int, ...], ...]
    ms: int


class OneWay(Struct, frozen=True, tag=True):
    """For so long, nothing goes from the first to the second of each pair."""

    at_ms: int
    pairs: tuple[tuple[int, int], ...]
    ms: int


class SlowDisk(Struct, frozen=True, tag=True):
    """For so long, each sync of a node's disk takes `delay_ms` more."""

    at_ms: int
    node: int
    ms: int
    delay_ms: int = 300


class SlowNet(Struct, frozen=True, tag=True):
    """For so long, messages take `times` as long."""

    at_ms: int
    ms: int
    times: int = 4


class BlackHole(Struct, frozen=True, tag=True):
    """For so long, no message of consensus larger than this gets through, as over a tunnel that drops fragments.

    Where votes pass and blocks do not, views are nullified one after another and nothing becomes final.
    """

    at_ms: int
    ms: int
    size_bytes: int = 200


class ClockJump(Struct, frozen=True, tag=True):
    """A node's wall clock is set forward (or back, if negative) by so much."""

    at_ms: int
    node: int
    jump_ms: int


class Move(Struct, frozen=True, tag=True):
    """`node` moves a change of the consortium (one of `CHANGES`), for which the other authorities then vote.

    `target`: the node whose institution it is about. "rotate" gives node `target` a new vote key, by itself,
    "replace" does so by motion. "set" gives the parameter `name` a new `value`.
    """

    at_ms: int
    node: int
    change: str
    target: int = 0
    name: str = ""
    value: int = 0


class Act(Struct, frozen=True, tag=True):
    """Something about a patient's chart (`kind` is one of `patients.acts.ACTS`), done at a node by the patient, by who
    acts for it or by the node's institution. `dice` says to what: acts of one number choose alike, and so race."""

    at_ms: int
    node: int
    kind: str
    patient: int = 0
    dice: int = 0


Action = Act | Submit | Crash | Partition | OneWay | SlowDisk | SlowNet | BlackHole | ClockJump | Move


class Plan(Struct, frozen=True):
    """One history. Times are milliseconds of simulated time, ranges are (least, most), probabilities 0 to 1.

    Nodes are numbered: first the authorities of the genesis, then accredited followers, then those that are to be
    accredited. `traitors` are (node, kind). Probabilities and clocks that go wrong end at `heal_ms`, and so does
    whatever an action began.
    """

    seed: int
    profile: str = "lan"
    authorities: int = 4
    followers: int = 0
    joiners: int = 0
    delay_ms: tuple[int, int] = (1, 5)
    geographic: bool = False  # each link has a delay of its own within the range; else each message
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0  # that a message takes ten times as long; at 0.0 each link keeps its order
    validation_ms: tuple[int, int] = (0, 0)
    sync_ms: tuple[int, int] = (0, 0)  # of the journal
    store_ms: tuple[int, int] = (0, 0)  # of final blocks
    skew_ms: tuple[int, ...] = ()  # how far each node's wall clock is ahead
    drift_ppm: tuple[int, ...] = ()  # and how much faster it goes
    compact_records: int = 0  # the journal is rewritten when it holds more; 0: never
    gossip: float = 1.0  # that what a client submits is pushed to another node at once
    dissent: float = 0.0  # that an operator votes against a motion
    patients: int = 0
    release_ms: int = 24 * 3600 * 1_000  # these four as the chain's parameters
    review_ms: int = 72 * 3600 * 1_000
    recovery_ms: int = 7 * 24 * 3600 * 1_000
    denials_per_day: int = 100
    delta_ms: int = 500
    timeout_cap_ms: int = 8_000
    heartbeat_ms: int = 15 * 60 * 1_000
    heal_ms: int = 10_000
    actions: tuple[Action, ...] = ()
    traitors: tuple[tuple[int, str], ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes there are, twins left out."""
        return self.authorities + self.followers + self.joiners

    @property
    def faults(self) -> int:
        """How many of the genesis' authorities may be traitors."""
        return (self.authorities - 1) // 3
