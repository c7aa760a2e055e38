"""What every submission through the socket has in common: never written twice, answered when final.

The order is the promise. Whatever a transaction relies on (blobs, sealed keys) is durable before `begin` returns; then
the row Idempotency-Key -> transaction ids is; only then does `submit` let the transactions out. So after a crash at
any moment a repeat finds either no row or no submitted transaction (and nothing was written), or the ids, whose
receipts give the first answer again. Relies on the core keeping receipts at least as long as rows live.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import Response

from node.api.call import Call, json_response
from node.api.errors import IdempotencyKeyReused, NotFinalYet
from node.api.problems import problem_response
from node.api.schemas import Accepted
from node.records.errors import PartlyFinal
from node.services import Dead, Final, NodeServices, Outcome, Prepared, Waiting
from node.storage.outbox import Answer, Idempotency
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import Domain, keyed_digest
from protocol.types.base import Digest

KEY_LIFE_MS = 24 * 3_600 * 1_000
"""How long a key is remembered; docs/integrators.md says so."""

Begin = Callable[[], Awaitable[list[Prepared]]]
Reply = Callable[[list[Final]], Awaitable[Any]]


Ids = tuple[Digest, ...]
"""What a row remembers besides the request's mark: the transactions that it became."""


class Writes:
    """Carries submissions out, each once."""

    def __init__(self, node: NodeServices, rows: Idempotency, secret: bytes, wait_s: float) -> None:
        self._node = node
        self._rows = rows
        self._secret = secret
        self._wait_s = wait_s
        self._under_way: dict[bytes, tuple[asyncio.Lock, int]] = {}

    async def perform(self, call: Call, begin: Begin, answer: Reply) -> Response:
        """Answer with `answer(final transactions)` as JSON, 202 without wait=final, or a problem.

        `begin` runs only if this request was not carried out before; a body read as a stream is read by it.
        """
        wait = call.wait_final  # refused, if it is, before anything is written
        ids = await self.submit_once(call, begin)
        if not wait:
            return json_response(Accepted([i.hex() for i in ids]), 202)
        return await self._report(ids, await self._node.outcomes(ids, self._wait_s), answer)

    async def submit_once(self, call: Call, begin: Begin) -> list[bytes]:
        """The ids of this request's transactions, durable in the outbox. Raises `IdempotencyKeyReused`."""
        if call.idempotency_key is None:
            return await self._submit(await begin())
        key = keyed_digest(Domain.IDEMPOTENCY, self._secret, f"{call.uid} {call.idempotency_key}".encode())
        async with self._alone(key):
            known = await self._recall(key, call)
            if known is not None:
                return known
            prepared = await begin()
            ids = encode(tuple(p.id for p in prepared))
            await self._rows.put(key, Answer(call.mark(), self._node.now_ms() + KEY_LIFE_MS, None, ids))
            return await self._submit(prepared)

    async def wait(self, ids: list[bytes], wait: bool) -> list[Outcome]:
        """Where each transaction stands, after waiting for finality if asked to."""
        return await self._node.outcomes(ids, self._wait_s if wait else 0)

    async def _recall(self, key: bytes, call: Call) -> list[bytes] | None:
        """The ids of an earlier run of this request, unless nothing of it can be or become final.

        A body that comes as a stream is read here only if there is something to compare it with: what begins anew
        must find it unread.
        """
        row = await self._rows.get(key)
        if row is None or row.expires_at < self._node.now_ms():
            return None
        ids = list(decode(Ids, row.body))
        alive = any(isinstance(o, Final) or o is Waiting.PENDING for o in await self._node.outcomes(ids, 0))
        if alive:
            await call.drain()
        if (alive or call.is_read) and row.request != call.mark():
            raise IdempotencyKeyReused
        return ids if alive else None

    async def _submit(self, prepared: list[Prepared]) -> list[bytes]:
        await self._node.submit(prepared)
        return [p.id for p in prepared]

    async def _report(self, ids: list[bytes], outcomes: list[Outcome], answer: Reply) -> Response:
        names = [i.hex() for i in ids]
        final = [o for o in outcomes if isinstance(o, Final)]
        dead = [o for o in outcomes if isinstance(o, Dead)]
        if len(final) == len(ids):
            return json_response(await answer(final))
        if len(final) + len(dead) < len(ids):
            return problem_response(NotFinalYet(), names)
        if final:
            done = {o.id for o in final}
            sentence = f"{len(final)} of {len(ids)} transactions are final; the others never will be: {dead[0].error}"
            return problem_response(PartlyFinal(sentence), [i.hex() for i in ids if i in done])
        return problem_response(dead[0].error, names)

    @asynccontextmanager
    async def _alone(self, key: bytes) -> AsyncIterator[None]:
        """One request a key at a time. A lock lives as long as somebody holds or awaits it."""
        lock, users = self._under_way.get(key, (asyncio.Lock(), 0))
        self._under_way[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._under_way.pop(key)
            if users > 1:
                self._under_way[key] = (lock, users - 1)
