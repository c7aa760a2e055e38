"""The loop around the consensus machine: events in, effects out in their order, nothing before it is durable.

One task steps the machine. Events that queued while the last sync ran are stepped together and share one sync of the
journal (rule 7: own votes, certificates and bodies are durable before anything built on them leaves). Building and
validating blocks, which take time, run in tasks beside it and answer with events. Relies on `node.execution` for
blocks, on `node.finality` for what becomes final, and on the journal; a journal that cannot be written stops the node.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct

from node.clock import Clock
from node.execution import Obsolete, Refused
from node.logs import get_logger
from node.network.interface import Channel, Network
from protocol.codec.canonical import decode, encode
from protocol.consensus.effects import (
    Behind,
    Build,
    Effect,
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
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidBlock
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, ConsensusMessage

log = get_logger("consensus")

_MESSAGE = cast(type[ConsensusMessage], ConsensusMessage)
COMPACT_BYTES = 4 * 1024 * 1024
"""The journal is rewritten when it has grown by this much."""


class JournalFile(Protocol):
    """The journal of votes, as storage keeps it. Raises `JournalBroken`."""

    @property
    def size_bytes(self) -> int: ...

    async def write(self, records: Sequence[bytes]) -> None:
        """Append and sync."""
        ...

    def append(self, records: Sequence[bytes]) -> None: ...

    def mark(self) -> bytes: ...

    def rewrite(self, records: Sequence[bytes]) -> None: ...


class Ledger(Protocol):
    """What the machine's questions are put to; see `node.proposals`."""

    async def build(self, wanted: Build) -> Block | None: ...

    async def validate(self, wanted: Validate) -> None: ...

    def notarized(self, digest: bytes) -> None: ...

    def finalized(self, effect: Finalized) -> object: ...


class Evidence(Struct, frozen=True):
    """An authority contradicted itself."""

    index: int
    view: int


class Driver:
    """Runs one `Machine`. `institutions` are the authorities' numbers by index; `fail` stops the node."""

    def __init__(
        self,
        *,
        machine: Machine,
        journal: JournalFile | None,
        network: Network,
        ledger: Ledger,
        institutions: Sequence[int],
        clock: Clock,
        fail: Callable[[BaseException], None],
        behind: Callable[[Behind], None],
        may_compact: Callable[[], bool],
    ) -> None:
        self.machine = machine
        self.halted: str | None = None
        self.evidence: dict[int, Evidence] = {}
        self._journal = journal
        self._network = network
        self._ledger = ledger
        self._institutions = tuple(institutions)
        self._indexes = {number: index for index, number in enumerate(institutions)}
        self._clock = clock
        self._fail = fail
        self._behind = behind
        self._may_compact = may_compact
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_work = False
        self._journal_base = journal.size_bytes if journal else 0
        self._loop: asyncio.Task[None] | None = None

    # --- in ------------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Queue an event for the machine."""
        self._events.append(event)
        self._wake.set()

    def on_payload(self, peer: int, payload: bytes) -> None:
        """A message on the channel of votes. Raises `DecodeError` for what is none."""
        self.post(Received(self._indexes.get(peer), decode(_MESSAGE, payload)))

    def on_peer_up(self, peer: int) -> None:
        """An authority became reachable."""
        index = self._indexes.get(peer)
        if index is not None:
            self.post(PeerUp(index))

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
        now = self._clock.monotonic_ms()
        events, self._events = self._events, deque()
        effects: list[Effect] = []
        for event in events:
            effects.extend(self.machine.step(event, now))
        await self._persist([effect for effect in effects if isinstance(effect, Persist)])
        for effect in effects:
            self._carry_out(effect)
        await self._compact()

    async def _compact(self) -> None:
        journal = self._journal
        if journal is None or journal.size_bytes - self._journal_base < COMPACT_BYTES or not self._may_compact():
            return
        records = [encode(record) for record in self.machine.journal_snapshot()]
        await asyncio.get_running_loop().run_in_executor(None, journal.rewrite, records)
        self._journal_base = journal.size_bytes

    async def _persist(self, effects: Sequence[Persist]) -> None:
        if not effects:
            return
        if self._journal is not None:  # a follower signs nothing, so it forgets nothing
            await self._write(self._journal, effects)
        for effect in effects:
            record = effect.record
            if isinstance(record, Certificate) and record.subject.kind == NOTARIZE:
                self._ledger.notarized(record.subject.block)

    async def _write(self, journal: JournalFile, effects: Sequence[Persist]) -> None:
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
            case Equivocation(index, first, _):
                self.evidence[index] = Evidence(index, first.subject.view)
                log.error("equivocation", institution=self._institutions[index], view=first.subject.view)
            case Rejected(proposal, reason):
                log.error("rejected proposal", height=proposal.block.header.height, reason=reason)
            case Behind():
                self._behind(effect)
            case Halted(reason):
                self.halted = reason
                log.error("halted", reason=reason)

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
        try:
            block = await self._ledger.build(wanted)
        except Obsolete:
            block = None
        self.post(Built(wanted.view, wanted.parent_view, block))

    async def _validate(self, wanted: Validate) -> None:
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
        self.post(Validated(wanted.view, block_digest(header), verdict))
