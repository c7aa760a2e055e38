"""Twins: two honest instances with one key, each of which knows one camp, and neither of the other.

What backups restored twice and careless failover do by accident. Each instance alone keeps every rule; together they
break S1 and S2.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from node.simulation.traitors.base import Conspiracy, HostFacade, Lies, Traitor, vote_of
from protocol.types.votes import ConsensusMessage


class Twins(Traitor):
    """One of the two instances; `side` is the camp that it talks to. Now and then the camps are drawn anew."""

    kind = "twins"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        earlier = [m for m in allies.members if m.institution == host.institution and m.number != host.number]
        super().__init__(host, rng, allies)
        self.side = len(earlier) % 2

    def outgoing(self, message: ConsensusMessage, to: Sequence[int]) -> Lies:
        """Only to its own camp."""
        kept = [address for address in to if self.allies.camp(address) == self.side and not self._sibling(address)]
        if len(kept) < len(to):
            self.lie()
        return [(address, message) for address in kept]

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Hears only its own camp, and nothing that the other instance said: it would stop if it did."""
        vote = vote_of(message)
        if vote is not None and vote.index == self.host.index and vote.subject.epoch == self.host.epoch:
            return True
        return self._sibling(sender) or self.allies.camp(sender) != self.side

    def tick(self, now_ms: int) -> None:
        """The camps move, seldom."""
        if self.rng.random() < 0.01:
            self.allies.reshuffle()

    def _sibling(self, address: int) -> bool:
        return any(m.number == address and m.institution == self.host.institution for m in self.allies.members)
