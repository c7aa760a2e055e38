"""The loop around the consensus machine: which events go in, what is durable before what, what each effect causes.

Sans-I/O. Whoever drives it queues what happens, calls `step`, makes the step's records durable, calls `written`, and
begins again; `Hands` do what effects ask for. Events that queued meanwhile are stepped together and share one sync of
the journal (rule 7: own votes, certificates and bodies are durable before anything built on them leaves). A machine
lives for one epoch: `take` and `begin` put the next in its place. Relies on the machine to say what depends on what.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from node.sansio.asking import Obsolete, Refused
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
    Rejected,
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
from protocol.consensus.machine import Machine
from protocol.consensus.votes import epoch_of
from protocol.crypto.hashing import block_digest
from protocol.errors import ChartledgerError, InvalidBlock
from protocol.types.block import Block
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, ConsensusMessage, Proposal, Vote

EARLY_MESSAGES, EARLY_BYTES = 1_024, 4 * 1024 * 1024
"""Kept of what comes from the next epoch before it begins here; beyond that the oldest go, and are asked for again."""


class Evidence(Struct, frozen=True):
    """Two votes by which an authority contradicted itself."""

    epoch: int
    index: int
    institution: int
    first: Vote
    second: Vote

    @property
    def view(self) -> int:
        return self.first.subject.view


class Heard(Struct, frozen=True, gc=False):
    """What an institution sent. Its index depends on the epoch in which the machine comes to it."""

    peer: int
    message: ConsensusMessage
    size_bytes: int


class Up(Struct, frozen=True):
    """An institution became reachable."""

    peer: int


class Term(Protocol):
    """One epoch's machine and set; see `node.epochs.Term`."""

    @property
    def machine(self) -> Machine: ...

    @property
    def authorities(self) -> AuthoritySet: ...


class Ledger(Protocol):
    """What the machine's questions are put to; see `node.sansio.proposals`."""

    async def build(self, wanted: Build) -> Block | None: ...

    async def validate(self, wanted: Validate) -> None: ...

    def notarized(self, digest: bytes) -> None: ...

    def finalized(self, effect: Finalized) -> object: ...


class Hands(Protocol):
    """Does what effects ask for, in the order in which it is called, or begins to."""

    def send(self, to: int, message: ConsensusMessage) -> None:
        """To the institution of this number."""

    def broadcast(self, message: ConsensusMessage, followers: bool) -> None:
        """To every authority of the term, and to whoever follows as well if `followers`."""

    def build(self, wanted: Build) -> None:
        """Begin `Stepping.build`."""

    def validate(self, wanted: Validate) -> None:
        """Begin `Stepping.validate`."""

    def behind(self, effect: Behind) -> None:
        """Ask how far others are."""

    def convict(self, evidence: Evidence) -> None:
        """Report it. Called once for each authority of an epoch."""

    def rejected(self, by: int, proposal: Proposal, reason: str) -> None:
        """This institution's proposal is invalid for good."""

    def unacceptable(self, wanted: Validate, verdict: Verdict, error: ChartledgerError) -> None:
        """Why this block was not held valid."""

    def halt(self, reason: str) -> None:
        """The machine votes no more, for good."""


class Step(Struct):
    """What came of events that were stepped together: `records` are to be written, and synced unless nothing rests on
    any of them, before `effects` are carried out."""

    records: list[Record]
    sync: bool
    effects: list[Effect]


T = TypeVar("T", bound=Term)


