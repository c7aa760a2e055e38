"""The way in: durable before stated, sealed before stored, swept when it never left."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from node.records.errors import BadRecord, ChartUnknownHere, NotCustodian, NothingCovered
from node.records.fhir import Described
from node.records.opening import Key, open_whole
from node.records.seal import Plain, read_owner_plain
from node.records.submit import ENTRIES_PER_TRANSACTION, ChartOpening
from protocol.crypto.envelopes import envelope_info, open_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.tags import GrantLabels, Labels, tags_of
from protocol.errors import ChartExists, UnknownChart, UnknownGrant, UnknownRecord
from protocol.ledger.events import Outcome, RecordAppended, decode_event
from protocol.types.operations import Erase
from tests.node.records.conftest import World, opening, settle
from tests.node.records.fake_core import SUITE
from tests.node.records.patient import Patient


def plain(text: str, category: str = "Observation", year: str = "2020", supersedes: int | None = None) -> Plain:
    return Described(category, year, (), supersedes).plain(text.encode(), "text/plain")


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def append(world: World, *plains: Plain) -> list[int]:
    final = await settle(world.custodian.core, await world.custodian.records.submitter.append(world.chart, plains))
    return [n for one in final for r in one.receipt.operations for n in range(r.first_event, r.first_event + r.events)]


async def test_records_come_back_to_their_custodian_byte_for_byte(world: World) -> None:
    texts = ["", "x", "né " * 50_000]
    numbers = await append(world, *(plain(text) for text in texts))
    assert numbers == [1, 2, 3]
    for number, text in zip(numbers, texts, strict=True):
        content = await world.custodian.records.content(world.chart, number)
        assert (content.media_type, await whole(content.chunks)) == ("text/plain", text.encode())
    own = await world.custodian.records.own(world.chart, 1)
    assert (own.secret.labels.category, own.blob_state) == ("Observation", "ok")


async def test_thousands_of_records_go_in_transactions_of_five_hundred(world: World) -> None:
    count = 2 * ENTRIES_PER_TRANSACTION + 1
    prepared = await world.custodian.records.submitter.append(world.chart, [plain(str(n)) for n in range(count)])
    assert len(prepared) == 3
    await settle(world.custodian.core, prepared)
    for number in (1, ENTRIES_PER_TRANSACTION, ENTRIES_PER_TRANSACTION + 1, count):
        content = await world.custodian.records.content(world.chart, number)
        assert await whole(content.chunks) == str(number - 1).encode()


async def test_the_owner_opens_its_record_with_its_own_keys(world: World) -> None:
    (number,) = await append(world, plain("for the owner"))
    event = decode_event((await world.other.core.events_at(world.chart, [number]))[number])
    assert isinstance(event, RecordAppended)
    patient = world.patient
    recipient = encryption_key_digest(SUITE, patient.public)
    info = envelope_info(world.chain.id, world.chart, event.entry.commitment, recipient)
    envelope = await world.custodian.records.owner_envelope(world.chart, number)
    secret = read_owner_plain(open_envelope(SUITE, patient.private, info, envelope))
    size, chunks = await world.custodian.records.sealed(world.chart, number)
    sealed = await whole(chunks)
    assert len(sealed) == size
    key = Key(secret.key, secret.opening, secret.length, event.entry.commitment)
    assert open_whole(key, sealed) == b"for the owner"
    assert secret.labels == Labels("Observation", "2020")


async def test_tags_are_those_that_the_owner_can_compute(world: World) -> None:
    (number,) = await append(world, plain("tagged", "Condition", "1999"))
    event = decode_event((await world.other.core.events_at(world.chart, [number]))[number])
    assert isinstance(event, RecordAppended)
    assert event.entry.tags == tags_of(world.patient.keys.chart_secret, 0, Labels("Condition", "1999"))


async def test_two_equal_records_share_nothing_on_the_ledger_but_tags(world: World) -> None:
    one, two = await append(world, plain("same"), plain("same"))
    raw = await world.other.core.events_at(world.chart, [one, two])
    first, second = (decode_event(raw[n]) for n in (one, two))
    assert isinstance(first, RecordAppended)
    assert isinstance(second, RecordAppended)
    assert first.entry.commitment != second.entry.commitment
    owns = [await world.custodian.records.own(world.chart, n) for n in (one, two)]
    assert owns[0].stored.blob_id != owns[1].stored.blob_id


async def test_a_large_record_streams_in_and_out(world: World) -> None:
    pieces = [bytes([n % 251]) * 100_000 for n in range(90)]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    submitter = world.custodian.records.submitter
    prepared = await submitter.append_stream(world.chart, "application/dicom", Labels("ImagingStudy"), None, body())
    await settle(world.custodian.core, prepared)
    content = await world.custodian.records.content(world.chart, 1)
    assert content.length == 9_000_000
    assert await whole(content.chunks) == b"".join(pieces)


async def test_a_body_that_breaks_off_leaves_nothing(world: World) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(200_000)
        raise BadRecord("the client went away")

    submitter = world.custodian.records.submitter
    with pytest.raises(BadRecord):
        await submitter.append_stream(world.chart, "application/dicom", Labels(), None, body())
    assert (await world.custodian.blobs.totals()).count == 0
    assert await world.custodian.ledger.records.staged() == set()


async def test_a_refused_amendment_leaves_nothing(world: World) -> None:
    with pytest.raises(UnknownRecord):
        await append(world, plain("amends nothing", supersedes=7))
    assert (await world.custodian.blobs.totals()).count == 0
    assert await world.custodian.ledger.records.staged() == set()
    assert (await world.custodian.core.chart(world.chart)).events == 1  # type: ignore[union-attr]


async def test_blobs_and_secrets_are_durable_before_anything_leaves(world: World) -> None:
    """What the records side promises to its caller: everything stands when it hands out the transactions."""
    world.chain.held = True
    prepared = await world.custodian.records.submitter.append(world.chart, [plain("before")])
    assert world.custodian.core.submitted == 1  # the chart's
    assert await world.custodian.ledger.records.staged() == {prepared[0].id}
    assert (await world.custodian.blobs.totals()).count == 1


async def test_after_a_crash_before_submission_nothing_is_left_over(world: World) -> None:
    await world.custodian.records.submitter.append(world.chart, [plain("never left")])
    await world.network.stop(0)
    again = await world.network.start(0)
    assert await again.ledger.records.staged() == set()
    assert (await again.blobs.totals()).count == 0


async def test_a_crash_between_secrets_and_blobs_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No blob is ever without a row that names it, or nobody would find it again to remove it."""

    async def crash(blobs: object) -> None:
        assert len(await world.custodian.ledger.records.staged()) == 1
        raise ConnectionAbortedError

    monkeypatch.setattr(world.custodian.blobs, "put_many", crash)
    with pytest.raises(ConnectionAbortedError):
        await world.custodian.records.submitter.append(world.chart, [plain("never left")])
    await world.network.stop(0)
    again = await world.network.start(0)
    assert await again.ledger.records.staged() == set()


