"""One authority of a simulated network: the real machine with a stand-in for its driver, disk, ledger and pool."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING

from protocol.consensus.effects import (
    Behind,
    Build,
    Effect,
    EpochEnded,
    Equivocation,
    Finalized,
    Halted,
    Persist,
    Record,
    Send,
    SetTimer,
    Validate,
)
from protocol.consensus.events import (
    Built,
    CaughtUp,
    Event,
    PeerUp,
    Received,
    Started,
    TimerFired,
    Validated,
    Verdict,
    WorkChanged,
)
from protocol.consensus.machine import Config, FinalHead, Machine
from protocol.crypto.hashing import block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.crypto.signing import SigningKey, verify, vote_message
from protocol.types.block import BLOCK_VERSION, Block, Header
from protocol.types.votes import Certificate, Proposal, Vote, VoteSubject
from tests.simulation.oracle import Violation
from tests.simulation.traitors import KINDS
from tests.simulation.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.world import World

CHAIN = b"\x01" * 32
DELTA_MS = 500
CAP_MS = 8_000


TURN = b"turn: "
"""A transaction that begins so ends its epoch."""


def following(epoch: int, raws: Iterable[bytes]) -> bytes | None:
    """What a header with these transactions says of the next set."""
    return b"set %028d" % (epoch + 1) if any(raw.startswith(TURN) for raw in raws) else None


def genesis() -> Header:
    return Header(BLOCK_VERSION, CHAIN, 0, 0, bytes(32), 0, 0, merkle_root([]), bytes(32), None)


class Keys:
    """Vote keys of all authorities; verification is remembered across the nodes of the process."""

    def __init__(self, n: int, signatures: str) -> None:
        self.seeds = [bytes([i + 1]) * 32 for i in range(n)]
        self.real = [SigningKey(seed) for seed in self.seeds] if signatures == "ed25519" else None
        self.public = tuple(key.public for key in self.real) if self.real else tuple(self.seeds)

    def sign(self, subject: VoteSubject, node: int, index: int) -> Vote:
        message = vote_message(subject)
        if self.real:
            return Vote(subject, index, self.real[node].sign(message))
        return Vote(subject, index, blake2b(message, key=self.seeds[node]).digest())

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        if self.real:
            return verify(public, message, signature)
        return blake2b(message, key=public).digest() == signature


class Node:
    """One authority: machine, disk, stand-in ledger and pool."""

    def __init__(self, world: World, index: int, lie: str | None) -> None:
        self.world = world
        self.index = index
        self.lie = lie
        self.rng = Random(f"{world.seed}/{index}")
        self.clock_ms = self.rng.randrange(1_000_000)
        self.disk: list[Record] = []
        self.unsynced: list[Record] = []
        self.store: list[Block] = []
        self.ends: dict[int, Certificate] = {}
        self.certificate: Certificate | None = None
        self.outbox: set[bytes] = set()
        self.watch = Watch(world.keys.verify)
        self.hopping = False
        self.up = False
        self.life = 0
        self.halted: str | None = None
        self.found: list[Equivocation] = []
        self.steps = 0

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.up = True
        self.life += 1
        head = self.store[-1].header if self.store else genesis()
        final = frozenset(raw for block in self.store for raw in block.transactions)
        self.states = {block_digest(head): (head, final)}
        self.pool = set(self.outbox)
        self.world.oracle.restarted(self.index, head.height)
        self.enter(head)
        for peer in self.world.nodes:
            if peer.up and peer is not self and self.world.linked(self.index, peer.index):
                self.meet(peer)
                peer.meet(self)

    def meet(self, peer: Node) -> None:
        index = self.position(peer.index)
        if index is not None:
            self.step(PeerUp(index))

    def enter(self, head: Header) -> None:
        """A machine for the epoch of what follows this head."""
        self.told_work = False
        self.hopping = False
        self.epoch = head.child_epoch
        self.members = self.world.members(self.epoch)
        me = self.position(self.index)
        former = self.certificate if head.ends_epoch else None
        config = Config(
            CHAIN,
            self.epoch,
            tuple(self.world.keys.public[member] for member in self.members),
            self.members,
            me,
            DELTA_MS,
            CAP_MS,
            1 << 20,
            8,
        )
        self.machine = Machine(
            config,
            list(self.disk) if me is not None else [],
            FinalHead(head, None if head.ends_epoch else self.certificate),
            self.world.keys.verify,
            lambda subject: self.world.keys.sign(subject, self.index, me),
            former,
        )
        self.watch.begin(self.machine)
        self.life_of_machine = (self.life, self.epoch)
        self.world.after(1_000, lambda at=self.life_of_machine: self.gossip(at))
        self.step(Started())
        self.tell_work()

    def gossip(self, at: tuple[int, int]) -> None:
        """A follower proposes nothing itself, so it tells the others what it would have final."""
        if self.up and at == self.life_of_machine and self.machine.me is None and not self.halted:
            for raw in sorted(self.outbox):
                for other in self.world.nodes:
                    self.world.deliver(self.index, other.index, lambda other=other, raw=raw: other.gain(raw))
            self.world.after(2_000, lambda: self.gossip(at) if self.outbox else None)

    def position(self, node: int) -> int | None:
        return self.members.index(node) if node in self.members else None

    def crash(self) -> None:
        self.up = False
        self.watch.crashed()
        kept = self.rng.randint(0, len(self.unsynced))
        self.disk += self.unsynced[:kept]
        self.unsynced = []
        self.world.after(self.rng.randint(50, 4_000), self.revive)

    def revive(self) -> None:
        if not self.up:
            self.start()

    def later(self, delay_ms: float, event: Event) -> None:
        life = self.life
        self.world.after(delay_ms, lambda: self.step(event) if self.life == life else None)

    # --- steps ---------------------------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        if not self.up or self.halted:
            return
        self.steps += 1
        if self.hopping and not isinstance(event, Received):
            return
        self.watch.before(event)
        effects = self.machine.step(event, self.clock_ms + int(self.world.now_ms))
        self.unsynced += [e.record for e in effects if isinstance(e, Persist)]
        if self.world.chance(self.rng, self.world.faults.crash):
            self.crash()
            return
        if any(isinstance(e, Persist) and e.sync for e in effects):
            self.disk += self.unsynced
            self.unsynced = []
        rest = [e for e in effects if not isinstance(e, Persist)]
        half_way = self.world.chance(self.rng, self.world.faults.crash)
        for effect in rest[: self.rng.randint(0, len(rest))] if half_way else rest:
            self.carry_out(effect)
        if half_way:
            self.crash()
            return
        if self.world.chance(self.rng, self.world.faults.compaction):
            self.disk, self.unsynced = self.machine.journal_snapshot(), []
        if self.hopping:
            self.enter(self.store[-1].header)
        self.tell_work()

    def tell_work(self) -> None:
        chain = self.machine.chain
        flying = {raw for d in chain.certified if d in chain.blocks for raw in chain.blocks[d].block.transactions}
        work = bool(self.pool - flying - self.states[chain.head_digest][1])
        if work != self.told_work:
            self.told_work = work
            self.later(0, WorkChanged(work))

    def carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.send(effect)
        elif isinstance(effect, Build):
            self.later(self.rng.uniform(*self.world.faults.validation_ms), self.build(effect))
        elif isinstance(effect, Validate):
            self.later(self.rng.uniform(*self.world.faults.validation_ms), self.validate(effect))
        elif isinstance(effect, Finalized):
            self.apply(effect.blocks, effect.certificate)
        elif isinstance(effect, SetTimer):
            if effect.at_ms is not None:
                delay = max(0, effect.at_ms - self.clock_ms - self.world.now_ms)
                self.later(delay, TimerFired(effect.serial))
        elif isinstance(effect, Behind):
            self.sync(None if effect.sender is None else self.members[effect.sender])
        elif isinstance(effect, EpochEnded):
            self.hopping = True
        elif isinstance(effect, Equivocation):
            self.found.append(effect)
            self.watch.found(effect)
        elif isinstance(effect, Halted):
            self.halted = effect.reason

    def send(self, effect: Send) -> None:
        message = effect.message
        vote = message.vote if isinstance(message, Proposal) else message
        me = self.position(self.index)
        if isinstance(vote, Vote) and vote.index == me:
            head = self.store[-1].header if self.store else genesis()
            head_view = 0 if self.certificate is None or head.ends_epoch else self.certificate.subject.view
            self.world.oracle.vote_left(self.index, vote, self.disk, head_view, block_digest(head))
        peers = [n.index for n in self.world.nodes if n is not self]
        if effect.to is not None:
            peers = [self.members[effect.to]]
        out = [(peer, message) for peer in peers]
        if self.lie is not None and self.world.faulty:
            last = self.store[-1].header if self.store else genesis()
            at = last, 0 if self.certificate is None or last.ends_epoch else self.certificate.subject.view
            if me is not None:
                out = KINDS[self.lie](message, peers, lambda s: self.world.keys.sign(s, self.index, me), self.rng, at)
        for peer, told in out:
            self.world.transmit(self.index, peer, told)

    # --- the stand-in ledger -------------------------------------------------------------------------------------

    def build(self, effect: Build) -> Built:
        parent, contained = self.states[effect.parent]
        fresh = tuple(raw for raw in sorted(self.pool - contained) if len(raw) <= effect.size_limit)
        if not fresh and not effect.allow_empty:
            return Built(effect.view, effect.parent_view, None)
        root = merkle_root([transaction_digest(raw) for raw in fresh])
        header = Header(
            BLOCK_VERSION,
            CHAIN,
            self.epoch,
            parent.height + 1,
            effect.parent,
            self.index,
            parent.timestamp + 1,
            root,
            bytes(32),
            following(self.epoch, fresh),
        )
        self.states[block_digest(header)] = (header, contained | set(fresh))
        return Built(effect.view, effect.parent_view, Block(header, fresh))

    def validate(self, effect: Validate) -> Validated:
        header = effect.block.header
        parent, contained = self.states[header.parent]
        raws = effect.block.transactions
        if header.height != parent.height + 1:
            raise Violation("asked for a verdict on a block of another height than its parent's plus one")
        valid = len(set(raws)) == len(raws) and not contained & set(raws)
        valid = valid and header.epoch == parent.child_epoch
        valid = valid and header.next_authorities == following(header.epoch, raws)
        digest = block_digest(header)
        if valid:
            self.states[digest] = (header, contained | set(raws))
        refused = not effect.certified and self.world.chance(self.rng, 0.03)
        verdict = Verdict.REFUSED if refused else Verdict.VALID if valid else Verdict.INVALID
        return Validated(effect.view, digest, verdict)

    def apply(self, blocks: Iterable[Block], certificate: Certificate) -> None:
        fresh = [b for b in blocks if b.header.height > len(self.store)]
        if not fresh:
            return
        self.world.oracle.became_final(self.index, fresh, certificate)
        self.world.final_log.append((self.world.now_ms, self.index, len(fresh)))
        for block in fresh:
            self.store.append(block)
            _, contained = self.states.get(block.header.parent, (None, frozenset()))
            self.states[block_digest(block.header)] = (block.header, contained | set(block.transactions))
            self.pool -= set(block.transactions)
            self.outbox -= set(block.transactions)
        self.certificate = certificate
        if self.store[-1].header.ends_epoch:
            self.ends[len(self.store)] = certificate

    # --- sync ----------------------------------------------------------------------------------------------------

    def sync(self, asked: int | None) -> None:
        others = [n.index for n in self.world.nodes if n is not self]
        peer = asked if asked is not None and asked != self.index and self.rng.random() < 0.5 else None
        peer = self.rng.choice(others) if peer is None else peer
        first, life = len(self.store) + 1, self.life

        def answer() -> None:
            other = self.world.nodes[peer]
            if other.up and len(other.store) >= first and other.certificate is not None:
                blocks, certificate = list(other.store[first - 1 :]), other.certificate
                end = next((height for height in sorted(other.ends) if height >= first), None)
                if end is not None:
                    blocks, certificate = blocks[: end - first + 1], other.ends[end]
                self.world.deliver(peer, self.index, lambda: arrive(blocks, certificate))

        def arrive(blocks: list[Block], certificate: Certificate) -> None:
            if self.up and self.life == life and blocks[-1].header.height > len(self.store):
                self.apply(blocks, certificate)
                if blocks[-1].header.ends_epoch:
                    self.enter(blocks[-1].header)
                    self.sync(peer)
                else:
                    self.step(CaughtUp(blocks[-1], certificate))

        self.world.deliver(self.index, peer, answer)

    def gain(self, raw: bytes) -> None:
        if self.up and all(raw not in block.transactions for block in self.store):
            self.pool.add(raw)
            self.tell_work()
