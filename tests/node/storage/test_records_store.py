"""What belongs to an entry is staged before its transaction leaves, and lands where the ledger put the entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.storage.ledger_store import LedgerStore
from node.storage.records_store import StagedRecord, StagedSecret, StoredRecord
from node.storage.types import Place
from protocol.crypto.hashing import transaction_id


def staged(operation: int, entry: int) -> StagedRecord:
    stamp = bytes([operation, entry])
    return StagedRecord(operation, entry, stamp * 16, 1000 + entry, b"sealed" + stamp, b"envelope" + stamp)


def stored(chart: int, event: int, of: StagedRecord) -> StoredRecord:
    return StoredRecord(chart, event, of.blob_id, of.blob_bytes, of.sealed, of.owner_envelope)


async def test_each_record_lands_at_its_entrys_event(tmp_path: Path, store: LedgerStore, chain: Any) -> None:
    opening = chain.open_charts(0, 0, 1)
    await store.records.stage({transaction_id(opening.body): [StagedSecret(0, b"first"), StagedSecret(1, b"second")]})
    places = [Place(0, 0, 0), Place(1, 1, 0)]
    await store.commit([chain.block(opening, settled=[chain.settled(opening, *places)])])
    assert await store.records.chart_secret(0) == b"first"
    assert await store.records.chart_secret(1) == b"second"
    assert await store.records.chart_secret(2) is None

    one, two = chain.append(0, 0, 3), chain.append(0, 1, 2)
    await store.records.stage({transaction_id(one.body): [staged(0, n) for n in range(3)]})
    await store.records.stage({transaction_id(two.body): [staged(0, n) for n in range(2)]})
    assert await store.records.staged() == {transaction_id(one.body), transaction_id(two.body)}
    settled = [chain.settled(one, Place(0, 0, 1)), chain.settled(two, Place(0, 1, 1))]
    await store.commit([chain.block(one, two, settled=settled)])
    assert await store.records.staged() == set()
    assert await store.records.count() == 5
    await store.close()

    again = await LedgerStore.open(tmp_path / "ledger.db")
    assert await again.records.list(0, 0, 10) == [stored(0, 1 + n, staged(0, n)) for n in range(3)]
    assert await again.records.list(0, 2, 1) == [stored(0, 2, staged(0, 1))]
    assert await again.records.get(1, [0, 2, 9]) == {2: stored(1, 2, staged(0, 1))}
    assert await again.records.get(7, [1]) == {}
    await again.close()


async def test_several_operations_of_one_transaction_keep_apart(store: LedgerStore, chain: Any) -> None:
    await store.commit([chain.block(chain.open_charts(0, 0, 1))])
    parts = [chain.append(0, chart, 2).body.operations[0] for chart in (0, 1)]
    both = chain.transaction(0, *parts)
    await store.records.stage(
        {transaction_id(both.body): [staged(operation, entry) for operation in range(2) for entry in range(2)]}
    )
    settled = chain.settled(both, Place(0, 0, 1), Place(1, 1, 1))
    await store.commit([chain.block(both, settled=[settled])])
    for chart in range(2):
        assert await store.records.list(chart, 0, 10) == [stored(chart, 1 + n, staged(chart, n)) for n in range(2)]


async def test_staging_again_replaces_and_unstaging_forgets(store: LedgerStore) -> None:
    await store.records.stage({b"a" * 32: [staged(0, 0), staged(0, 1)], b"b" * 32: [staged(0, 0)]})
    await store.records.stage({b"a" * 32: [staged(1, 1)]})
    rows = await store.database.read(lambda c: c.execute("SELECT id, operation, entry FROM staged").fetchall())
    assert sorted(rows) == [(b"a" * 32, 1, 1), (b"b" * 32, 0, 0)]
    await store.records.unstage([b"a" * 32])
    assert await store.records.staged() == {b"b" * 32}


async def test_what_waits_in_the_outbox_keeps_what_was_staged_for_it(store: LedgerStore, chain: Any) -> None:
    transaction = chain.open_charts(0, 0)
    waiting = transaction_id(transaction.body)
    await store.records.stage({waiting: [staged(0, 0)], b"b" * 32: [staged(0, 1), StagedSecret(1, b"sealed")]})
    await store.outbox.add([chain.outgoing(transaction)])
    assert await store.records.unstage([waiting, b"b" * 32, b"c" * 32]) == [staged(0, 1).blob_id]
    assert await store.records.staged() == {waiting}


async def test_what_is_deleted_is_overwritten_on_disk(tmp_path: Path, store: LedgerStore) -> None:
    canary = b"key material of a record that never came to be"
    await store.records.stage({b"a" * 32: [StagedRecord(0, 0, bytes(32), 1, canary, canary)]})
    await store.records.unstage([b"a" * 32])
    await store.database.checkpoint()
    for file in tmp_path.iterdir():
        assert canary not in file.read_bytes(), file.name
