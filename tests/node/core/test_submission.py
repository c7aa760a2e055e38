"""Own transactions: numbered once, durable before they leave, and dead only when the final state says so."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from node import submission as module
from node.mempool import HEADER_BYTES, make_entry
from node.sansio.finality import ForkSeen
from node.services import Dead, Final, Prepared, Waiting
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import prove_possession, sign_transaction
from protocol.errors import AlreadyReported, Busy, ChartExists, Expired, NotAccredited, Oversize, Replayed, WrongKey
from protocol.types.governance import USE_OPERATIONS, RotateInstitutionKey, SetOperationsKey
from protocol.types.operations import SignedOperation
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import FINALIZE, Certificate, VoteSubject
from tests.node.core.solo import CHAIN, NOW, Place, Solo, key, opening


async def test_what_was_submitted_outlives_a_crash_and_goes_out_again(place: Place) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    assert solo.gossip.pushed == []
    await solo.submission.submit([one])
    await place.stop()
    solo = await place.start()
    assert [entry.id for entry in solo.gossip.pushed] == [one.id]
    assert await solo.submission.outcomes([one.id], 0) == [Waiting.PENDING]
    await solo.finalize(await solo.build())
    (outcome,) = await solo.submission.outcomes([one.id], 0)
    assert isinstance(outcome, Final)
    await place.stop()
    solo = await place.start()
    assert await solo.submission.outcomes([one.id], 0) == [outcome]
    assert solo.submission.pending == 0
    await solo.submission.submit([one])  # a client's late retry
    assert await solo.submission.outcomes([one.id, bytes(32)], 0) == [outcome, Waiting.UNKNOWN]


async def test_no_restart_hands_out_a_number_twice(place: Place) -> None:
    used: list[int] = []
    for round_ in range(4):
        solo = await place.start()
        prepared = await solo.submission.prepare([opening(f"{round_} {n}") for n in range(5)])
        used += [one.number for one in prepared]
        if round_ % 2:
            await solo.submission.submit(prepared[:2])
            await solo.finalize(await solo.build())
        await place.stop()
    assert len(set(used)) == len(used)
    assert used == sorted(used)


async def test_what_expired_is_named_and_forgotten(place: Place) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([one])
    block = await solo.build(wall=one.valid_until + 1)
    assert block.transactions == ()
    # Not by this node's clock, and not while the block is not final: another leader could still include it.
    assert await solo.submission.outcomes([one.id], 0) == [Waiting.PENDING]
    await solo.finalize(block)
    (outcome,) = await solo.submission.outcomes([one.id], 0)
    assert isinstance(outcome, Dead)
    assert isinstance(outcome.error, Expired)
    assert solo.submission.expired == [one.id]
    assert await solo.store.outbox.pending() == []


async def test_what_expired_while_the_node_was_away_is_named_at_the_start(place: Place) -> None:
    solo = await place.start()
    one, _other = await solo.submission.prepare([opening("a"), opening("b")])
    await solo.submission.submit([one])
    solo.pool.remove([one.id])
    await place.stop()
    solo = await place.start()
    solo.pool.remove([one.id])
    empty = await solo.build(wall=one.valid_until + 1)
    await place.stop()
    store = await LedgerStore.open(place.folder / "ledger.db")
    subject = VoteSubject(FINALIZE, CHAIN, 0, 1, 0, block_digest(empty.header))
    await store.commit([CommittedBlock(empty.header, (), Certificate(subject, ((0, bytes(64)),)), (), {}, {}, ())])
    await store.close()
    solo = await place.start()
    (outcome,) = await solo.submission.outcomes([one.id], 0)
    assert isinstance(outcome, Dead)
    assert solo.submission.expired == [one.id]


async def test_a_refusal_on_a_state_that_never_becomes_final_is_no_death(place: Place) -> None:
    solo = await place.start()
    first, second = await solo.submission.prepare([opening("a"), opening("b")])
    await solo.submission.submit([first, second])
    branch = await solo.build()
    assert len(branch.transactions) == 2
    late = await solo.build(wall=first.valid_until + 1)  # this leader's clock is wrong
    assert late.transactions == ()
    assert len(solo.pool) == 0
    await solo.finalize(branch)
    outcomes = await solo.submission.outcomes([first.id, second.id], 0)
    assert all(isinstance(one, Final) for one in outcomes)


async def test_what_was_refused_is_looked_at_again_within_seconds_though_no_block_comes(place: Place) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([one])
    looks = []
    for _ in range(40):  # twenty seconds, in which no leader takes it
        pooled = list(solo.pool)
        if pooled:
            looks.append(solo.clock.monotonic)
            solo.finality.refuse([(entry, NotAccredited()) for entry in pooled])
        solo.clock.monotonic += 500
        await solo.submission.tick()
    assert looks == [0, 500, 1_500, 3_500, 7_500, 15_500]
    solo.clock.monotonic += 8_000
    solo.clock.wall = one.valid_until + 1  # now no leader could take it: it waits for a block, which decides
    await solo.submission.tick()
    assert len(solo.pool) == 0
    assert await solo.submission.outcomes([one.id], 0) == [Waiting.PENDING]


async def test_who_signed_what_is_invalid_answers_for_it_but_not_for_a_report_that_came_second(place: Place) -> None:
    solo = await place.start()
    await solo.submission.submit(await solo.submission.prepare([opening("a"), opening("b")]))
    first, second = solo.pool
    solo.finality.refuse([(first, AlreadyReported())])
    assert solo.finality.refused_of == {}
    solo.finality.refuse([(second, NotAccredited())])
    assert solo.finality.refused_of == {0: 1}
    assert len(solo.pool) == 0


async def test_without_anything_refused_nothing_is_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([one])
    monkeypatch.setattr(solo.executor, "try_all", lambda *_: pytest.fail("looked"))
    for _ in range(20):
        solo.clock.monotonic += 1_000
        await solo.submission.tick()


async def test_what_no_block_has_room_for_is_refused_by_name(place: Place) -> None:
    """Its leader would build empty blocks for it until it expires."""
    solo = await place.start()
    (small,) = await solo.submission.prepare([opening("a")])
    limit = len(small.raw)
    params = solo.standing.params
    solo.standing.params = msgspec.structs.replace(params, block_bytes=limit + 5 + 6 + HEADER_BYTES)
    (fits,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([fits])
    await solo.finalize(await solo.build())
    assert isinstance((await solo.submission.outcomes([fits.id], 0))[0], Final)
    both = opening("b") + opening("c")
    with pytest.raises(Oversize, match=f"this chain's limit of {limit}"):
        await solo.submission.prepare([both])
    body = TransactionBody(CHAIN, 0, 0, 77, NOW + 60_000, tuple(both))
    large = sign_transaction(key("op"), body)
    (refused,) = await solo.submission.adopt([encode(large)])
    assert isinstance(refused, Oversize)
    entry = make_entry(large, encode(large), None)
    with pytest.raises(Oversize):
        await solo.submission.submit([Prepared(entry.id, entry.raw, 77, NOW + 60_000)])
    assert solo.submission.pending == 0


async def test_what_a_motion_makes_too_large_is_no_work_until_another_makes_room(place: Place) -> None:
    """Or every leader in turn would build an empty block for it until it expires."""
    solo = await place.start()
    (small,) = await solo.submission.prepare([opening("a")])
    (large,) = await solo.submission.prepare([opening("b") + opening("c")])
    await solo.submission.submit([small])
    block = await solo.build()
    await solo.submission.submit([large])
    wide = solo.standing.params
    solo.standing.params = msgspec.structs.replace(wide, block_bytes=len(small.raw) + 5 + 6 + HEADER_BYTES)
    await solo.finalize(block)
    assert not solo.pool.has_work
    assert await solo.submission.outcomes([large.id], 0) == [Waiting.PENDING]
    solo.clock.monotonic += 60_000
    await solo.submission.tick()
    assert not solo.pool.has_work
    solo.standing.params = wide
    solo.clock.monotonic += 60_000
    await solo.submission.tick()
    assert solo.pool.has_work


async def test_of_two_that_exclude_each_other_the_second_dies_by_name(place: Place) -> None:
    solo = await place.start()
    (first,) = await solo.submission.prepare([opening("a")])
    (second,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([first, second])
    await solo.finalize(await solo.build())
    done, dead = await solo.submission.outcomes([first.id, second.id], 1)
    assert isinstance(done, Final)
    assert isinstance(dead, Dead)
    assert isinstance(dead.error, ChartExists)


async def test_a_number_that_another_machine_used_up_is_named(place: Place) -> None:
    solo = await place.start()
    (mine,) = await solo.submission.prepare([opening("a")])
    body = TransactionBody(CHAIN, 0, 0, mine.number, NOW + 60_000, tuple(opening("b")))
    theirs = sign_transaction(key("op"), body)
    solo.pool.add(make_entry(theirs, encode(theirs), None))
    block = await solo.build()
    solo.pool.remove([entry.id for entry in list(solo.pool)])
    await solo.submission.submit([mine])
    await solo.finalize(block)
    (outcome,) = await solo.submission.outcomes([mine.id], 0)
    assert isinstance(outcome, Dead)
    assert isinstance(outcome.error, Replayed)


async def test_what_an_operations_key_signed_before_it_was_replaced_dies_by_name(place: Place) -> None:
    """And the node signs with the new key at once, under numbers that go on."""
    solo = await place.start()
    fresh = key("fresh")
    proof = prove_possession(fresh, CHAIN, "h", USE_OPERATIONS)
    change = SignedOperation(RotateInstitutionKey(SetOperationsKey(0, fresh.public, proof)))
    (rotation,) = await solo.submission.prepare([[change]])
    (waiting,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([rotation])
    block = await solo.build()
    await solo.submission.submit([waiting])
    await solo.finalize(block)
    solo.submission.set_keys({0: fresh})
    await solo.finalize(await solo.build())  # passes over what is not signed as the ledger asks
    (outcome,) = await solo.submission.outcomes([waiting.id], 0)
    assert isinstance(outcome, Dead)
    assert isinstance(outcome.error, WrongKey)
    (again,) = await solo.submission.prepare([opening("a")])
    assert again.number > waiting.number
    await solo.submission.submit([again])
    await solo.finalize(await solo.build())
    assert isinstance((await solo.submission.outcomes([again.id], 0))[0], Final)


async def test_a_copy_fetched_anew_forgets_nothing_that_a_later_key_signed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head is below the rotation at first, and below later parameters: what waits may be final further up."""
    solo = await place.start()
    fresh = key("fresh")
    proof = prove_possession(fresh, CHAIN, "h", USE_OPERATIONS)
    change = SignedOperation(RotateInstitutionKey(SetOperationsKey(0, fresh.public, proof)))
    blocks = [await solo.build()]
    await solo.finalize(blocks[0])
    await solo.submission.submit(await solo.submission.prepare([[change]]))
    blocks.append(await solo.build())
    await solo.finalize(blocks[1])
    solo.submission.set_keys({0: fresh})
    (waiting,) = await solo.submission.prepare([opening("a")])
    await solo.submission.submit([waiting])
    await solo.store.forget_chain()
    await place.stop()
    with monkeypatch.context() as small:
        small.setattr("node.standing.room_in", lambda _bytes: 0)
        solo = await place.start()
    for block in blocks:
        assert await solo.submission.outcomes([waiting.id], 0) == [Waiting.PENDING]
        assert solo.gossip.pushed == []
        await solo.finalize(block)
    assert [entry.id for entry in solo.gossip.pushed] == [waiting.id]
    await solo.finalize(await solo.build())
    assert isinstance((await solo.submission.outcomes([waiting.id], 0))[0], Final)


