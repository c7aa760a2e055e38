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
from protocol.errors import ChartledgerError

PartKind = Literal["key", "owner", "share"]
"""What an envelope holds: a `ReleasedKey`, an owner's `Secret`, or a `Shares` of one."""
Give = Callable[[int], Awaitable["list[Part]"]]
"""(institution) -> what it gives. Raises why it gives nothing."""
Piece = Callable[[int, int], Awaitable[bytes]]
"""(institution, offset) -> sealed bytes from there on, empty at the end. Raises why it gives none."""


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


async def gather(writer: int, holders: Sequence[int], give: Give, *, holders_only: bool) -> Gathered:
    """What the writer gives, who releases alone; if that is nothing, or with `holders_only`, what all holders give:
    which of them lies only the reader can tell. Raises `TooFewHolders` if nobody gives anything."""
    parts: list[Part] = []
    refused: dict[int, str] = {}

    async def ask(institution: int) -> None:
        try:
            parts.extend(await give(institution))
        except ChartledgerError as error:
            refused[institution] = str(error)

    if not holders_only:
        await ask(writer)
    if not parts:
        await asyncio.gather(*(ask(one) for one in holders if one != writer))
    if not parts:
        said = "; ".join(f"institution {one}: {why}" for one, why in sorted(refused.items()))
        raise TooFewHolders(f"nobody gives a part of the record's key: {said or 'there are no holders'}")
    return Gathered(tuple(parts), refused)


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
