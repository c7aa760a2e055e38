"""The way into the node for transactions: bytes become pool entries, their encoding and signatures checked once.

What the pool knows is neither decoded nor verified again. Where there are cores to spare, chunks go to threads, since
a signature check releases the interpreter lock. Where there are not, they stay on the event loop, which takes turns:
a thread that must win the lock back twice for each transaction waits longer than it works (measured on two cores for
four nodes: 8 % less CPU and 40 % lower latency on the loop). Relies on `Standing`, the keys and windows at the head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor as Threads

from node.mempool import Entry, make_entry, room_in
from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.signing import transaction_message_of, verify
from protocol.errors import (
    BadSignature,
    ChartledgerError,
    Expired,
    ForeignChain,
    Oversize,
    Replayed,
    UnknownInstitution,
    UnknownKey,
)
from protocol.ledger import keys
from protocol.ledger.blocks import TRANSACTION_OVERHEAD_BYTES
from protocol.ledger.leaves import decode_leaf
from protocol.ledger.windows import FRESH, Window, used
from protocol.params import Params
from protocol.types.institutions import Institution
from protocol.types.transaction import Transaction

CHUNK = 64
"""Transactions a thread takes at once: long enough to be worth the hop, short enough to share the cores."""
TURN = 16
"""Transactions checked on the event loop, about a millisecond, before others get their turn."""


class Standing:
    """Parameters, institutions and their anti-replay windows at the final head, in memory."""

    def __init__(self, leaves: Mapping[bytes, bytes] | None = None) -> None:
        self._institutions: dict[int, Institution] = {}
        self._windows: dict[bytes, Window] = {}
        self.params = Params()
        self.update(leaves or {})

    def update(self, leaves: Mapping[bytes, bytes]) -> None:
        """Take over what changed with a final block (state leaves by key)."""
        for key, raw in leaves.items():
            kind = key[0]
            if kind == keys.KIND_WINDOW:
                window = decode_leaf(key, raw)
                assert isinstance(window, Window)
                self._windows[key] = window
            elif kind == keys.KIND_INSTITUTION:
                institution = decode_leaf(key, raw)
                assert isinstance(institution, Institution)
                self._institutions[int.from_bytes(key[1:], "big")] = institution
            elif kind == keys.KIND_PARAMS:
                params = decode_leaf(key, raw)
                assert isinstance(params, Params)
                self.params = params

    def institution(self, number: int) -> Institution | None:
        """The institution as it stands at the head."""
        return self._institutions.get(number)

    def window(self, institution: int, key: int) -> Window:
        """The window of one operations key."""
        return self._windows.get(keys.window(institution, key), FRESH)

    def operation_key(self, institution: int, key: int) -> bytes:
        """The public key that a transaction must be signed with. Raises `UnknownInstitution` or `UnknownKey`."""
        leaf = self._institutions.get(institution)
        if leaf is None:
            raise UnknownInstitution(f"no institution has number {institution}")
        if key >= len(leaf.operation_keys):
            raise UnknownKey(f"institution {institution} has no operations key {key}")
        return leaf.operation_keys[key]

    def check_fits(self, raw: bytes) -> None:
        """Raise `Oversize` for a transaction that no block of this chain has room for: it would wait until it expires.

        No rule of the ledger, and so not asked of what stands in a block.
        """
        limit = min(limits.TRANSACTION_BYTES, room_in(self.params.block_bytes) - TRANSACTION_OVERHEAD_BYTES)
        if len(raw) > limit:
            raise Oversize(f"a transaction of {len(raw)} bytes is over this chain's limit of {limit}")

    def check_fresh(self, entry: Entry, ledger_ms: int) -> None:
        """Raise `Expired` or `Replayed` for what can never become final after ledger time `ledger_ms`."""
        body = entry.body
        if body.valid_until <= ledger_ms:
            raise Expired
        if used(self.window(body.institution, body.key), body.number, limits.WINDOW_BITS_INSTITUTION):
            raise Replayed


class Intake:
    """Checks transactions in `threads`, or on the event loop if None."""

    def __init__(self, chain: bytes, standing: Standing, threads: Threads | None) -> None:
        self._chain = chain
        self._standing = standing
        self._threads = threads

    async def check(self, raws: Sequence[bytes]) -> list[Entry | ChartledgerError]:
        """For each of `raws`, in order: its entry, or the named error that refuses it for good."""
        if self._threads is None or len(raws) <= TURN:
            return await self._check_here(raws)
        loop = asyncio.get_running_loop()
        chunks = [raws[i : i + CHUNK] for i in range(0, len(raws), CHUNK)]
        done = await asyncio.gather(*(loop.run_in_executor(self._threads, self._check_chunk, c) for c in chunks))
        return [result for chunk in done for result in chunk]

    async def _check_here(self, raws: Sequence[bytes]) -> list[Entry | ChartledgerError]:
        results: list[Entry | ChartledgerError] = []
        for start in range(0, len(raws), TURN):
            if start:
                await asyncio.sleep(0)
            results += self._check_chunk(raws[start : start + TURN])
        return results

    def _check_chunk(self, raws: Iterable[bytes]) -> list[Entry | ChartledgerError]:
        results: list[Entry | ChartledgerError] = []
        for raw in raws:
            try:
                results.append(self.check_one(raw))
            except ChartledgerError as error:
                results.append(error)
        return results

    def check_one(self, raw: bytes) -> Entry:
        """The entry of one transaction. Raises the named error that refuses it."""
        transaction = decode(Transaction, raw, limits.TRANSACTION_BYTES)
        body = transaction.body
        if body.chain != self._chain:
            raise ForeignChain
        public = self._standing.operation_key(body.institution, body.key)
        if not verify(public, transaction_message_of(raw), transaction.signature):
            raise BadSignature("the institution's signature of the transaction does not verify")
        return make_entry(transaction, raw, public)
