"""Catching up: among peers that lie, and past a run of blocks that no one answer has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from node.network.interface import Channel, PeerGone, RequestTimedOut
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock
from node.sync import Sync
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.consensus.events import CaughtUp
from protocol.consensus.quorum import finalize
from protocol.crypto.hashing import authorities_digest, block_digest
from protocol.crypto.signing import sign_vote
from protocol.errors import BadCertificate
from protocol.ledger.blocks import build_block
from protocol.ledger.genesis import authority_set
from protocol.ledger.keys import authorities as authorities_key
from protocol.sync.messages import BLOCKS_PER_RANGE, FinalRange, RangeRequest
from protocol.sync.planner import RANGE_BYTES
from protocol.types.block import Block, Header
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.votes import Certificate
from tests.node.core.solo import BEGIN, CHAIN, GENESIS, NOW, key

LIAR, HONEST = 1, 2


class Wire:
    """The liar tells a height and nothing else; the honest peer is written down when it is asked for blocks."""

    def __init__(self) -> None:
        self.asked_honest = asyncio.Event()
        self.refused = asyncio.Event()

    def connected(self) -> frozenset[int]:
        return frozenset({LIAR, HONEST})

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        wanted = decode(RangeRequest, payload)
        if wanted.count == 0:
            return encode(FinalRange(10**9 if peer == LIAR else 7, (), None))
        if peer == LIAR:
            self.refused.set()
            raise RequestTimedOut
        self.asked_honest.set()
        return encode(FinalRange(7, (), None))


async def test_a_liar_that_is_left_alone_for_a_minute_does_not_hold_up_the_others() -> None:
    wire = Wire()
    sync = Sync(
        network=cast(Any, wire),
        store=cast(Any, None),
        finality=cast(Any, SimpleNamespace(head=SimpleNamespace(height=0))),
        authorities=lambda _: None,
        clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
        caught_up=lambda _: None,
    )
    sync.planner.heard(LIAR, 1)
    for _ in range(6):
        sync.planner.failed(LIAR, -60_000)
    running = asyncio.create_task(sync.run())
    try:
        sync.on_peer_up(LIAR)
        await asyncio.wait_for(wire.refused.wait(), 30)
        await asyncio.sleep(0)
        assert (sync.planner.wait_ms(0) or 0) > 30_000
        sync.on_peer_up(HONEST)
        await asyncio.wait_for(wire.asked_honest.wait(), 30)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sync.stop()


class Silence:
    """Two peers that answer nothing; how often each was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def connected(self) -> frozenset[int]:
        return frozenset({1, 2})

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        self.asked.append(peer)
        return await asyncio.get_running_loop().create_future()


async def test_who_speaks_of_later_epochs_again_and_again_has_nobody_asked_twice_at_once() -> None:
    wire = Silence()
    sync = Sync(
        network=cast(Any, wire),
        store=cast(Any, None),
        finality=cast(Any, SimpleNamespace(head=SimpleNamespace(height=0))),
        authorities=lambda _: None,
        clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
        caught_up=lambda _: None,
    )
    for _ in range(50):
        sync.behind()
        await asyncio.sleep(0)
    assert sorted(wire.asked) == [1, 2]
    sync.on_peer_up(2)  # on a new connection
    await asyncio.sleep(0)
    assert sorted(wire.asked) == [1, 2, 2]
    await sync.stop()
    sync.behind()
    await asyncio.sleep(0)
    assert sorted(wire.asked) == [1, 1, 2, 2, 2]
    await sync.stop()


NEXT = AuthoritySet(1, (Authority(0, key("w").public, 1),))
"""Of epoch 1: the one authority has another vote key."""


def certificate(block: Block) -> Certificate:
    epoch = block.header.epoch
    subject = finalize(CHAIN, epoch, block.header.height, block_digest(block.header))
    vote = sign_vote(key("w" if epoch else "v"), subject, 0)
    return Certificate(subject, ((0, vote.signature),))


