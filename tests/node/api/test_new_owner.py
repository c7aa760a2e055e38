"""What was said in confidence before an owner's keys changed can be read with the new ones: its asker sends it anew."""

from __future__ import annotations

import asyncio

import pytest

from protocol.errors import SealBroken
from protocol.types.operations import RotateOwnerKey
from tests.node.api.city import REASON, City
from tests.node.api.test_control import NewOwner, done, wait_out


async def test_details_follow_the_owner(city: City) -> None:
    answer = await city.emergency()
    courier = city.reader.hospital.records.confidence
    assert await courier.deliver() == 0
    new = NewOwner(city, "rotated", 0)
    await done(city, city.patient.sign(RotateOwnerKey(city.chart, 0, new.keys, new.possession)))
    await wait_out(city)
    await courier.renew()
    assert await courier.deliver() == 1, "the custodian does not know the new key yet"
    await city.custodian.ask("PUT", f"/v1/charts/{city.chart}/owner-key", json=new.body)
    while await city.custodian.hospital.records.changes.once():
        pass
    assert await courier.deliver() == 0
    (sealed,) = await city.for_owner()
    with pytest.raises(SealBroken):
        city.opened(answer["disclosure"], sealed["sealed"])
    city.patient.private, city.patient.public = new.private, new.public
    assert city.opened(answer["disclosure"], sealed["sealed"]).reason == REASON
    await courier.renew()
    assert await courier.deliver() == 0


async def test_the_courier_notices_by_itself(city: City) -> None:
    """As it runs in a node: woken by what was said, by the blocks, and ended with the node."""
    failed: list[BaseException] = []
    records = city.reader.hospital.records
    stop = records.confidence.start(failed.append)
    answer = await city.emergency()
    while not await city.for_owner():
        await asyncio.sleep(0)
    new = NewOwner(city, "rotated", 0)
    await done(city, city.patient.sign(RotateOwnerKey(city.chart, 0, new.keys, new.possession)))
    await city.custodian.ask("PUT", f"/v1/charts/{city.chart}/owner-key", json=new.body)
    before = await city.for_owner()
    await wait_out(city)
    records.confidence.wake()
    while await city.for_owner() == before:
        await asyncio.sleep(0)
        records.confidence.wake()
    city.patient.private, city.patient.public = new.private, new.public
    (sealed,) = await city.for_owner()
    assert city.opened(answer["disclosure"], sealed["sealed"]).reason == REASON
    stop()
    assert failed == []
