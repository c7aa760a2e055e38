"""A transaction of this node is waiting, final or unknown, never two of them, whatever happens in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.storage.errors import NumberTaken
from node.storage.ledger_store import LedgerStore
from node.storage.outbox import Answer
from node.storage.records_store import StagedSecret
from protocol.crypto.hashing import transaction_id


async def test_what_was_added_waits_in_order_across_a_restart(tmp_path: Path, store: LedgerStore, chain: Any) -> None:
    batch = [chain.outgoing(chain.open_charts(0, n)) for n in range(5)]
    await store.outbox.add(batch[:3])
    await store.outbox.add(batch[3:])
    await store.close()
    again = await LedgerStore.open(tmp_path / "ledger.db")
    assert await again.outbox.pending() == batch
    assert await again.outbox.waiting([one.id for one in batch] + [bytes(32)]) == {one.id for one in batch}
    await again.close()


async def test_adding_again_changes_nothing(store: LedgerStore, chain: Any) -> None:
    transaction = chain.open_charts(0, 0)
    out = chain.outgoing(transaction)
    await store.outbox.add([out, out])
    await store.outbox.add([out])
    assert await store.outbox.pending() == [out]
    await store.commit([chain.block(transaction, settled=[chain.settled(transaction)])])
    await store.outbox.add([out])
    assert await store.outbox.pending() == [], "what is final does not wait again"


async def test_one_number_is_one_transaction(store: LedgerStore, chain: Any) -> None:
    out = chain.outgoing(chain.open_charts(0, 0))
    fine = chain.outgoing(chain.open_charts(0, 1))
    await store.outbox.add([out])
    with pytest.raises(NumberTaken, match="number 0 of key 0 of institution 0"):
        await store.outbox.add([fine, replace(out, id=b"x" * 32)])
    assert await store.outbox.pending() == [out], "all or none"


async def test_ids_that_share_a_prefix_are_told_apart(store: LedgerStore, chain: Any) -> None:
    one = replace(chain.outgoing(chain.open_charts(0, 0)), id=b"p" * 31 + b"1")
    other = replace(chain.outgoing(chain.open_charts(0, 1)), id=b"p" * 31 + b"2")
    await store.outbox.add([one, other])
    assert await store.outbox.waiting([one.id]) == {one.id}
    await store.outbox.drop([one.id])
    assert await store.outbox.pending() == [other]


async def test_what_can_never_be_final_is_dropped_and_what_was_staged_waits_for_the_sweep(
    store: LedgerStore, chain: Any
) -> None:
    transaction = chain.open_charts(0, 0)
    identity = transaction_id(transaction.body)
    await store.records.stage({identity: [StagedSecret(0, b"sealed")]})
    await store.outbox.add([chain.outgoing(transaction)])
    await store.outbox.drop([identity])
    assert await store.outbox.standing([identity]) == (set(), {})
    assert await store.records.staged() == {identity}


async def test_a_foreign_transaction_leaves_no_receipt(store: LedgerStore, chain: Any) -> None:
    transaction = chain.open_charts(0, 0)
    await store.commit([chain.block(transaction, settled=[chain.settled(transaction)])])
    assert await store.outbox.receipts([transaction_id(transaction.body)]) == {}


async def test_numbers_are_never_handed_out_twice(tmp_path: Path, store: LedgerStore) -> None:
    assert await store.outbox.reserve_numbers(0, 0, 10, at_least=5) == 5
    assert await store.outbox.reserve_numbers(0, 0, 10, at_least=5) == 15
    assert await store.outbox.reserve_numbers(0, 1, 1, at_least=0) == 0
    await store.close()
    again = await LedgerStore.open(tmp_path / "ledger.db")
    assert await again.outbox.reserve_numbers(0, 0, 1, at_least=7) == 25
    assert await again.outbox.reserve_numbers(0, 0, 1, at_least=100) == 100
    await again.close()


async def test_receipts_are_pruned_once_their_transaction_is_expired(store: LedgerStore, chain: Any) -> None:
    transaction = chain.open_charts(0, 0)
    out = chain.outgoing(transaction)
    await store.outbox.add([out])
    await store.commit([chain.block(transaction, settled=[chain.settled(transaction)])])
    assert await store.outbox.prune_receipts(out.valid_until) == 0
    assert await store.outbox.prune_receipts(out.valid_until + 1) == 1
    assert await store.outbox.receipts([out.id]) == {}


async def test_an_answer_is_given_once_per_key(store: LedgerStore) -> None:
    begun = Answer(b"request", 1_000, None, b"ids")
    assert await store.idempotency.begin(b"k" * 32, begun, now=10) is None
    assert await store.idempotency.begin(b"k" * 32, Answer(b"other", 9_000, None, b""), now=20) == begun
    done = Answer(b"request", 1_000, 201, b"{}")
    await store.idempotency.put(b"k" * 32, done)
    assert await store.idempotency.begin(b"k" * 32, begun, now=1_000) == done
    assert await store.idempotency.begin(b"k" * 32, begun, now=1_001) is None, "expired: as if it were new"
    await store.idempotency.forget(b"k" * 32)
    assert await store.idempotency.get(b"k" * 32) is None


async def test_expired_answers_are_pruned(store: LedgerStore) -> None:
    for n in range(4):
        await store.idempotency.put(bytes([n]), Answer(b"", n, 200, b""))
    assert await store.idempotency.prune(2) == 2
    assert await store.idempotency.prune(2) == 0
    assert await store.idempotency.get(b"\x01") is None
    assert await store.idempotency.get(b"\x02") is not None
