"""Redial: pauses grow to a cap, differ between nodes, become short after a good connection, and respect a bar."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import cast

import pytest

from node.network.connection import Connection, ConnectionEnded
from node.network.interface import Member, PeerState
from node.network.peer import Backoff, Peer

from .conftest import PATIENCE_S


def test_pauses_double_to_a_cap_with_jitter_of_a_half() -> None:
    backoff = Backoff(0.5, 10.0, random.Random(1))
    for failures, middle in ((0, 0.5), (1, 1.0), (4, 8.0), (5, 10.0), (10_000, 10.0)):
        drawn = [backoff.pause_s(failures) for _ in range(200)]
        assert 0.5 * middle <= min(drawn) < 0.6 * middle
        assert 1.4 * middle < max(drawn) <= 1.5 * middle


class Pauses(Backoff):
    """Remembers what it was asked for, and never waits."""

    def __init__(self) -> None:
        self.failures: list[int] = []

    def pause_s(self, failures: int) -> float:
        self.failures.append(failures)
        return 0.0


def connection() -> Connection:
    fields = {"bytes_in": 1, "bytes_out": 2, "throttled": 0, "queue": SimpleNamespace(dropped=3)}
    return cast(Connection, SimpleNamespace(**fields))


@pytest.mark.parametrize(("lasted_s", "after"), [(1.0, 3), (60.0, 0)])
async def test_only_a_connection_that_stood_makes_the_next_pause_short(lasted_s: float, after: int) -> None:
    peer, backoff, standing = Peer(1, Member((b"",), "there:1"), lambda: 5), Pauses(), connection()
    attempts, done = 0, asyncio.Event()

    async def dial(target: Peer) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise ConnectionEnded("not today")
        if attempts == 4:
            target.connected(standing)
            asyncio.get_running_loop().call_soon(target.disconnected, standing, lasted_s)
        else:
            done.set()
            await asyncio.Event().wait()

    dialling = asyncio.create_task(peer.keep_dialled(dial, backoff, 0.0))
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    dialling.cancel()
    assert backoff.failures == [1, 2, 3, after]
    assert peer.last_error == "not today"
    assert peer.state is PeerState.DIALLING


async def test_a_barred_peer_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, waited = Peer(1, Member((b"",), "there:1"), lambda: 5), []
    peer.barred_until_s = asyncio.get_running_loop().time() + 3_600

    async def present_within(pause_s: float) -> bool:
        waited.append(pause_s)
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(peer, "_present_within", present_within)
    dialling = asyncio.create_task(peer.keep_dialled(lambda target: asyncio.Event().wait(), Pauses(), 0.0))
    await asyncio.sleep(0)
    dialling.cancel()
    assert waited[0] > 3_500


def test_counts_of_earlier_connections_are_kept() -> None:
    peer = Peer(1, Member((b"",), None), lambda: 5)
    peer.count(connection())
    peer.count(connection())
    status = peer.status()
    assert (status.bytes_in, status.bytes_out, status.dropped) == (2, 4, 6)
    assert status.state is PeerState.UNDIALLED


async def test_who_connects_at_the_very_end_of_the_pause_is_not_dialled_and_stays_connected() -> None:
    peer, loop = Peer(1, Member((b"",), "there:1"), lambda: 5), asyncio.get_running_loop()

    async def dial(target: Peer) -> None:
        raise AssertionError("it is connected")

    loop.call_later(0.01, peer.connected, connection())
    dialling = asyncio.create_task(peer.keep_dialled(dial, Pauses(), 0.01))
    await asyncio.sleep(0)  # it waits for the pause to end
    until = loop.time() + 0.02
    while loop.time() < until:
        pass  # so that the event loop finds both due at once
    for _ in range(5):
        await asyncio.sleep(0)
    assert not dialling.done()
    assert peer.state is PeerState.CONNECTED
    dialling.cancel()