class Stepping(Generic[T]):
    """Steps the machine of one term after the other. `timer` is the one that is armed, (serial, monotonic ms)."""

    def __init__(self, term: T, ledger: Ledger, hands: Hands) -> None:
        self.halted: str | None = None
        self.evidence: dict[int, Evidence] = {}
        """The newest against each institution, by number."""
        self.rejected_of: dict[int, int] = {}
        """Proposals that were invalid for good, by the institution that led."""
        self.timer: tuple[int, int] | None = None
        self._ledger = ledger
        self._hands = hands
        self._events: list[Event | Heard | Up] = []
        self._early: deque[Heard] = deque()
        self._early_bytes = 0
        self._has_work = False
        self._open: Step | None = None
        self.take(term)

    # --- terms ---------------------------------------------------------------------------------------------------

    def take(self, term: T) -> None:
        """Put this term in the place of the former, whose timer and outstanding questions lapse; then `begin` it.
        Nothing else of the old machine's is outstanding: effects are carried out with the step that made them."""
        assert self._open is None, "a term changes between two steps"
        self.term = term
        self.machine = term.machine
        self.epoch = term.authorities.epoch
        self.timer = None
        self.institutions = tuple(member.institution for member in term.authorities.members)
        self.indexes = {number: index for index, number in enumerate(self.institutions)}

    def begin(self) -> None:
        """Tell the machine that was taken what is the case, what the next epoch said early, and what waits."""
        waiting = [one for one in self._events if not isinstance(one, Started | TimerFired | Built | Validated)]
        early = [one for one in self._early if epoch_of(one.message) == self.epoch]
        self._early.clear()
        self._early_bytes = 0
        self._events = [Started(), WorkChanged(self._has_work), *early, *waiting]

    # --- in ------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is anything to step."""
        return bool(self._events)

    def post(self, event: Event) -> None:
        """Queue an event for the machine."""
        self._events.append(event)

    def hear(self, peer: int, message: ConsensusMessage, size_bytes: int) -> None:
        """Queue a message of an institution."""
        self._events.append(Heard(peer, message, size_bytes))

    def peer_up(self, peer: int) -> None:
        """An institution became reachable."""
        self._events.append(Up(peer))

    def set_work(self, has_work: bool, fresh: bool = False) -> bool:
        """Tell the machine when there begins or ceases to be work; `fresh`: something new waits, so that a leader
        that had nothing to build tries again. Returns whether there was anything to tell."""
        tells = has_work != self._has_work or (has_work and fresh)
        if tells:
            self._has_work = has_work
            self.post(WorkChanged(has_work))
        return tells

    def fired(self) -> None:
        """The timer that is armed went off."""
        if self.timer is not None:
            serial, _ = self.timer
            self.timer = None
            self.post(TimerFired(serial))

    # --- steps ---------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> Step | None:
        """Step the machine through all that waits; None if nothing comes of it. Otherwise write the records, and then
        call `written` before the next step."""
        assert self._open is None, "the records of the step before are not written"
        events, self._events = self._events, []
        effects: list[Effect] = []
        for queued in events:
            event = self._for_machine(queued)
            if event is not None:
                effects += self.feed(event, now_ms)
        if not effects:
            return None
        step = Step([], False, effects)
        for effect in effects:
            if type(effect) is Persist:
                step.records.append(effect.record)
                step.sync |= effect.sync
        self._open = step
        return step

    def feed(self, event: Event, now_ms: int) -> list[Effect]:
        """Step the machine through one event."""
        return self.machine.step(event, now_ms)

    def _for_machine(self, queued: Event | Heard | Up) -> Event | None:
        """The event as the present machine knows it; None if it is none of its concern."""
        if type(queued) is Heard:
            if epoch_of(queued.message) == self.epoch + 1:
                self.keep(queued)
            return Received(self.indexes.get(queued.peer), queued.message)
        if isinstance(queued, Up):
            index = self.indexes.get(queued.peer)
            return None if index is None else PeerUp(index)
        if isinstance(queued, CaughtUp):
            header = queued.block.header
            if header.epoch != self.epoch or header.ends_epoch:
                return None  # the term changes, or has changed, by what is on disk
        assert not isinstance(queued, Heard)
        return queued

    def keep(self, heard: Heard) -> None:
        """The next epoch has begun elsewhere: what is said there is said again here when it does."""
        self._early.append(heard)
        self._early_bytes += heard.size_bytes
        while len(self._early) > EARLY_MESSAGES or self._early_bytes > EARLY_BYTES:
            self._early_bytes -= self._early.popleft().size_bytes

    def written(self) -> None:
        """The records of the step under way are durable, or nothing rests on them: carry out what it asks for."""
        step, self._open = self._open, None
        assert step is not None
        for record in step.records:
            if isinstance(record, Certificate) and record.subject.kind == NOTARIZE:
                self._ledger.notarized(record.subject.block)
        for effect in step.effects:
            if type(effect) is not Persist:
                self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        """Do, or begin, what one effect asks for."""
        match effect:
            case Send(None, message):
                final = isinstance(message, Certificate) and message.subject.kind == FINALIZE
                self._hands.broadcast(message, followers=final)
            case Send(int(index), message):
                self._hands.send(self.institutions[index], message)
            case SetTimer(serial, at_ms):
                self.timer = None if at_ms is None else (serial, at_ms)
            case Build():
                self._hands.build(effect)
            case Validate():
                self._hands.validate(effect)
            case Finalized():
                self._ledger.finalized(effect)
            case Persist() | EpochEnded():
                pass  # done before; the next machine comes when the block is on disk
            case Equivocation(index, first, second):
                self._convict(index, first, second)
            case Rejected(proposal, reason):
                number = self.institutions[proposal.vote.index]
                self.rejected_of[number] = self.rejected_of.get(number, 0) + 1
                self._hands.rejected(number, proposal, reason)
            case Behind():
                self._hands.behind(effect)
            case Halted(reason):
                self.halted = reason
                self._hands.halt(reason)

    def _convict(self, index: int, first: Vote, second: Vote) -> None:
        number = self.institutions[index]
        before = self.evidence.get(number)
        if before is not None and before.epoch == self.epoch:
            return
        evidence = self.evidence[number] = Evidence(self.epoch, index, number, first, second)
        self._hands.convict(evidence)

    # --- what takes time -----------------------------------------------------------------------------------------

    async def build(self, wanted: Build) -> Built | None:
        """Put the question to the ledger: the answer to post, None if the machine that asked is gone."""
        machine = self.machine
        try:
            block = await self._ledger.build(wanted)
        except Obsolete:
            block = None
        return Built(wanted.view, wanted.parent_view, block) if machine is self.machine else None

    async def validate(self, wanted: Validate) -> Validated | None:
        """The same; None also if another block is final at its height, since nobody waits for the answer then."""
        machine = self.machine
        verdict = Verdict.VALID
        try:
            await self._ledger.validate(wanted)
        except Obsolete:
            return None
        except InvalidBlock as error:
            verdict = Verdict.INVALID
            self._hands.unacceptable(wanted, verdict, error)
        except Refused as error:
            verdict = Verdict.REFUSED
            self._hands.unacceptable(wanted, verdict, error)
        digest = block_digest(wanted.block.header)
        return Validated(wanted.view, digest, verdict) if machine is self.machine else None
