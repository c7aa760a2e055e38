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
                if last is not None:
                    async for message in _missed(context, chart, last, head):
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


async def _missed(context: Context, chart: int | None, last: int, head: int) -> AsyncIterator[bytes]:
    """What there was above height `last`, up to `head`; the newest of it that happened to the chart, if it is very
    much, and the oldest of the blocks. Some is read at a time, since all of it may be very large."""
    if chart is not None:
        async for message in _missed_of(context, chart, last, head):
            yield message
    first, left = last + 1, MISSED_MOST
    while first <= head and left and (blocks := await context.node.blocks(first, left)):
        for one in blocks:
            if one.header.height <= head:
                yield _message("block", block_out(one), one.header.height)
        first, left = blocks[-1].header.height + 1, left - len(blocks)


async def _missed_of(context: Context, chart: int, last: int, head: int) -> AsyncIterator[bytes]:
    leaf = await context.node.chart(chart)
    end = 0 if leaf is None else leaf.events
    first = max(await _first_above(context, chart, end, last), end - CHART_MISSED_MOST)
    while first < end and (page := await context.node.events(chart, first, min(AT_ONCE, end - first))):
        for number, raw in page:
            if decode_event(raw).height <= head:
                yield _chart_message(chart, number, raw)
        first = page[-1][0] + 1


async def _first_above(context: Context, chart: int, end: int, height: int) -> int:
    """The number of the chart's first event above a height, or `end`. Heights ascend, so it is looked for by halves."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        raw = (await context.node.events_at(chart, [middle]))[middle]
        low, high = (low, middle) if decode_event(raw).height > height else (middle + 1, high)
    return low


def _chart_message(chart: int, number: int, raw: bytes) -> bytes:
    return _message("chart", {"chart": chart, "event": event_out(number, raw, decode_event(raw))})


def _message(kind: str, value: object, height: int | None = None) -> bytes:
    said = b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(value))
    return said if height is None else b"id: %d\n" % height + said