async def test_without_an_operations_key_on_the_ledger_nothing_is_prepared(place: Place) -> None:
    solo = await place.start()
    solo.submission.set_keys({})
    with pytest.raises(NotAccredited):
        await solo.submission.prepare([opening("a")])
    solo.submission.set_keys({0: key("op")})
    assert await solo.submission.prepare([opening("a")])


async def test_waiting_ends_when_all_is_decided_or_time_is_up(place: Place) -> None:
    solo = await place.start()
    prepared = await solo.submission.prepare([opening(f"{n}") for n in range(3)])
    await solo.submission.submit(prepared)
    ids = [one.id for one in prepared]
    assert await solo.submission.outcomes(ids, 0.01) == [Waiting.PENDING] * 3
    gone = asyncio.create_task(solo.submission.outcomes(ids, 60))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert len(solo.submission._waiters) == 0  # nor is who hung up remembered
    waiting = asyncio.create_task(solo.submission.outcomes(ids, 60))
    await solo.finalize(await solo.build())
    assert all(isinstance(one, Final) for one in await waiting)
    assert len(solo.submission._waiters) == 0


async def test_a_full_pool_takes_none_of_a_submission(place: Place) -> None:
    solo = await place.start()
    prepared = await solo.submission.prepare([opening(f"{n}") for n in range(20)])
    solo.pool._capacity_bytes = solo.pool._share_bytes = 10 * len(prepared[0].raw)
    with pytest.raises(Busy):
        await solo.submission.submit(prepared)
    assert await solo.store.outbox.pending() == []
    assert await solo.submission.outcomes([prepared[0].id], 0) == [Waiting.UNKNOWN]


