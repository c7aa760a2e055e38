"""Execution: one state for all, whatever the cache holds; and the clock rule, which is for voting only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import msgspec
import pytest

from node.caches import Lru, bytes_of
from node.execution import Executed, Executor
from node.intake import Intake
from node.mempool import Entry, Mempool
from node.sansio.asking import Obsolete, Refused
from node.standing import Standing
from protocol.codec.canonical import decode, encode
from protocol.consensus.effects import Build, Validate
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import SigningKey, cosign, prove_possession, sign_transaction
from protocol.errors import BadSignature, InvalidBlock, InvalidTransaction, Replayed, UnknownChart
from protocol.ledger.blocks import build_block
from protocol.ledger.genesis import genesis_block
from protocol.params import Params
from protocol.types.block import Block, Header
from protocol.types.governance import USE_OPERATIONS, RotateInstitutionKey, SetOperationsKey
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution
from protocol.types.operations import ROLE_OWNER, AppendRecords, Disclose, OpenChart, RecordEntry, SignedOperation
from protocol.types.transaction import TransactionBody

NOW = 1_800_000_000_000


def key(label: str) -> SigningKey:
    return SigningKey(label.encode().ljust(32, b"."))


GENESIS = Genesis(
    "test",
    NOW - 1_000,
    Params(),
    tuple(
        Institution(
            f"h{n}", STATUS_ACCREDITED, (key(f"op{n}").public,), key(f"v{n}").public, (b"c%d" % n,), 1, bytes([n]) * 32
        )
        for n in range(4)
    ),
    (0, 1, 2, 3),
)
BEGIN = genesis_block(GENESIS)
CHAIN = BEGIN.header.chain


class Store:
    """The final state in dictionaries; counts its queries."""

    def __init__(self) -> None:
        self.leaves = dict(BEGIN.changes.leaves)
        self.nodes = dict(BEGIN.tree.nodes)
        self.events: dict[tuple[int, int], bytes] = {}
        self.queries = 0

    async def read_set(self, keys: Collection[bytes], refs: Collection[tuple[int, int]]) -> Any:
        self.queries += 1
        await asyncio.sleep(0)
        found = {k: self.leaves[k] for k in keys if k in self.leaves}
        return found, {ref: self.events[ref] for ref in refs if ref in self.events}

    async def read_nodes(self, paths: Collection[bytes]) -> dict[bytes, bytes]:
        self.queries += 1
        await asyncio.sleep(0)
        return {p: self.nodes[p] for p in paths if p in self.nodes}

    def commit(self, executed: Executed) -> None:
        changes = executed.overlay.changes
        self.leaves.update(changes.leaves)
        self.nodes.update(executed.overlay.tree.nodes)
        self.events.update({(chart, number): raw for chart, number, raw in changes.events})


class Clock:
    wall = NOW

    def wall_ms(self) -> int:
        return self.wall

    def monotonic_ms(self) -> int:
        return 0


class Bench:
    """One node's executor."""

    def __init__(self, threads: ThreadPoolExecutor, number: int = 0) -> None:
        self.store, self.clock, self.pool = Store(), Clock(), Mempool(1 << 22)
        self.intake = Intake(CHAIN, Standing(BEGIN.changes.leaves), threads)
        self.executor = Executor(
            store=self.store,
            pool=self.pool,
            intake=self.intake,
            standing=Standing(BEGIN.changes.leaves),
            head=BEGIN.header,
            institution=number,
            clock=self.clock,
        )
        self.number = 0

    def open(self, label: str) -> Entry:
        return self.entry(self.opening(label))

    def opening(self, label: str) -> SignedOperation:
        owner = key(label)
        operation = OpenChart(0, owner.public, 1, bytes(32))
        return SignedOperation(operation, (cosign(owner, CHAIN, operation, ROLE_OWNER, 1, NOW + 3_600_000),))

    def append(self, chart: int) -> Entry:
        tag = bytes(16)
        return self.entry(SignedOperation(AppendRecords(chart, (RecordEntry(bytes(32), (tag, tag, tag, tag)),))))

    def entry(self, operation: SignedOperation) -> Entry:
        self.number += 1
        body = TransactionBody(CHAIN, 0, 0, self.number, NOW + 60_000, (operation,))
        return self.intake.check_one(encode(sign_transaction(key("op0"), body)))

    async def build(self, parent: Header, *entries: Entry, allow_empty: bool = False) -> Block:
        for entry in entries:
            self.pool.add(entry)
        block, bad = await self.executor.build(Build(1, 0, block_digest(parent), 1 << 20, allow_empty))
        assert not bad
        assert block is not None
        return block

    async def finalize(self, block: Block) -> None:
        executed = await self.executor.execute(block)
        self.executor.finalized(executed)
        self.store.commit(executed)
        await self.executor.stored([executed])
        self.pool.finalize(executed.slots, ())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
