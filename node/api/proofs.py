"""Proofs, in the canonical bytes that `chartledger verify` reads."""

from __future__ import annotations

from starlette.responses import Response

from node.api.call import Call
from node.api.context import Context

PROOF_TYPE = "application/octet-stream"


async def inclusion(context: Context, call: Call) -> Response:
    """The inclusion proof of one event, for somebody who trusts the authorities of the epoch asked for."""
    epoch = call.query_number("epoch", 0)
    return _answer(await context.node.proof(call.chart(), call.event("event"), epoch))


async def final(context: Context, call: Call) -> Response:
    """The proof that a block is final; without a height, that the head is, or what lies as far as one proof reaches."""
    height = call.query_number("height", 0) if "height" in call.query else None
    return _answer(await context.node.final_proof(call.query_number("epoch", 0), height))


def _answer(proof: bytes) -> Response:
    return Response(proof, 200, {"cache-control": "no-store"}, PROOF_TYPE)
