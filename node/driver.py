"""The asyncio side of the loop around the consensus machine: one task, one timer, one journal, one network.

What goes into the machine, what must be durable before what, and what each effect causes is decided by
`node.sansio.stepping`. Building and validating blocks, which take time, run in tasks beside the loop and answer with
events. A machine lives for one epoch: once that one's last block is on disk, the next takes its place (`node.epochs`).
Relies on the journal; one that cannot be written stops the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from node.clock import Clock
from node.epochs import Term
from node.logs import get_logger
from node.network.interface import Channel, Network
from node.sansio.stepping import Evidence, Ledger, Step, Stepping
from protocol.codec.canonical import decode, encode
from protocol.consensus.effects import Behind, Build, Validate
from protocol.consensus.events import Event, Started, Verdict
from protocol.consensus.machine import Machine
from protocol.errors import ChartledgerError
from protocol.types.votes import ConsensusMessage, Proposal

log = get_logger("consensus")

_MESSAGE = cast(type[ConsensusMessage], ConsensusMessage)
COMPACT_BYTES = 4 * 1024 * 1024
"""The journal is rewritten when it has grown by this much."""

W = TypeVar("W", Build, Validate)


class Driver:
    """Runs the machine of one term after the other. `next_term` gives the term after this epoch's once there is one,
    and `on_term` is awaited before a new one signs; `fail` stops the node; `convict` is told of each authority that
    contradicted itself, once an epoch. As `node.sansio.stepping.Hands`, does what effects ask for."""

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
        self.behind = behind
        self._next_term = next_term
        self._on_term = on_term
        self._network = network
        self._clock = clock
        self._fail = fail
        self._may_compact = may_compact
        self._convict = convict
        self._wake = asyncio.Event()
        self._armed: tuple[int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._stepping: Stepping[Term] = Stepping(term, ledger, self)
        self._journal_base = term.voting_key.size_bytes if term.voting_key else 0

    @property
    def term(self) -> Term:
        """The term of the machine."""
        return self._stepping.term

    @property
    def machine(self) -> Machine:
        """The machine of now."""
        return self._stepping.machine

    @property
    def halted(self) -> str | None:
        """Why the machine votes no more for good; None if it may."""
        return self._stepping.halted

    @property
    def evidence(self) -> dict[int, Evidence]:
        """The newest against each institution, by number."""
        return self._stepping.evidence

    @property
    def rejected_of(self) -> dict[int, int]:
        """Proposals that were invalid for good, by the institution that led."""
        return self._stepping.rejected_of

    # --- in ------------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Queue an event for the machine."""
        self._stepping.post(event)
        self._wake.set()

    def on_payload(self, peer: int, payload: bytes) -> None:
        """A message on the channel of votes. Raises `DecodeError` for what is none."""
        self._stepping.hear(peer, decode(_MESSAGE, payload), len(payload))
        self._wake.set()

    def on_peer_up(self, peer: int) -> None:
        """An institution became reachable."""
        self._stepping.peer_up(peer)
        self._wake.set()

    def look(self) -> None:
        """Final blocks came to disk: one of them may have ended the epoch."""
        self._wake.set()

    def set_work(self, has_work: bool, fresh: bool = False) -> None:
        """See `Stepping.set_work`."""
        if self._stepping.set_work(has_work, fresh):
            self._wake.set()

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
        self._arm(None)

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
        stepping = self._stepping
        await self._change_term()
        step = stepping.step(self._clock.monotonic_ms())
        if step is not None:
            await self._write(step)
            stepping.written()
            self._arm(stepping.timer)
        await self._compact()

    async def _change_term(self) -> None:
        """Go on with the next epoch's machine if this one's last block is on disk."""
        stepping = self._stepping
        if stepping.halted is not None:
            return
        term = await self._next_term(stepping.epoch)
        if term is None:
            return
        stepping.take(term)
        self._arm(None)
        self._journal_base = term.voting_key.size_bytes if term.voting_key else 0
        await self._on_term(term)
        stepping.begin()
        log.info("epoch", epoch=term.epoch, authorities=stepping.institutions, voting=term.voting_key is not None)

    async def _write(self, step: Step) -> None:
        journal = self.term.voting_key
        if journal is None or not step.records:
            return  # a follower signs nothing, so it forgets nothing
        records = [encode(record) for record in step.records]
        if step.sync:
            await journal.write(records)
        else:
            journal.append(records)

    async def _compact(self) -> None:
        journal = self.term.voting_key
        if journal is None or journal.size_bytes - self._journal_base < COMPACT_BYTES or not self._may_compact():
            return
        records = self.machine.journal_snapshot()
        await asyncio.get_running_loop().run_in_executor(None, journal.keep, records, self.term.epoch)
        self._journal_base = journal.size_bytes

    def _arm(self, timer: tuple[int, int] | None) -> None:
        """Let what is armed be this timer: (serial, monotonic ms)."""
        if timer == self._armed:
            return
        self._armed = timer
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timer is not None:
            delay = max(0, timer[1] - self._clock.monotonic_ms()) / 1_000
            self._timer = asyncio.get_running_loop().call_later(delay, self._fired)

    def _fired(self) -> None:
        self._armed = self._timer = None
        self._stepping.fired()
        self._wake.set()

    # --- what effects ask for ------------------------------------------------------------------------------------

    def send(self, to: int, message: ConsensusMessage) -> None:
        self._network.send(to, Channel.VOTES, encode(message))

    def broadcast(self, message: ConsensusMessage, followers: bool) -> None:
        others = frozenset() if followers else self._network.connected() - self._stepping.indexes.keys()
        self._network.broadcast(Channel.VOTES, encode(message), exclude=others)

    def build(self, wanted: Build) -> None:
        self._spawn(self._answer(self._stepping.build, wanted), "build")

    def validate(self, wanted: Validate) -> None:
        self._spawn(self._answer(self._stepping.validate, wanted), "validate")

    def convict(self, evidence: Evidence) -> None:
        log.error("equivocation", institution=evidence.institution, epoch=evidence.epoch, view=evidence.view)
        self._convict(evidence)

    def rejected(self, by: int, proposal: Proposal, reason: str) -> None:
        log.error("rejected proposal", by=by, height=proposal.block.header.height, reason=reason)

    def unacceptable(self, wanted: Validate, verdict: Verdict, error: ChartledgerError) -> None:
        height = wanted.block.header.height
        log.warning(f"{verdict.value} block", view=wanted.view, height=height, reason=str(error))

    def halt(self, reason: str) -> None:
        log.error("halted", reason=reason)

    # --- what takes time -----------------------------------------------------------------------------------------

    async def _answer(self, ask: Callable[[W], Coroutine[Any, Any, Event | None]], wanted: W) -> None:
        answer = await ask(wanted)
        if answer is not None:
            self.post(answer)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
