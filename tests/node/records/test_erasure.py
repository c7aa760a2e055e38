"""What was erased is gone: from rows, blobs, logs and under any key; and nobody says so before it is."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from node.records.erase import REST_S
from node.records.errors import RecordErased, ReleaseDenied
from node.records.kek import KekGone
from node.records.opening import Key, open_whole
from node.records.seal import Kek
from node.storage.outbox import Answer
from node.storage.tombstones import State
from protocol.chart_errors import AlreadyErased, OnHold
from protocol.codec.canonical import encode
from protocol.crypto.commitments import commit
from protocol.crypto.fields import json_fields
from protocol.crypto.tags import GrantLabels
from protocol.errors import ChartledgerError
from protocol.ledger import keys
from protocol.types.operations import Hold, ReleaseHold
from tests.node.records.conftest import World, settle
from tests.node.records.erasing import (
    SMALL,
    Known,
    carry,
    entries_of,
    erase,
    files,
    found_in,
    incompressible,
    key_of,
    receipts,
    rounds,
    secrets_left,
)
from tests.node.records.test_submit import append, plain, whole


async def test_an_erased_record_can_be_neither_opened_nor_recognised_anywhere(world: World) -> None:
    kept, gone = await append(world, plain("stays"), plain(SMALL))
    large, data = await incompressible(world)
    known = [await Known.of(world, gone, SMALL.encode()), await Known.of(world, large, data)]
    labels = GrantLabels(None, None, ())
    granted = await settle(
        world.custodian.core, await world.custodian.core.prepare([[world.patient.grant(world.chart, 1, labels)]])
    )
    grant = granted[0].receipt.operations[0].grant
    asked = await world.reader.records.submitter.disclose(world.chart, grant, "TREAT", [gone, large])
    disclosure = (await settle(world.reader.core, asked))[0].receipt.operations[0].first_event
    read = await world.reader.records.reader.read(world.chart, disclosure, large)
    assert await whole(read.chunks) == data
    folders = [world.custodian.folder, world.reader.folder, world.other.folder]
    assert any(found_in(files(folder), known[1].traces()) for folder in folders), "the search must be able to find"

    erasure = await erase(world, [gone, large], (1,))
    await rounds(world)
    assert sorted(await receipts(world, erasure)) == [0, 1]

    for one in known:
        for folder in folders:
            assert not found_in(files(folder), one.traces())
        with pytest.raises(KekGone):
            Kek(key_of(world.custodian)).open_secret(one.sealed, world.chart, one.event.entry.commitment)
        # what was found in an old copy of the blob, too: no key is left, and no salt to recompute the commitment with
        left = secrets_left(world.custodian.folder, key_of(world.custodian), await entries_of(world))
        assert len(left) == 1, "the record that stays"
        assert left[0].key != one.secret.key
        assert commit(one.data, json_fields(one.data), left[0].opening) != one.event.entry.commitment
        with pytest.raises(ChartledgerError):
            open_whole(Key(left[0].key, left[0].opening, len(one.data), one.event.entry.commitment), one.blob)
    content = await world.custodian.records.content(world.chart, kept)
    assert await whole(content.chunks) == b"stays"
    for number in (gone, large):
        with pytest.raises(RecordErased):
            await world.custodian.records.content(world.chart, number)
        with pytest.raises(RecordErased):
            await world.custodian.records.owner_envelope(world.chart, number)
        with pytest.raises(RecordErased):
            await world.reader.records.reader.read(world.chart, disclosure, number)
    again = await world.reader.records.submitter.disclose(world.chart, grant, "TREAT", [gone])
    denied = (await settle(world.reader.core, again))[0].receipt.operations[0].first_event
    with pytest.raises(ReleaseDenied, match="erased"):
        await world.reader.records.reader.read(world.chart, denied, gone)


async def test_a_backup_from_before_opens_nothing_and_a_later_one_holds_nothing(world: World, tmp_path: Path) -> None:
    _, gone = await append(world, plain("stays"), plain(SMALL))
    known = await Known.of(world, gone, SMALL.encode())
    before, after = tmp_path / "before", tmp_path / "after"
    for path in (before, after):
        path.mkdir()
    back_up(world.custodian.folder, before)
    await erase(world, [gone])
    await rounds(world)
    back_up(world.custodian.folder, after)
    assert not found_in(files(after), known.traces())
    assert not (before / "kek").exists()
    assert [s.key for s in secrets_left(before, key_of(world.custodian), await entries_of(world))] == []


def back_up(source: Path, target: Path) -> None:
    """By SQLite's own backup, as docs/operators.md says."""
    for name in ("ledger.db", "blobs.db"):
        connection, copy = sqlite3.connect(source / name), sqlite3.connect(target / name)
        connection.backup(copy)
        connection.close()
        copy.close()


