"""The network between the nodes: each direction of each pair is a link with a generator of its own.

A link that loses nothing and reorders nothing keeps its order, like a connection. What is cut when a message is sent is
lost; who can reach whom again is told so by the world, as a connection that comes up would.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.simulation.dice import dice
from node.simulation.schedule import Plan

STRAGGLER = 10  # times as long as others


FLIGHT_US = 20_000_000
"""What takes longer is lost: pings would have gone unanswered, and the connection ended, before it came."""


class Link:
    """From one node to one other."""

    __slots__ = ("_jitter_us", "_least_us", "cuts", "last_us", "random", "rng")

    def __init__(self, plan: Plan, sender: int, to: int) -> None:
        self.rng = dice(plan.seed, "link", sender, to)
        self.random = self.rng.random
        self.cuts = 0
        self.last_us = 0
        least, most = plan.delay_ms[0] * 1_000, plan.delay_ms[1] * 1_000
        if plan.geographic:
            least = int(least + (most - least) * self.random())
            most = least + least // 8
        self._least_us, self._jitter_us = least, most - least

    def delay_us(self) -> int:
        """How long the next message takes."""
        return self._least_us + int(self._jitter_us * self.random())


class Links:
    """All links. `calm`: nothing is lost, doubled or late any more. `most_bytes`: what is larger is lost, None for
    nothing."""

    def __init__(self, plan: Plan, hosts: int) -> None:
        self._hosts = hosts
        self._plan = plan
        self._links = [[Link(plan, a, b) for b in range(hosts)] for a in range(hosts)]
        self.times = 1
        self.most_bytes: int | None = None
        self.calm = False

    def linked(self, sender: int, to: int) -> bool:
        """Whether what is sent now gets through."""
        return self._links[sender][to].cuts == 0

    def arrivals(self, sender: int, to: int, now_us: int, size_bytes: int = 0) -> tuple[int, ...]:
        """When the copies of a message of this size that is sent now arrive."""
        link = self._links[sender][to]
        if link.cuts or (self.most_bytes is not None and size_bytes > self.most_bytes):
            return ()
        plan = self._plan
        at_us = now_us + link.delay_us() * self.times
        if self.calm:
            link.last_us = at_us = max(at_us, link.last_us)
            return (at_us,)
        if plan.loss and link.random() < plan.loss:
            return ()
        if plan.reordering:
            if link.random() < plan.reordering:
                at_us += (STRAGGLER - 1) * (at_us - now_us)
                if at_us - now_us > FLIGHT_US:
                    return ()
        else:
            link.last_us = at_us = max(at_us, link.last_us)
        if plan.duplication and link.random() < plan.duplication:
            again_us = at_us + link.delay_us() * self.times
            return (at_us, again_us) if again_us - now_us <= FLIGHT_US else (at_us,)
        return (at_us,)

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Nothing goes from the first to the second of each pair, until it is mended as often as cut."""
        for sender, to in pairs:
            self._links[sender][to].cuts += 1

    def mend(self, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take back one cut of each pair; those that are linked again."""
        again = []
        for sender, to in pairs:
            link = self._links[sender][to]
            if link.cuts:
                link.cuts -= 1
                if not link.cuts:
                    again.append((sender, to))
        return again

    def mend_all(self) -> list[tuple[int, int]]:
        """Everybody reaches everybody, and nothing is lost any more; who could not reach whom until now."""
        self.calm = True
        self.times = 1
        self.most_bytes = None
        again = []
        for sender, row in enumerate(self._links):
            for to, link in enumerate(row):
                if link.cuts:
                    link.cuts = 0
                    again.append((sender, to))
        return again
