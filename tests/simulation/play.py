"""Plans by hand, for scenarios, and worlds in which single messages can be kept back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from node.simulation.history import History
from node.simulation.oracles import Oracle
from node.simulation.oracles.records import Record, Sent, VoteLeft
from node.simulation.plan import Action, Crash, Plan, Submit
from node.simulation.world import World
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block
from protocol.types.votes import ConsensusMessage, Proposal, Vote

DELAY_MS = 100


def calm(authorities: int = 4, *actions: Action, **others: object) -> Plan:
    """Nothing goes wrong: every message takes 100 ms, every disk no time."""
    plan = Plan(seed=1, authorities=authorities, delay_ms=(DELAY_MS, DELAY_MS), actions=actions)
    return msgspec.structs.replace(plan, **others)


def submits(count: int, every_ms: int, nodes: Sequence[int], begin_ms: int = 1_000) -> tuple[Submit, ...]:
    """One transaction after the other, at these nodes in turn."""
    return tuple(Submit(begin_ms + every_ms * i, nodes[i % len(nodes)]) for i in range(count))


def all_down(nodes: int, at_ms: int, down_ms: int, **others: object) -> tuple[Crash, ...]:
    """Every node at once."""
    return tuple(Crash(at_ms, node, down_ms, **others) for node in range(nodes))


class Lossy(World):
    """`drop(sender, to, message)` says what never arrives; `after(world, sender, message)` hears of what was sent."""

    def __init__(
        self,
        plan: Plan,
        drop: Callable[[int, int, ConsensusMessage], bool] = lambda *_: False,
        after: Callable[[World, int, ConsensusMessage], None] = lambda *_: None,
    ) -> None:
        super().__init__(plan)
        self.drop = drop
        self.after_send = after

    def transmit(self, sender: int, to: Sequence[int], message: ConsensusMessage) -> None:
        super().transmit(sender, [n for n in to if not self.drop(sender, n, message)], message)
        self.after_send(self, sender, message)


class Notes:
    """An oracle that only writes down what it is told: `Notes.on(World(...))`."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    @classmethod
    def on(cls, world: World, *wants: type[Record]) -> Notes:
        notes = cls()

        class Scribe(Oracle):
            pass

        scribe = Scribe.__new__(Scribe)
        scribe.failure = None
        scribe.event = notes.records.append  # type: ignore[method-assign]  # it has nothing else to do
        for want in wants:
            world.shown_to(want, scribe)
        return notes

    def of(self, kind: type[Record]) -> list[Record]:
        return [record for record in self.records if isinstance(record, kind)]

    def votes(self) -> list[VoteLeft]:
        return [record for record in self.records if isinstance(record, VoteLeft)]

    def proposals(self) -> list[tuple[int, int, Proposal]]:
        """(when, by whom, what)."""
        sent = [record for record in self.records if isinstance(record, Sent)]
        return [(r.at_ms, r.host, r.message) for r in sent if isinstance(r.message, Proposal)]


def played(world: World) -> History:
    """The history of a world in which no promise breaks and everything is settled at the end."""
    history = world.run()
    assert history.failure is None, history.failure.sentence
    assert history.stats.settled_ms is not None, "something was left to do"
    return history


def chain_of(world: World, node: int) -> list[Block]:
    """A node's final blocks."""
    return [stored.block for stored in world.hosts[node].disk.blocks]


def one_chain(world: World) -> list[Block]:
    """The final blocks, the same at all nodes that are up."""
    chains = [[block_digest(b.header) for b in chain_of(world, host.number)] for host in world.hosts if host.up]
    longest = max(chains, key=len)
    assert all(chain == longest[: len(chain)] for chain in chains)
    node = next(host.number for host in world.hosts if host.up and len(host.disk.blocks) == len(longest))
    return chain_of(world, node)


def vote_in(message: ConsensusMessage) -> Vote | None:
    return message.vote if isinstance(message, Proposal) else message if isinstance(message, Vote) else None
