"""What drives one node's machine on the virtual clock, as `node.driver` does on asyncio.

What goes into the machine, what is durable before what and what effects cause is decided by `node.sansio.stepping`, the
very same as in a node. Here are a disk that takes its time and may fail in the middle of a step, timers by a clock that
drifts, and a network that may lie. Relies on `host` for what there is besides the machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from node.sansio.stepping import Evidence, Ledger, Step, Stepping
from node.sansio.terms import Term, due
from node.simulation import tasks
from node.simulation.chainstate import ChainState
from node.simulation.client import Client
from node.simulation.clock import HostClock
from node.simulation.disk import Disk, Journal
from node.simulation.finality import Finality
from node.simulation.holding import Holding
from node.simulation.memory import Memory
from node.simulation.oracles import records as seen
from node.simulation.syncing import Syncing
from node.simulation.traitors.base import Traitor
from node.simulation.votekeys import VotingKey
from node.standing import Standing
from protocol.consensus.effects import Behind, Build, Effect, Equivocation, Send, SetTimer, Validate
from protocol.consensus.events import Event, Received, Verdict
from protocol.consensus.machine import Machine
from protocol.errors import ChartledgerError
from protocol.types.votes import ConsensusMessage, Proposal, Vote

if TYPE_CHECKING:
    from node.simulation.world import Parcel, World

RECEIVED, OTHER, EFFECT = range(3)
LOOK_EVERY = 128  # steps between two looks at the size of a machine


class Struck(Exception):
    """The power fails here."""


class Watched(Stepping[Term[VotingKey]]):
    """Writes into the history what goes into the machine and what comes out, and lets the power fail in between."""

    def __init__(self, driver: Driver, term: Term[VotingKey], ledger: Ledger) -> None:
        self._driver = driver
        self._world = driver.world
        self._left = -1
        super().__init__(term, ledger, driver)

    def feed(self, event: Event, now_ms: int) -> list[Effect]:
        """Step the machine through one event."""
        driver = self._driver
        if type(event) is not Received:
            world = self._world
            world.log.note(world.now_us, driver.number, OTHER, type(event).__name__.encode())
            world.log.show(world.now_us, driver.number, "<", event)
        driver.steps += 1
        return self.machine.step(event, now_ms)

    def written(self) -> None:
        """As `Stepping.written`. Raises `Struck` in the middle of it if the plan says so."""
        assert self._open is not None
        doomed = self._driver.doomed
        self._left = doomed[0] if doomed is not None and self._open.records else -1
        super().written()

    def carry_out(self, effect: Effect) -> None:
        """Do, or begin, what one effect asks for. Raises `Struck`."""
        if self._left == 0:
            raise Struck
        self._left -= 1
        kind, world, number = type(effect), self._world, self._driver.number
        if kind is not Send:
            world.log.note(world.now_us, number, EFFECT, kind.__name__.encode())
            if kind is not SetTimer:
                world.log.show(world.now_us, number, ">", effect)
        if isinstance(effect, Equivocation):
            epoch = effect.first.subject.epoch
            found = seen.EquivocationFound(
                world.now_us // 1_000, number, epoch, effect.index, effect.first, effect.second
            )
            world.tell(found)
        super().carry_out(effect)


class Driver(ABC):
    """Drives one node's machine, and does what its effects ask for (see `node.sansio.stepping.Hands`)."""

    world: World
    number: int
    institution: int | None
    memory: Memory
    rng: Random
    disk: Disk
    clock: HostClock
    machine: Machine
    stepping: Watched
    chain: ChainState
    standing: Standing
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
    failed: bool
    doomed: tuple[int, int, bool] | None  # (effects, down_ms, torn): see `plan.Crash.after`
    accredited: dict[int, None]
    members_at: list[int]
    votes_to: list[int]

    def begin_life(self) -> None:
        """Nothing is under way."""
        self._busy = self._stored = False
        self.steps = 0
        self._timer_us: int | None = None

    @abstractmethod
    def struck(self) -> None:
        """It goes down in the middle of a step."""

    @abstractmethod
    def change_term(self) -> None:
        """Go on with the machine of the epoch that begins above the stored head."""

    # --- in ------------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Give the machine an event, now or once the disk is done."""
        if self.up:
            self.stepping.post(event)
            self.wake()

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
        self.stepping.hear(institution, message, len(parcel.raw))
        if not self._busy:
            self.wake()

    def look(self) -> None:
        """Final blocks came to disk: one of them may have ended the epoch."""
        self._stored = True
        self.wake()

    # --- the loop ------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something waits: step, unless a step is under way."""
        if self._busy:
            return
        self._busy = True
        stepping = self.stepping
        while True:
            if self._stored:
                self._stored = False
                if stepping.halted is None and due(stepping.epoch, self.finality.state(), self.standing):
                    self.change_term()
            if not stepping.waiting:
                break
            step = stepping.step(self.clock.monotonic_ms(self.world.now_us))
            if step is not None and not self._write(step):
                return
            self._afterwards()
        self._busy = False

    def _write(self, step: Step) -> bool:
        """Write what must be written; then carry out the rest, now or when the disk is done. False: not done yet, or
        never, because the node went down."""
        journal = self.journal
        if journal is not None:
            for record in step.records:
                journal.append(record)
            if step.sync:
                if self.doomed is not None and self.doomed[0] == 0:
                    self.struck()
                    return False
                delay_us = self.disk.duration_us(self.world.plan.sync_ms if self.world.faulty else (0, 0))
                if delay_us:
                    self.world.at(delay_us, self._synced, (self.life, journal))
                    return False
                journal.sync()
        return self._written()

    def _synced(self, life: int, journal: Journal) -> None:
        if self.life != life or not self.up:
            return
        journal.sync()
        if self._written():
            self._afterwards()
            self._busy = False
            self.wake()

    def _written(self) -> bool:
        try:
            self.stepping.written()
        except Struck:
            self.struck()
            return False
        self._arm()
        return True

    def _afterwards(self) -> None:
        limit = self.world.plan.compact_records
        voting_key = self.stepping.term.voting_key
        if limit and voting_key is not None and len(voting_key.journal.durable) > limit and self.finality.idle:
            voting_key.keep(self.machine.journal_snapshot(), self.stepping.epoch)
        if self.steps >= LOOK_EVERY:
            self.steps = 0
            self.world.tell(seen.Stepped(self.world.now_us // 1_000, self.number, self.machine.load()))

    def stop(self, reason: str) -> None:
        """It votes no more."""
        if self.halted is None:
            self.halted = reason
            self.world.tell(seen.Stopped(self.world.now_us // 1_000, self.number, reason))

    # --- timers --------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        timer = self.stepping.timer
        if timer is None:
            return
        now_us = self.world.now_us
        at_us = self.clock.when_us(timer[1], now_us)
        if self._timer_us is None or at_us < self._timer_us:
            self._timer_us = at_us
            self.world.at(at_us - now_us, self._fire, (self.life, at_us))

    def _fire(self, life: int, due_us: int) -> None:
        if life != self.life or not self.up or due_us != self._timer_us:
            return
        self._timer_us = None
        timer = self.stepping.timer
        if timer is None:
            return
        if self.clock.when_us(timer[1], self.world.now_us) > self.world.now_us:
            self._arm()
        else:
            self.stepping.fired()
            self.wake()

    # --- what effects ask for ------------------------------------------------------------------------------------

    def send(self, to: int, message: ConsensusMessage) -> None:
        """To the institution of this number."""
        self._send([n for n in self.world.addresses[to] if n in self.members_at], message)

    def broadcast(self, message: ConsensusMessage, followers: bool) -> None:
        """To every authority of the term, and to whoever follows as well if `followers`."""
        self._send(self.members_at if followers else self.votes_to, message)

    def _send(self, to: list[int], message: ConsensusMessage) -> None:
        world = self.world
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

    def build(self, wanted: Build) -> None:
        """Begin `Stepping.build`."""
        self.begin(self._answer(partial(self.stepping.build, wanted)))

    def validate(self, wanted: Validate) -> None:
        """Begin `Stepping.validate`."""
        self.begin(self._answer(partial(self.stepping.validate, wanted)))

    def begin(self, work: tasks.Work) -> None:
        """Run this until it is done, or the node goes down."""
        tasks.begin(self.world, work, self.living())

    def living(self) -> Callable[[], bool]:
        """Whether what this life of the node began goes on."""
        life = self.life
        return lambda: self.up and self.life == life and not self.failed

    def fail(self, reason: str) -> None:
        """It cannot go on: in a node, the process ends."""
        self.failed = True
        self.stop(reason)

    async def _answer(self, ask: Callable[[], Coroutine[Any, None, Event | None]]) -> None:
        answer = await ask()
        if answer is not None:
            self.post(answer)

    def behind(self, effect: Behind) -> None:
        """Ask how far others are."""
        self.syncing.behind()

    def convict(self, evidence: Evidence) -> None:
        """Report it."""
        self.client.report(evidence.epoch, evidence.index, evidence.first, evidence.second)

    def rejected(self, by: int, proposal: Proposal, reason: str) -> None:
        """This institution's proposal is invalid for good."""
        self.world.log.show(self.world.now_us, self.number, "rejects", reason)

    def unacceptable(self, wanted: Validate, verdict: Verdict, error: ChartledgerError) -> None:
        """Why this block was not held valid."""
        self.world.log.show(self.world.now_us, self.number, verdict.value, str(error))

    def halt(self, reason: str) -> None:
        """The machine votes no more, for good."""
        self.stop(reason)