async def test_a_streamed_record_that_is_refused_leaves_no_blob(world: World) -> None:
    async def body() -> AsyncIterator[bytes]:
        for n in range(3):
            yield bytes([n]) * 100_000

    submitter = world.custodian.records.submitter
    with pytest.raises(UnknownRecord):
        await submitter.append_stream(world.chart, "application/dicom", Labels(), 7, body())
    assert (await world.custodian.blobs.totals()).count == 0
    assert await world.custodian.ledger.records.staged() == set()
    assert [path for path in (world.custodian.folder / "objects").rglob("*") if path.is_file()] == []


async def test_what_looks_lost_twice_is_swept_with_its_blobs_and_the_rest_stays(world: World) -> None:
    submitter = world.custodian.records.submitter
    world.chain.held = True
    waiting = await submitter.append(world.chart, [plain("waits")])
    await world.custodian.core.submit(waiting)
    await submitter.append(world.chart, [plain("never left")])
    expired = await submitter.append(world.chart, [plain("expires")])
    await world.custodian.core.submit(expired)
    assert await submitter.sweep() == 0
    await world.custodian.core.expire([expired[0].id])
    about_to_leave = await submitter.append(world.chart, [plain("leaves in a moment")])
    assert await submitter.sweep() == 1
    await world.custodian.core.submit(about_to_leave)
    assert await submitter.sweep() == 1
    assert await submitter.sweep() == 0
    assert await world.custodian.ledger.records.staged() == {waiting[0].id, about_to_leave[0].id}
    assert (await world.custodian.blobs.totals()).count == 2
    await world.chain.make_block()
    for number, text in ((1, b"waits"), (2, b"leaves in a moment")):
        assert await whole((await world.custodian.records.content(world.chart, number)).chunks) == text


