"""Whoever watches a chart is told of an emergency before anything is released by it, and holds up no care."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from node.records import told as told_module
from node.records.seal import Kek
from tests.node.api.city import RECORD, City


async def test_who_watches_the_chart_is_told_before_anything_is_released(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher at the custodian whose stream has not taken the emergency up yet holds the key back."""
    told = city.custodian.hospital.records.told
    everybody, open_secret = told.everybody, Kek.open_secret
    order: list[str] = []
    asked = asyncio.Event()

    async def asking(chart: int, height: int) -> bool:
        asked.set()
        done = await everybody(chart, height)
        order.append("told")
        return done

    def opening(kek: Kek, *arguments: Any) -> Any:
        order.append("key")
        return open_secret(kek, *arguments)

    monkeypatch.setattr(told, "everybody", asking)
    monkeypatch.setattr(Kek, "open_secret", opening)
    with told.watching(city.chart, city.custodian.hospital.core.head().height) as watcher:
        answer = await city.emergency()
        path = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1"
        reading = asyncio.create_task(city.reader.get(path))
        waiting = asyncio.create_task(asked.wait())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert not reading.done(), "released and nobody told"
        assert order == []
        told.taken_up(watcher, answer["height"])
        assert (await reading).content == RECORD
    assert order[:2] == ["told", "key"]


async def test_a_watcher_who_left_or_whose_stream_is_broken_does_not_hold_up_care(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = city.custodian.hospital.records.told
    height = city.custodian.hospital.core.head().height
    answer = await city.emergency()
    path = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1"
    with told.watching(city.chart, height):
        reading = asyncio.create_task(city.reader.get(path))
        await asyncio.sleep(0)
    assert (await reading).content == RECORD, "one who left is not waited for"
    monkeypatch.setattr(told_module, "TELL_S", 0.01)
    with told.watching(city.chart, height):
        assert (await city.reader.get(path)).content == RECORD


async def test_a_watcher_who_is_being_given_something_else_is_not_waited_for(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is final meanwhile waits in line for it: it may have stopped reading."""
    monkeypatch.setattr(told_module, "TELL_S", 600.0)
    told = city.custodian.hospital.records.told
    height = city.custodian.hospital.core.head().height
    with told.watching(city.chart, height) as watcher, told.giving(watcher):
        answer = await city.emergency()
        path = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records/1"
        assert (await city.reader.get(path)).content == RECORD


async def test_the_stream_tells_the_emergency_and_that_it_was_told(city: City) -> None:
    from node.api.context import Context
    from node.api.server import ApiSettings
    from node.api.stream import _stream
    from node.api.writes import Writes

    hospital = city.custodian.hospital
    writes = Writes(hospital.core, hospital.ledger.idempotency, b"secret", 1.0)
    settings = ApiSettings(Path("unused"), None)  # type: ignore[arg-type]  # a stream asks for no role
    context = Context(settings, hospital.core, hospital.records, writes, asyncio.Event())
    stream = _stream(context, city.chart, None)
    assert await anext(stream) == b": open\n\n"
    coming = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    told, height = hospital.records.told, hospital.core.head().height
    assert not await _told_within(told, city.chart, height + 1)
    answer = await city.emergency()
    message = await coming
    assert b"event: chart" in message
    assert b'"kind":"emergency"' in message
    assert b"id:" not in message, "the id comes with the block, when all of it was told"
    assert await _told_within(told, city.chart, answer["height"])
    assert (await anext(stream)).startswith(b"id: %d\nevent: block" % answer["height"])
    follows = asyncio.ensure_future(anext(stream))
    context.closing.set()
    with pytest.raises(StopAsyncIteration):
        await follows


async def _told_within(told: Any, chart: int, height: int) -> bool:
    task = asyncio.create_task(told.everybody(chart, height))
    for _ in range(20):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        return False
    return bool(task.result())
