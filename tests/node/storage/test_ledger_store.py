"""What is final is stored whole, in order, and found again: design, section 7."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.storage import ledger_store
from node.storage.errors import OutOfOrder, StorageFailed
from node.storage.integrity import check_ledger
from node.storage.ledger_store import LedgerStore
from node.storage.outbox import StoredReceipt
from node.storage.records_store import StagedRecord, StagedSecret
from node.storage.schema import LEDGER
from node.storage.types import CommittedBlock, Place
from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.hashing import transaction_id
from protocol.types.block import Block
from protocol.types.governance import Parameter, SetParameters, TakeAuthority


def history(chain: Any, blocks: int = 6) -> list[CommittedBlock]:
    """Two charts of two custodians, and then records to both in every block."""
    made = [chain.block(chain.open_charts(0, 0), chain.open_charts(1, 1), chain.open_charts(0, 2))]
    made.append(chain.block(chain.grant(0, 0, 1), chain.append(0, 0, 3)))
    while len(made) < blocks:
        certified = len(made) % 2 == 1 or len(made) == blocks - 1
        made.append(chain.block(chain.append(0, 0, 2), chain.append(1, 1), certified=certified))
    return made


async def test_what_was_stored_is_found_again_after_a_restart(tmp_path: Path, store: LedgerStore, chain: Any) -> None:
    made = history(chain, 6)
    await store.commit(made[:1])
    await store.commit(made[1:], b"a mark")
    await store.close()
    again = await LedgerStore.open(tmp_path / "ledger.db")
    head = await again.head()
    assert head is not None
    assert (head.header, head.certificate) == (made[-1].header, made[-1].certificate)
    assert await again.genesis() == chain.genesis_raw
    assert await again.journal_mark() == b"a mark"
    assert await again.read_leaves(chain.leaves) == chain.leaves
    assert await again.read_nodes(chain.nodes) == chain.nodes
    assert await again.read_events(chain.events) == chain.events
    for stored, block in zip(await again.blocks(1, 100, 1 << 20), made, strict=True):
        assert stored.height == block.header.height
        assert stored.header == block.header
        assert stored.block == Block(block.header, block.transactions)
        assert stored.block_raw == encode(stored.block)
        assert stored.certificate == block.certificate
        assert stored.nullifications == block.nullifications
    await again.close()


async def test_absent_things_are_left_out(store: LedgerStore, chain: Any) -> None:
    key = next(iter(chain.leaves))
    assert await store.read_leaves([key, b"\xff"]) == {key: chain.leaves[key]}
    assert await store.read_leaves([]) == {}
    assert await store.read_events([(0, 0), (5, 1)]) == {}
    assert await store.read_nodes([b"zz"]) == {}
    assert await store.blocks(7, 10, 1000) == []
    assert await store.chart_events(3, 0, 10) == []
    assert await store.charts_of(3, 0, 10) == []


@pytest.mark.parametrize("ref", [(0, 1 << 24), (1 << 39, 0), (1 << 53, 1 << 53), (0, (1 << 53) - 1)])
async def test_what_a_stranger_asks_for_beyond_all_numbers_is_absent(store: LedgerStore, ref: tuple[int, int]) -> None:
    """A disclosure may name any event number, and each authority looks it up."""
    assert await store.read_set([], [ref]) == ({}, {})
    assert await store.chart_events(*ref, 10) == []
    assert await store.records.get(ref[0], [ref[1]]) == {}
    assert await store.records.list(*ref, 10) == []
    assert await store.records.chart_secret(ref[0]) is None


async def test_a_read_set_of_thousands_comes_in_one_hop(store: LedgerStore, chain: Any) -> None:
    opened = chain.block(*(chain.open_charts(0, *range(first, first + 16)) for first in range(0, 64, 16)))
    await store.commit([opened])
    keys = [*chain.leaves, *(b"absent %d" % n for n in range(3000))]
    refs = [*chain.events, *((number, 5) for number in range(3000))]
    assert await store.read_set(keys, refs) == (chain.leaves, chain.events)


async def test_a_read_set_leaves_out_what_is_too_large_for_a_record(store: LedgerStore, chain: Any) -> None:
    """A disclosure of ten thousand "records" that are large grants is refused without their being read."""
    opened = chain.block(chain.open_charts(0, 0))
    large = replace(opened, events=(*opened.events, (0, 1, bytes(limits.RECORD_EVENT_BYTES + 1))))
    await store.commit([large])
    _, found = await store.read_set([], [(0, 0), (0, 1)])
    assert list(found) == [(0, 0)]
    assert set(await store.read_events([(0, 0), (0, 1)])) == {(0, 0), (0, 1)}


async def test_blocks_stop_for_size_but_give_one(store: LedgerStore, chain: Any) -> None:
    made = history(chain, 5)
    await store.commit(made)
    assert [one.height for one in await store.blocks(2, 100, 1)] == [2]
    assert [one.height for one in await store.blocks(0, 3, 1 << 20)] == [0, 1, 2]
    size = sum(len(one.block_raw) - 1 for one in await store.blocks(1, 2, 1 << 20))
    both = await store.blocks(1, 5, size + 2_000)
    assert 1 < len(both) < 5
    assert [one.height for one in await store.headers(3, 9)] == [3, 4, 5]


async def test_events_and_charts_are_listed_in_pages(
    store: LedgerStore, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.commit(history(chain, 6))
    expected = [(number, raw) for (chart, number), raw in sorted(chain.events.items()) if chart == 0]
    assert await store.chart_events(0, 0, 1000) == expected
    assert await store.chart_events(0, 3, 2) == expected[3:5]
    for most, size in ((2, len(expected[1][1]) + len(expected[2][1])), (1, 1)):  # one comes whatever its size
        monkeypatch.setattr(ledger_store, "EVENTS_BYTES", size)
        assert await store.chart_events(0, 1, 1000) == expected[1 : 1 + most]
    monkeypatch.undo()
    assert await store.charts_of(0, 0, 10) == [0, 2]
    assert await store.charts_of(0, 1, 10) == [2]
    assert await store.charts_of(0, 0, 1) == [0]
    assert await store.charts_of(1, 0, 10) == [1]


async def test_blocks_out_of_order_are_refused_and_leave_nothing(store: LedgerStore, chain: Any) -> None:
    made = history(chain, 4)
    with pytest.raises(OutOfOrder):
        await store.commit([made[1]])
    with pytest.raises(OutOfOrder):
        await store.commit([made[0], made[2]], b"mark")
    await store.commit([made[0]])
    with pytest.raises(OutOfOrder):
        await store.commit([made[0]])
    head = await store.head()
    assert head is not None
    assert head.header == made[0].header
    assert await store.journal_mark() is None


async def test_a_commit_ends_with_the_block_that_its_certificate_finalizes(store: LedgerStore, chain: Any) -> None:
    with pytest.raises(OutOfOrder, match="certificate"):
        await store.commit([chain.block(chain.open_charts(0, 0), certified=False)])
    assert [one.height for one in await store.blocks(0, 9, 1 << 20)] == [0]


async def test_a_commit_that_fails_in_its_last_table_leaves_nothing_in_the_first(
    store: LedgerStore, chain: Any
) -> None:
    made = chain.block(chain.open_charts(0, 0))
    transaction = chain.append(0, 0)
    await store.commit([made])
    bad = chain.block(transaction, settled=[chain.settled(transaction, Place(0, 1 << 39, 0))])
    await store.records.stage(
        {transaction_id(transaction.body): [StagedSecret(0, b"s"), StagedRecord(0, 0, bytes(32), 1, b"", b"")]}
    )
    with pytest.raises(OverflowError):
        await store.commit([bad])
    head = await store.head()
    assert head is not None
    assert head.header == made.header
    assert len(await store.chart_events(0, 0, 10)) == 1
    await store.commit([replace(bad, settled=())])


async def test_a_chain_starts_once_and_at_height_zero(tmp_path: Path, store: LedgerStore, chain: Any) -> None:
    with pytest.raises(OutOfOrder):
        await store.init_genesis(chain.genesis_raw, chain.first)
    empty = await LedgerStore.open(tmp_path / "other.db")
    assert await empty.head() is None
    assert await empty.genesis() is None
    block = chain.block(chain.open_charts(0, 0))
    with pytest.raises(OutOfOrder):
        await empty.commit([block])
    with pytest.raises(OutOfOrder):
        await empty.init_genesis(chain.genesis_raw, block)
    await empty.close()


async def test_finality_moves_outbox_receipt_and_record_in_one_transaction(store: LedgerStore, chain: Any) -> None:
    transaction = chain.open_charts(0, 0)
    identity = transaction_id(transaction.body)
    await store.records.stage({identity: [StagedSecret(0, b"sealed secret")]})
    await store.outbox.add([chain.outgoing(transaction)])
    block = chain.block(transaction, settled=[chain.settled(transaction, Place(0, 0, 0))])
    with pytest.raises(OutOfOrder):
        await store.commit([block, block])
    assert await store.outbox.standing([identity]) == ({identity}, {})
    assert await store.records.chart_secret(0) is None
    await store.commit([block])
    receipt = StoredReceipt(1, block.header.timestamp, b"receipt")
    assert await store.outbox.standing([identity]) == (set(), {identity: receipt})
    assert await store.records.chart_secret(0) == b"sealed secret"
    assert await store.records.staged() == set()


# --- epochs -----------------------------------------------------------------------------------------------


async def test_where_epochs_ended_is_found_with_who_comes_next(store: LedgerStore, chain: Any) -> None:
    made = [chain.block(chain.open_charts(0, 0))]
    ends = [chain.block(*chain.pass_change(TakeAuthority(3)))]
    made += [ends[0], chain.block(chain.append(0, 0), certified=False), chain.block(chain.append(0, 0))]
    ends.append(chain.block(*chain.pass_change(SetParameters((Parameter("heartbeat_ms", 60_000),)))))
    made += [ends[1], chain.block(chain.append(0, 0))]
    assert [one.header.epoch for one in made] == [0, 0, 1, 1, 1, 2]
    await store.commit(made[:1])
    assert await store.epoch_end(1) is None
    await store.commit(made[1:])
    assert [await store.epoch_end(height) for height in range(8)] == [2, 2, 2, 5, 5, 5, None, None]
    found = await store.epoch_ends(0, 9)
    assert [(one.header, one.certificate) for one in found] == [(one.header, one.certificate) for one in ends]
    assert [one.next_authorities for one in found] == [chain.authorities(1), chain.authorities(2)]
    assert [one.next_authorities.epoch for one in await store.epoch_ends(1, 9)] == [2]
    assert await store.epoch_ends(0, 1) == found[:1]
    assert await store.epoch_ends(2, 9) == []
    await store.forget_chain()
    assert await store.epoch_end(0) is None
    await store.init_genesis(chain.genesis_raw, chain.first)
    await store.commit(made)
    assert await store.epoch_ends(0, 9) == found


async def test_the_end_of_an_epoch_is_final_by_itself(store: LedgerStore, chain: Any) -> None:
    end = chain.block(*chain.pass_change(TakeAuthority(3)), certified=False)
    above = chain.block(chain.open_charts(0, 0))
    with pytest.raises(OutOfOrder, match="ends an epoch and has no certificate of its own"):
        await store.commit([end, above])


async def test_a_file_from_before_there_were_epochs_is_brought_up_to_date(tmp_path: Path, chain: Any) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    for statement in LEDGER.migrations[0]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {LEDGER.application_id}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = await LedgerStore.open(path)
    await store.init_genesis(chain.genesis_raw, chain.first)
    await store.commit([chain.block(*chain.pass_change(TakeAuthority(3)))])
    assert await store.epoch_end(0) == 1
    await store.close()


# --- crashes ----------------------------------------------------------------------------------------------


async def test_a_log_torn_at_any_place_gives_whole_finalizations_only(
    tmp_path: Path, store: LedgerStore, chain: Any
) -> None:
    """A power cut may leave any prefix of the write-ahead log, and what comes after it in any state."""
    made = history(chain, 12)
    await store.database.checkpoint()
    ends = [0]
    log = tmp_path / "ledger.db-wal"
    for at in range(0, 12, 2):
        await store.commit(made[at : at + 2])
        ends.append(log.stat().st_size)
    file, whole = (tmp_path / "ledger.db").read_bytes(), log.read_bytes()
    rng = random.Random(7)
    cuts = sorted(
        {0, 1, 31, 32, len(whole), *ends, *(end - 1 for end in ends if end), *rng.choices(range(len(whole)), k=40)}
    )
    for number, cut in enumerate(cuts):
        folder = tmp_path / f"crash {number}"
        folder.mkdir()
        (folder / "ledger.db").write_bytes(file)
        tail = rng.randbytes(rng.randrange(5000)) if number % 2 else b""
        (folder / "ledger.db-wal").write_bytes(whole[:cut] + tail)
        again = await LedgerStore.open(folder / "ledger.db")
        head = await again.head()
        assert head is not None
        committed = sum(end <= cut for end in ends[1:])
        assert head.header.height == 2 * committed, "every synced commit is there, and no part of another"
        await again.close()
        assert await check_ledger(folder / "ledger.db") == []
        again = await LedgerStore.open(folder / "ledger.db")
        await again.commit(made[head.header.height :])
        await again.close()
        shutil.rmtree(folder)


WRITER = """
import asyncio, importlib.util, sys
from pathlib import Path
from node.storage.ledger_store import LedgerStore
spec = importlib.util.spec_from_file_location("builder", sys.argv[1])
builder = importlib.util.module_from_spec(spec)
sys.modules["builder"] = builder
spec.loader.exec_module(builder)

async def main():
    chain = builder.Chain()
    store = await LedgerStore.open(Path(sys.argv[2]))
    await store.init_genesis(chain.genesis_raw, chain.first)
    await store.commit([chain.block(chain.open_charts(0, 0, 1, 2))])
    while True:
        block = chain.block(*(chain.append(0, n % 3, 5) for n in range(6)))
        await store.commit([block])
        print(block.header.height, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 30])
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, after: int) -> None:
    path = tmp_path / "ledger.db"
    builder = Path(__file__).with_name("conftest.py")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(builder), str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        for _ in range(after):
            line = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = int((line + process.stdout.read()).split()[-1])
    store = await LedgerStore.open(path)
    head = await store.head()
    await store.close()
    assert head is not None
    assert acknowledged <= head.header.height <= acknowledged + 1
    assert await check_ledger(path) == []


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await LedgerStore.open(tmp_path / "ledger.db")
    await store.close()
    with pytest.raises(StorageFailed, match="closed"):
        await store.head()
