"""The whole network goes from one epoch to the next: sets, parameters and keys change, and nothing stops."""

from __future__ import annotations

import asyncio
from typing import Any

from protocol.types.governance import Change, Motion, Parameter, SetParameters
from protocol.types.operations import SignedOperation

Devnet = Any  # the fixture's type stands in conftest.py, which tests do not import


def motion(devnet: Devnet, change: Change) -> SignedOperation:
    return SignedOperation(Motion(change, devnet.services(0).now_ms() + 3_600_000))


async def pass_motion(devnet: Devnet, change: Change) -> int:
    """Move it at institution 0, and have 1 and 2 vote for it; the height of the block that decided it."""
    from protocol.types.governance import Ballot

    (moved,) = await devnet.submit(0, [[motion(devnet, change)]])
    number = moved.receipt.operations[0].motion
    height = moved.height
    for voter in (1, 2):
        await devnet.height(voter, height)
        (final,) = await devnet.submit(voter, [[SignedOperation(Ballot(number, change, True))]])
        height = final.height
    return height


async def test_a_change_of_parameters_ends_the_epoch_and_the_chain_goes_on(devnet: Devnet) -> None:
    await devnet.met(0)
    height = await pass_motion(devnet, SetParameters((Parameter("delta_ms", 700),)))
    for number in range(4):
        await devnet.height(number, height)
    async with asyncio.timeout(30):
        await devnet.open_charts(3, 0, 3)
    assert devnet.services(3).head().epoch == 1
    assert devnet.services(3).driver.machine.config.delta_ms == 700
    await devnet.stop(3)
    await devnet.start(3)
    assert devnet.services(3).driver.term.epoch == 1
    await devnet.met(3)
    async with asyncio.timeout(30):
        await devnet.open_charts(3, 3, 3)
