"""Server-sent events: new final blocks, and what they did to charts.

The format is WHATWG's (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event's id is its block's
height, so a client that reconnects with Last-Event-ID gets the blocks that it missed, as far as they are kept short;
what happened to charts meanwhile stands in their history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from node.api.call import CHART_MAX, Call
from node.api.context import Context
from node.api.errors import BadRequest, TooManyStreams
from node.api.events import event_out
from node.api.look import block_out
from node.services import FinalBlock
from protocol.ledger.events import decode_event

KEEPALIVE_S = 15.0
MISSED_MOST = 1_000
STREAMS_MOST = 64
"""Open at once: below the server's bound on connections, so that whoever may only look shuts nobody else out."""


async def events(context: Context, call: Call) -> Response:
    """`chart=N` also tells what happened to that chart; without it, blocks alone are told."""
    chart = call.query_number("chart", 0, CHART_MAX) if "chart" in call.query else None
    last = call.request.headers.get("last-event-id")
    if last is not None and not (last.isascii() and last.isdecimal() and len(last) <= 16):
        raise BadRequest("Last-Event-ID is the height of a block")
    if len(context.streams) >= STREAMS_MOST:
        raise TooManyStreams
    stream = _stream(context, chart, None if last is None else int(last))
    return StreamingResponse(stream, 200, {"cache-control": "no-store"}, "text/event-stream")


@asynccontextmanager
async def _counted(streams: set[object]) -> AsyncIterator[None]:
    token = object()
    streams.add(token)
    try:
        yield
    finally:
        streams.discard(token)


async def _stream(context: Context, chart: int | None, last: int | None) -> AsyncIterator[bytes]:
    told = context.records.told
    async with _counted(context.streams), context.node.subscribe() as live:
        with told.watching(chart, context.node.head().height) as watcher:
            yield b": open\n\n"
            async for message in _following(context, chart, last, live):
                if isinstance(message, int):
                    told.sent(watcher, message)
                else:
                    yield message


async def _following(
    context: Context, chart: int | None, last: int | None, live: AsyncIterator[FinalBlock]
) -> AsyncIterator[bytes | int]:
    """What to send; and after the messages of a block, once they were taken, its height."""
    told = context.node.head().height if last is None else last
    if last is not None:
        for missed in await context.node.blocks(last + 1, MISSED_MOST):
            told = missed.header.height
            yield _message("block", told, block_out(missed))
    closing: asyncio.Future[Any] = asyncio.ensure_future(context.closing.wait())
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(live))
            await asyncio.wait({coming, closing}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                return
            if not coming.done():
                yield b": still here\n\n"
                continue
            try:
                block: FinalBlock = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            if block.header.height > told:
                for message in _messages(block, chart):
                    yield message
            yield block.header.height
    finally:
        closing.cancel()
        if coming is not None:
            coming.cancel()


def _messages(block: FinalBlock, chart: int | None) -> list[bytes]:
    height = block.header.height
    found = [
        _message("chart", height, {"chart": number, "event": event_out(at, raw, decode_event(raw))})
        for number, at, raw in block.events
        if number == chart
    ]
    return [*found, _message("block", height, block_out(block))]


def _message(kind: str, height: int, value: object) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (height, kind.encode(), msgspec.json.encode(value))
