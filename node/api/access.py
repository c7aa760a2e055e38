"""Asking to read through the socket: under a grant, as a delegate, in an emergency; and what was said in confidence.

How owners and delegates then read is in `node.api.own_reading`."""

from __future__ import annotations

from msgspec import structs
from starlette.responses import Response

from node.alerts.rules import DAY_MS
from node.alerts.service import LOOK_BACK_DAYS
from node.api.access_schemas import (
    AlertOut,
    DelegateCosignatureIn,
    DetailsIn,
    DetailsOut,
    DisclosureDone,
    DisclosureIn,
    EmergenciesOut,
    EmergencyCount,
    EmergencyDone,
    EmergencyIn,
    EmergencyOut,
    ReviewIn,
    SealedDetails,
    SealedDetailsOut,
)
from node.api.call import Call, json_response
from node.api.context import Context
from node.api.errors import BadRequest
from node.api.events import outcome_name, reason_name
from node.api.look import PAGE, PAGE_MOST
from node.api.refusals import of_reason
from node.api.submit import receipt_of
from node.api.writes import Reply
from node.emergencies import Seen, counts, open_emergencies
from node.services import Final, Prepared
from protocol import limits
from protocol.crypto.details import Details
from protocol.ledger import keys
from protocol.ledger.events import Disclosed, GlassBroken, decode_event, reason_text
from protocol.ledger.leaves import Emergencies, decode_leaf
from protocol.types.operations import ROLE_DELEGATE, Cosignature

DAYS_MOST = 366


async def disclose(context: Context, call: Call) -> Response:
    body = await call.json(DisclosureIn)
    named = None if body.records == "covered" else [int(number) for number in body.records]
    delegate = body.delegate
    if delegate is not None:
        if named is None or body.grant is not None or body.details is not None or body.practitioner is not None:
            raise BadRequest("a delegate asks for named records, without grant, practitioner or details")
        asked, signed = named, _cosignature(delegate)

        async def carry() -> list[Prepared]:
            return await context.records.asker.for_delegate(body.chart, asked, body.purpose, signed)

        return await context.writes.perform(call, carry, _decided(context))

    async def begin() -> list[Prepared]:
        return await context.records.asker.disclose(
            body.chart,
            body.grant,
            body.purpose,
            named,
            practitioner=_pseudonym(body.practitioner),
            details=None if body.details is None else _details(body.details),
        )

    return await context.writes.perform(call, begin, _decided(context))


async def break_glass(context: Context, call: Call) -> Response:
    body = await call.json(EmergencyIn)

    async def begin() -> list[Prepared]:
        return await context.records.asker.break_glass(
            body.chart, body.records, body.purpose, _details(body.details), _pseudonym(body.practitioner)
        )

    return await context.writes.perform(call, begin, _decided(context))


async def confirm(context: Context, call: Call) -> Response:
    chart, emergency = call.chart(), call.event("emergency")
    await call.body()  # there is none, and a repeat is told by it

    async def begin() -> list[Prepared]:
        return await context.records.asker.confirm(chart, emergency)

    return await context.writes.perform(call, begin, _later(context, emergency))


async def review(context: Context, call: Call) -> Response:
    chart, emergency = call.chart(), call.event("emergency")
    body = await call.json(ReviewIn)
    findings = None if body.findings is None else _details(body.findings)

    async def begin() -> list[Prepared]:
        return await context.records.asker.review(chart, emergency, body.justified, findings)

    return await context.writes.perform(call, begin, _later(context, emergency))


async def emergencies(context: Context, call: Call) -> Response:
    """What is to be done about emergencies, of all institutions, and how each stands."""
    node = context.node
    now_ms = max(node.now_ms(), node.head().timestamp)
    found = await open_emergencies(node, now_ms)
    leaves = await node.last_leaves(keys.KIND_EMERGENCIES, limits.INSTITUTIONS)
    by_number = {int.from_bytes(key[1:], "big"): decode_leaf(key, raw) for key, raw in leaves}
    counted = counts({number: one for number, one in by_number.items() if isinstance(one, Emergencies)}, now_ms)
    return json_response(
        EmergenciesOut(
            [await _emergency_out(context, one) for one in found],
            [EmergencyCount(**structs.asdict(one)) for one in counted],
        )
    )


