"""One node: the consensus machine of its epoch, its disk, ledger, pool, sync and clocks, and its life and death.

A node that goes down loses what was not synced, and starts again from what was. `driver` steps the machine, `holding`
keeps what is pending, `finality` stores what is final, `syncing` catches up, `client` stands behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.mempool import Entry
from node.sansio.proposals import Proposals
from node.sansio.terms import Term, new_term, take_seat
from node.sansio.vouching import signed_with
from node.simulation import keyring
from node.simulation.chainstate import ChainState, Executed
from node.simulation.client import Client
from node.simulation.clock import HostClock
from node.simulation.dice import dice
from node.simulation.disk import Disk, Journal
from node.simulation.driver import Driver, Watched
from node.simulation.finality import Finality
from node.simulation.holding import Holding
from node.simulation.ledger import Executor
from node.simulation.oracles import records as seen
from node.simulation.syncing import Syncing
from node.simulation.votekeys import VoteKeys, VotingKey
from node.standing import Standing
from protocol.consensus.events import Started
from protocol.ledger import keys
from protocol.ledger.leaves import decode_leaf
from protocol.sync.messages import FinalRange, GossipMessage, RangeRequest
from protocol.types.institutions import STATUS_ACCREDITED, AuthoritySet, Institution
from protocol.types.operations import Operation

if TYPE_CHECKING:
    from node.simulation.world import World


class Host(Driver):
    """A node. `number` is its address, `node` whose keys it has (another's, if it is a twin), `institution` the number
    that the ledger gave it, None before it is accredited."""

    authorities: AuthoritySet
    index_of: dict[int, int]

    def __init__(self, world: World, number: int, node: int, institution: int | None) -> None:
        plan = world.plan
        self.world = world
        self.number = number
        self.node = node
        self.institution = institution
        self.memory = world.memory_for(number)
        self.rng = dice(plan.seed, "host", number)
        self.disk = Disk(world.genesis_state, dice(plan.seed, "disk", number))
        self.disk.journals[keyring.vote_key(node, 0).public] = Journal()
        skew = plan.skew_ms[number] if number < len(plan.skew_ms) else 0
        drift = plan.drift_ppm[number] if number < len(plan.drift_ppm) else 0
        self.clock = HostClock(keyring.EPOCH_MS, self.rng.randrange(1_000_000), skew, drift)
        self.traitor = None
        self.accredited = {}
        self.lying = False
        self.up = False
        self.index_of = {}
        self.gone = False
        self.life = 0
        self.halted = None
        self.doomed = None

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Up, with what the disk holds."""
        self.up = True
        self.life += 1
        self.halted = None
        self.failed = False
        self.begin_life()
        self.accredited = {}
        self._rotating = False
        self.chain = ChainState(self.memory, self.disk.state)
        self.standing = Standing(self.disk.state.leaves)
        self.executor = Executor(self)
        self.client = Client(self, self.rng, self.world.plan.dissent)
        self.holding = Holding(self)
        self.finality = Finality(self)
        self.syncing = Syncing(self)
        self.finality.listeners.append(self._on_final)
        self.finality.after_commit.append(self._after_commit)
        self._vote_keys = VoteKeys(self.node, self.disk, self.memory)
        term = self._term()
        self.stepping = Watched(self, term, Proposals(self.executor, self.finality))
        self._took(term)
        self.look_at_members()
        durable = self.journal.durable if self.journal is not None else []
        head = self.disk.state.header
        now_ms = self.world.now_us // 1_000
        self.world.tell(seen.Restarted(now_ms, self.number, self.life, head, self.disk.certificate, durable))
        self.world.tell(seen.EpochBegan(now_ms, self.number, self.authorities))
        self.holding.load()
        self.client.look_at_motions(self.disk.state, None)
        self.post(Started())
        self.schedule_heartbeat()

    def crash(self, torn: bool) -> None:
        """Down."""
        self.up = False
        self.doomed = None
        self.begin_life()
        self.disk.crash(torn)
        self.world.went_down(self)

    def struck(self) -> None:
        """It goes down in the middle of a step, as `doomed` says."""
        assert self.doomed is not None
        _, down_ms, torn = self.doomed
        self.world.actions.take_down(self, down_ms, torn)

    def _term(self) -> Term[VotingKey]:
        """The term of the epoch of the next block, from what is stored."""
        authorities, params = self.standing.authorities, self.standing.params
        seat = take_seat(authorities, self.institution, self._vote_keys)
        if seat.voting_key is not None:
            self.disk.mark(seat.voting_key.journal)
        if seat.why_silent is not None:
            self.world.at(1_000_000, self._rotate, (self.life,))
        chain, state = self.disk.state.header.chain, self.finality.state()
        return new_term(chain, authorities, params, state, seat, self.memory.verify)

    def _took(self, term: Term[VotingKey]) -> None:
        self.machine, self.authorities = term.machine, term.authorities
        self.journal = None if term.voting_key is None else term.voting_key.journal
        self.index_of = self.stepping.indexes

    def change_term(self) -> None:
        """Go on with the machine of the epoch that begins above the stored head."""
        term = self._term()
        self.stepping.take(term)
        self.stepping.begin()
        self._took(term)
        self.look_at_members()
        self.world.tell(seen.EpochBegan(self.world.now_us // 1_000, self.number, self.authorities))
        self.world.stats.epochs = max(self.world.stats.epochs, self.authorities.epoch)
        self.client.look_at_motions(self.disk.state, None)

    def _rotate(self, life: int) -> None:
        if self.up and self.life == life and not self._rotating:
            self._rotating = True
            self.client.rotate()

    def look_at_members(self) -> None:
        """Who is accredited: with these it is connected."""
        before = self.accredited
        self.accredited = {}
        for key, raw in self.disk.state.leaves.items():
            if key[0] == keys.KIND_INSTITUTION:
                leaf = decode_leaf(key, raw)
                assert isinstance(leaf, Institution)
                number = int.from_bytes(key[1:], "big")
                if leaf.status == STATUS_ACCREDITED:
                    self.accredited[number] = None
                self.world.accredited(number, leaf)
        if self.accredited == before:
            self.find_peers()
            return
        for host in self.world.hosts:
            host.find_peers()
        if before:
            for number in self.accredited:
                if number not in before:
                    self.world.met(self, number)

    def find_peers(self) -> None:
        """Connections are with those whom it takes for accredited, and who take it for such."""
        others = [host for host in self.world.hosts if host.institution in self.accredited and host.takes(self)]
        self.members_at = [host.number for host in others if host is not self]
        self.votes_to = [n for n in self.members_at if self.world.hosts[n].institution in self.index_of]

    def takes(self, other: Host) -> bool:
        """Whether it would accept a connection from another; who has never started says nothing against it."""
        return not self.accredited or other.institution in self.accredited

    # --- what its parts ask of it --------------------------------------------------------------------------------

    def monotonic_ms(self) -> int:
        """Its own clock, for timers."""
        return self.clock.monotonic_ms(self.world.now_us)

    def wall_ms(self) -> int:
        """What it believes the time to be."""
        return self.clock.wall_ms(self.world.now_us)

    def entry(self, raw: bytes) -> Entry:
        """A pool entry of an own transaction, signed here."""
        entry = self.memory.entry(raw)
        entry.verified = keyring.operations_key(self.node).public
        return entry

    def checked(self, raw: bytes, *, in_block: bool) -> Entry:
        """A pool entry, with the key that it is signed with. Raises the named error that refuses it."""
        entry, chain, verifier = self.memory.entry(raw), self.disk.state.header.chain, self.memory.verify
        entry.verified = signed_with(entry.transaction, raw, chain, self.standing, verifier, in_block=in_block)
        return entry

    def sign(self, node: int, message: bytes) -> bytes:
        """With the operations key of a node."""
        return self.memory.sign(keyring.operations_key(node), message)

    def connected(self) -> list[int]:
        """Addresses of nodes that are up and reachable."""
        world = self.world
        return [n for n in self.members_at if world.hosts[n].up and world.links.linked(self.number, n)]

    def institution_of(self, peer: int) -> int | None:
        """Whose node another is."""
        return self.world.hosts[peer].institution

    def leader(self) -> int | None:
        """The address of whose turn it is, None if it is its own."""
        machine = self.machine
        institution = machine.config.institutions[machine.leader(machine.view)]
        return next((n for n in self.world.addresses[institution] if n != self.number), None)

    def work(self, fresh: bool) -> None:
        """Tell the machine when there begins or ceases to be work."""
        if self.up and self.stepping.set_work(self.finality.has_work(self.wall_ms()), fresh):
            self.wake()

    def _on_final(self, executed: Executed) -> None:
        if any(key[0] == keys.KIND_INSTITUTION for key in executed.changed):
            self.look_at_members()
        self.client.look_at_motions(self.disk.state, executed.changed)

    def _after_commit(self) -> None:
        self.look()
        self.work(fresh=False)
        self.schedule_heartbeat()

    def settled(self, id_: bytes, executed: Executed) -> None:
        """An own transaction is final and stored: whoever submitted it is told."""
        world = self.world
        world.told(self, id_, executed)
        world.tell(seen.ClientTold(world.now_us // 1_000, self.number, id_, executed.header.height))
        self.client.told(id_, executed)

    def schedule_heartbeat(self) -> None:
        """Look when the head will be as old as it may be on an idle chain."""
        due_ms = self.disk.state.header.timestamp + self.standing.params.heartbeat_ms - self.wall_ms()
        self.world.idly(max(0, due_ms) * 1_000, self._heartbeat, (self.life, self.disk.state.digest))

    def _heartbeat(self, life: int, head: bytes) -> None:
        if self.up and self.life == life and self.chain.head.digest == head:
            self.work(fresh=False)

    def put(self, entries: Sequence[Entry], owed: bool, watched: bool = False) -> None:
        """Own transactions: taken into the outbox, pooled, and pushed to whom gossip reaches."""
        world = self.world
        for entry in entries:
            world.submitted(self, entry, owed, watched)
        self.holding.submit(entries)

    def after(self, delay_ms: int, operation: Operation) -> None:
        """Submit an operation a while later."""
        self.world.at(delay_ms * 1_000, self._submit_later, (self.life, operation))

    def _submit_later(self, life: int, operation: Operation) -> None:
        if self.up and life == self.life:
            self.client.submit([operation])

    def tick_later(self, delay_ms: int) -> None:
        """Tick the pool a while later."""
        self.world.at(delay_ms * 1_000, self._tick, (self.life,))

    def _tick(self, life: int) -> None:
        if self.up and life == self.life:
            self.begin(self.holding.look())

    def tell(self, peer: int, message: GossipMessage) -> None:
        """Send pending transactions, or their ids."""
        self.world.carry(self.number, peer, Host.hear_gossip, message)

    def tell_all(self, message: GossipMessage) -> None:
        """The same to every peer, but for whom gossip does not reach."""
        gossip = self.world.plan.gossip if self.world.faulty else 1.0
        for peer in self.connected():
            if gossip >= 1.0 or self.rng.random() < gossip:
                self.tell(peer, message)

    def hear_gossip(self, sender: int, message: GossipMessage) -> None:
        """Pending transactions, or their ids, arrived."""
        if self.up and self.world.hosts[sender].institution in self.accredited:
            self.holding.hear(sender, message)

    def ask(self, to: int, serial: int, request: RangeRequest) -> None:
        """Ask for final blocks."""
        self.world.carry(self.number, to, Host.hear_ask, (serial, request))

    def hear_ask(self, sender: int, asked: tuple[int, RangeRequest]) -> None:
        """Somebody asks for final blocks."""
        if self.up and self.world.hosts[sender].institution in self.accredited:
            self.begin(self.syncing.serve(sender, *asked))

    def answer(self, to: int, serial: int, answer: FinalRange | None) -> None:
        """Send final blocks, or refuse."""
        if answer is not None and self.lying and self.traitor is not None:
            answer = self.traitor.answering(answer)
        self.world.carry(self.number, to, Host.hear_answer, (serial, answer))

    def hear_answer(self, sender: int, answered: tuple[int, FinalRange | None]) -> None:
        """Final blocks arrived."""
        if self.up and not self.failed:
            self.syncing.hear(sender, *answered)

    def peer_up(self, peer: int) -> None:
        """Another node can be reached again."""
        institution = self.world.hosts[peer].institution
        if self.up and institution in self.accredited and self.institution in self.world.hosts[peer].accredited:
            assert institution is not None
            self.syncing.on_peer_up(peer)
            self.holding.spreading.on_peer_up(peer)
            self.stepping.peer_up(institution)
            self.wake()

    def compare(self) -> None:
        """Ask whoever was ahead at the last look already, as pings tell (see `node.sync`)."""
        if not self.up or self.failed:
            return
        self.syncing.compare({peer: len(self.world.hosts[peer].disk.blocks) for peer in self.connected()})

    def peer_down(self, peer: int) -> None:
        """Another node cannot be reached any more."""
        if self.up:
            self.syncing.lost(peer)
            self.holding.spreading.on_peer_down(peer)
