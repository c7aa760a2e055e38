"""Out of the seal again: bytes that are given out only once they match the ledger's commitment.

What is small is opened in memory. What is large is read twice from where its sealed bytes lie: once to check all of
it, once to give it out, so that memory stays bounded and no byte leaves unchecked (design, section 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from msgspec import Struct

from protocol.crypto.commitments import Committer, Opening
from protocol.crypto.sealing import CHUNK_BYTES, CHUNK_OVERHEAD_BYTES, HEADER_BYTES, Opener, padme
from protocol.errors import CommitmentMismatch

Source = Callable[[], AsyncIterator[bytes]]
"""Gives the sealed bytes from their beginning, each time it is called."""
IN_MEMORY_BYTES = 4 * 1024 * 1024


class Key(Struct, frozen=True):
    """What opens one blob, and what must come out: `length` plain bytes that open `commitment`."""

    key: bytes
    opening: Opening
    length: int
    commitment: bytes

    def __repr__(self) -> str:
        return "Key(hidden)"


class Content(Struct, frozen=True):
    """Checked plain bytes of one record, to be given out once."""

    media_type: str
    length: int
    chunks: AsyncIterator[bytes]


def sealed_bytes_most(length: int) -> int:
    """More than this no seal makes of `length` plain bytes: deflate adds less than a thousandth where it gains
    nothing, then come the padding and what each chunk costs."""
    inner = padme(length + length // 1_000 + CHUNK_BYTES)
    return HEADER_BYTES + inner + (inner // CHUNK_BYTES + 1) * CHUNK_OVERHEAD_BYTES


async def checked(media_type: str, key: Key, source: Source, threads: Executor) -> Content:
    """The record behind a blob. Raises `SealBroken` or `CommitmentMismatch`, and then nothing was given out."""
    if key.length <= IN_MEMORY_BYTES:
        sealed = b"".join([piece async for piece in source()])
        loop = asyncio.get_running_loop()
        return Content(media_type, key.length, _once(await loop.run_in_executor(threads, open_whole, key, sealed)))
    committer = Committer(key.opening)
    length = 0
    async for plain in _plain(key, source, threads, committer):
        length += len(plain)
    _compare(key, length, committer)
    return Content(media_type, key.length, _plain(key, source, threads, None))


def open_whole(key: Key, sealed: bytes) -> bytes:
    """The plain bytes of a blob in memory, checked. CPU work."""
    opener = Opener(key.key, key.length)
    plain = b"".join([*opener.update(sealed), *opener.finish()])
    committer = Committer(key.opening)
    committer.update(plain)
    _compare(key, len(plain), committer)
    return plain


def _compare(key: Key, length: int, committer: Committer) -> None:
    if length != key.length or committer.finish() != key.commitment:
        raise CommitmentMismatch("what was opened is not what the ledger has a commitment to")


async def _plain(key: Key, source: Source, threads: Executor, committer: Committer | None) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    opener = Opener(key.key, key.length)

    def step(piece: bytes | None) -> bytes:
        plain = b"".join(opener.finish() if piece is None else opener.update(piece))
        if committer is not None:
            committer.update(plain)
        return plain

    async for piece in source():
        yield await loop.run_in_executor(threads, step, piece)
    yield await loop.run_in_executor(threads, step, None)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
