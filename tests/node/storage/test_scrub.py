"""A blob that is lost or altered is found without anybody asking, and said until it is whole again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from node import scrub as scrubbing
from node.scrub import Scrub
from node.storage.blobs import BlobStore
from node.storage.ledger_store import LedgerStore
from node.storage.records_store import StagedRecord
from node.storage.types import Place
from protocol.crypto.hashing import transaction_id

DATA = [b"sealed record %d" % number * 40 for number in range(5)]


@pytest.fixture
async def kept(tmp_path: Path, store: LedgerStore, chain: Any) -> AsyncIterator[tuple[Scrub, BlobStore]]:
    """Five records in two charts, and a scrub that looks at two at a time."""
    blobs = await BlobStore.open(tmp_path)
    ids = await blobs.put_many(DATA)
    await store.commit([chain.block(chain.open_charts(0, 0, 1))])
    one, two = chain.append(0, 0, 3), chain.append(0, 1, 2)
    for transaction, mine in ((one, ids[:3]), (two, ids[3:])):
        rows = [StagedRecord(0, n, identity, 900, b"s", b"e") for n, identity in enumerate(mine)]
        await store.records.stage({transaction_id(transaction.body): rows})
    settled = [chain.settled(one, Place(0, 0, 1)), chain.settled(two, Place(0, 1, 1))]
    await store.commit([chain.block(one, two, settled=settled)])
    yield Scrub(store.records, store.held, blobs), blobs
    await blobs.close()


async def whole_round(scrub: Scrub) -> None:
    rounds = scrub.rounds
    while scrub.rounds == rounds:
        await scrub.step()


async def test_damage_is_found_named_and_forgotten_when_mended(
    kept: tuple[Scrub, BlobStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "AT_ONCE", 2)
    scrub, _ = kept
    await whole_round(scrub)
    assert (scrub.missing, scrub.corrupt) == (set(), set())
    with sqlite3.connect(tmp_path / "blobs.db") as database:
        rows = database.execute("SELECT position, prefix, id, bytes, data FROM blob ORDER BY position").fetchall()
        lost = next(row for row in rows if row[4] == DATA[4])
        database.execute("DELETE FROM blob WHERE position = ?", (lost[0],))
        altered = next(row for row in rows if row[4] == DATA[1])
        database.execute("UPDATE blob SET data = ? WHERE position = ?", (b"x" + DATA[1][1:], altered[0]))
    with capture_logs() as logs:
        await whole_round(scrub)
        await whole_round(scrub)
    assert (scrub.missing, scrub.corrupt) == ({(1, 2)}, {(0, 2)})
    assert len([line for line in logs if line["log_level"] == "error"]) == 2, "said once each"
    with sqlite3.connect(tmp_path / "blobs.db") as database:
        database.execute("INSERT INTO blob VALUES (?, ?, ?, ?, ?)", lost)
        database.execute("UPDATE blob SET data = ? WHERE position = ?", (DATA[1], altered[0]))
    await whole_round(scrub)
    assert (scrub.missing, scrub.corrupt) == (set(), set())


async def test_each_step_is_bounded(kept: tuple[Scrub, BlobStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "AT_ONCE", 2)
    scrub, blobs = kept
    checked: list[bytes] = []
    check = blobs.check

    async def counted(identity: bytes) -> Any:
        checked.append(identity)
        return await check(identity)

    monkeypatch.setattr(blobs, "check", counted)
    await scrub.step()
    assert len(checked) == 2
