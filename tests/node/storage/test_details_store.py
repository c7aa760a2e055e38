"""What was said in confidence survives a restart, is found by its commitment, and waits until it is delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.storage.details_store import DetailsStore, ForOwner, KeptDetails
from node.storage.ledger_store import LedgerStore


def kept(name: str, chart: int = 7, event: int | None = None) -> KeptDetails:
    return KeptDetails(name.encode().ljust(32, b"."), chart, 3, 9_000, b"sealed " + name.encode(), event)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[LedgerStore]:
    store = await LedgerStore.open(tmp_path / "ledger.db")
    yield store
    await store.close()


async def test_details_wait_until_they_are_delivered(tmp_path: Path) -> None:
    first, second = kept("first"), kept("second")
    ledger = await LedgerStore.open(tmp_path / "ledger.db")
    for one in (first, second):
        await ledger.details.keep(one)
    await ledger.details.placed(first.commitment, 5)
    await ledger.close()
    ledger = await LedgerStore.open(tmp_path / "ledger.db")
    store = ledger.details
    assert [one.event for one in await store.waiting(10)] == [5, None]
    assert len(await store.waiting(1)) == 1
    await store.delivered(first.commitment, b"k" * 32)
    assert [one.commitment for one in await store.waiting(10)] == [second.commitment]
    assert (await store.stated(7, 5)).sealed == first.sealed  # type: ignore[union-attr]  # it is there
    assert await store.stated(7, 6) is None
    await store.drop(second.commitment)
    assert await store.waiting(10) == []
    assert await store.recipients() == {(7, b"k" * 32)}
    assert await store.recipients([6, 7]) == {(7, b"k" * 32)}
    assert await store.recipients([6]) == set()
    await store.deliver_again(7)
    assert [one.commitment for one in await store.waiting(10)] == [first.commitment]
    await ledger.close()


async def test_they_are_found_by_the_whole_commitment(ledger: LedgerStore) -> None:
    alike = [KeptDetails(b"prefix.." + bytes([n]) * 24, 7, 0, 0, b"%d" % n) for n in range(3)]
    for one in alike:
        await ledger.details.keep(one)
    found = await ledger.details.by_commitment([alike[1].commitment, b"prefix.." + b"x" * 24])
    assert [one.sealed for one in found] == [b"1"]
    await ledger.details.placed(alike[1].commitment, 4)
    assert [one.event for one in await ledger.details.waiting(9)] == [None, 4, None]


async def test_what_is_said_to_owners_is_kept_by_chart_and_replaced(ledger: LedgerStore) -> None:
    store: DetailsStore = ledger.details
    for chart, event, sealed in ((7, 3, b"a"), (7, 9, b"b"), (8, 1, b"c"), (7, 3, b"again")):
        await store.put_for_owner(chart, ForOwner(event, 2, sealed))
    assert await store.for_owner(7, 0, 10) == [ForOwner(3, 2, b"again"), ForOwner(9, 2, b"b")]
    assert await store.for_owner(7, 4, 10) == [ForOwner(9, 2, b"b")]
    assert await store.for_owner(7, 0, 1) == [ForOwner(3, 2, b"again")]
    assert await store.for_owner(6, 0, 10) == []


async def test_a_namesake_is_noted_once_and_looked_up_by_time(ledger: LedgerStore) -> None:
    store = ledger.details
    for chart, event, time_ms in ((7, 3, 1_000), (7, 3, 2_000), (8, 4, 3_000)):
        await store.notice(chart, event, time_ms)
    assert await store.noticed(0, 10) == [(8, 4, 3_000), (7, 3, 1_000)]
    assert await store.noticed(1_001, 10) == [(8, 4, 3_000)]
