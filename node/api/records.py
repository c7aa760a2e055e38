"""Records through the socket: in at their writer, out again to it, to their owner, and to readers."""

from __future__ import annotations

import asyncio

from msgspec import ValidationError, convert
from starlette.responses import Response, StreamingResponse

from node.api.call import JSON, Call, json_response, parse_json
from node.api.context import Context
from node.api.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from node.api.schemas import (
    LabelHeaders,
    PermitDone,
    PermitIn,
    ReadItem,
    ReadOut,
    RecordOut,
    RecordsIn,
    RecordsStored,
)
from node.records.errors import SensitivitiesUnstated
from node.records.fhir import FHIR_JSON, Described, bundle_slices, is_fhir
from node.records.labelling import Labelling
from node.records.messages import RECORDS_PER_RELEASE
from node.records.opening import Content
from node.records.seal import MediaType, Plain
from node.services import Final, Prepared
from protocol.crypto.tags import NONE
from protocol.errors import UnknownRecord
from protocol.ledger.keys import GRANT_MAX

STREAM_ABOVE_BYTES = 8 * 1024 * 1024
"""A single record announced larger than this, or not announced at all, is sealed as it comes in, and its labels come
from headers alone."""
THREAD_ABOVE_BYTES = 64 * 1024
"""Looking into a record of this size would hold up the loop for longer than a thread costs."""
BINARY = "application/octet-stream"


async def submit(context: Context, call: Call) -> Response:
    """A list in JSON, a Bundle to be split, or one record as it is."""
    chart, grant, by = call.chart(), call.optional_number("grant", GRANT_MAX), context.settings.labelling
    if call.query_flag("split"):
        if call.media_type not in (FHIR_JSON, JSON):
            raise UnsupportedMediaType(f"only a Bundle in {FHIR_JSON} can be split")
        if _headers(call) != Described():
            raise BadRequest("labels of a Bundle's records come from its resources: leave the headers out")
        plains = await asyncio.to_thread(_split, await call.body(), by)
    elif call.media_type == JSON:
        plains = await asyncio.to_thread(_listed, await call.body(), call.query_flag("custom"), by)
    elif call.announced_bytes() > STREAM_ABOVE_BYTES and not _looked_into(call):
        return await _submit_stream(context, call, chart, grant)
    else:
        plains = [await _single(call, by)]

    async def begin() -> list[Prepared]:
        return await context.records.submitter.append(chart, plains, grant)

    return await context.writes.perform(call, begin, stored)


def _looked_into(call: Call) -> bool:
    """Whether only the body can tell how sensitive the record is."""
    return is_fhir(_media_type(call)) and _headers(call).sensitivities is None


async def _single(call: Call, by: Labelling) -> Plain:
    headers, media_type = _headers(call), _media_type(call)
    if not _looked_into(call):
        body = await call.body()
    else:
        try:
            body = await call.body(STREAM_ABOVE_BYTES)
        except BodyTooLarge:
            raise SensitivitiesUnstated("FHIR of this size is not looked into when it comes as one record") from None
    if len(body) <= THREAD_ABOVE_BYTES:
        return headers.plain(body, media_type, by)
    return await asyncio.to_thread(headers.plain, body, media_type, by)


async def _submit_stream(context: Context, call: Call, chart: int, grant: int | None) -> Response:
    """Sealed while it comes in; nothing of it is looked into."""
    described = _headers(call).plain(b"", BINARY, context.settings.labelling)
    media_type = _media_type(call)

    async def begin() -> list[Prepared]:
        body = call.chunks(context.settings.record_bytes)
        return await context.records.submitter.append_stream(
            chart, media_type, described.labels, described.supersedes, body, grant
        )

    return await context.writes.perform(call, begin, stored)


async def hand_in_permit(context: Context, call: Call) -> Response:
    """What the chart's owner gave this institution to write with; a newer one takes its place."""
    chart = call.chart()
    permit = await context.records.permits.hand_in(chart, (await call.json(PermitIn)).permit)
    context.records.changes.wake()
    return json_response(PermitDone(chart, permit.grant, permit.generation, sum(len(one) for one in permit.tags)))


async def stored(final: list[Final]) -> RecordsStored:
    receipts = [receipt for one in final for receipt in one.receipt.operations]
    return RecordsStored(
        chart=receipts[0].on_chart,
        records=[n for r in receipts for n in range(r.first_event, r.first_event + r.events)],
        height=max(one.height for one in final),
        time_ms=max(one.timestamp for one in final),
        transactions=[one.id.hex() for one in final],
    )


def _split(body: bytes, by: Labelling) -> list[Plain]:
    return [Described().plain(data, FHIR_JSON, by) for data in bundle_slices(body)]


