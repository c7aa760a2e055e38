"""Server-sent events: new final blocks, and what they did to charts.

The format is WHATWG's (https://html.spec.whatwg.org/multipage/server-sent-events.html). What a block did to the chart
comes before the block, whose message alone has an id, its height. So a client that reconnects with Last-Event-ID misses
nothing that happened to the chart, and is told some of it twice at most; of blocks it gets as many as are kept short.
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
CHART_MISSED_MOST = 10_000
AT_ONCE = 500
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
        head = context.node.head().height  # of all above, the live blocks tell
        with told.watching(chart, head) as watcher:
            with told.giving(watcher):
                yield b": open\n\n"
                for message in [] if last is None else await _missed(context, chart, last, head):
                    yield message
            async for following in _following(context, chart, head, live):
                if isinstance(following, int):
                    told.taken_up(watcher, following)
                else:
                    with told.giving(watcher):
                        yield following


async def _following(
    context: Context, chart: int | None, head: int, live: AsyncIterator[FinalBlock]
) -> AsyncIterator[bytes | int]:
    """What to send of the blocks above `head`; and before the messages of a block its height."""
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
            height = block.header.height
            yield height
            if height > head:
                for number, at, raw in block.events:
                    if number == chart:
                        yield _chart_message(number, at, raw)
                yield _message("block", block_out(block), height)
    finally:
        closing.cancel()
        if coming is not None:
            coming.cancel()


async def _missed(context: Context, chart: int | None, last: int, head: int) -> list[bytes]:
    """What there was above height `last`, up to `head`; the newest of it that happened to the chart, if it is very
    much, and the oldest of the blocks."""
    blocks = await context.node.blocks(last + 1, MISSED_MOST)
    shown = [_message("block", block_out(one), one.header.height) for one in blocks if one.header.height <= head]
    return shown if chart is None else [*await _missed_of(context, chart, last, head), *shown]


async def _missed_of(context: Context, chart: int, last: int, head: int) -> list[bytes]:
    leaf = await context.node.chart(chart)
    end = 0 if leaf is None else leaf.events
    found: list[bytes] = []
    while end and len(found) < CHART_MISSED_MOST:
        first = max(0, end - AT_ONCE)
        page = await context.node.events(chart, first, end - first)
        heights = [decode_event(raw).height for _, raw in page]
        found[:0] = [
            _chart_message(chart, number, raw)
            for (number, raw), height in zip(page, heights, strict=True)
            if last < height <= head
        ]
        end = first if heights[0] > last else 0
    return found


def _chart_message(chart: int, number: int, raw: bytes) -> bytes:
    return _message("chart", {"chart": chart, "event": event_out(number, raw, decode_event(raw))})


def _message(kind: str, value: object, height: int | None = None) -> bytes:
    said = b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(value))
    return said if height is None else b"id: %d\n" % height + said
