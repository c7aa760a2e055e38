"""Four whole nodes in one process: transactions become final, nodes restart, catch up, and go on with one dead."""

from __future__ import annotations

from typing import Any

from protocol.types.operations import AppendRecords, RecordEntry, SignedOperation

Devnet = Any  # the fixture's type stands in conftest.py, which tests do not import


def entries(count: int, salt: int = 0) -> tuple[RecordEntry, ...]:
    tag = bytes(16)
    return tuple(RecordEntry((salt * 1_000 + n).to_bytes(32, "big"), (tag, tag, tag, tag)) for n in range(count))


def append(chart: int, count: int = 1, salt: int = 0) -> list[SignedOperation]:
    return [SignedOperation(AppendRecords(chart, entries(count, salt)))]


async def same_roots(devnet: Devnet, *numbers: int) -> None:
    height = max(devnet.services(n).head().height for n in numbers)
    for number in numbers:
        await devnet.height(number, height)
    blocks = [[b.digest for b in await devnet.services(n).blocks(0, height + 1)] for n in numbers]
    assert all(len(one) == height + 1 for one in blocks)
    assert all(one == blocks[0] for one in blocks)


async def test_what_one_submits_becomes_final_on_all(devnet: Devnet) -> None:
    opened = await devnet.open_charts(0, 0, 3)
    charts = [one.receipt.operations[0].chart for one in opened]
    assert charts == [0, 1, 2]
    final = await devnet.submit(0, [append(chart, 5) for chart in charts])
    assert {one.receipt.operations[0].events for one in final} == {5}
    await same_roots(devnet, 0, 1, 2, 3)
    for number in range(4):
        chart = await devnet.services(number).chart(1)
        assert chart is not None
        assert chart.events == 6