async def two(threads: ThreadPoolExecutor) -> tuple[Bench, Bench]:
    return Bench(threads, 0), Bench(threads, 1)


Two = tuple[Bench, Bench]


async def test_what_one_builds_the_other_finds_valid_above_states_that_are_not_final(two: Two) -> None:
    leader, voter = two
    first = await leader.build(BEGIN.header, leader.open("a"), leader.open("b"))
    second = await leader.build(first.header, leader.append(0), leader.append(1))
    assert len(second.transactions) == 2  # those of the first are not proposed again
    third = await leader.build(second.header, leader.append(1))
    for block in (first, second, third):
        await voter.executor.validate(Validate(1, block, certified=False))
    await voter.finalize(first)
    fourth = await leader.build(third.header, leader.append(0))
    await voter.executor.validate(Validate(1, fourth, certified=False))
    for block in (second, third, fourth):
        await voter.finalize(block)
    fresh = Bench(leader.intake._threads)  # type: ignore[arg-type]
    for block in (first, second, third, fourth):
        await fresh.finalize(block)
    assert fresh.store.nodes == voter.store.nodes


async def test_a_block_that_costs_too_much_is_refused_before_any_state_is_read_for_it(two: Two) -> None:
    _, voter = two
    asking = SignedOperation(Disclose(0, None, tuple(range(9_000)), "TREAT"))
    raws = [voter.entry(asking).raw for _ in range(3)]
    block = build_block(BEGIN.header, 0, NOW, raws, bytes(32))
    queries = voter.store.queries
    with pytest.raises(InvalidBlock, match="27072 units"):
        await voter.executor.validate(Validate(1, block, certified=False))
    assert voter.store.queries == queries


async def test_a_block_is_executed_once_and_costs_few_queries(two: Two) -> None:
    leader, voter = two
    block = await leader.build(BEGIN.header, *(leader.open(f"owner {n}") for n in range(50)))
    executed = await voter.executor.execute(block)
    queries = voter.store.queries
    assert queries <= 4  # the read set and a level or two of the tree
    assert await voter.executor.execute(block) is executed
    assert voter.store.queries == queries


