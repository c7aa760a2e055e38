"""Copies and key shares on their way in: held before an entry names them, and nothing learnt by holding them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.network.interface import RequestTimedOut
from node.records import placing
from node.records.fhir import Described
from node.records.holding_messages import HOLD, SHARE, ShareAnswer
from node.records.messages import INLINE_BYTES
from protocol.codec.canonical import decode, encode
from protocol.crypto.placement import ranked
from protocol.crypto.shares import combine_shares
from protocol.crypto.tags import Labels
from protocol.ledger.events import RecordAppended, decode_event
from protocol.types.operations import AppendRecords, SignedOperation
from protocol.types.transaction import Transaction
from tests.node.records.conftest import World, opening, settle
from tests.node.records.fake_core import SUITE, Chain, Network
from tests.node.records.held import TEXT, Held, five, held
from tests.node.records.patient import Patient
from tests.node.records.test_release import disclose, grant
from tests.node.records.test_submit import append, plain, whole

__all__ = ["five", "held"]


async def test_the_entry_names_those_that_placement_chooses_and_each_has_its_share(held: Held) -> None:
    event = await held.event()
    assert event.holders == held.holders
    world = held.world
    own = (await world.custodian.ledger.records.get(world.chart, [1]))[1]
    assert {copy.holder for copy in own.copies} == set(held.holders)
    assert {copy.index for copy in own.copies} == {1, 2, 3}
    assert own.lacking == 0
    shares = []
    for number in held.holders:
        hospital = held.hospital(number)
        row = (await hospital.ledger.held.get(world.chart, [1]))[1]
        assert row.writer == 0
        assert await hospital.blobs.check(row.handed.blob_id) == "ok"
        kek = hospital.records._kek
        shares += kek.open_shares(row.handed.share, world.chart, event.entry.commitment)
        assert await hospital.ledger.held.staged_by(0) == (await held.reader.ledger.held.staged_by(0))
        assert await hospital.ledger.held.owner(world.chart) == (SUITE, world.patient.public)
    secret = (await world.custodian.records.own(world.chart, 1)).secret
    assert combine_shares(shares[:2]) == combine_shares(shares[1:]) == secret.key


async def test_nobody_else_holds_anything(held: Held) -> None:
    others = set(held.world.network.hospitals) - {0, *held.holders}
    for number in others:
        assert await held.hospital(number).ledger.held.count() == 0
        assert (await held.hospital(number).blobs.totals()).count == 0


async def test_holders_learn_neither_length_nor_labels_from_what_they_keep(five: World) -> None:
    """What lies at a holder for two records of the same padded size differs in nothing that can be measured."""
    long = Described("A" * 40, "2020", ("HIV", "PSY", "SUD"), custom=True).plain(b"x", "application/" + "y" * 100)
    await append(five, plain("a"), long)
    holder = five.network.hospitals[ranked(five.chain.id, five.chart, 0, range(5))[0]]
    one, two = (await holder.ledger.held.get(five.chart, [1, 2])).values()
    sizes = [(h.blob_bytes, len(h.share), len(h.details), len(h.owner_envelope)) for h in (one.handed, two.handed)]
    assert sizes[0] == sizes[1]


async def test_a_holder_that_is_away_is_passed_over_for_the_next(five: World) -> None:
    order = ranked(five.chain.id, five.chart, 0, range(5))
    five.custodian.core.unreachable.add(order[0])
    await append(five, plain(TEXT))
    event = decode_event((await five.other.core.events_at(five.chart, [1]))[1])
    assert isinstance(event, RecordAppended)
    assert event.holders == tuple(sorted(order[1:4]))


async def test_a_submission_waits_for_a_mute_holder_once_and_only_so_long(
    five: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ranked(five.chain.id, five.chart, 0, range(5))[0]
    asked: list[float] = []
    ask = five.custodian.core.ask

    async def mute(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        if institution == first:
            asked.append(wait_s)
            raise RequestTimedOut("no answer")
        return await ask(institution, method, payload, wait_s)

    monkeypatch.setattr(five.custodian.core, "ask", mute)
    await append(five, plain(TEXT))
    await append(five, plain(TEXT))
    assert asked == [placing.ANSWER_S], "the second submission passes it over"


async def test_who_goes_on_letting_submissions_wait_is_passed_over_for_longer(
    five: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ranked(five.chain.id, five.chart, 0, range(5))[0]
    placer, ask, loop = five.custodian.records.placer, five.custodian.core.ask, asyncio.get_running_loop()
    mute, later_s, clock = True, 0.0, loop.time

    async def answer(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        if mute and institution == first:
            raise RequestTimedOut("no answer")
        return await ask(institution, method, payload, wait_s)

    def passed_over() -> bool:
        return first not in placer.candidates(five.chart, exclude=())

    monkeypatch.setattr(five.custodian.core, "ask", answer)
    monkeypatch.setattr(loop, "time", lambda: clock() + later_s)
    for rest_s in (placing.REST_S, 2 * placing.REST_S, 4 * placing.REST_S):
        await append(five, plain(TEXT))
        later_s += rest_s - 1
        assert passed_over()
        later_s += 1
        assert not passed_over()
    mute = False
    await append(five, plain(TEXT))
    mute = True
    await append(five, plain(TEXT))
    assert passed_over()
    later_s += placing.REST_S
    assert not passed_over(), "what it took in between counts for it"


async def test_with_too_few_holders_a_record_goes_in_all_the_same(five: World) -> None:
    order = ranked(five.chain.id, five.chart, 0, range(5))
    five.custodian.core.unreachable.update(order[1:])
    await append(five, plain(TEXT))
    event = decode_event((await five.other.core.events_at(five.chart, [1]))[1])
    assert isinstance(event, RecordAppended)
    assert event.holders == (order[0],)
    assert await five.custodian.ledger.records.count_lacking() == 1


@pytest.mark.parametrize(("institutions", "holders", "threshold"), [(2, 0, 0), (3, 2, 2), (4, 3, 2), (5, 3, 2)])
async def test_thresholds_with_few_institutions(
    tmp_path: Path, institutions: int, holders: int, threshold: int
) -> None:
    network = Network(Chain(institutions), tmp_path, 3)
    try:
        hospitals = [await network.start(number) for number in range(institutions)]
        patient = Patient(network.chain, 0)
        prepared = await hospitals[0].records.submitter.open_chart(opening(patient))
        await settle(hospitals[0].core, prepared)
        await settle(hospitals[0].core, await hospitals[0].records.submitter.append(0, [plain(TEXT)]))
        own = (await hospitals[0].ledger.records.get(0, [1]))[1]
        assert len(own.copies) == holders
        assert own.lacking == 0
        split = hospitals[0].records.placer.split()
        assert (0 if split is None else split.threshold) == threshold
        assert (own.shares == b"") is (holders == 0)
    finally:
        await network.close()


async def test_what_was_handed_over_and_never_submitted_is_swept_with_its_blobs(five: World) -> None:
    await five.custodian.records.submitter.append(five.chart, [plain("never left")])
    holder = five.network.hospitals[ranked(five.chain.id, five.chart, 0, range(5))[0]]
    assert (await holder.ledger.held.staged_by(0)).count == 1
    assert await holder.records.holding.sweep() == 0
    five.chain.clock.ms += 3 * holder.core.params.valid_until_max_ms
    await five.chain.make_block()
    assert await holder.records.holding.sweep() == 1
    assert (await holder.blobs.totals()).count == 0
    assert (await holder.ledger.held.staged_by(0)).count == 0


async def test_a_holder_that_the_entry_does_not_name_keeps_nothing(
    five: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its acknowledgement was lost on the way: the writer named another, and what it took goes with the next sweep."""
    first = ranked(five.chain.id, five.chart, 0, range(5))[0]
    ask = five.custodian.core.ask

    async def lossy(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        answer = await ask(institution, method, payload, wait_s)
        if institution == first and method == HOLD:
            raise RequestTimedOut("the answer was lost")
        return answer

    monkeypatch.setattr(five.custodian.core, "ask", lossy)
    await append(five, plain(TEXT))
    holder = five.network.hospitals[first]
    assert (await holder.ledger.held.staged_by(0)).count == 1
    assert await holder.records.holding.sweep() == 1
    assert await holder.ledger.held.count() == 0
    assert (await holder.blobs.totals()).count == 0


async def test_a_crash_of_a_holder_after_its_word_loses_nothing(five: World) -> None:
    five.chain.held = True
    prepared = await five.custodian.records.submitter.append(five.chart, [plain(TEXT)])
    first = ranked(five.chain.id, five.chart, 0, range(5))[0]
    await five.network.stop(first)
    holder = await five.network.start(first)
    await five.custodian.core.submit(prepared)
    await five.chain.make_block()
    row = (await holder.ledger.held.get(five.chart, [1]))[1]
    assert await holder.blobs.check(row.handed.blob_id) == "ok"


async def test_a_large_record_is_fetched_by_its_holders(five: World) -> None:
    data = random.Random(3).randbytes(9 * 1024 * 1024)

    async def body() -> AsyncIterator[bytes]:
        yield data

    submitter = five.custodian.records.submitter
    await settle(
        five.custodian.core, await submitter.append_stream(five.chart, "application/dicom", Labels(), None, body())
    )
    await append(five, replace(plain(""), data=data[: 2 * INLINE_BYTES]))
    order = ranked(five.chain.id, five.chart, 0, range(5))
    for number in order[:3]:
        rows = await five.network.hospitals[number].ledger.held.get(five.chart, [1, 2])
        assert [await five.network.hospitals[number].blobs.check(one.handed.blob_id) for one in rows.values()] == [
            "ok",
            "ok",
        ]
    five.reader = five.network.hospitals[order[3]]
    disclosure = await disclose(five, await grant(five, order[3]), [1, 2])
    five.reader.core.unreachable.add(0)
    assert await five.reader.records.reader.read_some(five.chart, disclosure, [1]) == []
    for record, length in ((1, len(data)), (2, 2 * INLINE_BYTES)):
        content = await five.reader.records.reader.read(five.chart, disclosure, record)
        assert await whole(content.chunks) == data[:length]


@pytest.mark.parametrize("said", [1, INLINE_BYTES + 1, 1 << 40])
async def test_a_holder_that_lies_about_a_large_records_size_stops_no_read(
    five: World, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    """It gives the right share, so what opens the record comes from it; the size is its own word alone."""
    data = random.Random(3).randbytes(2 * INLINE_BYTES)
    await append(five, replace(plain(""), data=data))
    order = ranked(five.chain.id, five.chart, 0, range(5))
    five.reader = five.network.hospitals[order[3]]
    disclosure = await disclose(five, await grant(five, order[3]), [1])
    ask = five.reader.core.ask

    async def lying(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        raw = await ask(institution, method, payload, wait_s)
        if institution != order[0] or method != SHARE:
            return raw
        answer = decode(ShareAnswer, raw)
        return encode(replace(answer, shared=tuple(replace(one, blob_bytes=said) for one in answer.shared)))

    monkeypatch.setattr(five.reader.core, "ask", lying)
    five.reader.core.unreachable.add(0)
    content = await five.reader.records.reader.read(five.chart, disclosure, 1)
    assert await whole(content.chunks) == data


async def test_who_copies_a_commitment_on_its_way_takes_no_copy_from_its_writer(five: World) -> None:
    """In the very block, and behind it: what was staged for the writer's entry still moves to its place."""
    thief = five.network.hospitals[1]
    patient = Patient(five.chain, 1, "somebody else")
    (opened,) = await settle(thief.core, await thief.records.submitter.open_chart(opening(patient)))
    five.chain.held = True
    prepared = await five.custodian.records.submitter.append(five.chart, [plain(TEXT)])
    await five.custodian.core.submit(prepared)
    entries = decode(Transaction, prepared[0].raw).body.operations[0].operation.entries  # type: ignore[union-attr]
    copied = SignedOperation(AppendRecords(opened.receipt.operations[0].on_chart, entries))
    await thief.core.submit(await thief.core.prepare([[copied]]))
    await five.chain.make_block()
    event = decode_event(five.chain.view.events[five.chart, 1])
    assert isinstance(event, RecordAppended)
    assert event.entry == entries[0]
    assert len(event.holders) == 3
    for number in event.holders:
        assert set(await five.network.hospitals[number].ledger.held.get(five.chart, [1])) == {1}
