"""Motions, ballots, an institution's own keys, and the evidence against authorities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, cast

from starlette.responses import Response

from node import motions
from node.api.call import Call, json_response
from node.api.context import Context
from node.api.look import PAGE, PAGE_MOST
from node.api.motion_schemas import (
    AccreditIn,
    Applicant,
    BallotIn,
    ChangeIn,
    ChangeOut,
    EvidenceOut,
    GiveAuthorityIn,
    KeyChanged,
    KeyChangeIn,
    MotionDone,
    MotionIn,
    MotionOut,
    ReinstateIn,
    RemoveIn,
    ReplaceKeysIn,
    SetParametersIn,
    SuspendIn,
    TakeAuthorityIn,
)
from node.motions import Seen
from node.services import Final as FinalTransaction
from node.services import NodeServices, Prepared
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.errors import UnknownMotion
from protocol.ledger import keys
from protocol.ledger.leaves import MotionState
from protocol.types.governance import (
    Accredit,
    Application,
    Ballot,
    Change,
    GiveAuthority,
    KeyChange,
    Motion,
    Parameter,
    Reinstate,
    Remove,
    ReplaceKeys,
    RotateInstitutionKey,
    SetParameters,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import AuthoritySet, quorum_of
from protocol.types.operations import Operation, SignedOperation

OPEN_MS: Final = 7 * 24 * 3_600 * 1_000
"""How long a motion is open if its proposer does not say."""
_KEY_CHANGE = cast(type[KeyChange], KeyChange)


async def propose(context: Context, call: Call) -> Response:
    """The proposer's own vote is in the motion: with a quorum of one it passes at once."""
    body = await call.json(MotionIn)
    change = change_of(body.change)
    expires_at = _default_expiry(context.node) if body.expires_at is None else body.expires_at
    return await _perform(context, call, Motion(change, expires_at))


async def vote(context: Context, call: Call) -> Response:
    """A ballot names the motion's change; what a number stands for never changes once it is final."""
    body = await call.json(BallotIn)
    seen = await _require(context, call)
    return await _perform(context, call, Ballot(seen.number, seen.leaf.change, body.favour))


async def listed(context: Context, call: Call) -> Response:
    """The open ones, or with all=true a page of all."""
    node = context.node
    first, count = call.query_number("first", 0, keys.MOTION_MAX), min(call.query_number("count", PAGE), PAGE_MOST)
    if call.query_flag("all"):
        found = await motions.motions(node, first, count)
    else:
        found = [one for one in await motions.open_motions(node) if one.number >= first][:count]
    return json_response(await _shown(node, found))


async def shown(context: Context, call: Call) -> Response:
    return json_response((await _shown(context.node, [await _require(context, call)]))[0])


async def rotate_key(context: Context, call: Call) -> Response:
    """The institution changes one of its own keys. Who holds the new one is for the node's operators to see to."""
    body = await call.json(KeyChangeIn)
    change = decode(_KEY_CHANGE, bytes.fromhex(body.change), limits.TRANSACTION_BYTES)

    async def begin() -> list[Prepared]:
        return await context.node.prepare([[SignedOperation(RotateInstitutionKey(change))]])

    async def answer(final: list[FinalTransaction]) -> KeyChanged:
        return KeyChanged(final[0].height, final[0].timestamp, final[0].id.hex())

    return await context.writes.perform(call, begin, answer)


async def evidence(context: Context, call: Call) -> Response:
    """Newest epoch first."""
    count = min(call.query_number("count", PAGE), PAGE_MOST)
    return json_response(
        [
            EvidenceOut(
                institution=one.leaf.institution,
                epoch=one.epoch,
                view=one.leaf.first.subject.view,
                index=one.index,
                reporter=one.leaf.reporter,
                height=one.leaf.reported_at,
                first=encode(one.leaf.first),
                second=encode(one.leaf.second),
            )
            for one in await motions.convictions(context.node, count)
        ]
    )


