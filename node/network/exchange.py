"""Requests and answers on one connection: who waits for what, how many at once, and what ends with the connection.

Both directions are bounded alike, so that honest peers never refuse each other for it: a request holds its turn until
its answer came, an answer until it has left the queue, which is earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from node.logs import get_logger
from node.network.frames import Kind
from node.network.interface import Channel, PeerGone, Refuse, RequestRefused, RequestTimedOut
from node.network.messages import CODE_CHARACTERS, PAYLOAD_BYTES, Request, Response, printable
from node.network.queues import Drawn
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError

log = get_logger("network")

REQUESTS_PER_CHANNEL = 16  # outstanding in one direction


class Send(Protocol):
    """Queues a message. With `drawn` it is never dropped, and `drawn` is called when it has left the queue."""

    def __call__(self, kind: Kind, channel: Channel, body: bytes, drawn: Drawn | None) -> None: ...


class Exchange:
    """See the module. `answer` is the node's handler, `violate` ends the connection for what does not decode."""

    def __init__(
        self, send: Send, answer: Callable[[str, bytes], Awaitable[bytes]], violate: Callable[[str], None]
    ) -> None:
        self._send = send
        self._answer = answer
        self._violate = violate
        self._ended: str | None = None
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._turns = tuple(asyncio.Semaphore(REQUESTS_PER_CHANNEL) for _ in Channel)
        self._serving = [0 for _ in Channel]
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(self, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        """As `Network.request`."""
        if len(payload) > PAYLOAD_BYTES:
            raise ValueError(f"a request carries at most {PAYLOAD_BYTES} bytes")
        number = self._numbers = self._numbers + 1
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s), self._turns[channel]:
                if self._ended is not None:
                    raise PeerGone(self._ended)
                self._waiting[number] = answer
                self._send(Kind.REQUEST, channel, encode(Request(number, method, payload)), _nothing)
                return await answer
        except TimeoutError:
            raise RequestTimedOut(f"no answer to {method} within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(number, None)

    def responded(self, body: bytes) -> None:
        """A response came. Raises `DecodeError`."""
        response = decode(Response, body)
        waiting = self._waiting.get(response.number)
        if waiting is None or waiting.done():
            return  # its time was over
        if response.refusal:
            sentence = printable(response.payload.decode(errors="replace"))
            waiting.set_exception(RequestRefused(printable(response.refusal), sentence))
        else:
            waiting.set_result(response.payload)

    def requested(self, channel: Channel, body: bytes) -> None:
        """A request came: answer it in a task of its own. Raises `DecodeError`."""
        request = decode(Request, body)
        if self._serving[channel] >= REQUESTS_PER_CHANNEL:
            refusal = Response(request.number, "busy", b"as many requests are being answered as may be")
            self._send(Kind.RESPONSE, channel, encode(refusal), None)
            return
        self._serving[channel] += 1
        task = asyncio.get_running_loop().create_task(self._serve(channel, request), name=request.method)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def end(self, reason: str) -> None:
        """The connection ended: nobody waits any longer, and nothing more is worked out for the peer."""
        self._ended = reason
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(PeerGone(reason))

    async def _serve(self, channel: Channel, request: Request) -> None:
        response = Response(request.number, "internal", b"the peer failed to answer; its log says why")
        try:
            payload = await self._answer(request.method, request.payload)
            if len(payload) > PAYLOAD_BYTES:
                raise ValueError(f"{request.method}: an answer carries at most {PAYLOAD_BYTES} bytes")
            response = Response(request.number, "", payload)
        except Refuse as refusal:
            code = refusal.refusal[:CODE_CHARACTERS] or "refused"  # empty would mean an answer
            response = Response(request.number, code, str(refusal).encode())
        except DecodeError as error:
            self._violate(f"{request.method}: {error}")
        finally:
            if self._ended is None:
                self._send(Kind.RESPONSE, channel, encode(response), lambda: self._served(channel))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("failed to answer", method=task.get_name(), exc_info=error)

    def _served(self, channel: Channel) -> None:
        self._serving[channel] -= 1


def _nothing() -> None:
    """A request that left the queue frees nothing: its turn lasts until the answer."""
