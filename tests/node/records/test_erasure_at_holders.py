"""Erasure where others hold records: every share goes, nothing comes back, and each holder answers for itself."""

from __future__ import annotations

import pytest

from node.records.errors import RecordErased
from node.storage.held_store import StagedHeld
from node.storage.tombstones import State
from protocol.chart_errors import HolderMissing
from tests.node.records.erasing import Known, entries_of, erase, files, found_in, key_of, receipts, rounds, secrets_left
from tests.node.records.held import TEXT, Held, five, held

__all__ = ["five", "held"]


async def test_every_holder_deletes_its_share_and_gives_its_own_receipt(held: Held) -> None:
    world = held.world
    known = await Known.of(world, 1, TEXT.encode())
    holders = [held.hospital(number) for number in held.holders]
    shares = [(await one.ledger.held.get(world.chart, [1]))[1].handed for one in holders]
    traces = [part for handed in shares for part in (handed.share[-48:], handed.details[-48:])] + known.traces()
    named = await world.custodian.records.holders(world.chart, [1])
    assert tuple(named) == held.holders
    with pytest.raises(HolderMissing):
        await erase(world, [1], held.holders[:-1])
    erasure = await erase(world, [1], tuple(named))
    first, second, last = holders
    await rounds(world, world.custodian, first, second)
    assert sorted(await receipts(world, erasure)) == sorted({0, *held.holders[:2]})
    assert found_in(files(last.folder), traces), "it has not answered, and has not deleted"
    await rounds(world, last)
    assert sorted(await receipts(world, erasure)) == sorted({0, *held.holders})
    entries = await entries_of(world)
    for hospital in (world.custodian, *holders, held.reader):
        assert not found_in(files(hospital.folder), traces)
        assert all(s.key != known.secret.key for s in secrets_left(hospital.folder, key_of(hospital), entries))
    for one in holders:
        assert list(await one.ledger.held.get(world.chart, [1, 2])) == [2]
        assert await one.ledger.held.count() == 1
    held.down(0)
    with pytest.raises(RecordErased):
        await held.read(1)
    assert await held.read(2) == b"second", "its shares were sealed anew with the rest, and open"


async def test_what_is_handed_over_late_is_beaten_by_the_tombstone(held: Held) -> None:
    """A repair, or a writer that was away, brings what was erased meanwhile: before it is final here, and after."""
    world = held.world
    holder = held.hospital(held.order()[0])
    known = await Known.of(world, 1, TEXT.encode())
    row = (await holder.ledger.held.get(world.chart, [1]))[1]
    blob = await holder.blobs.get(row.handed.blob_id)
    await erase(world, [1], held.holders)
    await rounds(world, holder)
    await holder.blobs.put(blob)
    await holder.ledger.held.put([row], [known.event.entry.commitment])
    assert await holder.ledger.held.get(world.chart, [1]) == {}
    assert await holder.ledger.erasures.any_in(State.DUE)
    await rounds(world, holder)
    assert not found_in(files(holder.folder), known.traces())


async def test_what_its_writer_handed_over_twice_goes_whole(held: Held) -> None:
    world = held.world
    holder = held.hospital(held.order()[0])
    known = await Known.of(world, 1, TEXT.encode())
    row = (await holder.ledger.held.get(world.chart, [1]))[1]
    again = StagedHeld(known.event.entry.commitment, world.chart, holder.core.institution, 0, 0, row.handed)
    await holder.ledger.held.stage([again])
    await erase(world, [1], held.holders)
    await rounds(world, holder)
    assert not found_in(files(holder.folder), [*known.traces(), row.handed.share[-48:]])
    assert (await holder.ledger.held.staged_by(0)).count == 0


async def test_an_institution_that_nobody_named_deletes_too(held: Held) -> None:
    """A copy that its writer placed later, and that this custodian does not know of."""
    world = held.world
    holder, outsider = held.hospital(held.order()[0]), held.reader
    row = (await holder.ledger.held.get(world.chart, [1]))[1]
    await outsider.blobs.put(await holder.blobs.get(row.handed.blob_id))
    known = await Known.of(world, 1, TEXT.encode())
    await outsider.ledger.held.put([row], [known.event.entry.commitment])
    assert found_in(files(outsider.folder), known.traces())
    erasure = await erase(world, [1], held.holders)
    await rounds(world, outsider)
    assert not found_in(files(outsider.folder), known.traces())
    assert await receipts(world, erasure) == {}, "it owes none"
    assert (await outsider.records.erasures.work()).receipts == 0


async def test_a_blob_that_comes_after_its_erasure_does_not_stay(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer hands a copy over again, and the erasure becomes final and is carried out while the blob travels."""
    world = held.world
    holder = held.hospital(held.order()[0])
    known = await Known.of(world, 1, TEXT.encode())
    await holder.ledger.held._database.write(lambda c: c.execute("DELETE FROM held WHERE place = ?", (1,)).rowcount)
    await holder.ledger.database.write(lambda c: c.execute("UPDATE tally SET value = 1 WHERE name = 'held'").rowcount)
    await holder.blobs.discard([(await world.custodian.records.own(world.chart, 1)).stored.blob_id])
    put_many = holder.blobs.put_many

    async def late(blobs: list[bytes]) -> list[bytes]:
        await erase(world, [1], held.holders)
        await rounds(world, holder)
        return await put_many(blobs)

    monkeypatch.setattr(holder.blobs, "put_many", late)
    repair = world.custodian.records.repair
    await repair.audit()
    await repair.top_up()
    assert world.chain.header.height > known.event.height
    assert not found_in(files(holder.folder), known.traces())
    assert list(await holder.ledger.held.get(world.chart, [1, 2])) == [2]
