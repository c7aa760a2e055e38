"""Makes a plan happen: what is done to the network, to nodes and by clients, and how everything heals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.simulation.dice import dice
from node.simulation.facade import Facade
from node.simulation.oracles import records as seen
from node.simulation.patients.acts import sendings
from node.simulation.patients.desk import Sending
from node.simulation.schedule import (
    Act,
    Action,
    BlackHole,
    ClockJump,
    Crash,
    Move,
    OneWay,
    Partition,
    SlowDisk,
    SlowNet,
    Submit,
)
from node.simulation.traitors import KINDS
from node.simulation.traitors.base import Conspiracy

if TYPE_CHECKING:
    from node.simulation.host import Host
    from node.simulation.world import World

TICK_US = 250_000
AGAIN_US = 500_000
DOOMED_US = 2_000_000
TRIES = 60
"""How often something about a chart is tried while its node is down, or does not know the chart."""
COPIED = (250, 500, 750, 950)
"""When somebody copies a journal that is put back later: per mille of the time until then."""
AFTERWARDS = ("goes on", "stops", "becomes honest")


class Actions:
    """A plan's, in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        plan = world.plan
        self._allies = Conspiracy(dice(plan.seed, "allies"))
        self._unstable: dict[int, None] = {}  # nodes whose institution is suspended or removed at some time
        for action in plan.actions:
            if isinstance(action, Move) and action.change in ("suspend", "remove"):
                self._unstable[action.target] = None
        lies = dict(plan.traitors)
        for host in world.hosts:
            kind = lies.get(host.node)
            if kind is not None:
                rng = dice(plan.seed, "traitor", host.number)
                host.traitor = KINDS[kind](Facade(host), rng, self._allies)
                host.lying = True

    def begin(self) -> None:
        """Start the nodes, and enter what is to happen."""
        world = self._world
        for host in world.hosts:
            if host.institution is not None:
                host.start()
        for host in world.hosts:
            if host.traitor is not None:
                world.idly(TICK_US, self._tick, (host,))
        for action in world.plan.actions:
            if isinstance(action, Crash) and action.journal == "old" and action.node < len(world.hosts):
                for share in COPIED:
                    world.at(action.at_ms * share, world.hosts[action.node].disk.copy_journals)
            if action.at_ms < world.plan.heal_ms:
                world.at(action.at_ms * 1_000, self._do, (action,))
        world.at(world.plan.heal_ms * 1_000, self._heal)

    def _tick(self, host: Host) -> None:
        if host.up and host.halted is None and host.lying and host.traitor is not None:
            host.traitor.tick(self._world.now_us // 1_000)
        if host.lying:
            self._world.idly(TICK_US, self._tick, (host,))

    def _do(self, action: Action) -> None:
        world = self._world
        if max(getattr(action, "node", 0), getattr(action, "target", 0)) >= len(world.hosts):
            return  # of a plan that was made smaller
        world.log.note(world.now_us, 0xFFFF, 5, type(action).__name__.encode())
        world.log.show(world.now_us, 99, "!", action)
        if isinstance(action, Submit):
            self._submit(action)
        elif isinstance(action, Act):
            self._act(action, TRIES)
        elif isinstance(action, Crash):
            self._crash(action)
        elif isinstance(action, Partition):
            self._cut(_across(action.groups, len(world.hosts)), action.ms)
        elif isinstance(action, OneWay):
            self._cut([pair for pair in action.pairs if max(pair) < len(world.hosts)], action.ms)
        elif isinstance(action, SlowDisk):
            host = world.hosts[action.node]
            host.disk.extra_us += action.delay_ms * 1_000
            world.at(action.ms * 1_000, self._disk_well, (host, action.delay_ms * 1_000))
        elif isinstance(action, SlowNet):
            world.links.times = action.times
            world.at(action.ms * 1_000, self._net_well)
        elif isinstance(action, BlackHole):
            world.links.most_bytes = action.size_bytes
            world.at(action.ms * 1_000, self._holes_closed)
        elif isinstance(action, ClockJump):
            world.hosts[action.node].clock.ahead_ms += action.jump_ms
        else:
            self._move(action)

    # --- clients -------------------------------------------------------------------------------------------------

    def _submit(self, action: Submit) -> None:
        host = self._world.hosts[action.node]
        if host.institution is None or host.gone:
            return
        if not host.up or host.halted is not None:
            self._world.at(AGAIN_US, self._submit, (action,))
            return
        owed = host.number in self._world.honest and host.number not in self._unstable
        host.client.records(action.count, action.size, owed)

    def _act(self, action: Act, tries: int) -> None:
        host = self._world.hosts[action.node]
        if host.institution is None or host.gone or action.patient >= len(self._world.wallets):
            return
        sent = None
        if host.up and host.halted is None:
            sent = sendings(host, self._world.wallets[action.patient], action)
        if sent is not None:
            for sending in sent:
                self._send(host, sending)
        elif tries:
            self._world.at(AGAIN_US, self._act, (action, tries - 1))

    def _send(self, at: Host, sending: Sending) -> None:
        """To the node that is to carry it, if that is up: else the one that was asked carries it as it is."""
        world = self._world
        carriers = [world.hosts[number] for number in world.addresses.get(sending.institution, ())]
        host = next((one for one in carriers if one.up and one.halted is None and not one.gone), at)
        honest = host.number in world.honest
        owed = sending.owed and honest and host.number not in self._unstable and host.institution == sending.institution
        host.client.carry(sending.operations, sending.until_ms, owed=owed, watched=honest)

    def _move(self, action: Move) -> None:
        host, target = self._world.hosts[action.node], self._world.hosts[action.target]
        if action.change == "rotate":
            host = target
        if host.institution is None or host.gone:
            return
        if not host.up or host.halted is not None:
            self._world.at(AGAIN_US, self._move, (action,))
        elif action.change == "rotate":
            host.client.rotate()
        elif action.change == "replace":
            host.client.move(action, target.institution, target.disk.make_vote_key(target.node))
        else:
            host.client.move(action, target.institution)

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _crash(self, action: Crash) -> None:
        host = self._world.hosts[action.node]
        if not host.up:
            return
        if action.after is None or action.journal != "kept":
            self.take_down(host, action.down_ms, action.torn)
            if action.journal != "kept":
                host.disk.lose_journals(to_copy=action.journal == "old")
            return
        host.doomed = (action.after, action.down_ms, action.torn)
        self._world.at(DOOMED_US, self._strike, (host, host.life))

    def _strike(self, host: Host, life: int) -> None:
        if host.doomed is not None and host.up and host.life == life:
            host.struck()

    def take_down(self, host: Host, down_ms: int, torn: bool) -> None:
        """A node goes down, and comes back."""
        host.crash(torn)
        self._world.at(max(1, down_ms) * 1_000, self._revive, (host, host.life))

    def _revive(self, host: Host, life: int) -> None:
        if not host.up and host.life == life and not host.gone:
            self.join(host)

    def join(self, host: Host) -> None:
        """A node starts, and others notice."""
        if host.up or host.gone:
            return
        host.start()
        for other in self._world.hosts:
            if other is not host and other.up:
                self.meet(host, other)

    def meet(self, a: Host, b: Host) -> None:
        """Two nodes that can reach each other, and are up, are connected."""
        if (
            a.up
            and b.up
            and self._world.links.linked(a.number, b.number)
            and self._world.links.linked(b.number, a.number)
        ):
            a.peer_up(b.number)
            b.peer_up(a.number)

    # --- the network ---------------------------------------------------------------------------------------------

    def _cut(self, pairs: list[tuple[int, int]], ms: int) -> None:
        world = self._world
        world.links.cut(pairs)
        for a, b in pairs:
            world.hosts[a].peer_down(b)
        world.at(ms * 1_000, self._mend, (pairs,))

    def _mend(self, pairs: list[tuple[int, int]]) -> None:
        if self._world.faulty:
            hosts = self._world.hosts
            for a, b in self._world.links.mend(pairs):
                if hosts[a].up and hosts[b].up and self._world.links.linked(b, a):
                    hosts[a].peer_up(b)
                    hosts[b].peer_up(a)

    def _net_well(self) -> None:
        self._world.links.times = 1

    def _holes_closed(self) -> None:
        self._world.links.most_bytes = None

    def _disk_well(self, host: Host, extra_us: int) -> None:
        if self._world.faulty:
            host.disk.extra_us -= extra_us

    # --- healing -------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """Everything works from now on; a traitor goes on, stops, or becomes honest."""
        world = self._world
        world.faulty = False
        again = world.links.mend_all()
        world.tell(seen.Healed(world.now_us // 1_000))
        for host in world.hosts:
            host.disk.extra_us = 0
            host.clock.set_right(world.now_us)
            host.doomed = None
        turned: dict[int, str] = {}
        for node, _ in world.plan.traitors:
            turned[node] = dice(world.plan.seed, "afterwards", node).choice(AFTERWARDS)
        for host in world.hosts:
            after = turned.get(host.node)
            twin = host.number != host.node
            if after == "stops" or (after == "becomes honest" and twin):
                host.lying = False
                host.gone = True
                if host.up:
                    host.crash(torn=True)
            elif after == "becomes honest":
                host.lying = False
        for host in world.hosts:
            if not host.up and not host.gone and host.institution is not None:
                self.join(host)
        for a, b in again:
            if a < b or (b, a) not in again:
                self.meet(world.hosts[a], world.hosts[b])


def _across(groups: tuple[tuple[int, ...], ...], hosts: int) -> list[tuple[int, int]]:
    """The pairs that a partition separates."""
    group = {number: -1 - number for number in range(hosts)}
    for index, members in enumerate(groups):
        group.update(dict.fromkeys(members, index))
    return [(a, b) for a in range(hosts) for b in range(hosts) if a != b and group[a] != group[b]]
