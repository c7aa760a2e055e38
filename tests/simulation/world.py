"""A whole network in one thread on a virtual clock, everything drawn from one seed.

Each node is the real machine with a small stand-in for its driver: a disk that loses what was not synced, a ledger
whose only rule is that no transaction is contained twice, a pool, and a sync that copies final blocks. Signatures are
keyed hashes, which nobody in here forges; `signatures="ed25519"` takes real ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from hashlib import blake2b
from random import Random

from protocol.codec.canonical import encode
from protocol.consensus.events import Received
from protocol.types.votes import ConsensusMessage
from tests.simulation.authority import CAP_MS, CHAIN, DELTA_MS, TURN, Keys, Node, genesis
from tests.simulation.faults import Faults
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.traitors import KINDS

__all__ = ["CAP_MS", "CHAIN", "DELTA_MS", "LIVE_MS", "World", "genesis"]

LIVE_MS = 240_000  # of simulated time after everything healed


class World:
    """One history: nodes, links, clients and the virtual clock."""

    def __init__(self, seed: int, faults: Faults | None = None, signatures: str = "hashes") -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.faults = faults or Faults.draw(self.rng, tuple(KINDS))
        self.n = self.faults.authorities
        self.keys = Keys(self.n, signatures)
        self.now_ms = 0.0
        self.queue: list[tuple[float, int, Callable[[], object]]] = []
        self.serial = 0
        self.faulty = True
        self.sides: list[int] = [0] * self.n
        self.deaf: set[tuple[int, int]] = set()
        self.trace = blake2b(digest_size=16)
        traitors = dict(
            zip(self.rng.sample(range(self.n), len(self.faults.traitors)), self.faults.traitors, strict=True)
        )
        self.traitors = len(traitors)
        self.oracle = Oracle(self.keys.public, set(range(self.n)) - set(traitors), self.keys.verify, self.members)
        self.nodes = [Node(self, index, traitors.get(index)) for index in range(self.n)]
        self.honest = [node for node in self.nodes if node.lie is None]
        self.submitted: list[bytes] = []
        self.submit_log: list[float] = []
        self.final_log: list[tuple[float, int, int]] = []
        self.sent_log: list[float] = []
        self.asleep: set[int] = set()

    def members(self, epoch: int) -> tuple[int, ...]:
        """The set of an epoch: everyone takes another place in each, and in every other one stays out where no more
        traitors are left than may be."""
        turned = [(place + epoch) % self.n for place in range(self.n)]
        spare = self.n > 4 and self.traitors <= (self.n - 2) // 3
        return tuple(turned[1:] if epoch % 2 and spare else turned)

    # --- clock and links -----------------------------------------------------------------------------------------

    def chance(self, rng: Random, probability: float) -> bool:
        return self.faulty and probability > 0 and rng.random() < probability

    def after(self, delay_ms: float, act: Callable[[], object]) -> None:
        self.serial += 1
        heapq.heappush(self.queue, (self.now_ms + delay_ms, self.serial, act))

    def linked(self, a: int, b: int) -> bool:
        return self.sides[a] == self.sides[b] and (a, b) not in self.deaf

    def transmit(self, sender: int, to: int, message: ConsensusMessage) -> None:
        self.sent_log.append(self.now_ms)
        self.trace.update(b"%d>%d@%d" % (sender, to, int(self.now_ms * 1000)) + encode(message)[:80])
        life = self.nodes[to].life
        receiver = self.nodes[to]

        def arrive() -> None:
            if receiver.up and receiver.life == life:
                receiver.step(Received(receiver.position(sender), message))

        self.deliver(sender, to, arrive)

    def deliver(self, sender: int, to: int, act: Callable[[], object]) -> None:
        copies = 2 if self.chance(self.rng, self.faults.duplication) else 1
        for _ in range(copies):
            if not self.linked(sender, to) or self.chance(self.rng, self.faults.loss):
                continue
            delay = self.rng.uniform(*self.faults.delay_ms)
            self.after(delay * (10 if self.chance(self.rng, self.faults.straggler) else 1), act)

    # --- a history -----------------------------------------------------------------------------------------------

    def submit(self, node: Node, raw: bytes) -> None:
        """A client's transaction: durable at one node, and in the pools of whom gossip reaches."""
        if not node.up:
            self.after(500, lambda: self.submit(node, raw))
            return
        node.outbox.add(raw)
        node.gossip(node.life_of_machine)
        self.submitted.append(raw)
        self.submit_log.append(self.now_ms)
        node.gain(raw)
        for other in self.nodes:
            if other is not node and self.rng.random() < self.faults.gossip:
                self.deliver(node.index, other.index, lambda other=other: other.gain(raw))

    def move_partition(self) -> None:
        if not self.faulty:
            return
        whole = self.rng.random() < 0.3
        self.sides = [0 if whole else self.rng.randrange(2) for _ in range(self.n)]
        pairs = [(a, b) for a in range(self.n) for b in range(self.n) if a != b]
        self.deaf = set() if self.rng.random() < 0.7 else {pair for pair in pairs if self.rng.random() < 0.1}
        self.after(self.rng.randint(500, 5_000), self.move_partition)

    def heal(self) -> None:
        """Everything works from now on; a traitor either dies or becomes honest."""
        self.faulty = False
        self.sides, self.deaf, self.asleep = [0] * self.n, set(), set()
        for node in self.nodes:
            if node.lie is not None and self.rng.random() < 0.5:
                node.halted = "dead"
            elif not node.up:
                node.start()
        for a in self.nodes:
            for b in self.nodes:
                if a is not b and a.up and b.up and not b.halted:
                    a.meet(b)
                    if a.machine.me is None:  # nobody sends a follower what it missed: its sync asks for heights
                        a.sync(b.index)

    def run(self) -> None:
        """Faults, then healing, then until nothing is left to do: raises `Violation` if a promise breaks."""
        awake = [node for node in self.nodes if node.index not in self.asleep]
        for node in awake:
            node.start()
        for number in range(self.faults.transactions):
            node, raw = self.rng.choice([node for node in awake if node.lie is None]), b"transaction %d" % number
            if self.rng.random() < self.faults.turns:
                raw = TURN + raw
            self.after(self.rng.uniform(0, self.faults.faulty_ms), lambda node=node, raw=raw: self.submit(node, raw))
        if self.faults.partitions:
            self.after(self.rng.randint(0, 3_000), self.move_partition)
        self.after(self.faults.faulty_ms, self.heal)
        while self.queue:
            at_ms, _, act = heapq.heappop(self.queue)
            if at_ms > self.faults.faulty_ms + LIVE_MS:
                raise Violation(f"not quiet {LIVE_MS} ms after healing: {self.describe()}")
            self.now_ms = at_ms
            act()
        self.check_end()

    def check_end(self) -> None:
        """Liveness: all that was submitted is final on every honest node, once, and nobody voted itself out."""
        for node in self.honest:
            if node.halted:
                raise Violation(f"node {node.index} halted: {node.halted}")
            contained = [raw for block in node.store for raw in block.transactions]
            if len(set(contained)) != len(contained):
                raise Violation(f"node {node.index} executed a transaction twice")
            lost = set(self.submitted) - set(contained)
            if lost or len(self.submitted) != self.faults.transactions:
                raise Violation(f"node {node.index} lacks {sorted(lost)}: {self.describe()}")
            for found in node.found:
                if self.members(found.first.subject.epoch)[found.index] in self.oracle.honest:
                    raise Violation(f"honest {found.index} was accused: {found}")
            if node.watch.missed():
                raise Violation(f"node {node.index} saw and did not report {node.watch.missed()}")

    def describe(self) -> str:
        states = [
            f"{n.index}: {'up' if n.up else 'down'} {n.halted or ''} view {n.machine.view}"
            f" {n.machine.round(n.machine.view).status.value} final {n.machine.chain.final_view}"
            f"/{n.machine.chain.head.view} height {len(n.store)} pool {len(n.pool)} {n.lie or ''}"
            for n in self.nodes
        ]
        return f"seed {self.seed} {self.faults}\n  " + "\n  ".join(states)
