"""The node without its files and its socket: ledger, consensus, gossip, sync and submission, wired and run together.

`node.app` opens what it stands on and hands it in. `Core` is what `node.services.NodeServices` describes. If any of its
tasks fails, the node must not go on as if nothing were: `failure` is set, and whoever runs the node stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor as Threads
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from msgspec import Struct

from node.clock import Clock
from node.driver import Driver
from node.epochs import Epochs, Term, VoteKeys
from node.execution import Executed, Executor
from node.feed import Feed
from node.finality import Finality
from node.gossip import Gossip
from node.intake import Intake
from node.latency import Latencies
from node.logs import get_logger
from node.mempool import Entry, Mempool
from node.network.interface import Channel, Network
from node.queries import Queries
from node.reports import Reports
from node.router import Router
from node.sansio.proposals import Proposals
from node.sansio.spreading import TICK_MS, admit
from node.services import FinalBlock, Outcome, Prepared
from node.standing import Standing
from node.storage.ledger_store import LedgerStore
from node.storage.types import Head
from node.submission import Submission
from node.sync import Sync
from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import SigningKey
from protocol.errors import ChartledgerError
from protocol.types.institutions import Genesis
from protocol.types.operations import SignedOperation
from protocol.types.votes import Certificate

log = get_logger("core")


class Ground(Struct, frozen=True):
    """What a core stands on."""

    genesis: Genesis
    institution: int
    operation_keys: Mapping[int, SigningKey]
    vote_keys: VoteKeys
    store: LedgerStore
    head: Head
    former: Certificate | None  # finalizes the last block of the epoch before the head's child's
    standing: Standing  # at the head
    network: Network
    threads: Threads | None  # for signatures; None: on the event loop
    clock: Clock
    mempool_bytes: int


class Core(Queries):
    """One node's core. See `node.services.NodeServices` for what it offers."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.pool = Mempool(ground.mempool_bytes)
        self.standing = ground.standing
        self.feed = Feed()
        self.finality_times = Latencies()
        self.report: Callable[[], Awaitable[Mapping[str, Any]]] = _nothing_to_report
        self.metrics: Callable[[], str] = str
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.blocks_final = 0
        self.transactions_final = 0
        chain = chain_id(ground.genesis)
        clock, network = ground.clock, ground.network
        intake = Intake(chain, self.standing, ground.threads)
        self.gossip = Gossip(network, self.pool, intake, self._admit, clock)
        self.executor = Executor(
            store=ground.store,
            pool=self.pool,
            intake=intake,
            standing=self.standing,
            head=ground.head.header,
            institution=ground.institution,
            clock=clock,
        )
        self.submission = Submission(
            institution=ground.institution,
            keys=ground.operation_keys,
            executor=self.executor,
            intake=intake,
            standing=self.standing,
            pool=self.pool,
            gossip=self.gossip,
            outbox=ground.store.outbox,
            clock=clock,
            work=self._new_work,
        )
        self.finality = Finality(
            executor=self.executor,
            store=ground.store,
            pool=self.pool,
            standing=self.standing,
            gossip=self.gossip,
            outcomes=self.submission,
            certificate=ground.head.certificate,
            former=ground.former,
            journal_mark=self._journal_mark,
        )
        super().__init__(
            institution=ground.institution,
            genesis=ground.genesis,
            chain=chain,
            store=ground.store,
            finality=self.finality,
            standing=self.standing,
            clock=clock,
        )
        self.reports = Reports(ground.store, self.submission)
        self.driver = self._driver()
        self.sync = self._sync()
        self.router = Router(self.driver, self.gossip, self.sync, clock)
        network.set_handler(self.router)
        self.finality.listeners += [self._on_final, self.feed.on_final]
        self.finality.after_commit += [self.driver.look, self._refresh_work]
        self._tasks: list[asyncio.Task[None]] = []

    def _driver(self) -> Driver:
        ground = self.ground
        epochs = Epochs(
            chain=self.chain,
            institution=ground.institution,
            standing=self.standing,
            keys=ground.vote_keys,
            stored=self.finality.state,
        )
        return Driver(
            term=epochs.first(),
            next_term=epochs.next,
            on_term=self._on_term,
            network=ground.network,
            ledger=Proposals(self.executor, self.finality),
            clock=ground.clock,
            fail=self.fail,
            behind=lambda _: self.sync.behind(),
            may_compact=lambda: self.finality.idle,
            convict=self.reports.add,
        )

    def _sync(self) -> Sync:
        ground = self.ground
        return Sync(
            network=ground.network,
            store=ground.store,
            finality=self.finality,
            authorities=self.standing.authorities_of,
            clock=ground.clock,
            caught_up=self.driver.post,
        )

    async def _on_term(self, term: Term) -> None:
        """How far the journal must reach is known before its key signs anything, as it would be with each commit."""
        if term.voting_key is not None:
            await self.ground.store.set_journal_mark(term.voting_key.mark())

    def _journal_mark(self) -> bytes | None:
        voting_key = self.driver.term.voting_key
        return None if voting_key is None else voting_key.mark()

    @property
    def refused_of(self) -> Mapping[int, int]:
        """Transactions found invalid since the start, by the institution that signed them."""
        return self.finality.refused_of

    @property
    def why_silent(self) -> str | None:
        """Why this node does not vote although its institution is an authority; None if it does, or is none."""
        return self.driver.term.why_silent

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up the outbox and go online. Raises `ListenFailed`."""
        self._spawn(self.finality.run(), "finality")
        self._spawn(self.gossip.run(self._new_work), "gossip")
        self._spawn(self.sync.run(), "sync")
        self._spawn(self.reports.run(), "reports")
        # Before consensus, which may have blocks of the journal to make final: what they hold of this node's own must
        # be known as such, or it would be taken for a replay of itself.
        await self.submission.load()
        await self._on_term(self.driver.term)
        self.driver.start()
        await self.ground.network.start()
        self._spawn(self._tick(), "tick")

    async def stop(self) -> None:
        """Leave the network, let what is final reach the disk, and end every task."""
        self.feed.close()
        await self.ground.network.stop()
        await self.driver.stop()
        await self.sync.stop()
        drained = asyncio.create_task(self.finality.drain(), name="drain")
        await asyncio.wait([drained, self.failure], return_when=asyncio.FIRST_COMPLETED)  # a disk that fails keeps none
        tasks = [drained, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, error: BaseException) -> None:
        """Something that the node cannot go on without has failed."""
        if not self.failure.done():
            log.error("the node cannot go on", exc_info=error)
            self.failure.set_exception(error)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_MS / 1_000)
            if len(self.pool):
                self.gossip.tick(self._leader_elsewhere())
            await self.submission.tick()
            await self.finality.try_again(self.ground.clock.monotonic_ms())
            self.sync.compare_pings()
            self._refresh_work()

    def _leader_elsewhere(self) -> int | None:
        machine = self.driver.machine
        leader: int = machine.config.institutions[machine.leader(machine.view)]
        return leader if leader != self.institution else None

    # --- work ----------------------------------------------------------------------------------------------------

    def heartbeat_due(self) -> bool:
        """Whether the last block is as old as the parameters allow on an idle chain."""
        return self.finality.heartbeat_due(self.ground.clock.wall_ms())

    def _refresh_work(self) -> None:
        self.driver.set_work(self.finality.has_work(self.ground.clock.wall_ms()))

    def _new_work(self) -> None:
        self.driver.set_work(self.finality.has_work(self.ground.clock.wall_ms()), fresh=True)

    def _admit(self, entries: Sequence[Entry]) -> list[Entry]:
        """Take others' checked transactions into the pool."""
        return admit(
            entries,
            pool=self.pool,
            standing=self.standing,
            head_ms=self.executor.head.timestamp,
            now_ms=self.ground.clock.monotonic_ms(),
            forget=self.gossip.forget,
        )

    def _on_final(self, executed: Executed) -> None:
        if not self.sync.active:  # what was fetched tells nothing of how fast finality is
            self.finality_times.add(self.ground.clock.monotonic_ms() - executed.seen_ms)
        self.blocks_final += 1
        self.transactions_final += len(executed.ids)

    # --- services ------------------------------------------------------------------------------------------------

    async def prepare(self, batches: Sequence[Sequence[SignedOperation]]) -> list[Prepared]:
        return await self.submission.prepare(batches)

    async def adopt(self, raws: Sequence[bytes]) -> list[Prepared | ChartledgerError]:
        return await self.submission.adopt(raws)

    async def submit(self, prepared: Sequence[Prepared]) -> None:
        await self.submission.submit(prepared)

    async def outcomes(self, ids: Sequence[bytes], wait_s: float) -> list[Outcome]:
        return await self.submission.outcomes(ids, wait_s)

    async def status(self) -> Mapping[str, Any]:
        return await self.report()

    def metrics_text(self) -> str:
        return self.metrics()

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[FinalBlock]]:
        return self.feed.subscribe()

    def peers(self) -> list[Mapping[str, Any]]:
        return [
            {**msgspec.to_builtins(peer), "name": self.standing.name(peer.institution)}
            for peer in self.ground.network.peers()
        ]

    async def ask(self, institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        return await self.ground.network.request(institution, Channel.BLOBS, method, payload, wait_s)


async def _nothing_to_report() -> Mapping[str, Any]:
    return {}
