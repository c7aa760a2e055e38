"""Erasures, legal holds, notes of dispute and how a record stands, through the socket.

An erasure itself is the owner's operation and comes with the others (`POST /v1/operations`), at the custodian's node.
"""

from __future__ import annotations

from starlette.responses import Response

from node.api.call import Call, json_response
from node.api.context import Context
from node.api.erasing_schemas import (
    ErasureOut,
    HoldDone,
    HoldersOut,
    HoldIn,
    HoldOut,
    NoteDraft,
    NoteIn,
    NoteSigned,
    ReceiptOut,
    StandingOut,
)
from node.api.errors import BadRequest, BodyTooLarge
from node.api.look import require_chart
from node.api.records import stored
from node.api.submit import receipt_of
from node.records import standing
from node.records.notes import NOTE_BYTES
from node.records.seal import Plain
from node.services import Final, Prepared
from protocol import limits
from protocol.codec.canonical import encode
from protocol.ledger import keys
from protocol.ledger.events import HoldPlaced, decode_event
from protocol.ledger.leaves import Holds, decode_leaf
from protocol.types.operations import ROLE_OWNER, Cosignature, Hold, ReleaseHold, SignedOperation


async def listed(context: Context, call: Call) -> Response:
    """All erasures of a chart, and who has answered."""
    found = []
    for one in await standing.erasures(context.node, call.chart()):
        receipts = [
            ReceiptOut(owed.institution, await _name(context, owed.institution), owed.state, owed.height)
            for owed in one.receipts
        ]
        event = one.event
        found.append(ErasureOut(one.number, event.height, event.time_ms, list(event.records), receipts, one.complete))
    return json_response(found)


async def _name(context: Context, number: int) -> str:
    leaf = await context.node.institution_leaf(number)
    return f"institution {number}" if leaf is None else leaf.name


async def holders(context: Context, call: Call) -> Response:
    """Whom an erasure of these records must name."""
    text = call.query.get("records", "").split(",")
    if len(text) > limits.RECORDS_PER_ERASURE or not all(one.isascii() and one.isdecimal() for one in text):
        raise BadRequest(f"records is a list of 1 to {limits.RECORDS_PER_ERASURE} numbers with commas")
    wanted = sorted({int(one[:9]) for one in text})
    chart = call.chart()
    return json_response(HoldersOut(chart, wanted, await context.records.holders(chart, wanted)))


async def record_standing(context: Context, call: Call) -> Response:
    chart, record = call.chart(), call.event("record")
    found = await standing.standing(context.node, chart, record)
    said = found.sentences(record)
    return json_response(
        StandingOut(chart, record, list(found.superseded_by), list(found.disputed_by), found.erased_by, said)
    )


# --- holds --------------------------------------------------------------------------------------------------------


async def holds(context: Context, call: Call) -> Response:
    """Those in force."""
    chart = call.chart()
    await require_chart(context, chart)
    key = keys.holds(chart)
    raw = (await context.node.leaves([key])).get(key)
    leaf = None if raw is None else decode_leaf(key, raw)
    numbers = [number for number, _ in leaf.holds] if isinstance(leaf, Holds) else []
    events = await context.node.events_at(chart, numbers)
    found = []
    for number in numbers:
        event = decode_event(events[number])
        assert isinstance(event, HoldPlaced)
        records = None if event.records is None else list(event.records)
        found.append(HoldOut(number, event.institution, event.height, event.time_ms, records, event.basis.hex()))
    return json_response(found)


async def place_hold(context: Context, call: Call) -> Response:
    chart, body = call.chart(), await call.json(HoldIn)
    records = None if body.records is None else tuple(sorted(set(body.records)))
    return await _hold(context, call, Hold(chart, records, bytes.fromhex(body.basis)))


async def release_hold(context: Context, call: Call) -> Response:
    return await _hold(context, call, ReleaseHold(call.chart(), call.event("hold")))


async def _hold(context: Context, call: Call, operation: Hold | ReleaseHold) -> Response:
    async def begin() -> list[Prepared]:
        return await context.node.prepare([[SignedOperation(operation)]])

    async def answer(final: list[Final]) -> HoldDone:
        event = receipt_of(final).first_event
        hold = operation.hold if isinstance(operation, ReleaseHold) else event
        return HoldDone(operation.chart, hold, event, final[0].height, final[0].timestamp, final[0].id.hex())

    return await context.writes.perform(call, begin, answer)


# --- notes of dispute ---------------------------------------------------------------------------------------------


async def draft_note(context: Context, call: Call) -> Response:
    """Nothing reaches the ledger yet."""
    chart, body = call.chart(), await call.json(NoteIn)
    if len(body.data) > NOTE_BYTES:
        raise BodyTooLarge(f"a note of dispute is at most {NOTE_BYTES} bytes")
    # Whoever may not see the record must not learn of it from the note: it is labelled as the record is.
    labels = (await context.records.own(chart, body.disputes)).secret.labels
    plain = Plain(body.data, body.media_type, labels)
    draft = await context.records.notes.draft(chart, body.disputes, plain)
    return json_response(NoteDraft(draft.number, encode(draft.operation), draft.sealed.owner_envelope))


async def sign_note(context: Context, call: Call) -> Response:
    chart, number, body = call.chart(), call.path_number("draft"), await call.json(NoteSigned)
    signed = body.cosignature
    cosignature = Cosignature(ROLE_OWNER, 0, signed.number, signed.expires_at, bytes.fromhex(signed.signature))

    async def begin() -> list[Prepared]:
        return await context.records.notes.carry(chart, number, cosignature)

    return await context.writes.perform(call, begin, stored)
