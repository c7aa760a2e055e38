"""One history: a plan played on a virtual clock, in one thread, as one value.

The world holds the nodes, the links between them and what is to happen when; whatever happens is an entry of one heap,
ordered by time and then by when it was entered, so one plan is one history. Nothing in here looks at a clock, at ids or
at the order of a set. `run` never raises for a broken promise: it says so in the `History`.
"""

from __future__ import annotations

import heapq
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from node.mempool import Entry
from node.simulation import keyring
from node.simulation.actions import Actions
from node.simulation.chainstate import Executed, State
from node.simulation.history import EventLog, History, Stats
from node.simulation.host import Host
from node.simulation.links import Links
from node.simulation.memory import Memory
from node.simulation.oracles import ORACLES
from node.simulation.oracles import records as seen
from node.simulation.oracles.base import Failure, Oracle
from node.simulation.oracles.liveness import BOUND_DELTAS
from node.simulation.patients.wallet import Wallet
from node.simulation.schedule import Plan
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import verify
from protocol.errors import ChartledgerError
from protocol.params import Params
from protocol.types.institutions import Institution
from protocol.types.votes import ConsensusMessage, Proposal

__all__ = ["BOUND_DELTAS", "Failure", "History", "Parcel", "World"]

SILENT_DELTAS, SILENT_CAPS = 20, 5
"""A little more than the oracle of silence allows."""
LOOK_US = 1_000_000
PING_US = 5_000_000
CONNECT_US = 200_000

Observer = Callable[[seen.Scene], Oracle]
"""Makes an oracle for one history."""


class Parcel(Struct, frozen=True, eq=False, gc=False):
    """A message on its way, encoded once for all who get it. `place` names it in the history's hash."""

    message: ConsensusMessage
    raw: bytes
    place: bytes
    shown: str

    def unpack(self) -> ConsensusMessage:
        """The message from its bytes, as a node gets it."""
        return decode(ConsensusMessage, self.raw)  # type: ignore[arg-type]  # a union stands for a type


