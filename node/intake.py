"""The way into the node for transactions: bytes become pool entries, their encoding and signatures checked once.

What the pool knows is neither decoded nor verified again. A block's transactions, which may be of a key that a block
below them made, are not refused for their key here: the transition decides with the state at that very place.

Where there are cores to spare, chunks go to threads, since a signature check releases the interpreter lock. Where there
are not, they stay on the event loop, which takes turns: a thread that must win the lock back twice for each transaction
waits longer than it works (measured on two cores for four nodes: 8 % less CPU and 40 % lower latency on the loop).
Relies on `node.standing`: the keys at the head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor as Threads

from node.mempool import Entry, make_entry
from node.sansio.vouching import signed_with
from node.standing import Standing
from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.signing import verify
from protocol.errors import ChartledgerError
from protocol.types.transaction import Transaction

CHUNK = 64
"""Transactions a thread takes at once: long enough to be worth the hop, short enough to share the cores."""
TURN = 16
"""Transactions checked on the event loop, about a millisecond, before others get their turn."""


class Intake:
    """Checks transactions in `threads`, or on the event loop if None."""

    def __init__(self, chain: bytes, standing: Standing, threads: Threads | None) -> None:
        self._chain = chain
        self._standing = standing
        self._threads = threads

    async def check(self, raws: Sequence[bytes], *, in_block: bool = False) -> list[Entry | ChartledgerError]:
        """For each of `raws`, in order: its entry, or the named error that refuses it.

        `in_block`: it stands in a block, so no key at the head refuses it; its signature is checked under that key all
        the same, which is nearly always the one that the transition asks for.
        """
        if self._threads is None or len(raws) <= TURN:
            return await self._check_here(raws, in_block)
        loop = asyncio.get_running_loop()
        chunks = [raws[i : i + CHUNK] for i in range(0, len(raws), CHUNK)]
        running = (loop.run_in_executor(self._threads, self._check_chunk, chunk, in_block) for chunk in chunks)
        return [result for chunk in await asyncio.gather(*running) for result in chunk]

    async def _check_here(self, raws: Sequence[bytes], in_block: bool) -> list[Entry | ChartledgerError]:
        results: list[Entry | ChartledgerError] = []
        for start in range(0, len(raws), TURN):
            if start:
                await asyncio.sleep(0)
            results += self._check_chunk(raws[start : start + TURN], in_block)
        return results

    def _check_chunk(self, raws: Iterable[bytes], in_block: bool) -> list[Entry | ChartledgerError]:
        results: list[Entry | ChartledgerError] = []
        for raw in raws:
            try:
                results.append(self.check_one(raw, in_block=in_block))
            except ChartledgerError as error:
                results.append(error)
        return results

    def check_one(self, raw: bytes, *, in_block: bool = False) -> Entry:
        """The entry of one transaction. Raises the named error that refuses it."""
        transaction = decode(Transaction, raw, limits.TRANSACTION_BYTES)
        public = signed_with(transaction, raw, self._chain, self._standing, verify, in_block=in_block)
        return make_entry(transaction, raw, public)