async def test_what_is_in_flight_spans_less_than_the_window(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPAN_MARGIN", 4_090)
    solo = await place.start()
    prepared = await solo.submission.prepare([opening(f"{n}") for n in range(7)])
    await solo.submission.submit(prepared)
    more = asyncio.create_task(solo.submission.prepare([opening("more")]))
    await asyncio.sleep(0.05)
    assert not more.done()
    await solo.finalize(await solo.build())
    assert isinstance((await more)[0], Prepared)


async def test_a_retry_of_what_is_final_is_answered_by_its_receipt(place: Place) -> None:
    solo = await place.start()
    body = TransactionBody(CHAIN, 0, 0, 77, NOW + 60_000, tuple(opening("a")))
    raw = encode(sign_transaction(key("op"), body))
    assert decode(Transaction, raw).body == body
    (one,) = await solo.submission.adopt([raw])
    assert isinstance(one, Prepared)
    await solo.submission.submit([one])
    await solo.finalize(await solo.build())
    (again,) = await solo.submission.adopt([raw])
    assert again == one
    elsewhere = await place_without_receipts(solo, raw)
    assert isinstance(elsewhere, Replayed)


async def place_without_receipts(solo: Solo, raw: bytes) -> object:
    await solo.store.outbox.prune_receipts(10**15)
    (answer,) = await solo.submission.adopt([raw])
    return answer


async def test_two_final_blocks_at_one_height_stop_the_node(place: Place) -> None:
    solo = await place.start()
    (one,) = await solo.submission.prepare([opening("a")])
    empty = await solo.build()
    await solo.submission.submit([one])
    other = await solo.build()
    await solo.finalize(empty)
    solo.finality.put((other,), Certificate(VoteSubject(FINALIZE, CHAIN, 0, 2, 0, bytes(32)), ((0, bytes(64)),)))
    with pytest.raises(ForkSeen):
        await solo.running