async def test_what_the_pool_knows_is_not_verified_again(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, voter = two
    entry = leader.open("a")
    block = await leader.build(BEGIN.header, entry)
    voter.pool.add(entry)
    monkeypatch.setattr(voter.intake, "check_one", lambda raw: pytest.fail("verified twice"))
    await voter.executor.execute(block)


@pytest.mark.parametrize("spoil", ["state_root", "timestamp", "height", "proposer", "signature", "order"])
async def test_what_is_wrong_for_good_is_an_invalid_block(two: Two, spoil: str) -> None:
    leader, voter = two
    block = await leader.build(BEGIN.header, leader.open("a"))
    header = block.header
    if spoil == "signature":
        raw = block.transactions[0]
        block = build_block(BEGIN.header, 0, NOW, [raw[:-1] + bytes([raw[-1] ^ 1])], header.state_root)
    elif spoil == "order":
        block = build_block(BEGIN.header, 0, NOW, [*block.transactions, block.transactions[0]], header.state_root)
    else:
        value: Any = {"state_root": bytes(32), "timestamp": 5, "height": 2, "proposer": 9}[spoil]
        block = Block(msgspec.structs.replace(header, **{spoil: value}), block.transactions)
    with pytest.raises(InvalidBlock):
        await voter.executor.execute(block)
    assert voter.executor.known(block_digest(block.header)) is None


async def test_a_block_too_old_for_the_clock_is_refused_but_not_if_certified(two: Two) -> None:
    leader, voter = two
    block = await leader.build(BEGIN.header, leader.open("a"))
    voter.clock.wall = NOW + Params().drift_ms + 1
    with pytest.raises(Refused):
        await voter.executor.validate(Validate(1, block, certified=False))
    await voter.executor.validate(Validate(1, block, certified=True))


async def test_a_block_ahead_of_the_clock_waits_unless_certified(two: Two) -> None:
    leader, voter = two
    leader.clock.wall = NOW + 5_000
    block = await leader.build(BEGIN.header, leader.open("a"))
    waiting = asyncio.create_task(voter.executor.validate(Validate(1, block, certified=False)))
    while voter.executor.known(block_digest(block.header)) is None:
        await asyncio.sleep(0)
    assert not waiting.done()
    await voter.executor.validate(Validate(1, block, certified=True))
    await waiting
    leader.clock.wall = NOW + Params().timeout_cap_ms + 10_000
    far = await leader.build(block.header, leader.append(0))
    with pytest.raises(Refused):
        await voter.executor.validate(Validate(2, far, certified=False))


async def test_a_leader_leaves_out_what_is_not_valid_there_and_says_which(two: Two) -> None:
    leader, _ = two
    good, bad = leader.open("a"), leader.append(7)
    leader.pool.add(bad)
    leader.pool.add(good)
    block, refused = await leader.executor.build(Build(1, 0, block_digest(BEGIN.header), 1 << 20, False))
    assert block is not None
    assert block.transactions == (good.raw,)
    assert [(entry, type(error)) for entry, error in refused] == [(bad, UnknownChart)]


async def test_an_empty_block_is_built_only_when_one_is_wanted(two: Two) -> None:
    leader, voter = two
    wanted = Build(1, 0, block_digest(BEGIN.header), 1 << 20, False)
    assert await leader.executor.build(wanted) == (None, [])
    block = await leader.build(BEGIN.header, allow_empty=True)
    assert block.header.state_root == BEGIN.header.state_root
    await voter.executor.validate(Validate(1, block, certified=False))
    leader.pool.add(leader.open("a"))
    limited = Build(1, 0, block_digest(BEGIN.header), 0, True)
    block2, _ = await leader.executor.build(limited)
    assert block2 is not None
    assert block2.transactions == ()


async def test_a_heartbeat_is_due_by_the_parents_time_whether_or_not_it_is_final(two: Two) -> None:
    leader, _ = two
    wanted = Build(1, 0, block_digest(BEGIN.header), 1 << 20, False)
    leader.clock.wall = BEGIN.header.timestamp + Params().heartbeat_ms - 1
    assert await leader.executor.build(wanted) == (None, [])
    leader.clock.wall += 1
    beat, _ = await leader.executor.build(wanted)
    assert beat is not None
    # one is enough, although the chain's final head is as old as before
    assert await leader.executor.build(Build(2, 1, block_digest(beat.header), 1 << 20, False)) == (None, [])


async def test_a_lost_branch_is_let_go_and_asking_for_it_is_obsolete(two: Two) -> None:
    leader, voter = two
    lost = await leader.build(BEGIN.header, leader.open("a"))
    await voter.executor.execute(lost)
    voter.pool.add(voter.open("b"))
    final = await voter.build(BEGIN.header)
    await voter.finalize(final)
    assert voter.executor.known(block_digest(lost.header)) is None
    above = await leader.build(lost.header, leader.append(0))
    with pytest.raises(Obsolete):
        await voter.executor.execute(above)
    with pytest.raises(Obsolete):
        await voter.executor.build(Build(1, 0, block_digest(lost.header), 1 << 20, True))


async def test_a_lost_sibling_is_obsolete_and_not_judged_by_a_state_that_is_too_new(two: Two) -> None:
    """A certified one that was found invalid would halt the node for nothing."""
    leader, voter = two
    first = await leader.build(BEGIN.header, leader.open("a"))
    sibling = await leader.build(first.header, leader.open("b"))
    leader.pool.remove([entry.id for entry in list(leader.pool)])
    second = await leader.build(first.header, leader.open("b"))
    done = []
    for block in (first, second):
        done.append(await voter.executor.execute(block))
        voter.executor.finalized(done[-1])
        voter.store.commit(done[-1])
    with pytest.raises(Obsolete):  # on disk, and not yet let go
        await voter.executor.validate(Validate(1, sibling, certified=True))
    with pytest.raises(Obsolete):
        await voter.executor.build(Build(1, 0, block_digest(first.header), 1 << 20, True))
    await voter.executor.stored(done)
    third = await leader.build(second.header, allow_empty=True)
    await voter.executor.validate(Validate(1, third, certified=True))


@pytest.mark.parametrize("waits_for", ["read_set", "read_nodes"])
@pytest.mark.parametrize("asked", ["validate", "build"])
async def test_what_is_lost_while_storage_answers_is_obsolete_too(
    two: Two, monkeypatch: pytest.MonkeyPatch, waits_for: str, asked: str
) -> None:
    """As when sync makes another block final while consensus executes its sibling."""
    leader, voter = two
    first = await leader.build(BEGIN.header, leader.open("a"))
    sibling = await leader.build(first.header, leader.append(0))
    pending = list(leader.pool)
    leader.pool.remove([entry.id for entry in pending])
    second = await leader.build(first.header, leader.append(0))
    await voter.finalize(first)
    executed = await voter.executor.execute(second)
    voter.executor._leaves, voter.executor._nodes = Lru(0, bytes_of), Lru(0, bytes_of)
    ask = getattr(voter.store, waits_for)

    async def answer(*arguments: Any) -> Any:
        if voter.executor.head == first.header:
            voter.executor.finalized(executed)
            voter.store.commit(executed)
        return await ask(*arguments)

    monkeypatch.setattr(voter.store, waits_for, answer)
    voter.pool.add(pending[1])
    validate = voter.executor.validate(Validate(1, sibling, certified=True))
    build = voter.executor.build(Build(1, 0, block_digest(first.header), 1 << 20, True))
    with closing(build if asked == "validate" else validate), pytest.raises(Obsolete):
        await (validate if asked == "validate" else build)
    assert voter.executor.head == second.header


async def test_what_is_tried_while_the_head_moves_is_tried_on_the_new_one(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, voter = two
    entry = leader.open("a")
    first = await leader.build(BEGIN.header, entry)
    executed = await voter.executor.execute(first)
    voter.executor._leaves = Lru(0, bytes_of)
    ask = voter.store.read_set

    async def answer(*arguments: Any) -> Any:
        found = await ask(*arguments)
        if voter.executor.head == BEGIN.header:
            voter.executor.finalized(executed)
        return found

    monkeypatch.setattr(voter.store, "read_set", answer)
    (result,) = await voter.executor.try_all([entry])
    assert isinstance(result, Replayed)


async def test_what_stands_high_above_a_lost_block_is_obsolete_too(two: Two) -> None:
    leader, voter = two
    lost = await leader.build(BEGIN.header, leader.open("a"))
    high = await leader.build(lost.header, allow_empty=True)
    await voter.executor.execute(lost)
    await voter.executor.execute(high)
    top = await leader.build(high.header, leader.open("b"))
    await voter.finalize(await voter.build(BEGIN.header, voter.open("b")))
    with pytest.raises(Obsolete):
        await voter.executor.validate(Validate(1, top, certified=True))


async def test_trying_changes_nothing(two: Two) -> None:
    leader, _ = two
    entries = [leader.open("a"), leader.append(0), leader.append(5)]
    first = await leader.executor.try_all(entries)
    assert [isinstance(one, InvalidTransaction) for one in first] == [False, False, True]
    again = await leader.executor.try_all(entries)
    assert again[:2] == first[:2]
    block = await leader.build(BEGIN.header, entries[0])
    assert decode(Header, encode(block.header)) == block.header


async def test_a_key_that_the_block_below_set_counts_in_the_block_above(two: Two) -> None:
    """The head knows the old key only, and neither the builder's pool nor the voter's intake may decide by that."""
    leader, voter = two
    fresh = key("fresh")
    proof = prove_possession(fresh, CHAIN, "h0", USE_OPERATIONS)
    first = await leader.build(
        BEGIN.header, leader.entry(SignedOperation(RotateInstitutionKey(SetOperationsKey(0, fresh.public, proof))))
    )
    body = TransactionBody(CHAIN, 0, 0, 50, NOW + 60_000, (leader.opening("a"),))
    with_new, with_old = (encode(sign_transaction(signer, body)) for signer in (fresh, key("op0")))
    with pytest.raises(BadSignature):
        leader.intake.check_one(with_new)
    second = await leader.build(first.header, leader.intake.check_one(with_new, in_block=True))
    assert second.transactions == (with_new,)
    for block in (first, second):
        await voter.executor.validate(Validate(1, block, certified=False))
    stale = build_block(first.header, 0, second.header.timestamp, (with_old,), second.header.state_root, None)
    with pytest.raises(InvalidBlock, match="wrong-key"):
        await voter.executor.validate(Validate(1, stale, certified=False))
