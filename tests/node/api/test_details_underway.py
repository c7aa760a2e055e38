"""Details that an asking commits to, until they reach the custodian: forgotten, held up, or copied by somebody else."""

from __future__ import annotations

import pytest

from node.records import confidence
from protocol.codec.canonical import decode
from protocol.crypto.details import Details
from protocol.types.transaction import Transaction
from tests.node.api.city import REASON, City
from tests.node.records.fake_core import HOUR_MS


async def test_who_copies_a_commitment_on_its_way_keeps_no_details_from_the_owner(city: City) -> None:
    """Whoever sees an asking in the pool can ask with the same digest, and come first in the block."""
    asker, thief = city.reader.hospital, city.desk(2).hospital
    city.network.chain.held = True
    prepared = await asker.records.asker.break_glass(city.chart, [1], "ETREAT", Details(reason=REASON))
    body = decode(Transaction, prepared[0].raw).body
    await thief.core.submit(await thief.core.prepare([list(body.operations)]))
    await asker.core.submit(prepared)
    await city.network.chain.make_block()
    city.network.chain.held = False
    assert await asker.records.confidence.deliver() == 0
    (sealed,) = await city.for_owner()
    assert sealed["institution"] == 1
    assert city.opened(sealed["event"], sealed["sealed"]).reason == REASON


async def test_details_of_an_operation_that_never_became_final_are_forgotten(city: City) -> None:
    asker = city.reader.hospital.records.asker
    await asker.break_glass(city.chart, [1], "ETREAT", Details(reason=REASON))  # prepared, and a crash
    courier = city.reader.hospital.records.confidence
    assert await courier.deliver() == 1
    city.network.chain.clock.ms += 30 * HOUR_MS
    await city.network.chain.make_block()
    assert await courier.deliver() == 0


async def test_what_cannot_be_delivered_holds_up_nothing_behind_it(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """A custodian that refuses for one chart, or a row that does not open, keeps no other owner's details back."""
    monkeypatch.setattr(confidence, "AT_ONCE", 1)
    asker, store = city.reader.hospital.records.asker, city.reader.hospital.ledger.details
    await asker.break_glass(city.chart, [1], "ETREAT", Details(reason=REASON))  # prepared, and never submitted
    await city.emergency()
    await city.emergency()
    courier = city.reader.hospital.records.confidence
    await courier.deliver()
    await store.deliver_again(city.chart)
    broken = (await store.waiting(1, 1))[0].commitment
    await city.reader.hospital.ledger.database.write(
        lambda c: c.execute("UPDATE details SET sealed = x'00' WHERE commitment = ?", (broken,)).rowcount
    )
    assert await courier.deliver() == 2
    assert [one.commitment == broken for one in await store.waiting(9)] == [False, True]