class World:
    """Nodes, links, clients and the virtual clock of one history. `observers` make the oracles; None: all there are.

    `remember`: the nodes share what one of them verified and executed (see `memory`).
    """

    def __init__(self, plan: Plan, *, remember: bool = True, observers: Iterable[Observer] | None = None) -> None:
        self.plan = plan
        self.now_us = 0
        self.faulty = True
        self.log = EventLog()
        self.stats = Stats()
        self.failure: Failure | None = None
        self._remember = remember
        self._memory = Memory(True)
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._idle: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._serial = 0
        self._parcels = 0
        self._over = False
        params = Params(
            delta_ms=plan.delta_ms,
            timeout_cap_ms=plan.timeout_cap_ms,
            heartbeat_ms=plan.heartbeat_ms,
            rotation_rest_ms=1_000,
            release_ms=plan.release_ms,
            review_ms=plan.review_ms,
            recovery_ms=plan.recovery_ms,
            denials_per_day=plan.denials_per_day,
        )
        genesis = keyring.genesis(plan.authorities, plan.followers, params)
        chain, first = keyring.first_block(genesis)
        self.genesis_state = State(
            first.header, block_digest(first.header), first.changes.leaves, dict(first.tree.nodes), {}
        )
        twins = [node for node, kind in plan.traitors if kind == "twins"]
        self.links = Links(plan, plan.nodes + len(twins))
        known = plan.authorities + plan.followers
        self.hosts: list[Host] = []
        for node in range(plan.nodes):
            self.hosts.append(Host(self, node, node, node if node < known else None))
        for node in twins:
            self.hosts.append(Host(self, len(self.hosts), node, node))
        self.addresses: dict[int, tuple[int, ...]] = {}
        self.numbers: dict[int, int] = {}  # institution by host
        self.wallets = [Wallet(patient) for patient in range(plan.patients)]
        self._owed: dict[bytes, tuple[int, Host]] = {}
        self._watched: dict[bytes, Host] = {}
        self._proposed_us: dict[bytes, int] = {}
        for host in self.hosts:
            if host.institution is not None:
                self._address(host, host.institution)
        self.actions = Actions(self)
        liars = {host.number for host in self.hosts if host.traitor is not None}
        self.honest = frozenset(host.number for host in self.hosts) - liars
        verifier = self._memory.verify if remember else verify
        self.scene = seen.Scene(plan.seed, genesis, chain, self.honest, self.numbers, verifier)
        self.oracles = [make(self.scene) for make in (ORACLES if observers is None else observers)]
        self._wanting: dict[type, list[Oracle]] = {}
        self.wants_arrivals = self._wants_sends = False
        for oracle in self.oracles:
            for kind in oracle.wants:
                self.shown_to(kind, oracle)

    # --- time ----------------------------------------------------------------------------------------------------

    def at(self, delay_us: int, act: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """Do this so much later."""
        self._serial += 1
        heapq.heappush(self._heap, (self.now_us + delay_us, self._serial, act, args))

    def idly(self, delay_us: int, act: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        """The same, but a history in which nothing else is left to do may end before."""
        self._serial += 1
        heapq.heappush(self._idle, (self.now_us + delay_us, self._serial, act, args))

    def run(self) -> History:
        """Play the plan: faults, then healing, then until nothing is left to do or the bound is over."""
        try:
            self.actions.begin()
            self.idly(self.plan.heal_ms * 1_000 + LOOK_US, self._look)
            self.idly(PING_US, self._ping)
            self._loop()
        except Exception:
            self.fail(Failure("crash", "engine", traceback.format_exc(), self.now_us // 1_000))
        for oracle in self.oracles:
            oracle.end(self.now_us // 1_000)
            if oracle.failure is not None:
                self.fail(oracle.failure)
        if self.stats.settled_ms is None and self.failure is None:
            self.fail(Failure("liveness", "settled", self.unsettled() or "healing never came", self.now_us // 1_000))
        return History(
            self.plan.seed,
            self.plan,
            self.log.digest(),
            self.now_us / 1_000 if self.stats.settled_ms is None else self.plan.heal_ms + self.stats.settled_ms,
            tuple(len(host.disk.blocks) for host in self.hosts if host.number in self.honest),
            self.stats,
            self.failure,
            self.log.tail(),
            {what: count for oracle in self.oracles for what, count in sorted(oracle.happened.items())},
        )

    def _loop(self) -> None:
        heap, idle, pop = self._heap, self._idle, heapq.heappop
        end_us = 1_000 * (self.plan.heal_ms + BOUND_DELTAS * self.plan.delta_ms)
        events = 0
        while not self._over:
            if idle and (not heap or idle[0] < heap[0]):
                if not heap and not self.faulty and self.settled():
                    break
                at_us, _, act, args = pop(idle)
            elif heap:
                at_us, _, act, args = pop(heap)
            else:
                break
            if at_us > end_us:
                break
            self.now_us = at_us
            events += 1
            act(*args)
        self.stats.events = events
        if self.settled() and self.stats.settled_ms is None and not self.faulty:
            self.stats.settled_ms = self.now_us / 1_000 - self.plan.heal_ms

    def _look(self) -> None:
        """Once all is settled, go on for as long as it takes to see that the network falls silent. It never does where
        a traitor goes on."""
        stats, plan = self.stats, self.plan
        passed_ms = self.now_us / 1_000 - plan.heal_ms
        if not self.settled():
            stats.settled_ms = None
        elif stats.settled_ms is None:
            stats.settled_ms = passed_ms
        linger_ms = SILENT_DELTAS * plan.delta_ms + SILENT_CAPS * plan.timeout_cap_ms
        if stats.settled_ms is not None:
            restless = any(host.lying for host in self.hosts)
            self._over |= restless or passed_ms - stats.settled_ms > linger_ms
        if not self._over:
            self.idly(LOOK_US, self._look)

    def _ping(self) -> None:
        """Pings tell peers' heights, and whoever finds that one was ahead a while ago already asks it."""
        for host in self.hosts:
            host.compare()
        self.idly(PING_US, self._ping)

    def settled(self) -> bool:
        """Whether all that is owed is final at every honest node that can be reached, and nothing else waits there."""
        return self.unsettled() is None

    def unsettled(self) -> str | None:
        """Why it is not settled."""
        if self._owed:
            return f"{len(self._owed)} transactions are not final, or whoever submitted them was not told"
        honest = [host for host in self.hosts if host.number in self.honest]
        accredited = max(honest, key=lambda host: len(host.disk.blocks)).accredited
        heads: dict[int, int] = {}  # by height, who has it
        for host in honest:
            if host.institution not in accredited:
                continue
            if not host.up or host.halted is not None or not host.finality.idle:
                return f"host {host.number} is down, has halted or has not stored what is final"
            if host.machine.me is not None and host.holding.pool.has_work:  # who follows only may keep what is refused
                return f"something waits in the pool of host {host.number}"
            heads.setdefault(len(host.disk.blocks), host.number)
        for id_, host in self._watched.items():  # the pool of who follows only counts as far as such are in it
            waits = host.holding.pool.get(id_) if host.up and host.institution in accredited else None
            if waits is not None and not waits.unfit:  # what a notarized block carries is not final yet
                return f"something that may be valid waits in the pool of host {host.number}"
        return None if len(heads) <= 1 else f"heads differ for good; by height, a host that has it: {heads}"

    # --- what oracles are told -----------------------------------------------------------------------------------

    def shown_to(self, kind: type[seen.Record], oracle: Oracle) -> None:
        """Show records of this type to this oracle, too."""
        self._wanting.setdefault(kind, []).append(oracle)
        self.wants_arrivals |= kind is seen.MessageArrived
        self._wants_sends |= kind is seen.Sent

    def tell(self, record: seen.Record) -> None:
        """Show a record to whoever wants such."""
        for oracle in self._wanting.get(type(record), ()):
            oracle.event(record)
            if oracle.failure is not None:
                self.fail(oracle.failure)

    def fail(self, failure: Failure) -> None:
        """A promise is broken: safety tells more than anything else, otherwise the first counts."""
        if self.failure is None or (failure.kind == "safety" and self.failure.kind != "safety"):
            self.failure = failure
        self._over = True

    # --- messages ------------------------------------------------------------------------------------------------

    def pack(self, message: ConsensusMessage) -> Parcel:
        """Encode a message."""
        self._parcels += 1
        raw = encode(message)
        return Parcel(message, raw, self._parcels.to_bytes(6, "big"), f"gets #{self._parcels}")

    def transmit(self, sender: int, to: Sequence[int], message: ConsensusMessage) -> None:
        """Send one message to several."""
        parcel = self.pack(message)
        self.log.note(self.now_us, sender, 3, parcel.raw)
        if self._wants_sends:
            self.tell(seen.Sent(self.now_us // 1_000, sender, message, len(to)))
        arrivals, now_us, hosts, heap, push = self.links.arrivals, self.now_us, self.hosts, self._heap, heapq.heappush
        args, size = (sender, parcel), len(parcel.raw)
        for number in to:
            for at_us in arrivals(sender, number, now_us, size):
                self._serial += 1
                push(heap, (at_us, self._serial, hosts[number].hear, args))

    def transmit_lie(self, sender: int, to: int, message: ConsensusMessage) -> None:
        """Send a traitor's message, if its bytes are a message at all: nothing else gets past the wire."""
        try:
            parcel = self.pack(message)
            parcel.unpack()
        except (ChartledgerError, OverflowError, ValueError, msgspec.MsgspecError):
            return
        if self._wants_sends:
            self.tell(seen.Sent(self.now_us // 1_000, sender, message, 1))
        self.log.note(self.now_us, sender, 4, parcel.raw)
        for at_us in self.links.arrivals(sender, to, self.now_us, len(parcel.raw)):
            self.at(at_us - self.now_us, self.hosts[to].hear, (sender, parcel))

    def carry(self, sender: int, to: int, act: Callable[[Host, int, Any], None], what: Any) -> None:
        """Send what is no consensus message."""
        for at_us in self.links.arrivals(sender, to, self.now_us):
            self.at(at_us - self.now_us, act, (self.hosts[to], sender, what))

    # --- what hosts tell -----------------------------------------------------------------------------------------

    def memory_for(self, number: int) -> Memory:
        """What a node may remember."""
        return self._memory if self._remember else Memory(False)

    def _address(self, host: Host, institution: int) -> None:
        self.numbers[host.number] = institution
        self.addresses[institution] = (*self.addresses.get(institution, ()), host.number)

    def accredited(self, number: int, institution: Institution) -> None:
        """The ledger knows this institution under this number: its node joins the network."""
        if number in self.addresses:
            return
        host = next(host for host in self.hosts if keyring.name_of(host.node) == institution.name)
        host.institution = number
        self._address(host, number)
        self.at(CONNECT_US, self.actions.join, (host,))

    def met(self, host: Host, institution: int) -> None:
        """A node takes another institution for accredited from now on: a moment later they are connected, if the other
        takes it for such, too."""
        for number in self.addresses[institution]:
            if number != host.number:
                self.at(CONNECT_US, self.actions.meet, (host, self.hosts[number]))

    def went_down(self, host: Host) -> None:
        """A node is down: others notice."""
        self.tell(seen.Crashed(self.now_us // 1_000, host.number))
        for other in self.hosts:
            if other is not host:
                other.peer_down(host.number)

    def submitted(self, host: Host, entry: Entry, owed: bool, watched: bool) -> None:
        """A client's transaction is in a node's outbox."""
        if owed:
            self._owed[entry.id] = (self.now_us, host)
        elif watched:
            self._watched[entry.id] = host
        self.tell(seen.Submitted(self.now_us // 1_000, host.number, entry.id, entry.raw, owed, watched))

    def told(self, host: Host, id_: bytes, executed: Executed) -> None:
        """A node told its client that a transaction is final."""
        self._watched.pop(id_, None)
        owed = self._owed.get(id_)
        if owed is not None and owed[1] is host:
            del self._owed[id_]
            self.stats.from_submission_ms.append((self.now_us - owed[0]) / 1_000)

    def proposed(self, proposal: Proposal) -> None:
        """A leader sent a block for the first time, or again."""
        self._proposed_us.setdefault(proposal.vote.subject.block, self.now_us)

    def became_final(self, host: Host, executed: Executed) -> None:
        """A node holds a block to be final."""
        at_us = self._proposed_us.get(executed.digest)
        if at_us is not None and host.number in self.honest:
            self.stats.from_proposal_ms.append((self.now_us - at_us) / 1_000)
