"""A reader's node may know a disclosure to be final a moment before its custodian's does."""

from __future__ import annotations

import asyncio

from node.records.messages import RELEASE, ReleaseAnswer
from protocol.codec.canonical import decode
from tests.node.records.test_release import Granted, ask, disclose, granted

__all__ = ["granted"]


async def test_a_custodian_a_block_behind_waits_for_the_disclosure(granted: Granted) -> None:
    custodian = granted.world.custodian
    expected = granted.disclosure + 1
    answer = asyncio.ensure_future(custodian.records.answer(1, RELEASE, ask(granted, (1,), expected)))
    while not custodian.core.watchers:
        await asyncio.sleep(0)
    assert not answer.done()
    assert await disclose(granted.world, granted.grant, [1]) == expected
    assert decode(ReleaseAnswer, await answer).released[0].record == 1
