"""What each profile draws a plan from.

`lan` and `wan` are what a consortium lives with: delays of one building, one continent or the whole world, now and then
a node that is down, a partition, a change of the consortium. `chaos` may have everything at once, and slower networks
than the parameters assume. All of them come with traitors, up to as many as the protocol bears.
"""

from __future__ import annotations

from random import Random
from typing import Final

from node.simulation.dice import dice
from node.simulation.patients.drawing import with_patients
from node.simulation.schedule import (
    PROFILES,
    Action,
    BlackHole,
    ClockJump,
    Crash,
    Move,
    OneWay,
    Partition,
    Plan,
    SlowDisk,
    SlowNet,
    Submit,
)

SIZES: Final = (4, 4, 4, 7, 7, 10, 5, 1)
WEIGHTS: Final = ("chaos", "chaos", "chaos", "wan", "wan", "lan")
LAN: Final = (1, 5)
CONTINENT: Final = (10, 60)
WORLD: Final = (60, 240)
SLOW: Final = (200, 900)
STORM_MS, STORM_LOSS = 180_000, 0.75
"""Now and then most of what is sent is lost for minutes, so that whatever grows meanwhile grows far. Or no block gets
through for as long, though votes do: then every view is nullified, and the waits grow with each."""
DISKS: Final = ((0, 0), (0, 2), (1, 20), (20, 150))
"""Ranges of how long a disk's sync takes, or a block's validation: ms."""
KINDS: Final = (
    "equivocator",
    "double_voter",
    "nuller",
    "withholder",
    "forger",
    "replayer",
    "invalid_proposer",
    "false_header",
    "parent_liar",
    "flooder",
    "splitter",
    "slanderer",
    "twins",
)


def draw_plan(seed: int, nodes: int | None, traitors: int | None, profile: str | None, patients: bool) -> Plan:
    """See `node.simulation.plan.draw`."""
    rng = dice(seed, "plan")
    drawn = rng.choice(WEIGHTS)
    profile = drawn if profile is None else profile
    if profile not in PROFILES:
        raise ValueError(f"there is no profile {profile}: {', '.join(PROFILES)}")
    size = rng.choice(SIZES)
    n = size if nodes is None else nodes
    if n < 1:
        raise ValueError("a chain needs an authority")
    most = (n - 1) // 3
    liars = rng.randint(0, most) if traitors is None else traitors
    if liars > most:
        raise ValueError(f"{n} authorities bear {most} traitors, not {liars}")
    plan = _Drawing(seed, n, liars, profile).plan()
    return with_patients(plan) if patients else plan


