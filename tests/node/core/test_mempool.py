"""The pool: bounded, fair, owners' operations first, one transaction for each number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.mempool import ENTRY_OVERHEAD_BYTES, Entry, Mempool
from node.sansio.doubts import FIRST_MS, Doubts
from protocol import limits
from protocol.errors import Busy, Replayed
from protocol.types.base import Wire
from protocol.types.operations import AppendRecords, Grant, GrantTerms, RecordEntry, SignedOperation
from protocol.types.transaction import Transaction, TransactionBody

Make = Callable[..., Entry]


def grants() -> list[Wire]:
    tag = bytes(16)
    return [Grant(0, GrantTerms((1,), (None, None, (tag,), (tag,)), ("TREAT",), 0, 10**15))]


def test_what_is_known_is_found_by_bytes_and_by_id(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    entry = make_entry(0, 1)
    assert pool.add(entry)
    assert not pool.add(entry)
    assert pool.known(bytes(bytearray(entry.raw))) is entry
    assert pool.get(entry.id) is entry
    pool.remove([entry.id])
    assert pool.known(entry.raw) is None
    assert len(pool) == 0
    assert pool.bytes_used == 0


def test_owners_operations_go_first_whenever_they_came(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    for number in range(5):
        pool.add(make_entry(0, number))
    revocation = make_entry(1, 0, grants())
    assert revocation.owners
    pool.add(revocation)
    assert pool.select(1 << 20, 100, set())[0] is revocation


def test_a_flooding_institution_neither_fills_the_pool_nor_the_block(make_entry: Make) -> None:
    cost = make_entry(0, 0).cost_bytes
    pool = Mempool(100 * cost, share=0.5)
    for number in range(50):
        pool.add(make_entry(0, number))
    with pytest.raises(Busy):
        pool.add(make_entry(0, 50))
    assert len(pool) == 50
    others = [make_entry(1, number) for number in range(20)]
    assert pool.room(others)
    for entry in others:
        pool.add(entry)
    assert pool.counts() == {0: 50, 1: 20}
    chosen = pool.select(1 << 20, 40, set())
    assert sum(entry.body.institution == 1 for entry in chosen) >= 16
    assert pool.refused == 1


def test_whoever_carries_owners_operations_without_end_keeps_nobody_out(make_entry: Make) -> None:
    pool = Mempool(1 << 24)
    for number in range(1_500):
        pool.add(make_entry(0, number, grants()))
    revocation, record = make_entry(1, 0, grants()), make_entry(1, 1)
    pool.add(revocation)
    pool.add(record)
    size = len(record.raw) * 40
    for chosen in (
        pool.select(1 << 22, 100, set()),
        pool.select(size, 4_000, set()),
        pool.select(1 << 22, 4_000, set()),
    ):
        assert revocation in chosen[:17]
        assert chosen[-1] is record
    assert len(pool.select(1 << 22, 100, set())) == 100  # what institutions leave, owners take


def test_one_number_is_one_transaction(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    pool.add(make_entry(0, 7, valid_until=1_000))
    with pytest.raises(Replayed):
        pool.add(make_entry(0, 7, valid_until=2_000))
    pool.add(make_entry(0, 7, key=1))


def test_a_final_number_removes_whoever_wanted_it(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    mine, other, rest = make_entry(0, 7, valid_until=1), make_entry(0, 7, valid_until=2), make_entry(0, 8)
    pool.add(mine)
    pool.add(rest)
    assert pool.finalize({other.slot: other.id}, set()) == [mine]
    assert list(pool) == [rest]
    assert rest.survived == 1


def test_work_is_what_no_notarized_block_carries(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    assert not pool.has_work
    first, second = make_entry(0, 1), make_entry(0, 2)
    pool.add(first)
    pool.add(second)
    pool.set_carried([first.id, first.id])
    assert pool.has_work
    pool.set_carried([second.id])
    assert not pool.has_work
    # the block that carried them is dead: they are work again
    pool.finalize({}, set())
    assert pool.has_work
    pool.set_carried([first.id, second.id])
    pool.remove([first.id])
    assert not pool.has_work


def test_what_the_head_refuses_is_no_work_until_another_block_is_final(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    first, second = make_entry(0, 1), make_entry(0, 2)
    pool.add(first)
    pool.add(second)
    pool.judge([(first, False), (second, True), (make_entry(0, 3), False)])
    assert pool.has_work
    assert list(pool) == [first, second], "the head may be behind, and others ahead"
    pool.set_carried([first.id])
    pool.judge([(second, False), (second, False)])
    assert not pool.has_work
    pool.judge([(second, True)])
    assert pool.has_work
    pool.judge([(first, False), (second, False)])
    pool.remove([first.id])
    assert not pool.has_work
    pool.finalize({}, set())
    assert pool.has_work
    pool.remove([second.id])
    assert not pool.has_work


def test_on_a_head_that_stands_still_what_waits_is_tried_ever_less_often(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    doubts = Doubts(pool)
    old, carried, young = make_entry(0, 1), make_entry(0, 2), make_entry(0, 3)
    carried.added_ms, young.added_ms = 1, FIRST_MS
    for entry in (old, carried, young):
        pool.add(entry)
    pool.set_carried([carried.id])
    times = [now for now in range(0, 40_001, 500) if doubts.due(7, now, carrying=False)]
    assert times == [2_000, 6_000, 14_000, 22_000, 30_000, 38_000]
    assert not doubts.due(8, 50_000, carrying=False), "the head has moved"
    assert not doubts.due(8, 52_000, carrying=True), "what waits may rest on what is notarized"
    assert doubts.due(8, 52_000, carrying=False) == [old, young]
    assert Doubts(Mempool(1 << 20)).due(0, 99_000, carrying=False) == []


def test_what_came_only_now_is_not_doubted(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    doubts = Doubts(pool)
    entry = make_entry(0, 1)
    entry.added_ms = 10_000
    pool.add(entry)
    doubts.due(1, 0, carrying=False)
    assert not doubts.due(1, 10_000 + FIRST_MS - 1, carrying=False)
    assert doubts.due(1, 20_000, carrying=False) == [entry]


def test_expiry_is_by_ledger_time(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    entry = make_entry(0, 1, valid_until=1_000)
    pool.add(entry)
    assert pool.expired(999) == []
    assert pool.expired(1_000) == [entry]


def test_another_look_comes_at_growing_intervals(make_entry: Make) -> None:
    pool = Mempool(1 << 20)
    entry = make_entry(0, 1)
    pool.add(entry)
    looks = []
    for block in range(1, 70):
        pool.finalize({}, set())
        if pool.stale(everything=False):
            looks.append(block)
    assert looks == [8, 16, 32, 64]
    assert pool.stale(everything=True) == [entry]


def bare(institution: int, number: int, size: int, owners: bool) -> Entry:
    operation = SignedOperation(AppendRecords(0, (RecordEntry(bytes(32), (bytes(16),) * 4),)))
    body = TransactionBody(bytes(32), institution, 0, number, 10**12, (operation,))
    raw = institution.to_bytes(2, "big") + number.to_bytes(4, "big") + bytes(size)
    return Entry(
        raw=raw,
        id=raw[:6],
        digest=raw[:6],
        transaction=Transaction(body, bytes(64)),
        owners=owners,
        verified=None,
        slot=(institution, 0, number),
        cost=size,
    )


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 3_000), st.booleans()), max_size=60),
    gone=st.sets(st.integers(0, 60)),
    size_limit=st.integers(0, 60_000),
    count=st.integers(1, 40),
)
def test_the_books_balance(
    items: list[tuple[int, int, int, bool]], gone: set[int], size_limit: int, count: int
) -> None:
    pool = Mempool(60_000, share=0.5)
    for item in items:
        entry = bare(*item)
        if pool.get(entry.id) is None and pool.room([entry]):
            pool.add(entry)
    for index, entry in enumerate(list(pool)):
        if index in gone:
            pool.remove([entry.id])
    here = list(pool)
    assert pool.bytes_used == sum(len(e.raw) + ENTRY_OVERHEAD_BYTES for e in here) <= 60_000
    for institution in range(4):
        assert sum(e.cost_bytes for e in here if e.body.institution == institution) <= 30_000
    skip = {entry.id for entry in here[::3]}
    chosen = pool.select(size_limit, count, skip)
    assert len(chosen) == len({e.id for e in chosen}) <= count
    assert sum(len(e.raw) + 5 for e in chosen) <= size_limit
    assert sum(e.cost for e in chosen) <= limits.BLOCK_COST
    assert not skip & {e.id for e in chosen}
    kinds = [e.owners for e in chosen]
    assert kinds == sorted(kinds, reverse=True)
    wanted_cost = sum(e.cost for e in here if e.id not in skip)
    if size_limit >= 60_000 and count >= len(here) and wanted_cost <= limits.BLOCK_COST:
        assert len(chosen) == len(here) - len(skip)
