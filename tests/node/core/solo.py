"""A chain of one for tests of the core: real storage, execution, finality and submission; blocks final by decree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from node.execution import Executor
from node.finality import Finality
from node.intake import Intake
from node.mempool import Entry, Mempool
from node.standing import Standing, standing_leaves
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock
from node.submission import Submission
from protocol.codec.canonical import encode
from protocol.consensus.effects import Build
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import SigningKey, cosign
from protocol.ledger.genesis import genesis_block
from protocol.params import Params
from protocol.types.block import Block
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution
from protocol.types.operations import ROLE_OWNER, OpenChart, SignedOperation
from protocol.types.votes import FINALIZE, Certificate, VoteSubject

NOW = 1_800_000_000_000


def key(label: str) -> SigningKey:
    return SigningKey(label.encode().ljust(32, b"."))


GENESIS = Genesis(
    "test",
    NOW - 1_000,
    Params(),
    (Institution("h", STATUS_ACCREDITED, (key("op").public,), key("v").public, (b"c",), 1, bytes(32)),),
    (0,),
)
BEGIN = genesis_block(GENESIS)
CHAIN = BEGIN.header.chain


class Clock:
    wall = NOW
    monotonic = 0

    def wall_ms(self) -> int:
        return self.wall

    def monotonic_ms(self) -> int:
        return self.monotonic


class Pushed:
    """Gossip that only writes down what was pushed, and whether it was durable then."""

    def __init__(self, store: LedgerStore) -> None:
        self.pushed: list[Entry] = []

    def push(self, entries: Sequence[Entry]) -> None:
        self.pushed += entries

    def forget(self, ids: object) -> None:
        pass

    def doubt(self, entries: object) -> None:
        pass


class Solo:
    """A chain of one, whose blocks become final by decree."""

    def __init__(self, store: LedgerStore, threads: ThreadPoolExecutor, head: Any, leaves: dict[bytes, bytes]) -> None:
        self.store, self.clock = store, Clock()
        self.pool, self.standing = Mempool(1 << 20, share=1), Standing(leaves)
        intake = Intake(CHAIN, self.standing, threads)
        self.gossip = Pushed(store)
        self.executor = Executor(
            store=store,
            pool=self.pool,
            intake=intake,
            standing=self.standing,
            head=head,
            institution=0,
            clock=self.clock,
        )
        self.submission = Submission(
            institution=0,
            keys={0: key("op")},
            executor=self.executor,
            intake=intake,
            standing=self.standing,
            pool=self.pool,
            gossip=cast(Any, self.gossip),
            outbox=store.outbox,
            clock=self.clock,
            work=lambda: None,
        )
        self.finality = Finality(
            executor=self.executor,
            store=store,
            pool=self.pool,
            standing=self.standing,
            gossip=cast(Any, self.gossip),
            outcomes=self.submission,
            certificate=None,
            former=None,
            journal_mark=lambda: None,
        )
        self.running = asyncio.create_task(self.finality.run())

    async def build(self, wall: int | None = None) -> Block:
        before, self.clock.wall = self.clock.wall, wall or self.clock.wall
        parent = block_digest(self.executor.head)
        block, bad = await self.executor.build(Build(1, 0, parent, 1 << 20, allow_empty=True))
        self.clock.wall = before
        self.finality.refuse(bad)
        assert block is not None
        return block

    async def finalize(self, block: Block) -> None:
        digest = block_digest(block.header)
        subject = VoteSubject(FINALIZE, CHAIN, 0, block.header.height, 0, digest)
        await self.finality.put((block,), Certificate(subject, ((0, bytes(64)),)))

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Place:
    """A data folder in which solos come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.threads = ThreadPoolExecutor(1)
        self.solo: Solo | None = None

    async def start(self) -> Solo:
        store = await LedgerStore.open(self.folder / "ledger.db")
        if await store.genesis() is None:
            first = CommittedBlock(BEGIN.header, (), None, (), BEGIN.changes.leaves, BEGIN.tree.nodes, ())
            await store.init_genesis(encode(GENESIS), first)
        head = await store.head()
        assert head is not None
        self.solo = Solo(store, self.threads, head.header, await standing_leaves(store))
        await self.solo.submission.load()
        return self.solo

    async def stop(self) -> None:
        if self.solo is not None:
            await self.solo.close()
            await self.solo.store.close()
            self.solo = None


def opening(label: str) -> list[SignedOperation]:
    owner = key(label)
    operation = OpenChart(0, owner.public, 1, bytes(32))
    return [SignedOperation(operation, (cosign(owner, CHAIN, operation, ROLE_OWNER, 1, NOW + 3_600_000),))]
