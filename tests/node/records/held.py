"""Five hospitals, the first of which writes, three of which hold, and one of which reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.crypto.placement import ranked
from protocol.ledger.events import RecordAppended, decode_event
from tests.node.records.conftest import World, make_world
from tests.node.records.fake_core import Hospital
from tests.node.records.test_release import disclose, grant
from tests.node.records.test_submit import append, plain, whole

TEXT = "what went in"


@dataclass
class Held:
    """A world of five hospitals in which hospital 0 wrote records 1 and 2, held by three others, and `reader`, who
    holds nothing, has a final disclosure of both."""

    world: World
    holders: tuple[int, ...]
    reader: Hospital
    grant: int
    disclosure: int

    def hospital(self, number: int) -> Hospital:
        return self.world.network.hospitals[number]

    async def read(self, record: int = 1) -> bytes:
        content = await self.reader.records.reader.read(self.world.chart, self.disclosure, record)
        return await whole(content.chunks)

    def order(self) -> list[int]:
        """The holders, first choice first."""
        return [one for one in ranked(self.world.chain.id, self.world.chart, 0, range(5)) if one in self.holders]

    def down(self, *numbers: int) -> None:
        """Nobody reaches these."""
        for hospital in self.world.network.hospitals.values():
            hospital.core.unreachable.update(numbers)

    async def event(self, record: int = 1) -> RecordAppended:
        event = decode_event((await self.reader.core.events_at(self.world.chart, [record]))[record])
        assert isinstance(event, RecordAppended)
        return event


@pytest.fixture
async def five(tmp_path: Path) -> AsyncIterator[World]:
    async for made in make_world(tmp_path, 5, replicas=3):
        for number in range(3, 5):
            if number not in made.network.hospitals:
                await made.network.start(number)
        yield made


@pytest.fixture
async def held(five: World) -> Held:
    await append(five, plain(TEXT), plain("second"))
    order = ranked(five.chain.id, five.chart, 0, range(5))
    holders, reader = tuple(sorted(order[:3])), five.network.hospitals[order[3]]
    five.reader = reader
    number = await grant(five, reader.core.institution)
    return Held(five, holders, reader, number, await disclose(five, number, [1, 2]))
