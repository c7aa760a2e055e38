"""What goes wrong in one simulated history: drawn from its seed, swarm style, so that each history has its own mix."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DELAYS_MS = {"lan": (1, 5), "continental": (10, 60), "worldwide": (60, 240), "slow": (200, 900)}


@dataclass(frozen=True)
class Faults:
    """Probabilities are per message or per step; times are milliseconds of simulated time."""

    authorities: int
    delay_ms: tuple[int, int]
    loss: float
    duplication: float
    straggler: float  # a message that takes ten times as long: reordering
    crash: float  # per step, before its records are synced or half-way through its effects
    gossip: float  # that a submitted transaction reaches another node's pool
    validation_ms: tuple[int, int]
    partitions: bool
    traitors: tuple[str, ...]
    compaction: float
    transactions: int
    faulty_ms: int  # then everything heals
    turns: float = 0.0  # that a transaction ends its epoch

    @staticmethod
    def draw(rng: Random, kinds: tuple[str, ...]) -> Faults:
        n = rng.choice((4, 4, 4, 5, 7, 1))
        some = rng.choice
        return Faults(
            authorities=n,
            delay_ms=DELAYS_MS[some(("lan", "continental", "worldwide", "slow"))],
            loss=some((0.0, 0.0, 0.02, 0.1, 0.3)),
            duplication=some((0.0, 0.05, 0.3)),
            straggler=some((0.0, 0.05)),
            crash=some((0.0, 0.0, 0.002, 0.01)),
            gossip=some((0.0, 0.5, 1.0)),
            validation_ms=some(((0, 0), (1, 20), (50, 400))),
            partitions=rng.random() < 0.4,
            traitors=tuple(some(kinds) for _ in range(rng.randint(0, (n - 1) // 3))),
            compaction=some((0.0, 0.3)),
            transactions=rng.randint(3, 12),
            faulty_ms=rng.choice((5_000, 15_000)),
            turns=some((0.0, 0.2, 0.7)),
        )