async def _perform(context: Context, call: Call, operation: Operation) -> Response:
    async def begin() -> list[Prepared]:
        return await context.node.prepare([[SignedOperation(operation)]])

    async def answer(final: list[FinalTransaction]) -> MotionDone:
        receipt = final[0].receipt.operations[0]
        assert receipt.motion is not None
        assert receipt.motion_state is not None
        state = _STATES[receipt.motion_state]
        return MotionDone(receipt.motion, state, final[0].height, final[0].timestamp, final[0].id.hex())

    return await context.writes.perform(call, begin, answer)


_STATES: Final[dict[MotionState, Literal["open", "passed", "lost"]]] = {
    MotionState.OPEN: "open",
    MotionState.PASSED: "passed",
    MotionState.LOST: "lost",
}


_ABOUT: Final[dict[type[ChangeIn], Callable[[int], Change]]] = {
    SuspendIn: Suspend,
    ReinstateIn: Reinstate,
    RemoveIn: Remove,
    GiveAuthorityIn: GiveAuthority,
    TakeAuthorityIn: TakeAuthority,
}
"""What needs nothing but an institution's number."""


def change_of(body: ChangeIn) -> Change:
    """The change that a request asks for. Raises `DecodeError` for an application that is none."""
    match body:
        case AccreditIn(application):
            return Accredit(_application(application))
        case ReplaceKeysIn(number, application):
            return ReplaceKeys(number, _application(application))
        case SetParametersIn(parameters):
            return SetParameters(tuple(Parameter(name, value) for name, value in sorted(parameters.items())))
        case _:
            return _ABOUT[type(body)](body.institution)


def change_out(change: Change, names: dict[int, str]) -> ChangeOut:
    """A change as JSON."""
    application = getattr(change, "application", None)
    parameters = {one.name: one.value for one in change.parameters} if isinstance(change, SetParameters) else None
    return ChangeOut(
        kind=motions.KINDS[type(change)],
        sentence=motions.sentence(change, lambda number: names.get(number, "an unknown institution")),
        institution=getattr(change, "institution", None),
        applicant=None if application is None else _applicant(application),
        application=None if application is None else encode(application).hex(),
        parameters=parameters,
    )


def _application(text: str) -> Application:
    return decode(Application, bytes.fromhex(text), limits.TRANSACTION_BYTES)


def _applicant(application: Application) -> Applicant:
    one = application.institution
    return Applicant(
        name=one.name,
        operation_keys=[key.hex() for key in one.operation_keys],
        vote_key=one.vote_key.hex(),
        network_certificates=[der.hex() for der in one.network_certificates],
        encryption_suite=one.encryption_suite,
        encryption_key=one.encryption_key.hex(),
    )


async def _require(context: Context, call: Call) -> Seen:
    number = call.path_number("motion", keys.MOTION_MAX)
    found = await motions.motion(context.node, number)
    if found is None:
        raise UnknownMotion(f"there is no motion {number}")
    return found


async def _shown(node: NodeServices, found: list[Seen]) -> list[MotionOut]:
    members = await motions.authorities(node)
    names = await motions.names(node, found)
    return [_motion_out(one, members, node.institution, names) for one in found]


def _motion_out(seen: Seen, members: AuthoritySet, own: int, names: dict[int, str]) -> MotionOut:
    leaf = seen.leaf
    return MotionOut(
        motion=seen.number,
        state=seen.standing,
        change=change_out(leaf.change, names),
        proposer=leaf.proposer,
        moved_at=leaf.moved_at,
        expires_at=leaf.expires_at,
        favour=[cast.institution for cast in leaf.favour],
        against=[cast.institution for cast in leaf.against],
        counted=len(motions.counted(leaf.favour, members)),
        needed=quorum_of(len(members.members)),
        awaits=motions.awaits(seen, own, members),
        decided_at=leaf.decided_at or None,
        assigned=leaf.assigned,
    )


def _default_expiry(node: NodeServices) -> int:
    """A tenth less than the parameters allow at most: the block's time may lie behind this node's clock."""
    now = max(node.now_ms(), node.head().timestamp)
    return now + min(OPEN_MS, node.params.motion_ms * 9 // 10)