async def _emergency_out(context: Context, one: Seen) -> EmergencyOut:
    chart = await context.node.chart(one.chart)
    leaf, broken, here = one.leaf, one.broken, context.node.institution
    return EmergencyOut(
        chart=one.chart,
        emergency=one.event,
        institution=broken.institution,
        own=broken.institution == here,
        held_here=chart is not None and chart.custodian == here,
        state=one.state,
        purpose=broken.purpose,
        practitioner=None if broken.practitioner is None else broken.practitioner.hex(),
        records=len(broken.records),
        asked_at=broken.time_ms,
        release_until=None if leaf is None else leaf.release_until,
        review_by=None if leaf is None else leaf.review_by,
        confirmed_by=None if leaf is None else leaf.confirmed_by,
    )


async def alerts(context: Context, call: Call) -> Response:
    """For those who may read here, since staff ids stand in it."""
    days = call.query_number("days", LOOK_BACK_DAYS, DAYS_MOST)
    since_ms = max(0, context.node.now_ms() - days * DAY_MS)
    found = await context.records.alerts.since(since_ms, context.settings.thresholds)
    own = context.node.institution
    return json_response([AlertOut(**structs.asdict(one), own=one.institution == own) for one in found])


async def details_for_owner(context: Context, call: Call) -> Response:
    """What was said to the owner of a chart kept here; sealed, so whoever asks learns only that something was."""
    chart = call.chart()
    first = call.query_number("first", 0, limits.EVENTS_PER_CHART - 1)
    count = max(1, min(call.query_number("count", PAGE), PAGE_MOST))
    found = await context.records.confidence.for_owner(chart, first, count)
    after = found[-1].event + 1 if len(found) == count else None
    return json_response(
        SealedDetailsOut([SealedDetails(one.event, one.institution, one.sealed) for one in found], after)
    )


async def details_stated(context: Context, call: Call) -> Response:
    """What this institution itself said: it answers for its own people."""
    found = await context.records.confidence.stated(call.chart(), call.event("disclosure"))
    return json_response(DetailsOut(**structs.asdict(found)))


def _decided(context: Context) -> Reply:
    async def answer(final: list[Final]) -> DisclosureDone:
        context.records.confidence.wake()
        receipt = receipt_of(final)
        raw = await context.node.events_at(receipt.on_chart, [receipt.first_event])
        decided = decode_event(raw[receipt.first_event])
        assert isinstance(decided, Disclosed | GlassBroken)
        return DisclosureDone(
            chart=receipt.on_chart,
            disclosure=receipt.first_event,
            outcome=outcome_name(decided.outcome),
            reason=reason_name(decided.reason),
            sentence=reason_text(decided.reason),
            exception=of_reason(decided.reason),
            records=list(decided.records),
            release_until=decided.release_until,
            review_by=decided.review_by if isinstance(decided, GlassBroken) else None,
            height=final[0].height,
            time_ms=final[0].timestamp,
            transaction=final[0].id.hex(),
        )

    return answer


def _later(context: Context, emergency: int) -> Reply:
    async def answer(final: list[Final]) -> EmergencyDone:
        context.records.confidence.wake()
        receipt = receipt_of(final)
        height, time_ms, name = final[0].height, final[0].timestamp, final[0].id.hex()
        return EmergencyDone(receipt.on_chart, emergency, receipt.first_event, height, time_ms, name)

    return answer


def _details(said: DetailsIn) -> Details:
    return Details(said.staff, said.family, said.given, said.role, said.reason, said.reference)


def _pseudonym(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _cosignature(given: DelegateCosignatureIn) -> Cosignature:
    signature = bytes.fromhex(given.signature)
    return Cosignature(ROLE_DELEGATE, given.delegate, given.number, given.expires_at, signature)
