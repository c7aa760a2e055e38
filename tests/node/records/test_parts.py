"""Who is asked for parts of a record's key, in which order, and that nobody who is silent holds up a reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from node.network.interface import PeerGone
from node.records import parts
from node.records.errors import TooFewHolders
from node.records.parts import Part, Stores, gather, sealed_from

WRITER, NAMED, OTHERS = 0, (1, 2, 3), (4, 5)
STORES = Stores(WRITER, NAMED, OTHERS)
PATIENCE_S = 20.0
"""Only what never ends comes to this."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "HEDGE_S", 0.001)
    monkeypatch.setattr(parts, "GRACE_S", 0.001)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_S):
        yield


class Peers:
    """`gives` give a part, `silent` never answer, everybody else is away."""

    def __init__(self, *gives: int, silent: tuple[int, ...] = ()) -> None:
        self.gives, self.silent = gives, silent
        self.asked: list[int] = []

    async def __call__(self, institution: int) -> list[Part]:
        self.asked.append(institution)
        if institution in self.silent:
            await asyncio.Event().wait()
        if institution not in self.gives:
            raise PeerGone("away")
        return [Part(institution, "key" if institution == WRITER else "share", b"", b"", 1)]


def who(found: parts.Gathered) -> set[int]:
    return {one.institution for one in found.parts}


async def test_the_writer_is_asked_first_and_alone() -> None:
    peers = Peers(WRITER, *NAMED)
    assert who(await gather(STORES, peers)) == {WRITER}
    assert peers.asked == [WRITER]


async def test_without_it_those_that_the_event_names_are_and_nobody_else_learns_of_it() -> None:
    peers = Peers(*NAMED, *OTHERS)
    assert who(await gather(STORES, peers)) <= set(NAMED)
    assert set(peers.asked) == {WRITER, *NAMED}


async def test_when_that_was_not_the_record_everybody_but_the_writer_is() -> None:
    peers = Peers(WRITER, *NAMED, *OTHERS)
    assert who(await gather(STORES, peers, holders_only=True)) == {*NAMED, *OTHERS}


async def test_whom_repair_added_is_asked_when_nobody_else_is_left() -> None:
    peers = Peers(*OTHERS)
    found = await gather(STORES, peers)
    assert who(found) == set(OTHERS)
    assert set(found.refused) == {WRITER, *NAMED}


async def test_a_silent_writer_and_a_silent_holder_hold_up_nobody() -> None:
    found = await gather(STORES, Peers(2, 3, silent=(WRITER, 1)))
    assert who(found) == {2, 3}
    assert found.refused == {WRITER: "it did not answer soon", 1: "it did not answer soon"}


async def test_nobody_gives_anything() -> None:
    with pytest.raises(TooFewHolders, match="institution 0: away; institution 1: away"):
        await gather(STORES, Peers())
    with pytest.raises(TooFewHolders, match="no holders"):
        await gather(Stores(WRITER, (), ()), Peers(WRITER), holders_only=True)


async def test_what_nobody_expected_is_not_swallowed() -> None:
    async def broken(_: int) -> list[Part]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await gather(STORES, broken)


async def test_sealed_bytes_come_from_the_first_that_has_them_and_end_where_it_breaks_off() -> None:
    async def piece(institution: int, offset: int) -> bytes:
        if institution == 1 or offset >= 4:
            raise PeerGone("away")
        return b"" if institution == 2 else b"ab"

    assert b"".join([one async for one in await sealed_from([1, 2, 3], piece)]) == b"abab"
    with pytest.raises(PeerGone):
        await sealed_from([1], piece)
