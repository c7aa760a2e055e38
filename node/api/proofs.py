"""Proofs, in the canonical bytes that `chartledger verify` reads. `epoch` is the one that the verifier trusts.

Those of what a record says, whole or in one field, are made by who stores it, and are for submitters: a field's proof
holds the field.
"""

from __future__ import annotations

from msgspec.structs import replace
from starlette.responses import Response

from node.api.call import Call
from node.api.context import Context
from node.api.errors import BadRequest
from protocol import limits
from protocol.codec.canonical import encode
from protocol.ledger import keys
from protocol.proofs import bundle, field

PROOF_TYPE = "application/octet-stream"


async def inclusion(context: Context, call: Call) -> Response:
    """The inclusion proof of one event, for somebody who trusts the authorities of the epoch asked for."""
    return _answer(await context.node.proofs.inclusion(call.chart(), call.event("event"), _epoch(call)))


async def genesis(context: Context, call: Call) -> Response:
    """What every proof begins with, for whoever knows the chain's id, which is its digest."""
    return _answer(encode(context.node.genesis))


async def final(context: Context, call: Call) -> Response:
    """The proof that a block is final; without a height, that the head is, or what lies as far as one proof reaches."""
    return _answer(await context.node.proofs.final(_epoch(call), _maybe(call, "height")))


async def history(context: Context, call: Call) -> Response:
    """All that happened to a chart, from an event on, or as much of it as one proof carries."""
    first = call.query_number("first", 0, limits.EVENTS_PER_CHART - 1)
    return _answer(await context.node.proofs.history(call.chart(), first, _epoch(call)))


async def grant(context: Context, call: Call) -> Response:
    """Whether a grant is in force, or was at a height."""
    chart, number = call.chart(), call.path_number("grant", keys.GRANT_MAX)
    institution = _maybe(call, "institution", keys.INSTITUTION_MAX)
    record = _maybe(call, "record", limits.EVENTS_PER_CHART - 1)
    height = _maybe(call, "height")
    proofs, epoch = context.node.proofs, _epoch(call)
    if height is None:
        return _answer(await proofs.grant(chart, number, institution, record, epoch))
    if record is not None:
        raise BadRequest("a proof at an earlier height tells of the grant as a whole: leave out record or height")
    return _answer(await proofs.past_grant(chart, number, height, institution, epoch))


async def erasure(context: Context, call: Call) -> Response:
    """What became of an erasure."""
    return _answer(await context.node.proofs.erasure(call.chart(), call.event("erasure"), _epoch(call)))


async def record(context: Context, call: Call) -> Response:
    """The inclusion proof of a record stored here that also shows its bytes, to who holds them."""
    chart, number = call.chart(), call.event("record")
    shown = await context.records.bytes_leaf(chart, number)
    proof = bundle.read_inclusion(await context.node.proofs.inclusion(chart, number, _epoch(call)))
    return _answer(bundle.write(replace(proof, record=shown)))


async def one_field(context: Context, call: Call) -> Response:
    """The proof of one field of a record stored here."""
    chart, number = call.chart(), call.event("record")
    pointer = call.query.get("pointer")
    if not pointer:
        raise BadRequest("name the field with pointer, a JSON pointer such as /occurrenceDateTime")
    shown = await context.records.field_opening(chart, number, pointer)
    proof = bundle.read_inclusion(await context.node.proofs.inclusion(chart, number, _epoch(call)))
    return _answer(bundle.write(field.prove(proof, shown)))


def _epoch(call: Call) -> int:
    return call.query_number("epoch", 0)


def _maybe(call: Call, name: str, highest: int = limits.U53) -> int | None:
    return call.query_number(name, 0, highest) if name in call.query else None


def _answer(proof: bytes) -> Response:
    return Response(proof, 200, {"cache-control": "no-store"}, PROOF_TYPE)
