"""The driver around one node's machine, as `node.driver` is in a node.

Events in, effects out in their order, nothing before it is durable; events that come while the disk syncs are stepped
together. Relies on `host` for what there is besides the machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from node.simulation.chainstate import ChainState, Obsolete
from node.simulation.client import Client
from node.simulation.clock import HostClock
from node.simulation.disk import Disk, Journal
from node.simulation.finality import Finality
from node.simulation.holding import Holding
from node.simulation.memory import Memory
from node.simulation.oracles import records as seen
from node.simulation.syncing import Syncing
from node.simulation.traitors.base import Traitor
from protocol.consensus.effects import (
    Behind,
    Build,
    Effect,
    EpochEnded,
    Equivocation,
    Finalized,
    Halted,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Validate,
)
from protocol.consensus.events import Built, Event, Received, TimerFired, Validated, Verdict
from protocol.consensus.machine import Machine
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidBlock
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, ConsensusMessage, Proposal, Vote

if TYPE_CHECKING:
    from node.simulation.world import Parcel, World

RECEIVED, OTHER, EFFECT = range(3)
LOOK_EVERY = 128  # steps between two looks at the size of a machine


class Heard(NamedTuple):
    """A message of an institution, not stepped yet."""

    institution: int
    message: ConsensusMessage


class Driver(ABC):
    """Steps one node's machine."""

    world: World
    number: int
    institution: int | None
    memory: Memory
    rng: Random
    disk: Disk
    clock: HostClock
    machine: Machine
    chain: ChainState
    holding: Holding
    syncing: Syncing
    client: Client
    finality: Finality
    journal: Journal | None
    traitor: Traitor | None
    lying: bool
    up: bool
    life: int
    halted: str | None
    doomed: tuple[int, int, bool] | None  # (effects, down_ms, torn): see `plan.Crash.after`
    hop_due: bool
    accredited: dict[int, None]
    index_of: dict[int, int]
    members_at: list[int]
    _votes_to: list[int]

    def begin_life(self) -> None:
        """Nothing is under way."""
        self._queue: list[Event | Heard] = []
        self._busy = False
        self._steps = 0
        self._timer: tuple[int, int] | None = None
        self._timer_us: int | None = None
        self.hop_due = False

    @abstractmethod
    def struck(self) -> None:
        """It goes down in the middle of a step."""

    @abstractmethod
    def hop(self) -> None:
        """Go on with the machine of the epoch that begins above the stored head."""

    def hop_soon(self) -> None:
        """The same once the step under way is carried out."""
        if self._busy:
            self.hop_due = True
        else:
            self.hop()

    # --- steps ---------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Give the machine an event, now or once the disk is done."""
        if self.up:
            self._queue.append(event)
            if not self._busy:
                self._drain()

    def hear(self, sender: int, parcel: Parcel) -> None:
        """A consensus message arrived."""
        if not self.up or self.halted is not None:
            return
        world = self.world
        message = parcel.message if self.memory.remember else parcel.unpack()
        if self.lying and self.traitor is not None and self.traitor.incoming(sender, message):
            return
        institution = world.hosts[sender].institution
        if institution not in self.accredited:
            return
        assert institution is not None
        world.stats.messages += 1
        world.log.note(world.now_us, self.number, RECEIVED, parcel.place)
        world.log.show(world.now_us, self.number, parcel.shown, message)
        if world.wants_arrivals:
            machine = self.machine
            world.tell(
                seen.MessageArrived(
                    world.now_us // 1_000,
                    self.number,
                    sender,
                    message,
                    self.life,
                    machine.config.epoch,
                    machine.view,
                    machine.chain.final_view,
                    machine.me is not None,
                )
            )
        self._queue.append(Heard(institution, message))
        if not self._busy:
            self._drain()

    def _drain(self) -> None:
        self._busy = True
        world, log = self.world, self.world.log
        while self._queue:
            events, self._queue = self._queue, []
            now_ms = self.clock.monotonic_ms(world.now_us)
            effects: list[Effect] = []
            for queued in events:
                event: Event
                if isinstance(queued, Heard):  # whose index it is follows from the epoch in which it is stepped
                    event = Received(self.index_of.get(queued.institution), queued.message)
                else:
                    event = queued
                if type(event) is not Received:
                    log.note(world.now_us, self.number, OTHER, type(event).__name__.encode())
                    log.show(world.now_us, self.number, "<", event)
                effects += self.machine.step(event, now_ms)
                self._steps += 1
            if effects and not self._persist(effects):
                return
            self._afterwards()
        self._busy = False

    def _persist(self, effects: list[Effect]) -> bool:
        """Write what must be written; then carry out the rest, now or when the disk is done. False: not done yet, or
        never, because the node went down."""
        journal = self.journal
        written = sync = False
        for effect in effects:
            if type(effect) is not Persist:
                continue  # several steps' effects, one after the other
            written = True
            if journal is not None:
                journal.append(effect.record)
                sync |= effect.sync
        if sync:
            assert journal is not None
            if self.doomed is not None and self.doomed[0] == 0:
                self.struck()
                return False
            delay_us = self.disk.duration_us(self.world.plan.sync_ms if self.world.faulty else (0, 0))
            if delay_us:
                self.world.at(delay_us, self._synced, (self.life, effects))
                return False
            journal.sync()
        return self._carry_all_out(effects, written)

    def _synced(self, life: int, effects: list[Effect]) -> None:
        if self.life != life or not self.up:
            return
        assert self.journal is not None
        self.journal.sync()
        if self._carry_all_out(effects, True):
            self._afterwards()
            self._busy = False
            if self._queue:
                self._drain()

    def _carry_all_out(self, effects: list[Effect], written: bool) -> bool:
        left = self.doomed[0] if self.doomed is not None and written else -1
        for effect in effects:
            if type(effect) is Persist:
                self._noted(effect)
                continue
            if left == 0:
                self.struck()
                return False
            left -= 1
            self._carry_out(effect)
        return True

    def _noted(self, effect: Persist) -> None:
        record = effect.record
        if type(record) is Certificate and record.subject.kind == NOTARIZE:
            self.finality.notarized(record.subject.block)

    def _afterwards(self) -> None:
        if self.hop_due:
            self.hop_due = False
            self.hop()
        limit = self.world.plan.compact_records
        journal = self.journal
        if limit and journal is not None and len(journal.durable) > limit and self.finality.idle:
            journal.rewrite(self.machine.journal_snapshot())
        if self._steps >= LOOK_EVERY:
            self._steps = 0
            self.world.tell(seen.Stepped(self.world.now_us // 1_000, self.number, self.machine.load()))

    def _carry_out(self, effect: Effect) -> None:
        kind = type(effect)
        if kind is Send:
            assert isinstance(effect, Send)
            self._send(effect)
            return
        world = self.world
        world.log.note(world.now_us, self.number, EFFECT, kind.__name__.encode())
        if isinstance(effect, SetTimer):
            self._arm(effect)
            return
        world.log.show(world.now_us, self.number, ">", effect)
        now_ms = world.now_us // 1_000
        if isinstance(effect, Build):
            self._soon(self._build, effect)
        elif isinstance(effect, Validate):
            self._soon(self._validate, effect)
        elif isinstance(effect, Finalized):
            self.finality.put(effect.blocks, effect.certificate)
        elif isinstance(effect, Behind):
            self.syncing.behind()
        elif isinstance(effect, Equivocation):
            epoch = effect.first.subject.epoch
            found = seen.EquivocationFound(now_ms, self.number, epoch, effect.index, effect.first, effect.second)
            world.tell(found)
            self.client.report(epoch, effect.index, effect.first, effect.second)
        elif isinstance(effect, Halted):
            self.stop(effect.reason)
        else:
            assert isinstance(effect, EpochEnded | Rejected)

    def stop(self, reason: str) -> None:
        """It votes and follows no more."""
        if self.halted is None:
            self.halted = reason
            self.world.tell(seen.Stopped(self.world.now_us // 1_000, self.number, reason))

    # --- effects -------------------------------------------------------------------------------------------------

    def _send(self, effect: Send) -> None:
        world = self.world
        message = effect.message
        if effect.to is None:
            final = type(message) is Certificate and message.subject.kind == FINALIZE
            to = self.members_at if final else self._votes_to
        else:
            to = [n for n in world.addresses[self.machine.config.institutions[effect.to]] if n in self.members_at]
        vote = message.vote if isinstance(message, Proposal) else message
        if isinstance(vote, Vote) and self.journal is not None and vote.index == self.machine.me:
            world.stats.votes += 1
            if isinstance(message, Proposal):
                world.proposed(message)
            world.tell(seen.VoteLeft(world.now_us // 1_000, self.number, vote, self.journal.durable))
        if self.lying and self.traitor is not None:
            for address, lie in list(self.traitor.outgoing(message, to)):
                world.transmit_lie(self.number, address, lie)
            return
        if to:
            world.transmit(self.number, to, message)

    def _arm(self, effect: SetTimer) -> None:
        if effect.at_ms is None:
            self._timer = None
            return
        self._timer = (effect.serial, effect.at_ms)
        now_us = self.world.now_us
        at_us = self.clock.when_us(effect.at_ms, now_us)
        if self._timer_us is None or at_us < self._timer_us:
            self._timer_us = at_us
            self.world.at(at_us - now_us, self._fire, (self.life, at_us))

    def _fire(self, life: int, due_us: int) -> None:
        if life != self.life or not self.up or due_us != self._timer_us:
            return
        self._timer_us = None
        if self._timer is None:
            return
        serial, at_ms = self._timer
        at_us = self.clock.when_us(at_ms, self.world.now_us)
        if at_us > self.world.now_us:
            self._timer_us = at_us
            self.world.at(at_us - self.world.now_us, self._fire, (life, at_us))
        else:
            self._timer = None
            self.post(TimerFired(serial))

    def _soon(self, act: Callable[[int, Machine, Any], None], effect: Build | Validate) -> None:
        span = self.world.plan.validation_ms
        delay_us = int(1_000 * (span[0] + (span[1] - span[0]) * self.rng.random())) if span[1] else 0
        self.world.at(delay_us, act, (self.life, self.machine, effect))

    def _current(self, life: int, machine: Machine) -> bool:
        return self.up and life == self.life and machine is self.machine

    def _build(self, life: int, machine: Machine, wanted: Build) -> None:
        if not self._current(life, machine):
            return
        assert self.institution is not None
        block = None
        try:
            while True:
                wall_ms = self.clock.wall_ms(self.world.now_us)
                block, bad = self.chain.build(wanted, self.institution, self.holding.pool, wall_ms)
                self.holding.refuse([entry for entry, _ in bad])
                if block is not None or not bad:
                    break
        except Obsolete:
            pass
        if block is not None and self.lying and self.traitor is not None:
            false = self.traitor.build(block)
            if false is not block:
                self.chain.disguise(false, block)
                block = false
        self.post(Built(wanted.view, wanted.parent_view, block))

    def _validate(self, life: int, machine: Machine, wanted: Validate) -> None:
        if not self._current(life, machine):
            return
        header = wanted.block.header
        digest = block_digest(header)
        ahead_ms = header.timestamp - self.clock.wall_ms(self.world.now_us)
        if not wanted.certified:
            params = self.chain.head.params()
            if -ahead_ms > params.drift_ms or ahead_ms > params.timeout_cap_ms:
                self.post(Validated(wanted.view, digest, Verdict.REFUSED))
                return
        try:
            executed = self.chain.execute(wanted.block, digest)
        except Obsolete:
            return
        except InvalidBlock:
            self.post(Validated(wanted.view, digest, Verdict.INVALID))
            return
        self.finality.executed(executed)
        if ahead_ms > 0 and not wanted.certified:
            verdict = Validated(wanted.view, digest, Verdict.VALID)
            self.world.at(ahead_ms * 1_000, self._answer, (life, machine, verdict))
        else:
            self.post(Validated(wanted.view, digest, Verdict.VALID))

    def _answer(self, life: int, machine: Machine, verdict: Validated) -> None:
        if self._current(life, machine):
            self.post(verdict)