class _Drawing:
    """One plan in the making. Each part of it has a generator of its own."""

    def __init__(self, seed: int, n: int, liars: int, profile: str) -> None:
        self.seed = seed
        self.n = n
        self.profile = profile
        self.chaos = profile == "chaos"
        rng = self.rng("shape")
        self.heal_ms = rng.choice((10_000, 15_000, 25_000)) if self.chaos else rng.choice((10_000, 20_000, 30_000))
        self.storm = self.chaos and self.rng("storm").random() < 0.04
        self.hole = self.chaos and not self.storm and self.rng("hole").random() < 0.04
        if self.storm or self.hole:
            self.heal_ms = STORM_MS
        self.followers = rng.choice((0, 0, 0, 1))
        self.joiners = rng.choice((0, 0, 1)) if n > 1 else rng.choice((0, 1))
        self.traitors = tuple((node, rng.choice(KINDS)) for node in sorted(rng.sample(range(n), liars)))
        self.spare = (n - 1) // 3 - liars
        self.lost = 0  # journals

    def rng(self, part: str) -> Random:
        """The generator of one part of the plan."""
        return dice(self.seed, "plan", part)

    def plan(self) -> Plan:
        """All of it."""
        rng = self.rng("network")
        some, chaos = rng.choice, self.chaos
        delay = {
            "lan": LAN,
            "wan": some((CONTINENT, CONTINENT, WORLD)),
            "chaos": some((LAN, CONTINENT, CONTINENT, WORLD, WORLD, SLOW)),
        }[self.profile]
        disks = self.rng("disks")
        skew, drift = self._clocks()
        loss = some((0.0, 0.0, 0.02, 0.1, 0.25)) if chaos else some((0.0, 0.0, 0.0, 0.01))
        return Plan(
            seed=self.seed,
            profile=self.profile,
            authorities=self.n,
            followers=self.followers,
            joiners=self.joiners,
            delay_ms=delay,
            geographic=rng.random() < 0.4,
            loss=STORM_LOSS if self.storm else loss,
            duplication=some((0.0, 0.0, 0.05, 0.2)) if chaos else 0.0,
            reordering=some((0.0, 0.0, 0.05)) if chaos else 0.0,
            validation_ms=disks.choice(DISKS[:3]) if not chaos else disks.choice((*DISKS, (50, 400))),
            sync_ms=disks.choice(DISKS[:3]) if not chaos else disks.choice(DISKS),
            store_ms=disks.choice(DISKS[:3]) if not chaos else disks.choice((*DISKS, (100, 1_000))),
            skew_ms=skew,
            drift_ppm=drift,
            compact_records=disks.choice((0, 20, 100)),
            gossip=some((1.0, 1.0, 0.5, 0.0)) if chaos else 1.0,
            dissent=self.rng("dissent").choice((0.0, 0.0, 0.1, 0.5)),
            heal_ms=self.heal_ms,
            actions=tuple(sorted(self._actions(), key=lambda action: action.at_ms)),
            traitors=self.traitors,
        )

    def _clocks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        rng = self.rng("clocks")
        total = self.n + self.followers + self.joiners
        widest = rng.choice((0, 20, 300, 3_000, 12_000) if self.chaos else (0, 20, 300))
        fastest = rng.choice((0, 50, 500) if self.chaos else (0, 50))
        return (
            tuple(rng.randint(-widest, widest) for _ in range(total)),
            tuple(rng.randint(-fastest, fastest) for _ in range(total)),
        )

    def _actions(self) -> list[Action]:
        actions = self._load() + self._crashes() + self._cuts() + self._moves()
        rng = self.rng("slowness")
        if rng.random() < (0.3 if self.chaos else 0.1):
            ms = rng.randint(1_000, self.heal_ms // 2)
            actions.append(SlowDisk(self._when(rng), rng.randrange(self.n), ms, rng.choice((100, 1_000, 3_000))))
        if rng.random() < (0.2 if self.chaos else 0.05):
            actions.append(SlowNet(self._when(rng), rng.randint(1_000, self.heal_ms // 2), rng.choice((3, 10))))
        if self.hole:
            holes = self.rng("hole, more")
            at_ms = holes.randrange(self.heal_ms // 3)
            actions.append(BlackHole(at_ms, self.heal_ms - at_ms, holes.choice((200, 400, 1_000))))
        if rng.random() < (0.2 if self.chaos else 0.05):
            jump_ms = rng.choice((-40_000, -5_000, 2_000, 60_000))
            if self.n == 1:  # the chain's time is this clock's, and others may be given authority
                jump_ms = min(jump_ms, 2_000)
            actions.append(ClockJump(self._when(rng), rng.randrange(self.n), jump_ms))
        return actions

    def _when(self, rng: Random) -> int:
        return rng.randrange(self.heal_ms)

    def _load(self) -> list[Action]:
        """Bursts and lulls, and sometimes one after another at an even pace."""
        rng = self.rng("load")
        honest = [node for node in range(self.n) if node not in dict(self.traitors)]
        actions: list[Action] = []
        for _ in range(rng.choice((0, 1, 2, 3))):
            begin, node = self._when(rng), rng.choice(honest)
            for _ in range(rng.randint(1, 6)):
                at_ms = min(self.heal_ms - 1, begin + rng.randrange(1_500))
                node = node if rng.random() < 0.5 else rng.choice(honest)
                actions.append(Submit(at_ms, node, rng.choice((1, 1, 5, 20)), rng.choice((1, 1, 1, 3, 40))))
        for _ in range(rng.choice((2, 5, 12))):
            actions.append(Submit(self._when(rng), rng.choice(honest)))
        pace = self.rng("pace")
        if pace.random() < 0.08 and not self.storm and not self.hole:
            every_ms = pace.choice((100, 200, 400))
            actions += [Submit(at_ms, pace.choice(honest)) for at_ms in range(every_ms, self.heal_ms, every_ms)]
        if self.followers and rng.random() < 0.5:
            actions.append(Submit(self._when(rng), self.n))
        if rng.random() < 0.03:
            actions.append(Submit(self._when(rng), rng.choice(honest), 1, 1_000))
        return actions

    def _crashes(self) -> list[Action]:
        """One at a time, all at once, or whoever it hits; now and then a journal is not what it was."""
        rng = self.rng("crashes")
        total = self.n + self.followers
        kind = rng.choice(("none", "none", "few", "many", "all") if self.chaos else ("none", "none", "few"))
        actions: list[Action] = []
        if kind == "all":
            at_ms, down_ms = self._when(rng), rng.randint(100, 5_000)
            after = rng.choice((None, 0, 1))
            actions = [Crash(at_ms, node, down_ms, rng.random() < 0.7, after) for node in range(total)]
        for _ in range({"few": rng.randint(1, 2), "many": rng.randint(3, 10)}.get(kind, 0)):
            after = rng.choice((None, 0, 0, 1, 2, 5))
            down_ms = rng.choice((50, 500, 3_000, 8_000))
            actions.append(Crash(self._when(rng), rng.randrange(total), down_ms, rng.random() < 0.7, after))
        if self.spare and rng.random() < (0.15 if self.chaos else 0.05):
            node = rng.choice([node for node in range(self.n) if node not in dict(self.traitors)])
            actions.append(Crash(self._when(rng), node, 500, True, None, rng.choice(("old", "lost"))))
            self.lost = 1
        return actions

    def _cuts(self) -> list[Action]:
        rng = self.rng("cuts")
        total = self.n + self.followers + self.joiners
        actions: list[Action] = []
        if rng.random() < (0.4 if self.chaos else 0.1):
            at_ms = self._when(rng)
            for _ in range(rng.randint(1, 4)):
                sides: list[list[int]] = [[], []]
                for node in range(total):
                    sides[rng.randrange(2)].append(node)
                ms = rng.randint(300, 5_000)
                actions.append(Partition(at_ms, tuple(tuple(side) for side in sides), ms))
                at_ms += ms + rng.choice((0, 0, 2_000))
        if self.chaos and rng.random() < 0.25:
            pairs = [(a, b) for a in range(total) for b in range(total) if a != b and rng.random() < 0.15]
            actions.append(OneWay(self._when(rng), tuple(pairs), rng.randint(500, 8_000)))
        return [action for action in actions if action.at_ms < self.heal_ms]

    def _moves(self) -> list[Action]:
        """Changes of the consortium, such that whatever passes, and in whatever order, the traitors stay few enough."""
        rng = self.rng("moves")
        if rng.random() >= (0.5 if self.chaos else 0.35):
            return []
        honest = [node for node in range(self.n) if node not in dict(self.traitors)]
        liars = len(self.traitors)
        actions: list[Action] = []
        for joiner in range(self.n + self.followers, self.n + self.followers + self.joiners):
            at_ms = rng.randrange(self.heal_ms // 2)
            actions.append(Move(at_ms, rng.choice(honest), "accredit", joiner))
            for later_ms in (4_000, 9_000):
                actions.append(Move(at_ms + later_ms, rng.choice(honest), "give", joiner))
        if self.followers and rng.random() < 0.5:
            actions.append(Move(self._when(rng), rng.choice(honest), "give", self.n))
        left = self.n
        for _ in range(rng.choice((0, 1, 1, 2))):
            if (left - 2) // 3 < liars + self.lost or left < 2:
                break  # of fewer, as many traitors would be too many; who lost its journal is missing like one
            left -= 1
            change = rng.choice(("suspend", "take", "take", "remove"))
            target = rng.choice(honest)
            at_ms = self._when(rng)
            actions.append(Move(at_ms, rng.choice(honest), change, target))
            if change == "suspend":
                actions.append(Move(at_ms + rng.randint(2_000, 8_000), rng.choice(honest), "reinstate", target))
            elif change == "take":
                actions.append(Move(at_ms + rng.randint(2_000, 8_000), rng.choice(honest), "give", target))
        keys = self.rng("keys")
        for _ in range(rng.choice((0, 1, 2))):
            how = keys.choice(("rotate", "rotate", "replace"))
            actions.append(Move(self._when(rng), keys.choice(honest), how, rng.choice(honest)))
        if rng.random() < 0.3:
            name, value = rng.choice((("delta_ms", 400), ("delta_ms", 900), ("block_bytes", 300_000)))
            actions.append(Move(self._when(rng), rng.choice(honest), "set", 0, name, value))
        return [action for action in actions if action.at_ms < self.heal_ms]
