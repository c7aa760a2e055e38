"""What changes the ledger through the socket, except the records themselves."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from node.api.call import JSON, Call, json_response, parse_json
from node.api.context import Context
from node.api.errors import BadRequest, NotAllowed, UnsupportedMediaType
from node.api.peercred import Role
from node.api.schemas import (
    ChartIn,
    ChartOpened,
    OperationDone,
    OperationIn,
    TransactionDone,
    TransactionsDone,
    TransactionsIn,
)
from node.records.submit import ChartOpening
from node.services import Dead, Final, Outcome, Prepared
from protocol import limits
from protocol.codec.canonical import decode
from protocol.errors import ChartledgerError, Unauthorised
from protocol.ledger.transition import OperationReceipt
from protocol.types.operations import (
    ROLE_OWNER,
    BeginRecovery,
    CancelRecovery,
    CompleteRecovery,
    Cosignature,
    Delegate,
    EndDelegate,
    Erase,
    Grant,
    MoveChart,
    Revoke,
    RotateOwnerKey,
    SetGuardians,
    SetPolicy,
    SignedOperation,
)

MSGPACK_LIST = "application/octet-stream"
OWNERS = (
    Grant,
    Revoke,
    SetPolicy,
    Delegate,
    EndDelegate,
    SetGuardians,
    RotateOwnerKey,
    BeginRecovery,
    CancelRecovery,
    Erase,
    CompleteRecovery,
    MoveChart,
)
"""What any institution may carry for whoever signed it; `CompleteRecovery` takes no signature."""
_lists = msgspec.msgpack.Decoder(list[bytes])


async def open_chart(context: Context, call: Call) -> Response:
    body = await call.json(ChartIn)
    owner = body.cosignature
    opening = ChartOpening(
        bytes.fromhex(body.owner_key),
        body.encryption_suite,
        bytes.fromhex(body.encryption_public),
        bytes.fromhex(body.chart_secret),
        Cosignature(ROLE_OWNER, 0, owner.number, owner.expires_at, bytes.fromhex(owner.signature)),
    )

    async def begin() -> list[Prepared]:
        return await context.records.submitter.open_chart(opening)

    async def answer(final: list[Final]) -> ChartOpened:
        return ChartOpened(receipt_of(final).on_chart, final[0].height, final[0].timestamp, final[0].id.hex())

    return await context.writes.perform(call, begin, answer)


async def operation(context: Context, call: Call) -> Response:
    """What an owner, or who may act for it, signed rides in a transaction of this institution."""
    body = await call.json(OperationIn)
    signed = decode(SignedOperation, body.operation, limits.TRANSACTION_BYTES)
    if not isinstance(signed.operation, OWNERS):
        raise Unauthorised("only what an owner, a delegate or guardians sign by themselves comes this way")
    if signed.operation.chart != body.chart:
        raise BadRequest("the operation is about another chart than the request says")
    overrules = isinstance(signed.operation, BeginRecovery) and signed.operation.overrule
    if overrules and context.settings.roles.role(call.request.state.peer) < Role.GOVERN:
        # The institution's own word, as a legal hold is: it freezes an owner's key, and no clerk gives it.
        raise NotAllowed("to say that an owner's key is stolen needs the role govern")

    async def begin() -> list[Prepared]:
        return await context.node.prepare([[signed]])

    async def answer(final: list[Final]) -> OperationDone:
        receipt = receipt_of(final)
        event = receipt.first_event + receipt.events - 1 if receipt.events else None
        height, time_ms, name = final[0].height, final[0].timestamp, final[0].id.hex()
        return OperationDone(receipt.on_chart, receipt.grant, receipt.delegate, event, height, time_ms, name)

    return await context.writes.perform(call, begin, answer)


async def transactions(context: Context, call: Call) -> Response:
    """A batch that clients signed: each stands for itself, so the answer says of each what became of it."""
    wait = call.wait_final
    raws = await _raws(call)
    adopted = await context.node.adopt(raws)
    good = [one for one in adopted if isinstance(one, Prepared)]

    async def begin() -> list[Prepared]:
        return good

    if good:
        await context.writes.submit_once(call, begin)
    outcomes = await context.writes.wait([one.id for one in good], wait)
    standing = iter(outcomes)
    done = [_standing(one, next(standing)) if isinstance(one, Prepared) else _refused(one) for one in adopted]
    return json_response(TransactionsDone(done), 200 if wait else 202)


async def _raws(call: Call) -> list[bytes]:
    if call.media_type == JSON:
        return list(parse_json(await call.body(), TransactionsIn).transactions)
    if call.media_type != MSGPACK_LIST:
        raise UnsupportedMediaType(f"send {JSON}, or {MSGPACK_LIST} with a MessagePack list of byte strings")
    try:
        return _lists.decode(await call.body())
    except msgspec.DecodeError:
        raise BadRequest("the body is not a MessagePack list of byte strings") from None


def _standing(one: Prepared, outcome: Outcome) -> TransactionDone:
    if isinstance(outcome, Final):
        return TransactionDone(one.id.hex(), "final", outcome.height)
    if isinstance(outcome, Dead):
        return TransactionDone(one.id.hex(), "refused", None, outcome.error.code, str(outcome.error))
    return TransactionDone(one.id.hex(), "pending")


def _refused(error: ChartledgerError) -> TransactionDone:
    return TransactionDone("", "refused", None, error.code, str(error))


def receipt_of(final: list[Final]) -> OperationReceipt:
    """What became of a request that was one operation."""
    return final[0].receipt.operations[0]
