"""Reading with keys of one's own, through the socket of any institution: a chart's owner, or its delegate.

What comes out is sealed to the reader; whoever asks here needs no more than the role that any submitter has, since it
learns nothing by it. Owners bring a reading pass, delegates the event number of their asking.
"""

from __future__ import annotations

from starlette.responses import Response, StreamingResponse

from node.api.access_schemas import SealedDetails
from node.api.call import Call, json_response
from node.api.context import Context
from node.api.errors import BadRequest
from node.api.own_schemas import OwnerDetailsIn, OwnerDetailsOut, OwnerReadIn, PartOut, PartsOut
from node.api.records import BINARY
from node.reading_pass import PASS_BYTES, ReadingPass
from node.records.parts import Gathered
from protocol.codec.canonical import decode
from protocol.ledger import keys

PUBLIC_HEX = 2 * 4_096


async def owner_parts(context: Context, call: Call) -> Response:
    shown = _pass(call, (await call.json(OwnerReadIn)).reading_pass)
    record, holders_only = call.event("record"), call.query_flag("holders")
    return _parts(await context.records.for_owners.parts(shown, record, holders_only=holders_only))


async def owner_sealed(context: Context, call: Call) -> Response:
    shown = _pass(call, (await call.json(OwnerReadIn)).reading_pass)
    source = call.optional_number("source", keys.INSTITUTION_MAX)
    chunks = await context.records.for_owners.sealed(shown, call.event("record"), source)
    return StreamingResponse(chunks, 200, {"cache-control": "no-store", "content-type": BINARY})


async def owner_details(context: Context, call: Call) -> Response:
    body = await call.json(OwnerDetailsIn)
    said = await context.records.for_owners.details(_pass(call, body.reading_pass), body.events)
    return json_response(OwnerDetailsOut([SealedDetails(one.event, one.institution, one.sealed) for one in said]))


async def delegate_parts(context: Context, call: Call) -> Response:
    chart, disclosure, record = call.chart(), call.event("disclosure"), call.event("record")
    parts = context.records.for_delegates.parts
    found = await parts(chart, disclosure, record, public_key(call), holders_only=call.query_flag("holders"))
    return _parts(found)


async def delegate_sealed(context: Context, call: Call) -> Response:
    chart, disclosure, record = call.chart(), call.event("disclosure"), call.event("record")
    source = call.optional_number("source", keys.INSTITUTION_MAX)
    chunks = await context.records.for_delegates.sealed(chart, disclosure, record, source)
    return StreamingResponse(chunks, 200, {"cache-control": "no-store", "content-type": BINARY})


async def delegate_envelope(context: Context, call: Call) -> Response:
    chart, disclosure, record = call.chart(), call.event("disclosure"), call.event("record")
    envelope = await context.records.for_delegates.envelope(chart, disclosure, record, public_key(call))
    return Response(envelope, 200, {"cache-control": "no-store", "content-type": BINARY})


def public_key(call: Call) -> bytes:
    """The reader's public encryption key in the query. Raises `BadRequest`."""
    text = call.query.get("public", "")
    try:
        public = bytes.fromhex(text) if 0 < len(text) <= PUBLIC_HEX else b""
    except ValueError:
        public = b""
    if not public:
        raise BadRequest("public is the delegate's public encryption key in hex")
    return public


def _pass(call: Call, raw: bytes) -> ReadingPass:
    shown = decode(ReadingPass, raw, PASS_BYTES)
    if shown.chart != call.chart():
        raise BadRequest("the reading pass is for another chart than the request is about")
    return shown


def _parts(found: Gathered) -> Response:
    parts = [PartOut(one.institution, one.kind, one.envelope, one.details, one.blob_bytes) for one in found.parts]
    refused = {str(institution): why for institution, why in sorted(found.refused.items())}
    return json_response(PartsOut(parts, refused))
