"""The whole network goes from one epoch to the next: sets, parameters and keys change, and nothing stops."""

from __future__ import annotations

import asyncio
from typing import Any

from protocol.types.governance import Ballot, Change, GiveAuthority, Motion, Parameter, SetParameters, Suspend
from protocol.types.operations import SignedOperation

Devnet = Any  # the fixture's type stands in conftest.py, which tests do not import


def motion(devnet: Devnet, change: Change) -> SignedOperation:
    return SignedOperation(Motion(change, devnet.services(0).now_ms() + 3_600_000))


async def pass_motion(devnet: Devnet, change: Change, voters: tuple[int, ...] = (1, 2)) -> int:
    """Move it at institution 0, and have the others vote for it; the height of the block that decided it."""
    (moved,) = await devnet.submit(0, [[motion(devnet, change)]])
    number = moved.receipt.operations[0].motion
    height = moved.height
    for voter in voters:
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


async def test_a_fifth_institution_is_accredited_given_authority_and_votes(devnet: Devnet) -> None:
    await devnet.met(0)
    number = await devnet.accredit("Hospital 4")
    assert number == 4
    await devnet.start(4)
    await devnet.height(4, devnet.services(0).head().height)
    await devnet.met(4)
    await devnet.open_charts(4, 0, 1)  # it submits before it votes
    height = await pass_motion(devnet, GiveAuthority(4))
    for one in range(5):
        await devnet.height(one, height)
    assert [member.institution for member in devnet.services(4).standing.authorities.members] == [0, 1, 2, 3, 4]
    await devnet.stop(3)  # four of five are a quorum only with the newcomer
    async with asyncio.timeout(60):
        await devnet.open_charts(4, 1, 2)
    assert devnet.services(4).driver.machine.me == 4
    await devnet.start(3)
    await devnet.met(3)
    await suspend_the_fifth(devnet)


async def suspend_the_fifth(devnet: Devnet) -> None:
    height = await pass_motion(devnet, Suspend(4), (1, 2, 3))
    for one in range(4):
        await devnet.height(one, height)
    assert all(peer["institution"] != 4 for peer in devnet.services(0).peers())
    assert [member.institution for member in devnet.services(0).standing.authorities.members] == [0, 1, 2, 3]
    async with asyncio.timeout(30):
        await devnet.open_charts(2, 10, 2)