class Taker:
    """Finality that takes what it is given and counts its runs."""

    def __init__(self, head: Header) -> None:
        self.head = head
        self.runs: list[int] = []
        self.sets = {0: authority_set(GENESIS)}

    def put(self, blocks: Sequence[Block], certificate: Certificate) -> asyncio.Future[None]:
        assert blocks[0].header.parent == block_digest(self.head)
        assert certificate.subject.block == block_digest(blocks[-1].header)
        self.head = blocks[-1].header
        self.runs.append(len(blocks))
        if self.head.ends_epoch:
            self.sets[1] = NEXT
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Loop:
    """Everybody connected is the same server, whose answers must fit a frame."""

    def __init__(self) -> None:
        self.server: Sync | None = None
        self.largest = 0

    def connected(self) -> frozenset[int]:
        return frozenset({1, 2})

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        assert self.server is not None
        raw = await self.server.answer(payload)
        self.largest = max(self.largest, len(raw))
        return raw


async def store_of(folder: Path, blocks: Sequence[Block], certified: Sequence[int]) -> LedgerStore:
    store = await LedgerStore.open(folder / "ledger.db")
    await store.init_genesis(
        encode(GENESIS), CommittedBlock(BEGIN.header, (), None, (), BEGIN.changes.leaves, BEGIN.tree.nodes, ())
    )
    ends = {height: certificate(one) for one in blocks if (height := one.header.height) in certified}
    following = {authorities_key(1): encode(NEXT)}
    await store.commit(
        [
            CommittedBlock(
                b.header,
                b.transactions,
                ends.get(b.header.height),
                (),
                following if b.header.ends_epoch else {},
                {},
                (),
            )
            for b in blocks
        ]
    )
    return store


async def test_a_run_larger_than_a_frame_is_caught_up_with(tmp_path: Path) -> None:
    blocks: list[Block] = []
    below = BEGIN.header
    for number in range(1, 13):
        large = [bytes([number]) * (1 << 18)] * 4 if 2 <= number <= 10 else []
        blocks.append(build_block(below, 0, NOW + number, large, below.state_root))
        below = blocks[-1].header
    store = await store_of(tmp_path, blocks, certified=(1, 10, 12))
    loop, taker, told = Loop(), Taker(BEGIN.header), asyncio.Queue[CaughtUp]()

    def sync(finality: object) -> Sync:
        return Sync(
            network=cast(Any, loop),
            store=store,
            finality=cast(Any, finality),
            authorities={0: authority_set(GENESIS)}.get,
            clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
            caught_up=told.put_nowait,
        )

    loop.server, asker = sync(SimpleNamespace(head=below)), sync(taker)
    running = asyncio.create_task(asker.run())
    try:
        asker.on_peer_up(1)
        while (await asyncio.wait_for(told.get(), 20)).block != blocks[-1]:
            pass
        assert taker.runs == [1, 9, 2]
        assert loop.largest < limits.FRAME_BYTES
        # One block for each answer: slower, and no dead end.
        answer = decode(FinalRange, await loop.server.answer(encode(RangeRequest(3, 1, 0))))
        assert (len(answer.blocks), len(answer.rest.headers if answer.rest else ())) == (1, 7)
        answer = decode(FinalRange, await loop.server.answer(encode(RangeRequest(1, BLOCKS_PER_RANGE, RANGE_BYTES))))
        assert (len(answer.blocks), answer.rest) == (1, None)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asker.stop()
        await store.close()


async def test_catching_up_goes_from_epoch_to_epoch(tmp_path: Path) -> None:
    """What is above an epoch's end is asked for, and checked, only once that is stored: its state says who signs."""
    blocks: list[Block] = []
    below = BEGIN.header
    for number in range(1, 9):
        following = authorities_digest(NEXT) if number == 5 else None
        blocks.append(build_block(below, 0, NOW + number, [], below.state_root, following))
        below = blocks[-1].header
    assert below.epoch == 1
    store = await store_of(tmp_path, blocks, certified=(2, 5, 7, 8))
    loop, taker, told = Loop(), Taker(BEGIN.header), asyncio.Queue[CaughtUp]()

    def sync(finality: Any, authorities: dict[int, AuthoritySet]) -> Sync:
        return Sync(
            network=cast(Any, loop),
            store=store,
            finality=finality,
            authorities=authorities.get,
            clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
            caught_up=told.put_nowait,
        )

    loop.server, asker = sync(SimpleNamespace(head=below), {}), sync(taker, taker.sets)
    running = asyncio.create_task(asker.run())
    try:
        asker.on_peer_up(1)
        heads = []
        while not heads or heads[-1] < 8:
            heads.append((await asyncio.wait_for(told.get(), 20)).block.header.height)
        assert (heads, taker.runs) == ([5, 8], [2, 3, 2, 1]), "the end of an epoch is told by itself"
        for first, sent in ((1, 5), (5, 1), (6, 3)):
            answer = decode(FinalRange, await loop.server.answer(encode(RangeRequest(first, 512, RANGE_BYTES))))
            assert (len(answer.blocks), answer.rest, answer.height) == (sent, None, 8)
        ends = await store.epoch_ends(0, 9)
        assert [(one.header, one.certificate, one.next_authorities) for one in ends] == [
            (blocks[4].header, certificate(blocks[4]), NEXT)
        ]
        assert await store.epoch_ends(1, 9) == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asker.stop()
        await store.close()


