"""What becomes final in an unusual order: lost branches, two movers of the head, and a restart in between."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.driver import Driver
from node.execution import Executed, Executor
from node.mempool import Entry, make_entry
from node.sansio.proposals import Proposals
from node.services import Final
from node.storage.ledger_store import LedgerStore
from node.storage.outbox import Outbox, StoredReceipt
from node.storage.types import CommittedBlock
from node.submission import Submission
from protocol.codec.canonical import encode
from protocol.consensus.effects import Build
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import SigningKey, sign_transaction
from protocol.errors import ChartExists, InvalidTransaction
from protocol.params import Params
from protocol.sync.messages import Have
from protocol.types.block import Block
from protocol.types.transaction import TransactionBody
from protocol.types.votes import FINALIZE, Certificate, VoteSubject
from tests.node.core.conftest import Devnet, seed
from tests.node.core.solo import CHAIN, NOW, Place, Solo, key, opening


async def executed(solo: Solo, parent: Block | None) -> Executed:
    """A block of all that is pooled, on `parent` or the head, as executed."""
    digest = block_digest(parent.header if parent else solo.executor.head)
    block, _ = await solo.executor.build(Build(1, 0, digest, 1 << 20, allow_empty=True))
    assert block is not None
    known = solo.executor.known(block_digest(block.header))
    assert known is not None
    return known


def certificate(block: Block, view: int) -> Certificate:
    return Certificate(VoteSubject(FINALIZE, CHAIN, 0, view, 0, block_digest(block.header)), ((0, bytes(64)),))


async def test_what_only_a_lost_branch_carries_is_work_again(place: Place) -> None:
    solo = await place.start()
    empty = await solo.build()
    first, second = await solo.submission.prepare([opening("a"), opening("b")])
    await solo.submission.submit([first])
    low = await executed(solo, None)
    await solo.submission.submit([second])
    high = await executed(solo, low.block)
    assert (low.ids, high.ids) == ((first.id,), (second.id,))
    solo.finality.notarized(low)
    solo.finality.notarized(high)
    assert not solo.pool.has_work
    await solo.finalize(empty)  # at the height of `low`: both are lost, though `high` lies above the head
    assert solo.pool.has_work
    assert [entry.carried for entry in solo.pool] == [False, False]


async def test_a_flood_of_invalid_transactions_does_not_cost_a_leader_its_turn(place: Place) -> None:
    solo = await place.start()
    solo.standing.params = msgspec.structs.replace(solo.standing.params, block_transactions=2)
    (good,) = await solo.submission.prepare([opening("good")])
    for number in range(5):  # co-signed for another chart than it opens
        body = TransactionBody(CHAIN, 0, 0, 100 + number, NOW + 60_000, tuple(opening("other")))
        stranger = msgspec.structs.replace(body.operations[0].operation, owner_key=key("stranger").public)
        forged = msgspec.structs.replace(body.operations[0], operation=stranger)
        signed = sign_transaction(key("op"), msgspec.structs.replace(body, operations=(forged,)))
        solo.pool.add(make_entry(signed, encode(signed), None))
    await solo.submission.submit([good])
    proposals = Proposals(solo.executor, solo.finality)
    block = await proposals.build(Build(1, 0, block_digest(solo.executor.head), 1 << 20, allow_empty=False))
    assert block is not None
    assert len(block.transactions) == 1
    assert [entry.id for entry in solo.pool] == [good.id]


async def test_what_came_after_its_like_was_final_is_no_work_while_the_head_stands_still(place: Place) -> None:
    """Others have forgotten it: they would be prodded in vain, view after view, until this node leads."""
    solo = await place.start()
    first, second = await solo.submission.prepare([opening("a"), opening("b")])
    await solo.submission.submit([first])
    await solo.finalize(await solo.build())
    late = TransactionBody(CHAIN, 0, 0, 100, NOW + 60_000, tuple(opening("a")))
    signed = sign_transaction(key("op"), late)
    solo.pool.add(make_entry(signed, encode(signed), None))
    await solo.finality.try_again(0)
    assert solo.pool.has_work, "the head has only just come"
    await solo.submission.submit([second])
    carrier = await executed(solo, None)
    solo.finality.notarized(carrier)
    await solo.finality.try_again(60_000)
    assert [entry.unfit for entry in solo.pool] == [False, False], "they may rest on what is notarized"
    await solo.finalize(carrier.block)
    await solo.finality.try_again(60_000)
    assert solo.pool.has_work
    await solo.finality.try_again(70_000)
    assert [entry.unfit for entry in solo.pool] == [True]
    assert not solo.pool.has_work


async def test_the_heads_certificate_is_its_own_though_older_blocks_came_after(place: Place) -> None:
    solo = await place.start()
    one = await executed(solo, None)
    two = await executed(solo, one.block)
    by_consensus = solo.finality.put((one.block, two.block), certificate(two.block, 2))
    by_sync = solo.finality.put((one.block,), certificate(one.block, 1))
    await asyncio.gather(by_consensus, by_sync)
    assert solo.finality.head == two.header
    assert solo.finality.certificate == certificate(two.block, 2)


async def test_a_refused_request_uses_up_no_number(place: Place) -> None:
    """Else mistakes alone, repeated for a night, would lead so far from the window that the ledger takes nothing."""
    solo = await place.start()
    (done,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([done])
    await solo.finalize(await solo.build())
    for _ in range(3):
        with pytest.raises(ChartExists):
            await solo.submission.prepare([opening("b"), opening("a")])
    prepared = await solo.submission.prepare([opening(label) for label in "cdef"])
    assert [one.number for one in prepared] == [done.number + n for n in (1, 2, 3, 4)]


async def test_a_retry_that_crosses_finality_changes_no_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    block: list[Block] = []
    add, receipts = Outbox.add, Outbox.receipts

    async def add_late(self: Outbox, batch: Sequence[Any]) -> None:
        monkeypatch.setattr(Outbox, "add", add)
        await solo.submission.submit([one])
        await add(self, batch)
        block.append(await solo.build())
        monkeypatch.setattr(Outbox, "receipts", read_before_and_answer_late)

    async def read_before_and_answer_late(self: Outbox, ids: Collection[bytes]) -> dict[bytes, StoredReceipt]:
        monkeypatch.setattr(Outbox, "receipts", receipts)
        before = await receipts(self, ids)
        await solo.finalize(block[0])
        return before

    monkeypatch.setattr(Outbox, "add", add_late)
    monkeypatch.setattr(Submission, "_maybe_final", lambda *_: True)  # the block is final and being stored
    await solo.finalize(await solo.build())
    await solo.submission.submit([one])
    assert solo.submission.pending == 0
    await solo.finalize(await solo.build())
    (outcome,) = await solo.submission.outcomes([one.id], 0)
    assert isinstance(outcome, Final)


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Devnet]:
    """One node that makes up a small chain: its blocks hold 2,048 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    net = Devnet(folder, Params(delta_ms=50, timeout_cap_ms=5_000, block_bytes=2_048), count=1)
    try:
        yield net
    finally:
        await net.stop(0)
        shutil.rmtree(folder)


