"""The loop around the consensus machine: events in, effects out in their order, nothing before it is durable.

One task steps the machine. Events that queued while the last sync ran are stepped together and share one sync of the
journal (rule 7: own votes, certificates and bodies are durable before anything built on them leaves). Building and
validating blocks, which take time, run in tasks beside it and answer with events. A machine lives for one epoch: once
that one's last block is on disk, the next takes its place (`node.epochs`). Relies on `node.execution` for blocks, on
`node.finality` for what becomes final, and on the journal; a journal that cannot be written stops the node.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct

from node.clock import Clock
from node.epochs import Term, VotingKey
from node.execution import Obsolete, Refused
from node.logs import get_logger
from node.network.interface import Channel, Network
from protocol.codec.canonical import decode, encode
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
from protocol.consensus.votes import epoch_of
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidBlock
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, ConsensusMessage, Vote

log = get_logger("consensus")

_MESSAGE = cast(type[ConsensusMessage], ConsensusMessage)
COMPACT_BYTES = 4 * 1024 * 1024
"""The journal is rewritten when it has grown by this much."""
EARLY_MESSAGES, EARLY_BYTES = 1_024, 4 * 1024 * 1024
"""Kept of what comes from the next epoch before it begins here; beyond that the oldest go, and are asked for again."""


class Ledger(Protocol):
    """What the machine's questions are put to; see `node.proposals`."""

    async def build(self, wanted: Build) -> Block | None: ...

    async def validate(self, wanted: Validate) -> None: ...

    def notarized(self, digest: bytes) -> None: ...

    def finalized(self, effect: Finalized) -> object: ...


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


class _Message(Struct, frozen=True):
    """What an institution sent. Its index depends on the epoch in which the machine comes to it."""

    peer: int
    message: ConsensusMessage
    size_bytes: int


class _Up(Struct, frozen=True):
    """An institution became reachable."""

    peer: int