@pytest.mark.parametrize("restored", [("ledger.db", "blobs.db"), ("blobs.db",), ("ledger.db",)], ids="+".join)
async def test_what_a_restored_backup_brings_is_erased_again_at_the_start(
    world: World, tmp_path: Path, restored: tuple[str, ...]
) -> None:
    kept, gone = await append(world, plain("stays"), plain(SMALL))
    known = await Known.of(world, gone, SMALL.encode())
    copy = tmp_path / "copy"
    copy.mkdir()
    back_up(world.custodian.folder, copy)
    erasure = await erase(world, [gone])
    await rounds(world)
    missed = world.chain.blocks[-2:]
    assert await receipts(world, erasure)
    await world.network.stop(0)
    for name in restored:
        for suffix in ("-wal", "-shm"):
            (world.custodian.folder / f"{name}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy / name, world.custodian.folder / name)
    if "blobs.db" in restored:
        assert found_in(files(world.custodian.folder), known.traces())
    world.custodian = await world.network.start(0)
    if "ledger.db" in restored:  # the node fetches what it missed, as sync does
        await refetch(world, missed)
        assert (await world.custodian.records.erasures.work()).lost == 2 + 1, "rows under the destroyed key are told"
    await rounds(world, world.custodian)
    assert not found_in(files(world.custodian.folder), known.traces())
    with pytest.raises(RecordErased):
        await world.custodian.records.content(world.chart, gone)
    assert (await world.custodian.records.erasures.work()).records == 0
    if "ledger.db" not in restored:
        assert (await world.custodian.records.erasures.work()).lost == 0
        assert await whole((await world.custodian.records.content(world.chart, kept)).chunks) == b"stays"


async def refetch(world: World, blocks: list[Any]) -> None:
    core = world.custodian.core
    for block in blocks:
        leaves = {k: v for k, v in world.chain.view.leaves.items() if k[0] in (keys.KIND_ERASURE, keys.KIND_ERASED)}
        await core.take(block, leaves, {}, [], [])


async def test_no_receipt_while_an_older_state_is_being_read(world: World) -> None:
    """A backup that runs holds the write-ahead log, with the pages as they were."""
    _, gone = await append(world, plain("stays"), plain(SMALL))
    known = await Known.of(world, gone, SMALL.encode())
    reader = sqlite3.connect(f"file:{world.custodian.folder / 'blobs.db'}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM blob").fetchall()
    erasure = await erase(world, [gone])
    await rounds(world)
    assert await receipts(world, erasure) == {}
    work = await world.custodian.records.erasures.work()
    assert work.blocked is not None
    assert "reads an older state" in work.blocked
    assert found_in(files(world.custodian.folder), known.traces()), "which is why"
    reader.execute("ROLLBACK")
    reader.close()
    await rounds(world)
    assert list(await receipts(world, erasure)) == [0]
    assert not found_in(files(world.custodian.folder), known.traces())


async def test_a_tombstone_beats_a_row_that_comes_late(world: World) -> None:
    """A node whose ledger is fetched anew takes in the entry and its erasure while the row is still staged."""
    submitter = world.custodian.records.submitter
    prepared = await submitter.append(world.chart, [plain(SMALL)])
    buried = (world.chart << 24 | 1, State.CLEAN)
    await world.custodian.ledger.database.write(
        lambda c: c.execute("INSERT INTO tombstone VALUES (?, 9, ?, NULL)", buried).rowcount
    )
    await settle(world.custodian.core, prepared)
    assert await world.custodian.ledger.records.get(world.chart, [1]) == {}
    assert await world.custodian.ledger.records.count() == 0
    assert await world.custodian.ledger.records.staged() == set()
    await rounds(world, world.custodian)
    assert (await world.custodian.blobs.totals()).count == 0


async def test_a_start_holds_the_ledger_against_what_lies_here(world: World) -> None:
    """A row that nobody here remembers to be erased, whatever brought it."""
    (gone,) = await append(world, plain(SMALL))
    known = await Known.of(world, gone, SMALL.encode())
    store = world.custodian.ledger.database
    (row,) = await store.read(lambda c: c.execute("SELECT * FROM record").fetchall())
    erasure = await erase(world, [gone])
    await rounds(world)

    def bring_back(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM tombstone")
        connection.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("UPDATE tally SET value = 1 WHERE name = 'records'")

    await store.write(bring_back)
    assert found_in(files(world.custodian.folder), [known.sealed[:32]])
    await world.network.stop(0)
    world.custodian = await world.network.start(0)
    await rounds(world, world.custodian)
    assert not found_in(files(world.custodian.folder), known.traces())
    assert list(await receipts(world, erasure)) == [0], "and no second receipt"


async def test_what_is_staged_is_sealed_anew_with_the_rest(world: World) -> None:
    (gone,) = await append(world, plain("goes"))
    await erase(world, [gone])
    prepared = await world.custodian.records.submitter.append(world.chart, [plain("staged meanwhile")])
    await rounds(world, world.custodian)
    final = await settle(world.custodian.core, prepared)
    number = final[0].receipt.operations[0].first_event
    assert await whole((await world.custodian.records.content(world.chart, number)).chunks) == b"staged meanwhile"


async def test_a_hold_stands_before_an_erasure_until_it_is_released(world: World) -> None:
    first, second = await append(world, plain("one"), plain("two"))
    placed = await carry(world, Hold(world.chart, (first,), bytes(32)))
    hold = placed.receipt.operations[0].first_event
    with pytest.raises(OnHold, match=f"hold {hold} "):
        await erase(world, [first])
    await erase(world, [second])
    await rounds(world)
    assert await whole((await world.custodian.records.content(world.chart, first)).chunks) == b"one"
    await carry(world, ReleaseHold(world.chart, hold))
    await erase(world, [first])
    await rounds(world)
    with pytest.raises(RecordErased):
        await world.custodian.records.content(world.chart, first)
    with pytest.raises(AlreadyErased):
        await erase(world, [first])


async def test_ordinary_erasures_share_a_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = await append(world, *(plain(str(n)) for n in range(5)))
    names = {key_of(world.custodian).present}
    for number in numbers[:4]:
        await erase(world, [number])
        await rounds(world, world.custodian)
        names.add(key_of(world.custodian).present)
    assert len(names) == 2, "one for the first, and then a rest"
    assert (await world.custodian.records.erasures.work()).receipts == 3
    ended, took = world.custodian.records.erasures._renewed or (0.0, 0.0)
    world.custodian.records.erasures._renewed = (ended - REST_S - 10 * took, took)
    await rounds(world, world.custodian)
    names.add(key_of(world.custodian).present)
    assert len(names) == 3
    assert (await world.custodian.records.erasures.work()).receipts == 0
    assert await whole((await world.custodian.records.content(world.chart, numbers[4])).chunks) == b"4"


async def test_what_is_on_its_way_to_storage_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record sealed under the former key and staged after the renewal would be lost."""
    (gone,) = await append(world, plain("goes"))
    await erase(world, [gone])
    monkeypatch.setattr("node.records.erase.QUIET_S", 0)
    key = key_of(world.custodian)
    with key.lease():
        sealed = key.seal(b"under way", b"context")
        await rounds(world, world.custodian)
        assert key.renewing
        assert (await world.custodian.records.erasures.work()).receipts == 1
        assert key.open(sealed, b"context") == b"under way"
    await rounds(world, world.custodian)
    assert not key.renewing
    with pytest.raises(KekGone):
        key.open(sealed, b"context")


async def test_what_is_erased_during_a_renewal_waits_for_the_next(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay under the key that this renewal brings, and no receipt is given while that opens what a backup has."""
    (first,) = await append(world, plain("goes"))
    await erase(world, [first])
    monkeypatch.setattr("node.records.erase.QUIET_S", 0)
    custodian, key, backup = world.custodian, key_of(world.custodian), tmp_path / "backup"
    with key.lease():
        await rounds(world, custodian)
        assert key.renewing
        (second,) = await append(world, plain(SMALL))
        known = await Known.of(world, second, SMALL.encode())
        backup.mkdir()
        back_up(custodian.folder, backup)
        erasure = await erase(world, [second])
        await rounds(world, custodian)
    await rounds(world, custodian)
    assert not key.renewing
    entries = await entries_of(world)
    assert known.secret.key in [one.key for one in secrets_left(backup, key, entries)]
    assert 0 not in await receipts(world, erasure)
    ended, took = custodian.records.erasures._renewed or (0.0, 0.0)
    custodian.records.erasures._renewed = (ended - REST_S - 10 * took, took)
    await rounds(world, custodian)
    assert secrets_left(backup, key, entries) == []
    await world.chain.make_block()
    assert 0 in await receipts(world, erasure)


async def test_no_request_is_recognised_by_whoever_has_its_bytes(world: World) -> None:
    prepared = await world.custodian.records.submitter.append(world.chart, [plain(SMALL)])
    other = await world.custodian.records.submitter.append(world.chart, [plain("stays")])
    rows = world.custodian.ledger.idempotency
    for key, one in ((b"a" * 32, prepared), (b"b" * 32, other)):
        await rows.put(key, Answer(b"m" * 32, 2**50, None, encode(tuple(p.id for p in one))))
    await settle(world.custodian.core, [*prepared, *other])
    await erase(world, [1])
    await rounds(world)
    first, second = await rows.get(b"a" * 32), await rows.get(b"b" * 32)
    assert first is not None
    assert second is not None
    assert (first.request, second.request) == (bytes(32), b"m" * 32)


async def test_all_who_store_it_are_named_and_each_answers(world: World) -> None:
    (gone,) = await append(world, plain("goes"))
    erasure = await erase(world, [gone], (1, 2))
    await rounds(world, world.custodian, world.other)
    assert sorted(await receipts(world, erasure)) == [0, 2]
    await rounds(world, world.reader)
    assert sorted(await receipts(world, erasure)) == [0, 1, 2]
    for hospital in (world.custodian, world.reader, world.other):
        assert (await hospital.records.erasures.work()).receipts == 0