def _listed(body: bytes, custom: bool, by: Labelling) -> list[Plain]:
    return [
        Described(one.category, one.year, one.sensitivities, one.supersedes, custom).plain(one.data, one.media_type, by)
        for one in parse_json(body, RecordsIn).records
    ]


def _media_type(call: Call) -> str:
    """What to remember as the record's media type: the header as it came, parameters included."""
    try:
        return convert(call.request.headers.get("content-type"), MediaType)
    except ValidationError:
        raise UnsupportedMediaType("say what the record is in Content-Type, as type/subtype") from None


def _headers(call: Call) -> Described:
    """Labels of a single record, from the headers Category, Year, Sensitivities (with commas) and Supersedes."""
    found = call.request.headers
    text = found.get("sensitivities", "")
    values = {
        "category": found.get("category"),
        "year": found.get("year"),
        "sensitivities": [code.strip() for code in text.split(",") if code.strip()] or None,
        "supersedes": found.get("supersedes"),
    }
    try:
        one = convert(values, LabelHeaders, strict=False)
    except ValidationError:
        raise BadRequest("a header among Category, Year, Sensitivities and Supersedes is malformed") from None
    return Described(one.category, one.year, one.sensitivities, one.supersedes, call.query_flag("custom"))


async def own(context: Context, call: Call) -> Response:
    """What the writer keeps of a record: for the writer's own people, since labels are sensitive."""
    chart, record = _record(call)
    found = await context.records.own(chart, record)
    entry, labels = found.event.entry, found.secret.labels
    return json_response(
        RecordOut(
            chart=chart,
            record=record,
            height=found.event.height,
            time_ms=found.event.time_ms,
            commitment=entry.commitment.hex(),
            tags=[tag.hex() for tag in entry.tags],
            supersedes=entry.supersedes,
            blob=found.stored.blob_id.hex(),
            blob_bytes=found.stored.blob_bytes,
            blob_state=found.blob_state,
            length=found.secret.length,
            media_type=found.secret.media_type,
            category=labels.category,
            year=labels.year,
            sensitivities=[code for code in (labels.sensitivity_1, labels.sensitivity_2) if code != NONE],
        )
    )


async def own_content(context: Context, call: Call) -> Response:
    return _content(await context.records.content(*_record(call)))


async def sealed(context: Context, call: Call) -> Response:
    size, chunks = await context.records.sealed(*_record(call))
    return StreamingResponse(chunks, 200, bytes_headers(BINARY, size))


async def owner_envelope(context: Context, call: Call) -> Response:
    envelope = await context.records.owner_envelope(*_record(call))
    return Response(envelope, 200, bytes_headers(BINARY, len(envelope)))


async def read(context: Context, call: Call) -> Response:
    """One record under a final disclosure, fetched from its writer or holders, checked before the first byte leaves."""
    chart, record = _record(call)
    disclosure = call.event("disclosure")
    content = await context.records.reader.read(chart, disclosure, record)
    return _content(await context.records.namesakes.watched(chart, disclosure, content, context.node.now_ms()))


async def read_many(context: Context, call: Call) -> Response:
    """Records of a disclosure, from position `first` on, as many as the custodian sends at once."""
    chart, disclosure = call.chart(), call.event("disclosure")
    reader = context.records.reader
    named = await reader.named_by(chart, disclosure)
    first = call.query_number("first", 0)
    wanted = named[first : first + min(max(call.query_number("count", RECORDS_PER_RELEASE), 1), RECORDS_PER_RELEASE)]
    if not wanted:
        raise UnknownRecord(f"the disclosure names {len(named)} records")
    items = [
        ReadItem(one.record, one.media_type, one.data) for one in await reader.read_some(chart, disclosure, wanted)
    ]
    if not items:
        content = await reader.read(chart, disclosure, wanted[0])
        context.check_room(content.length)
        items = [ReadItem(wanted[0], content.media_type, b"".join([chunk async for chunk in content.chunks]))]
    for item in items:
        await context.records.namesakes.look_at(chart, disclosure, item.media_type, item.data, context.node.now_ms())
    after = first + len(items)
    return json_response(ReadOut(items, after if after < len(named) else None))


def _record(call: Call) -> tuple[int, int]:
    return call.chart(), call.event("record")


def _content(content: Content) -> Response:
    return StreamingResponse(content.chunks, 200, bytes_headers(content.media_type, content.length))


def bytes_headers(media_type: str, length: int) -> dict[str, str]:
    """Headers of an answer that is a record's bytes, sealed or not."""
    return {
        "content-type": media_type,
        "content-length": str(length),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
