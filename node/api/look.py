"""What anybody who can open the socket may see: the node, its blocks, and charts as the ledger has them."""

from __future__ import annotations

from types import UnionType
from typing import Final, Literal

from msgspec import msgpack
from starlette.responses import Response

from node.api.call import CHART_MAX, Call, json_response
from node.api.context import Context
from node.api.errors import NothingThere
from node.api.events import event_out
from node.api.schemas import BlockOut, ChartOut, EventsOut, Health, InstitutionOut
from node.motions import authorities
from node.services import FinalBlock
from protocol import limits
from protocol.errors import UnknownChart
from protocol.ledger import keys
from protocol.ledger.events import Disclosed, Event, GlassBroken, RecordAppended, decode_event
from protocol.ledger.leaves import Chart, OwnerIndex, decode_leaf
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED

PAGE = 100
PAGE_MOST = 1_000
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STANDING: Final[dict[int, Literal["accredited", "suspended", "removed"]]] = {
    STATUS_ACCREDITED: "accredited",
    STATUS_SUSPENDED: "suspended",
    STATUS_REMOVED: "removed",
}


async def status(context: Context, call: Call) -> Response:
    return json_response(await context.node.status())


async def health(context: Context, call: Call) -> Response:
    """200 when all is well and 503 when not, for probes that look at nothing else."""
    found = await context.node.status()
    healthy = bool(found["healthy"])
    return json_response(Health(healthy, str(found["summary"])), 200 if healthy else 503)


async def peers(context: Context, call: Call) -> Response:
    return json_response(context.node.peers())


async def institutions(context: Context, call: Call) -> Response:
    """All of them, ascending; a page is enough for any consortium."""
    node = context.node
    members = {one.institution for one in (await authorities(node)).members}
    found: list[InstitutionOut] = []
    while (one := await node.institution_leaf(len(found))) is not None:
        number = len(found)
        found.append(
            InstitutionOut(
                number=number,
                name=one.name,
                status=_STANDING[one.status],
                authority=number in members,
                operation_keys=[key.hex() for key in one.operation_keys],
                vote_key=one.vote_key.hex(),
                network_certificates=[der.hex() for der in one.network_certificates],
                encryption_key=one.encryption_key.hex(),
            )
        )
    return json_response(found)


async def metrics(context: Context, call: Call) -> Response:
    return Response(context.node.metrics_text(), media_type=METRICS_TYPE)


async def block(context: Context, call: Call) -> Response:
    height = call.path_number("height")
    found = await context.node.blocks(height, 1)
    if not found or found[0].header.height != height:
        raise NothingThere(f"no block of height {height} is final yet")
    return json_response(block_out(found[0]))


async def blocks(context: Context, call: Call) -> Response:
    """The last ones without `first`; ascending either way."""
    count = min(call.query_number("count", PAGE), PAGE_MOST)
    first = call.query_number("first", max(0, context.node.head().height - count + 1))
    return json_response([block_out(b) for b in await context.node.blocks(first, count)])


def block_out(block: FinalBlock) -> BlockOut:
    header = block.header
    return BlockOut(
        height=header.height,
        epoch=header.epoch,
        digest=block.digest.hex(),
        parent=header.parent.hex(),
        proposer=header.proposer,
        time_ms=header.timestamp,
        transactions_root=header.transactions_root.hex(),
        state_root=header.state_root.hex(),
        transactions=len(block.transactions),
        bytes=len(msgpack.encode(header)) + sum(map(len, block.transactions)),
    )


async def charts(context: Context, call: Call) -> Response:
    """With `owner_key` the one chart of that key; without, the charts that this institution keeps."""
    text = call.query.get("owner_key")
    if text is None:
        first, count = call.query_number("first", 0, CHART_MAX), min(call.query_number("count", PAGE), PAGE_MOST)
        numbers = await context.node.charts_of_custodian(context.node.institution, first, count)
        return json_response([await _chart_out(context, n) for n in numbers])
    try:
        owner_key = bytes.fromhex(text)
    except ValueError:
        owner_key = b""
    number = None
    if len(owner_key) == 32:
        former = call.query_flag("former")
        number = await (_once_named(context, owner_key) if former else context.node.chart_of_owner(owner_key))
    if number is None:
        raise UnknownChart("no chart has this owner key")
    return json_response([await _chart_out(context, number)])


async def _once_named(context: Context, owner_key: bytes) -> int | None:
    """The chart that this key opened, or that a change was to lead to it, whether or not it is the owner's now."""
    index = keys.owner(owner_key)
    raw = (await context.node.leaves([index])).get(index)
    found = None if raw is None else decode_leaf(index, raw)
    return found.chart if isinstance(found, OwnerIndex) else None


async def chart(context: Context, call: Call) -> Response:
    return json_response(await _chart_out(context, call.chart()))


async def _chart_out(context: Context, number: int) -> ChartOut:
    found = await require_chart(context, number)
    return ChartOut(
        chart=number,
        custodian=found.custodian,
        owner_key=found.owner_key.hex(),
        encryption_suite=found.encryption_suite,
        encryption_key=found.encryption_key.hex(),
        opened_at=found.opened_at,
        generation=found.generation,
        grants=found.grants,
        events=found.events,
        history_root=found.history_root.hex(),
        owner_number=found.window.highest,
        held_here=found.custodian == context.node.institution,
    )


async def require_chart(context: Context, number: int) -> Chart:
    found = await context.node.chart(number)
    if found is None:
        raise UnknownChart(f"there is no chart {number}")
    return found


async def history(context: Context, call: Call) -> Response:
    return await _events(context, call, None)


async def records(context: Context, call: Call) -> Response:
    return await _events(context, call, RecordAppended)


async def disclosures(context: Context, call: Call) -> Response:
    return await _events(context, call, Disclosed | GlassBroken)


async def _events(context: Context, call: Call, kind: type[Event] | UnionType | None) -> Response:
    """A page of a chart's events, shorter where they are large. A kind narrows what is shown, not what is counted:
    pages go by event numbers."""
    number = call.chart()
    found = await require_chart(context, number)
    first = call.query_number("first", 0, limits.EVENTS_PER_CHART - 1)
    count = max(1, min(call.query_number("count", PAGE), PAGE_MOST))
    page = await context.node.events(number, first, count)
    events = [(n, raw, decode_event(raw)) for n, raw in page]
    after = page[-1][0] + 1 if page else found.events
    shown = [event_out(n, raw, event) for n, raw, event in events if kind is None or isinstance(event, kind)]
    return json_response(EventsOut(number, shown, after if after < found.events else None))
