"""Who controls a chart, through the socket: its grants, policy, delegates and guardians, and its owner's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, TypeVar, cast

import msgspec
from starlette.responses import Response

from node.api.call import Call, json_response
from node.api.context import Context
from node.api.control_schemas import (
    BarOut,
    ControlOut,
    CustodyDone,
    CustodyIn,
    DelegateOut,
    GrantOut,
    GuardiansOut,
    OwnerKeyDone,
    OwnerKeyIn,
    PendingOut,
    PolicyOut,
    PseudonymOut,
    Standing,
)
from node.api.look import require_chart
from node.records.seal import ChartSecret
from protocol.errors import UnknownGrant
from protocol.ledger import keys
from protocol.ledger.events import ChangeKind
from protocol.ledger.leaves import Chart, DelegateLeaf, GrantLeaf, Leaf, Pending, PolicyLeaf, Recovery, decode_leaf
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    BreakGlassMode,
    Guardians,
    Policy,
)

L = TypeVar("L", bound=Leaf)

MODES: Final[dict[BreakGlassMode, Literal["allowed", "two-institutions", "forbidden"]]] = {
    BreakGlassMode.ALLOWED: "allowed",
    BreakGlassMode.TWO_INSTITUTIONS: "two-institutions",
    BreakGlassMode.FORBIDDEN: "forbidden",
}
KINDS: Final[dict[ChangeKind, Literal["rotation", "guardians", "recovery"]]] = {
    ChangeKind.ROTATION: "rotation",
    ChangeKind.GUARDIANS: "guardians",
    ChangeKind.RECOVERY: "recovery",
}
ACTS: Final[tuple[tuple[int, Literal["grant", "revoke", "read"]], ...]] = (
    (ACT_GRANT, "grant"),
    (ACT_REVOKE, "revoke"),
    (ACT_READ, "read"),
)
ACCESS: Final[tuple[tuple[int, Literal["read", "write"]], ...]] = ((ACCESS_READ, "read"), (ACCESS_WRITE, "write"))


async def grant(context: Context, call: Call) -> Response:
    chart, number = call.chart(), call.path_number("grant", keys.GRANT_MAX)
    await require_chart(context, chart)
    leaf = await context.node.grant(chart, number)
    if leaf is None:
        raise UnknownGrant(f"chart {chart} has no grant {number}")
    return json_response(grant_out(chart, number, leaf, _now(context)))


async def control(context: Context, call: Call) -> Response:
    number = call.chart()
    chart = await require_chart(context, number)
    grants = [keys.grant(number, one) for one in range(chart.grants)]
    delegates = [keys.delegate(number, one) for one in range(chart.delegates)]
    raw = await context.node.leaves([keys.policy(number), keys.recovery(number), *grants, *delegates])
    return json_response(await asyncio.to_thread(_control_out, number, chart, raw, _now(context)))


def _control_out(number: int, chart: Chart, raw: dict[bytes, bytes], now: int) -> ControlOut:
    """CPU work: a chart may have a thousand grants of 37 kB, each of which is JSON before the next is looked at."""
    recovery = _leaf(raw, keys.recovery(number), Recovery) or Recovery()
    pending = recovery.pending
    grants = [
        msgspec.Raw(msgspec.json.encode(grant_out(number, one, leaf, now)))
        for one in range(chart.grants)
        # A grant made since the chart was read is not there yet: the next answer has it.
        if (leaf := _leaf(raw, keys.grant(number, one), GrantLeaf)) is not None
    ]
    delegates = [
        _delegate_out(one, named, chart, now)
        for one in range(chart.delegates)
        if (named := _leaf(raw, keys.delegate(number, one), DelegateLeaf)) is not None
    ]
    return ControlOut(
        chart=number,
        custodian=chart.custodian,
        owner_key=chart.owner_key.hex(),
        owner_number=chart.window.highest,
        generation=chart.generation,
        policy=_policy_out(_leaf(raw, keys.policy(number), PolicyLeaf)),
        grants=cast(list[GrantOut], grants),
        delegates=delegates,
        guardians=_guardians_out(recovery.guardians),
        next_change=recovery.changes,
        pending=None if pending is None else _pending_out(pending),
        frozen=pending is not None and pending.overrule,
    )


async def hand_in_owner_key(context: Context, call: Call) -> Response:
    chart = call.chart()
    body = await call.json(OwnerKeyIn)
    records = context.records
    state = await records.owner_keys.hand_in(chart, body.encryption_suite, bytes.fromhex(body.encryption_public))
    records.changes.wake()
    return json_response(OwnerKeyDone(chart, state))


async def take_over(context: Context, call: Call) -> Response:
    chart = call.chart()
    body = await call.json(CustodyIn)
    public, secret = bytes.fromhex(body.encryption_public), bytes.fromhex(body.chart_secret)
    await context.records.custody.take_over(chart, ChartSecret(secret, body.encryption_suite, public))
    context.records.changes.wake()
    return json_response(CustodyDone(chart))


async def secret_envelope(context: Context, call: Call) -> Response:
    envelope = await context.records.owner_keys.secret_envelope(call.chart())
    return Response(envelope, 200, {"cache-control": "no-store"}, "application/octet-stream")


async def pseudonym(context: Context, call: Call) -> Response:
    chart = call.chart()
    await require_chart(context, chart)
    found = context.records.practitioners.pseudonym(chart, call.query.get("staff", ""))
    return json_response(PseudonymOut(chart, found.hex()))


def grant_out(chart: int, number: int, leaf: GrantLeaf, now_ms: int) -> GrantOut:
    """A grant as JSON, as it stands at `now_ms` (ledger time)."""
    terms = leaf.terms
    return GrantOut(
        chart=chart,
        grant=number,
        state=_standing(leaf.revoked_at, terms.not_before, terms.not_after, now_ms),
        grantees=list(terms.grantees),
        tags=_hex(terms.tags),
        purposes=list(terms.purposes),
        not_before=terms.not_before,
        not_after=terms.not_after,
        access=[name for bit, name in ACCESS if terms.access & bit],
        practitioners=None if terms.practitioners is None else [one.hex() for one in terms.practitioners],
        granted_at=leaf.granted_at,
        granted_generation=leaf.granted_generation,
        revoked_at=leaf.revoked_at,
    )


def _standing(ended: int | None, not_before: int, not_after: int, now_ms: int) -> Standing:
    if ended is not None:
        return "revoked"
    if now_ms < not_before:
        return "not-yet"
    return "live" if now_ms < not_after else "expired"


def _delegate_out(number: int, leaf: DelegateLeaf, chart: Chart, now_ms: int) -> DelegateOut:
    terms = leaf.terms
    standing = _standing(None, terms.not_before, terms.not_after, now_ms)
    state: Literal["live", "not-yet", "expired", "ended", "recovered"] = (
        "ended"
        if leaf.ended_at is not None
        else "recovered"
        if number < chart.delegates_from
        else "live"
        if standing == "live"
        else "not-yet"
        if standing == "not-yet"
        else "expired"
    )
    return DelegateOut(
        delegate=number,
        state=state,
        key=terms.key.hex(),
        encryption_suite=terms.encryption_suite,
        encryption_key=terms.encryption_key.hex(),
        acts=[name for bit, name in ACTS if terms.acts & bit],
        tags=_hex(terms.tags),
        purposes=list(terms.purposes),
        not_before=terms.not_before,
        not_after=terms.not_after,
        number=leaf.window.highest,
        named_at=leaf.named_at,
        ended_at=leaf.ended_at,
    )


def _policy_out(leaf: PolicyLeaf | None) -> PolicyOut:
    policy = Policy() if leaf is None else leaf.policy
    bars = [BarOut(bar.institution, _hex(bar.tags), bar.emergencies, bar.generation) for bar in policy.bars]
    return PolicyOut(MODES[policy.break_glass], bars)


def _pending_out(pending: Pending) -> PendingOut:
    to = pending.keys
    return PendingOut(
        change=pending.change,
        kind=KINDS[pending.kind],
        ready_at=pending.ready_at,
        overrule=pending.overrule,
        owner_key=None if to is None else to.owner_key.hex(),
        encryption_suite=None if to is None else to.encryption_suite,
        encryption_key=None if to is None else to.encryption_key.hex(),
        guardians=_guardians_out(pending.guardians),
    )


def _guardians_out(guardians: Guardians | None) -> GuardiansOut | None:
    return None if guardians is None else GuardiansOut(guardians.threshold, [key.hex() for key in guardians.keys])


def _hex(tags: Sequence[Sequence[bytes] | None]) -> list[list[str] | None]:
    return [None if listed is None else [one.hex() for one in listed] for listed in tags]


def _leaf(raw: dict[bytes, bytes], key: bytes, kind: type[L]) -> L | None:
    found = None if key not in raw else decode_leaf(key, raw[key])
    assert found is None or isinstance(found, kind)
    return found


def _now(context: Context) -> int:
    """Ledger time, as a block that was proposed now would have it."""
    return max(context.node.head().timestamp, context.node.now_ms())