async def test_a_set_that_the_state_does_not_tell_vouches_for_nothing() -> None:
    sync = Sync(
        network=cast(Any, Wire()),
        store=cast(Any, None),
        finality=cast(Any, SimpleNamespace(head=BEGIN.header)),
        authorities=lambda _: None,
        clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
        caught_up=lambda _: None,
    )
    one = build_block(BEGIN.header, 0, NOW, [], BEGIN.header.state_root)
    with pytest.raises(BadCertificate, match="who the authorities of epoch 0 are is not known here"):
        sync.check_certificate(certificate(one))


async def test_whoever_was_ahead_at_the_last_look_is_asked() -> None:
    """As when the only copy of a finalization is lost, and nothing else happens."""
    clock = SimpleNamespace(now=0, monotonic_ms=lambda: clock.now)
    asked: list[int] = []
    finality = SimpleNamespace(head=SimpleNamespace(height=6))
    said = {1: 7, 2: 6, 3: None}
    network = SimpleNamespace(peers=lambda: [SimpleNamespace(institution=n, height=h) for n, h in said.items()])
    sync = Sync(
        network=cast(Any, network),
        store=cast(Any, None),
        finality=cast(Any, finality),
        authorities=lambda _: None,
        clock=cast(Any, clock),
        caught_up=lambda _: None,
    )
    sync.on_peer_up = asked.append  # type: ignore[method-assign]
    for clock.now in (5_000, 5_100, 10_000):
        sync.compare_pings()
    assert asked == [1]  # it may just be a moment ahead: only the second look counts
    finality.head.height = 7
    clock.now = 15_000
    sync.compare_pings()
    assert asked == [1]


async def test_a_peer_that_goes_away_is_news_and_one_whose_blocks_are_none_is_a_warning(tmp_path: Path) -> None:
    """Whoever reads the log for attacks must not find every lost connection there."""
    forged = build_block(BEGIN.header, 0, NOW, [], BEGIN.header.state_root)
    store = await store_of(tmp_path, [forged], certified=(1,))
    loop = Loop()

    def sync(head: Header, sets: dict[int, AuthoritySet]) -> Sync:
        return Sync(
            network=cast(Any, loop),
            store=store,
            finality=cast(Any, Taker(head)),
            authorities=sets.get,
            clock=cast(Any, SimpleNamespace(monotonic_ms=lambda: 0)),
            caught_up=lambda _: None,
        )

    loop.server, asker = sync(forged.header, {}), sync(BEGIN.header, {})
    with capture_logs() as logs:
        asker.planner.heard(1, 1)
        running = asyncio.create_task(asker.catch_up())
        async with asyncio.timeout(30):
            while not logs:
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        loop.server = cast(Any, SimpleNamespace(answer=_gone))
        asker.on_peer_up(1)
        async with asyncio.timeout(30):
            while len(logs) < 2:
                await asyncio.sleep(0)
    told = [(one["log_level"], one["event"], one["peer"], one["code"]) for one in logs]
    assert told == [("warning", "sync refused", 1, "bad-certificate"), ("info", "sync not answered", 1, "peer-gone")]
    assert logs[0]["height"] == 0
    await asker.stop()
    await store.close()


async def _gone(payload: bytes) -> bytes:
    raise PeerGone("it went away")