class Driver:
    """Runs the machine of one term after the other. `next_term` gives the term after this epoch's once there is one,
    and `on_term` is awaited before a new one signs; `fail` stops the node; `convict` is told of each authority that
    contradicted itself, once an epoch."""

    def __init__(
        self,
        *,
        term: Term,
        next_term: Callable[[int], Awaitable[Term | None]],
        on_term: Callable[[Term], Awaitable[None]],
        network: Network,
        ledger: Ledger,
        clock: Clock,
        fail: Callable[[BaseException], None],
        behind: Callable[[Behind], None],
        may_compact: Callable[[], bool],
        convict: Callable[[Evidence], None],
    ) -> None:
        self.halted: str | None = None
        self.evidence: dict[int, Evidence] = {}
        """The newest against each institution, by number."""
        self.rejected_of: dict[int, int] = {}
        """Proposals that were invalid for good, by the institution that led."""
        self._next_term = next_term
        self._on_term = on_term
        self._network = network
        self._ledger = ledger
        self._clock = clock
        self._fail = fail
        self._behind = behind
        self._may_compact = may_compact
        self._convict = convict
        self._events: deque[Event | _Message | _Up] = deque()
        self._early: deque[_Message] = deque()
        self._early_bytes = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_work = False
        self._loop: asyncio.Task[None] | None = None
        self._take(term)

    def _take(self, term: Term) -> None:
        self.term = term
        self.machine = term.machine
        self._institutions = tuple(member.institution for member in term.authorities.members)
        self._indexes = {number: index for index, number in enumerate(self._institutions)}
        self._journal_base = term.voting_key.size_bytes if term.voting_key else 0

    # --- in ------------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Queue an event for the machine."""
        self._events.append(event)
        self._wake.set()

    def on_payload(self, peer: int, payload: bytes) -> None:
        """A message on the channel of votes. Raises `DecodeError` for what is none."""
        self._events.append(_Message(peer, decode(_MESSAGE, payload), len(payload)))
        self._wake.set()

    def on_peer_up(self, peer: int) -> None:
        """An institution became reachable."""
        self._events.append(_Up(peer))
        self._wake.set()

    def look(self) -> None:
        """Final blocks came to disk: one of them may have ended the epoch."""
        self._wake.set()

    def set_work(self, has_work: bool, fresh: bool = False) -> None:
        """Tell the machine when there begins or ceases to be work; `fresh`: something new waits, so that a leader
        that had nothing to build tries again."""
        if has_work != self._has_work or (has_work and fresh):
            self._has_work = has_work
            self.post(WorkChanged(has_work))

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to step the machine."""
        self.post(Started())
        self._loop = asyncio.create_task(self._run(), name="consensus")

    async def stop(self) -> None:
        """Cease; what the machine was told is durable, what is queued is as if lost on the wire."""
        tasks = [*self._tasks, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._arm(None, 0)

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._step()
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._fail(error)
            raise

    async def _step(self) -> None:
        await self._change_term()
        now = self._clock.monotonic_ms()
        events, self._events = self._events, deque()
        effects: list[Effect] = []
        for queued in events:
            event = self._for_machine(queued)
            if event is not None:
                effects.extend(self.machine.step(event, now))
        await self._persist([effect for effect in effects if isinstance(effect, Persist)])
        for effect in effects:
            self._carry_out(effect)
        await self._compact()

    def _for_machine(self, queued: Event | _Message | _Up) -> Event | None:
        """The event as the present machine knows it; None if it is none of its concern."""
        match queued:
            case _Message(peer, message):
                if epoch_of(message) == self.term.epoch + 1:
                    self._keep(queued)
                return Received(self._indexes.get(peer), message)
            case _Up(peer):
                index = self._indexes.get(peer)
                return None if index is None else PeerUp(index)
            case CaughtUp(block) if block.header.epoch != self.term.epoch or block.header.ends_epoch:
                return None  # the term changes, or has changed, by what is on disk
            case _:
                return queued

    def _keep(self, message: _Message) -> None:
        """The next epoch has begun elsewhere: what is said there is said again here when it does."""
        self._early.append(message)
        self._early_bytes += message.size_bytes
        while len(self._early) > EARLY_MESSAGES or self._early_bytes > EARLY_BYTES:
            self._early_bytes -= self._early.popleft().size_bytes

    async def _change_term(self) -> None:
        """Go on with the next epoch's machine if this one's last block is on disk. Nothing of the old machine's is
        outstanding then: effects are carried out in the step that made them, and its tasks' answers are dropped."""
        if self.halted is not None:
            return
        term = await self._next_term(self.term.epoch)
        if term is None:
            return
        self._arm(None, 0)
        self._take(term)
        await self._on_term(term)
        waiting = [one for one in self._events if not isinstance(one, Started | TimerFired | Built | Validated)]
        early = [one for one in self._early if epoch_of(one.message) == term.epoch]
        self._early.clear()
        self._early_bytes = 0
        self._events = deque([Started(), WorkChanged(self._has_work), *early, *waiting])
        log.info("epoch", epoch=term.epoch, authorities=self._institutions, voting=term.voting_key is not None)

    async def _compact(self) -> None:
        journal = self.term.voting_key
        if journal is None or journal.size_bytes - self._journal_base < COMPACT_BYTES or not self._may_compact():
            return
        records = [encode(record) for record in self.machine.journal_snapshot()]
        await asyncio.get_running_loop().run_in_executor(None, journal.rewrite, records, self.term.epoch)
        self._journal_base = journal.size_bytes

    async def _persist(self, effects: Sequence[Persist]) -> None:
        if not effects:
            return
        if self.term.voting_key is not None:  # a follower signs nothing, so it forgets nothing
            await self._write(self.term.voting_key, effects)
        for effect in effects:
            record = effect.record
            if isinstance(record, Certificate) and record.subject.kind == NOTARIZE:
                self._ledger.notarized(record.subject.block)

    async def _write(self, journal: VotingKey, effects: Sequence[Persist]) -> None:
        records = [encode(effect.record) for effect in effects]
        if any(effect.sync for effect in effects):
            await journal.write(records)
        else:
            journal.append(records)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Persist():
                pass  # done before
            case Send(None, message):
                self._to_all(message)
            case Send(int(index), message):
                self._network.send(self._institutions[index], Channel.VOTES, encode(message))
            case Build():
                self._spawn(self._build(effect), "build")
            case Validate():
                self._spawn(self._validate(effect), "validate")
            case Finalized():
                self._ledger.finalized(effect)
            case SetTimer(serial, at_ms):
                self._arm(at_ms, serial)
            case EpochEnded():
                pass  # the next machine comes when the block is on disk
            case Equivocation(index, first, second):
                self._on_equivocation(index, first, second)
            case Rejected(proposal, reason):
                number = self._institutions[proposal.vote.index]
                self.rejected_of[number] = self.rejected_of.get(number, 0) + 1
                log.error("rejected proposal", by=number, height=proposal.block.header.height, reason=reason)
            case Behind():
                self._behind(effect)
            case Halted(reason):
                self.halted = reason
                log.error("halted", reason=reason)

    def _on_equivocation(self, index: int, first: Vote, second: Vote) -> None:
        number, epoch = self._institutions[index], self.term.epoch
        before = self.evidence.get(number)
        if before is not None and before.epoch == epoch:
            return
        evidence = self.evidence[number] = Evidence(epoch, index, number, first, second)
        log.error("equivocation", institution=number, epoch=epoch, view=evidence.view)
        self._convict(evidence)

    def _to_all(self, message: ConsensusMessage) -> None:
        followers: frozenset[int] = frozenset()
        if not (isinstance(message, Certificate) and message.subject.kind == FINALIZE):
            followers = self._network.connected() - self._indexes.keys()
        self._network.broadcast(Channel.VOTES, encode(message), exclude=followers)

    def _arm(self, at_ms: int | None, serial: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_ms is not None:
            delay = max(0, at_ms - self._clock.monotonic_ms()) / 1_000
            self._timer = asyncio.get_running_loop().call_later(delay, self.post, TimerFired(serial))

    # --- what takes time -----------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    async def _build(self, wanted: Build) -> None:
        machine = self.machine
        try:
            block = await self._ledger.build(wanted)
        except Obsolete:
            block = None
        if machine is self.machine:
            self.post(Built(wanted.view, wanted.parent_view, block))

    async def _validate(self, wanted: Validate) -> None:
        machine = self.machine
        verdict = Verdict.VALID
        header = wanted.block.header
        try:
            await self._ledger.validate(wanted)
        except Obsolete:
            return  # another block is final at its height: nobody waits for the answer
        except InvalidBlock as error:
            verdict = Verdict.INVALID
            log.warning("invalid block", view=wanted.view, height=header.height, reason=str(error))
        except Refused as error:
            verdict = Verdict.REFUSED
            log.warning("refused block", view=wanted.view, height=header.height, reason=str(error))
        if machine is self.machine:
            self.post(Validated(wanted.view, block_digest(header), verdict))