async def test_on_an_idle_chain_what_a_leader_refused_is_not_left_until_the_heartbeat(
    alone: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alone.start(0)
    core = alone.services(0)
    await alone.open_charts(0, 7, 1)  # a heartbeat is not due from here on
    build = Executor.build

    async def refuse_once(self: Executor, wanted: Build) -> tuple[Block | None, list[tuple[Entry, InvalidTransaction]]]:
        pooled = list(self._pool)
        if not pooled:
            return await build(self, wanted)
        monkeypatch.setattr(Executor, "build", build)
        return None, [(entry, ChartExists()) for entry in pooled]

    monkeypatch.setattr(Executor, "build", refuse_once)
    (one,) = await core.prepare([[alone.opening(0, SigningKey(seed("owner", 1)))]])
    await core.submit([one])
    (outcome,) = await core.outcomes([one.id], 20)
    assert isinstance(outcome, Final), outcome
    assert Executor.build is build


async def test_gossip_of_what_no_block_has_room_for_is_not_pooled(alone: Devnet) -> None:
    await alone.start(0)
    core = alone.services(0)
    opening, until = alone.opening(0, SigningKey(seed("owner", 1))), core.head().timestamp + 10**7
    bodies = [TransactionBody(alone.chain, 0, 1, count, until, (opening,) * count) for count in (20, 1)]
    signed = [sign_transaction(alone.outside[0], body) for body in bodies]
    large, small = [make_entry(one, encode(one), None) for one in signed]
    assert core._admit([large, small]) == [small]
    core.gossip.on_payload(1, encode(Have((large.id,))))
    assert large.id not in core.gossip._wanted  # nor asked for again


async def test_what_was_final_and_not_stored_at_a_crash_is_answered_as_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox is taken up before the journal's final blocks are carried out, however long it takes to read: or its
    transaction would be taken for a replay of itself, and what is staged for it dropped."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    net = Devnet(folder, Params(delta_ms=50, timeout_cap_ms=5_000), count=1)
    try:
        await net.start(0)
        commit, load, start = LedgerStore.commit, Submission.load, Driver.start

        async def crash(self: LedgerStore, blocks: Sequence[CommittedBlock], journal_mark: bytes | None = None) -> None:
            net.services(0).driver.term.voting_key._journal.sync()  # type: ignore[union-attr]
            raise OSError("the machine loses power here")

        monkeypatch.setattr(LedgerStore, "commit", crash)
        services = net.services(0)
        prepared = await services.prepare([[net.opening(0, SigningKey(seed("owner", 1)))]])
        await services.submit(prepared)
        node = net.nodes[0]
        assert node is not None
        with pytest.raises(OSError, match="loses power"):
            await node.failed()
        await net.stop(0)

        order = []

        async def load_and_tell(self: Submission) -> None:
            await load(self)
            order.append("outbox")

        def start_and_tell(self: Driver) -> None:
            order.append("consensus")
            start(self)

        monkeypatch.setattr(LedgerStore, "commit", commit)
        monkeypatch.setattr(Submission, "load", load_and_tell)
        monkeypatch.setattr(Driver, "start", start_and_tell)
        await net.start(0)
        assert order == ["outbox", "consensus"]
        (outcome,) = await net.services(0).outcomes([prepared[0].id], 20)
        assert isinstance(outcome, Final), outcome
    finally:
        await net.stop(0)
        shutil.rmtree(folder)
