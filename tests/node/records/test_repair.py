"""Copies in the background: what lacks is made up for, what is damaged is fetched, and an erasure beats it all."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from node.network.interface import PeerGone, Refuse, RequestFailed, RequestRefused, RequestTimedOut
from node.records.holding_messages import HOLD, SEALED, SealedRequest
from node.records.placing import NotTaken
from node.scrub import Scrub
from node.storage.owner_keys import HandedKey
from protocol.codec.canonical import encode
from protocol.crypto.placement import ranked
from protocol.crypto.tags import Labels
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import ErasedPage
from protocol.ledger.reading import with_erased
from protocol.types.institutions import STATUS_REMOVED
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import SUITE
from tests.node.records.held import TEXT, Held, five, held
from tests.node.records.test_release import disclose, grant
from tests.node.records.test_submit import append, plain, whole

__all__ = ["five", "held"]


async def lose(held: Held, number: int) -> None:
    await held.hospital(number).ledger.database.write(lambda c: c.execute("DELETE FROM held").rowcount)


@pytest.mark.parametrize("found", [0, 1])
async def test_a_record_that_went_in_with_too_few_holders_gets_the_rest(five: World, found: int) -> None:
    order = ranked(five.chain.id, five.chart, 0, range(5))
    five.custodian.core.unreachable.update(order[found:])
    await append(five, plain(TEXT), plain("second"))
    repair = five.custodian.records.repair
    assert await repair.top_up() == 0
    assert (await repair.copies()).lacking == 2
    five.custodian.core.unreachable.clear()
    while await repair.top_up():
        pass
    assert (await repair.copies()).lacking == 0
    for number in order[:3]:
        assert len(await five.network.hospitals[number].ledger.held.get(five.chart, [1, 2])) == 2
    # The event names one holder or none; a reader finds the others all the same.
    event = decode_event((await five.other.core.events_at(five.chart, [1]))[1])
    assert isinstance(event, RecordAppended)
    assert event.holders == tuple(order[:found])
    five.reader = five.network.hospitals[order[3]]
    disclosure = await disclose(five, await grant(five, order[3]), [1])
    five.reader.core.unreachable.update({0, order[0]})
    content = await five.reader.records.reader.read(five.chart, disclosure, 1)
    assert await whole(content.chunks) == TEXT.encode()
    assert await five.custodian.records.holders(five.chart, [1, 2]) == sorted(order[:3])


async def test_what_could_not_be_handed_over_does_not_count_as_held(five: World) -> None:
    """Beside others of its chart that could: nobody has it, and who looks must be told so."""
    order = ranked(five.chain.id, five.chart, 0, range(5))
    five.custodian.core.unreachable.update(order)
    await append(five, plain(TEXT), plain("second"))
    five.custodian.core.unreachable.clear()
    store = five.custodian.ledger.records
    damaged = (await store.get(five.chart, [1]))[1]
    await five.custodian.blobs.discard([damaged.blob_id])
    while await five.custodian.records.repair.top_up():
        pass
    kept = await store.get(five.chart, [1, 2])
    assert [one.held for one in kept[2].copies] == [True] * 3
    assert (kept[1].copies, kept[1].lacking) == ((), 3)
    assert (await five.custodian.records.repair.copies()).lacking == 1


async def test_what_a_holder_lost_is_noticed_and_handed_over_again(held: Held) -> None:
    repair = held.world.custodian.records.repair
    assert await repair.audit() == 0
    await lose(held, held.holders[0])
    await repair.audit()  # the round had ended
    assert await repair.audit() == 2
    assert (await repair.copies()).lacking == 2
    while await repair.top_up():
        pass
    assert (await repair.copies()).lacking == 0
    held.down(0, held.holders[1])
    assert await held.read() == TEXT.encode()


async def test_one_that_is_gone_is_stood_in_for_with_its_own_share(held: Held) -> None:
    """Nobody ever has two shares, and what remains of the departed still counts as one."""
    world, gone = held.world, held.holders[0]
    leaf = await world.custodian.core.institution_leaf(gone)
    assert leaf is not None
    world.chain.view.leaves[keys.institution(gone)] = encode(replace(leaf, status=STATUS_REMOVED))
    repair = world.custodian.records.repair
    assert await repair.audit() == 2
    while await repair.top_up():
        pass
    own = (await world.custodian.ledger.records.get(world.chart, [1]))[1]
    assert own.lacking == 0
    assert [copy.holder for copy in own.copies if copy.held] == sorted({0, 1, 2, 3, 4} - {0, gone})
    by_index = {copy.index: copy.holder for copy in own.copies if copy.held}
    assert len(by_index) == 3
    assert gone in await world.custodian.records.holders(world.chart, [1]), "it owes a receipt all the same"


async def test_damage_at_writer_and_holder_is_healed_from_another_copy(held: Held) -> None:
    world = held.world
    for hospital in (world.custodian, held.hospital(held.holders[0])):
        scrub = Scrub(hospital.ledger.records, hospital.ledger.held, hospital.blobs)
        scrub.heal = hospital.records.repair.heal
        await hospital.blobs._database.write(lambda c: c.execute("DELETE FROM blob WHERE position = 1").rowcount)
        await hospital.blobs._database.write(lambda c: c.execute("UPDATE blob SET data = x'00'").rowcount)
        await whole_round(scrub)
        assert (scrub.missing, scrub.corrupt) == (set(), set())
        for record in (1, 2):
            own = await hospital.ledger.records.get(world.chart, [record])
            rows = await hospital.ledger.held.get(world.chart, [record])
            blob = own[record].blob_id if own else rows[record].handed.blob_id
            assert await hospital.blobs.check(blob) == "ok"


async def test_a_large_record_is_healed_in_pieces(five: World) -> None:
    data = random.Random(5).randbytes(6 * 1024 * 1024)

    async def body() -> AsyncIterator[bytes]:
        yield data

    submitter = five.custodian.records.submitter
    await settle(
        five.custodian.core, await submitter.append_stream(five.chart, "application/dicom", Labels(), None, body())
    )
    own = (await five.custodian.ledger.records.get(five.chart, [1]))[1]
    await five.custodian.blobs.discard([own.blob_id])
    assert await five.custodian.records.repair.heal(five.chart, 1, own.blob_id, own.blob_bytes)
    content = await five.custodian.records.content(five.chart, 1)
    assert await whole(content.chunks) == data


async def test_damage_that_no_copy_can_mend_stays_said(held: Held) -> None:
    custodian = held.world.custodian
    held.down(*held.holders)
    scrub = Scrub(custodian.ledger.records, custodian.ledger.held, custodian.blobs)
    scrub.heal = custodian.records.repair.heal
    await custodian.blobs._database.write(lambda c: c.execute("DELETE FROM blob").rowcount)
    await whole_round(scrub)
    assert scrub.missing == {(held.world.chart, 1), (held.world.chart, 2)}


async def test_sealed_bytes_go_to_copies_alone(held: Held) -> None:
    own = (await held.world.custodian.ledger.records.get(held.world.chart, [1]))[1]
    stranger = held.reader.core.institution
    for record, blob in ((1, own.blob_id), (None, own.blob_id), (2, own.blob_id), (99, own.blob_id)):
        with pytest.raises(Refuse):
            await held.world.custodian.records.answer(
                stranger, SEALED, encode(SealedRequest(held.world.chart, record, blob, 0))
            )
    for wrong in (SealedRequest(held.world.chart, 2, own.blob_id, 0), SealedRequest(held.world.chart, 1, bytes(32), 0)):
        with pytest.raises(Refuse):
            await held.world.custodian.records.answer(held.holders[0], SEALED, encode(wrong))


async def test_an_erased_record_is_neither_handed_over_nor_healed_nor_taken(held: Held) -> None:
    """The tombstone on the ledger beats every repair, at the writer and at the holder alike."""
    world = held.world
    repair = world.custodian.records.repair
    own = (await world.custodian.ledger.records.get(world.chart, [1]))[1]
    offers = await repair._offers(world.chart, [own])
    await lose(held, held.holders[0])
    await repair.audit()
    page = {keys.erased(world.chart, 1): encode(ErasedPage(with_erased(b"", [1])))}
    world.chain.view.leaves.update(page)
    assert await repair.top_up() == 1, "record 2 alone"
    assert not await repair.heal(world.chart, 1, own.blob_id, own.blob_bytes)
    with pytest.raises(NotTaken, match="erased"):
        await repair._placer.hand_over(held.holders[0], 1, world.chart, await repair._owner(world.chart), offers)
    assert 1 not in await held.hospital(held.holders[0]).ledger.held.get(world.chart, [1, 2])


async def whole_round(scrub: Scrub) -> None:
    rounds = scrub.rounds
    while scrub.rounds == rounds:
        await scrub.step()


async def test_an_envelope_sealed_anew_replaces_the_holders_copies(held: Held) -> None:
    """After a change of the owner's key nobody keeps handing out the envelope of the former one for good."""
    world, records = held.world, held.world.custodian.ledger.records
    own = (await records.get(world.chart, [1]))[1]
    key = HandedKey(world.chart, SUITE, b"new" * 100)
    await records.owner_keys.reseal(key, [own], {1: b"sealed to the new key"})
    repair = world.custodian.records.repair
    assert (await repair.copies()).lacking == 1
    while await repair.top_up():
        pass
    assert (await repair.copies()).lacking == 0
    for number in held.holders:
        rows = await held.hospital(number).ledger.held.get(world.chart, [1, 2])
        assert rows[1].handed.owner_envelope == b"sealed to the new key"
        assert rows[2].handed.owner_envelope != b"sealed to the new key"
    held.down(0)
    assert await held.read() == TEXT.encode()


