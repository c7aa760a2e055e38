"""What a node hands on to a reader that has keys of its own, an owner or a delegate: parts of which it can open none.

A part is what one institution gave: all that opens the record, or a share of its key. The node in between neither
judges nor combines them; the reader tries what fits, and believes what matches the commitment on the ledger
(`node.parts_reading`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from node.records.errors import TooFewHolders
from node.records.messages import RECORD_BYTES
from node.records.opening import sealed_bytes_most
from protocol.crypto.shares import threshold_of
from protocol.errors import ChartledgerError

PartKind = Literal["key", "owner", "share"]
"""What an envelope holds: a `ReleasedKey`, an owner's `Secret`, or a `Shares` of one."""
Give = Callable[[int], Awaitable["list[Part]"]]
"""(institution) -> what it gives. Raises why it gives nothing."""
Piece = Callable[[int, int], Awaitable[bytes]]
"""(institution, offset) -> sealed bytes from there on, empty at the end. Raises why it gives none."""


HEDGE_S = 1.0
"""How long the writer is waited for before its holders are asked as well."""
GRACE_S = 0.25
"""How long the rest are waited for once enough answered: one of those may lie."""


class Part(Struct, frozen=True):
    """What `institution` gave, sealed to the reader; `details` go with a share, `blob_bytes` is its word about the size
    of the sealed record that it has."""

    institution: int
    kind: PartKind
    envelope: bytes
    details: bytes
    blob_bytes: int


class Gathered(Struct, frozen=True):
    """Parts, and why institutions that were asked gave none."""

    parts: tuple[Part, ...]
    refused: Mapping[int, str]


class Stores(Struct, frozen=True):
    """Whom to ask for a record: its writer, the holders that its event names, and whom repair may have added since."""

    writer: int
    named: tuple[int, ...]
    others: tuple[int, ...]


async def gather(stores: Stores, give: Give, *, holders_only: bool = False) -> Gathered:
    """What the writer gives, who releases alone; if that is nothing, or does not come soon, what holders give besides.

    Which of them lies only the reader can tell. So a first answer is what those named give, as soon as it may be
    enough; with `holders_only`, when that was not the record, all that anybody gives. Raises `TooFewHolders` if nobody
    gives anything.
    """
    found = _Asked(give)
    if not holders_only:
        found.ask(stores.writer)
        await found.wait(HEDGE_S)
    if not found.parts:
        named = [one for one in stores.named if one != stores.writer]
        for one in named:
            found.ask(one)
        await found.wait(None, enough=None if holders_only else threshold_of(max(len(named), 2)))
    if holders_only or not found.parts:
        for one in stores.others:
            found.ask(one)
        await found.wait(None)
    found.give_up()
    if not found.parts:
        said = "; ".join(f"institution {one}: {why}" for one, why in sorted(found.refused.items()))
        raise TooFewHolders(f"nobody gives a part of the record's key: {said or 'there are no holders'}")
    return Gathered(tuple(found.parts), found.refused)


class _Asked:
    """Questions under way, and what came of them."""

    def __init__(self, give: Give) -> None:
        self._give = give
        self._tasks: dict[asyncio.Task[None], int] = {}
        self.parts: list[Part] = []
        self.refused: dict[int, str] = {}

    def ask(self, institution: int) -> None:
        self._tasks[asyncio.create_task(self._one(institution))] = institution

    async def wait(self, seconds: float | None, enough: int | None = None) -> None:
        """Until all answered or so many seconds are over; or, with `enough`, a moment after so many institutions gave
        something, or one gave all of it."""
        pending = set(self._tasks)
        try:
            while pending:
                if enough is not None and self._gave() >= enough:
                    await asyncio.wait(pending, timeout=GRACE_S)
                    return
                done, pending = await asyncio.wait(
                    pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED if enough else asyncio.ALL_COMPLETED
                )
                for task in done:
                    task.result()  # what nobody expected is not swallowed
                if seconds is not None:
                    return
        except BaseException:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Nobody else is waited for; who is still asked is named as such."""
        for task, institution in self._tasks.items():
            if not task.done():
                task.cancel()
                self.refused.setdefault(institution, "it did not answer soon")

    def _gave(self) -> int:
        return len({part.institution for part in self.parts})

    async def _one(self, institution: int) -> None:
        try:
            self.parts.extend(await self._give(institution))
        except ChartledgerError as error:
            self.refused[institution] = str(error)


async def sealed_from(sources: Sequence[int], piece: Piece) -> AsyncIterator[bytes]:
    """The sealed bytes of a record from the first of these institutions that has them, piece by piece. What breaks off
    ends: the reader sees that it does not open, and names another source. Raises what the last of them refused."""
    failed: ChartledgerError = TooFewHolders("there is nobody to ask")
    for source in sources:
        try:
            first = await piece(source, 0)  # what goes wrong at once is still told by its name
        except ChartledgerError as error:
            failed = error
            continue
        if first:
            return _pieces(source, first, piece)
    raise failed


async def _pieces(source: int, first: bytes, piece: Piece) -> AsyncIterator[bytes]:
    found, offset = first, 0
    while found and offset <= sealed_bytes_most(RECORD_BYTES):
        yield found
        offset += len(found)
        try:
            found = await piece(source, offset)
        except ChartledgerError:
            return