async def test_after_a_crash_after_submission_the_record_is_there(world: World) -> None:
    world.chain.held = True
    prepared = await world.custodian.records.submitter.append(world.chart, [plain("left")])
    await world.custodian.core.submit(prepared)
    await world.network.stop(0)
    again = await world.network.start(0)
    assert await again.ledger.records.staged() == {prepared[0].id}
    await world.chain.make_block()
    content = await again.records.content(world.chart, 1)
    assert await whole(content.chunks) == b"left"


async def test_only_the_custodian_appends(world: World) -> None:
    with pytest.raises(NotCustodian):
        await world.reader.records.submitter.append(world.chart, [plain("no")])
    with pytest.raises(UnknownChart):
        await world.custodian.records.submitter.append(99, [plain("no")])


async def test_a_custodian_without_the_charts_secret_says_so(world: World) -> None:
    await world.custodian.ledger.database.write(lambda c: c.execute("DELETE FROM chart_secret").rowcount)
    with pytest.raises(ChartUnknownHere):
        await world.custodian.records.submitter.append(world.chart, [plain("no")])


async def test_another_charts_secret_is_noticed(world: World) -> None:
    second = Patient(world.chain, 0, "second")
    await settle(world.custodian.core, await world.custodian.records.submitter.open_chart(opening(second)))
    await world.custodian.ledger.database.write(
        lambda c: (
            c.execute(
                "UPDATE chart_secret SET sealed = (SELECT sealed FROM chart_secret WHERE chart = ?) WHERE chart = ?",
                (world.chart + 1, world.chart),
            ).rowcount
        )
    )
    with pytest.raises(ChartUnknownHere):
        await world.custodian.records.submitter.append(world.chart, [plain("no")])


async def test_a_chart_opens_once_and_only_with_a_usable_key(world: World) -> None:
    with pytest.raises(ChartExists):
        await world.custodian.records.submitter.open_chart(opening(world.patient))
    stranger = opening(Patient(world.chain, 0, "stranger"))
    for suite, public in ((9, stranger.encryption_public), (SUITE, b"short")):
        broken = ChartOpening(stranger.owner_key, suite, public, stranger.chart_secret, stranger.cosignature)
        with pytest.raises(BadRecord):
            await world.custodian.records.submitter.open_chart(broken)


async def test_covered_names_what_the_grants_tags_cover(world: World) -> None:
    numbers = await append(world, plain("a"), plain("b", "Condition"), plain("c", year="1990"), plain("d"))
    labels = GrantLabels(categories=("Observation",), years=("2020",))
    final = await settle(
        world.other.core, await world.other.core.prepare([[world.patient.grant(world.chart, 1, labels)]])
    )
    grant = final[0].receipt.operations[0].grant
    submitter = world.reader.records.submitter
    decided = await settle(world.reader.core, await submitter.disclose(world.chart, grant, "TREAT", None))
    event = decided[0].receipt.operations[0].first_event
    assert await world.reader.records.reader.named_by(world.chart, event) == (numbers[0], numbers[3])
    erase = world.patient.sign(Erase(world.chart, (numbers[0],), ()))
    await settle(world.custodian.core, await world.custodian.core.prepare([[erase]]))
    decided = await settle(world.reader.core, await submitter.disclose(world.chart, grant, "TREAT", None))
    receipt = decided[0].receipt.operations[0]
    assert receipt.outcome == Outcome.DISCLOSED, "an erased record among those named has all of them denied"
    assert await world.reader.records.reader.named_by(world.chart, receipt.first_event) == (numbers[3],)
    nothing = GrantLabels(categories=("Immunization",))
    final = await settle(
        world.other.core, await world.other.core.prepare([[world.patient.grant(world.chart, 1, nothing)]])
    )
    with pytest.raises(NothingCovered):
        await submitter.disclose(world.chart, final[0].receipt.operations[0].grant, "TREAT", None)
    for missing in (None, 17):
        with pytest.raises(UnknownGrant):
            await submitter.disclose(world.chart, missing, "TREAT", None)