@pytest.mark.parametrize("error", [RequestTimedOut("mute"), RequestRefused("busy", "no"), PeerGone("it hung up")])
async def test_who_took_a_share_and_did_not_say_so_never_gets_another(
    five: World, monkeypatch: pytest.MonkeyPatch, error: RequestFailed
) -> None:
    """Two shares would open the record: a holder that keeps one and says nothing must not come by a second."""
    order, ask, handed = ranked(five.chain.id, five.chart, 0, range(5)), five.custodian.core.ask, []

    async def crooked(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        answer = await ask(institution, method, payload, wait_s)
        if method == HOLD:
            handed.append(institution)
            if institution == order[0] and handed.count(order[0]) == 1:
                raise error
        return answer

    monkeypatch.setattr(five.custodian.core, "ask", crooked)
    await append(five, plain("a"))
    row = (await five.custodian.ledger.records.get(five.chart, [1]))[1]
    assert sorted(one.holder for one in row.copies if one.held) == sorted(order[1:4])
    assert [one.held for one in row.copies if one.holder == order[0]] == [False]
    lost = five.network.hospitals[order[1]]
    await lost.ledger.database.write(lambda c: c.execute("DELETE FROM held").rowcount)
    repair = five.custodian.records.repair
    assert await repair.audit() == 1
    five.custodian.core.unreachable.add(order[1])
    five.custodian.records.placer._rests.clear()
    await repair.top_up()
    assert handed.count(order[0]) == 1
    assert order[0] in await five.custodian.records.holders(five.chart, [1]), "an erasure asks it for a receipt"
