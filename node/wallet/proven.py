"""How a chart stands, by proof and not by the word of the node that a wallet talks to.

An owner signs over what stands: a withdrawal gives live grants and delegates fresh tags, a policy is signed whole. A
node that told of other tags or of fewer bars would have the owner's own signature widen a grant, or drop what was
forbidden. So what is signed over comes from a proof: the chart's leaf (generation, owner's key), and, where that is not
enough, its whole history, played as the ledger plays it. Pure; relies on `protocol.proofs` for what a proof shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from protocol.errors import BadProof
from protocol.ledger.events import DelegateEnded, DelegateNamed, Event, Granted, PolicySet, Revoked
from protocol.ledger.leaves import Chart, DelegateLeaf, GrantLeaf
from protocol.ledger.windows import FRESH
from protocol.proofs.history import HistoryClaim
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    BreakGlassMode,
    Policy,
)

Control = dict[str, Any]
"""The document of GET /v1/charts/{chart}/control."""
MODES = {
    BreakGlassMode.ALLOWED: "allowed",
    BreakGlassMode.TWO_INSTITUTIONS: "two-institutions",
    BreakGlassMode.FORBIDDEN: "forbidden",
}
ACTS = ((ACT_GRANT, "grant"), (ACT_REVOKE, "revoke"), (ACT_READ, "read"))
ACCESS = ((ACCESS_READ, "read"), (ACCESS_WRITE, "write"))


class NodeContradicted(BadProof):
    """The node tells of a chart what its own proof does not bear out."""

    advice = (
        "Nothing was signed. Sign at another institution's node: this one is broken, or would have you sign what you "
        "do not see."
    )


class Stood(Struct, frozen=True):
    """Grants and delegates by number, and the policy, as a chart's whole history leaves them."""

    grants: Mapping[int, GrantLeaf]
    delegates: Mapping[int, DelegateLeaf]
    policy: Policy


def whole(claims: Sequence[HistoryClaim]) -> tuple[Chart, Stood]:
    """The chart's leaf and how it stands, from proofs of its history that follow each other. Raises `NodeContradicted`
    unless they show all of it."""
    at = 0
    for claim in claims:
        if claim.first != at or claim.chart != claims[0].chart:
            raise NodeContradicted(f"history: event {at} of chart {claims[0].chart} is left out")
        at = claim.end
    if not claims or at != claims[-1].total:
        raise NodeContradicted("history: it ends before the chart's does")
    return claims[-1].leaf, replay(event for claim in claims for event in claim.events)


def replay(events: Iterable[Event]) -> Stood:
    """What all events of a chart, in order, leave of its grants, delegates and policy."""
    grants: dict[int, GrantLeaf] = {}
    delegates: dict[int, DelegateLeaf] = {}
    policy, generation = Policy(), 0
    for event in events:
        match event:
            case Granted():
                grants[event.grant] = GrantLeaf(event.terms, event.height, generation)
            case DelegateNamed():
                delegates[event.delegate] = DelegateLeaf(event.terms, event.height, FRESH)
            case DelegateEnded():
                delegates[event.delegate] = replace(delegates[event.delegate], ended_at=event.height)
            case PolicySet():
                policy = event.policy
            case Revoked():
                generation = event.generation
                grants[event.grant] = replace(grants[event.grant], revoked_at=event.height)
                for again in event.reissues:
                    one = grants[again.grant]
                    grants[again.grant] = replace(one, terms=replace(one.terms, tags=again.tags))
                for renewed in event.delegates:
                    who = delegates[renewed.delegate]
                    delegates[renewed.delegate] = replace(who, terms=replace(who.terms, tags=renewed.tags))
                policy = policy if event.bars is None else replace(policy, bars=event.bars)
            case _:
                pass
    return Stood(grants, delegates, policy)


def shown(told: Control, leaf: Chart, stood: Stood | None, now_ms: int) -> Control:
    """What the node told, with what was proven in its place: whose the chart is and its generation, and with `stood`
    its grants, delegates and policy, at `now_ms` of ledger time.

    The proof was made after the node told. Raises `NodeContradicted` if it shows less than that.
    """
    ahead = (
        told["generation"] > leaf.generation
        or len(told["grants"]) > leaf.grants
        or len(told["delegates"]) > leaf.delegates
    )
    if ahead:
        raise NodeContradicted(f"state: the node tells of more on chart {told['chart']} than it can show")
    control = told | {
        "custodian": leaf.custodian,
        "owner_key": leaf.owner_key.hex(),
        "owner_number": leaf.window.highest,
        "generation": leaf.generation,
    }
    if stood is None:
        return control
    if (len(stood.grants), len(stood.delegates)) != (leaf.grants, leaf.delegates):
        raise NodeContradicted(f"history: not all grants and delegates of chart {told['chart']} are in it")
    numbers = {one["delegate"]: one["number"] for one in told["delegates"]}
    return control | {
        "grants": [_grant(number, one, now_ms) for number, one in sorted(stood.grants.items())],
        "delegates": [
            _delegate(number, one, leaf, now_ms) | {"number": numbers.get(number, 0)}
            for number, one in sorted(stood.delegates.items())
        ],
        "policy": {
            "break_glass": MODES[stood.policy.break_glass],
            "bars": [
                {
                    "institution": bar.institution,
                    "tags": _hex(bar.tags),
                    "emergencies": bar.emergencies,
                    "generation": bar.generation,
                }
                for bar in stood.policy.bars
            ],
        },
    }


def _grant(number: int, leaf: GrantLeaf, now_ms: int) -> dict[str, Any]:
    terms = leaf.terms
    state = "revoked" if leaf.revoked_at is not None else _state(terms.not_before, terms.not_after, now_ms)
    return {
        "grant": number,
        "state": state,
        "grantees": list(terms.grantees),
        "tags": _hex(terms.tags),
        "purposes": list(terms.purposes),
        "not_before": terms.not_before,
        "not_after": terms.not_after,
        "access": [name for bit, name in ACCESS if terms.access & bit],
        "practitioners": None if terms.practitioners is None else [one.hex() for one in terms.practitioners],
        "granted_at": leaf.granted_at,
        "granted_generation": leaf.granted_generation,
        "revoked_at": leaf.revoked_at,
    }


def _delegate(number: int, leaf: DelegateLeaf, chart: Chart, now_ms: int) -> dict[str, Any]:
    terms = leaf.terms
    state = _state(terms.not_before, terms.not_after, now_ms)
    if leaf.ended_at is not None:
        state = "ended"
    elif number < chart.delegates_from:
        state = "recovered"
    return {
        "delegate": number,
        "state": state,
        "key": terms.key.hex(),
        "encryption_suite": terms.encryption_suite,
        "encryption_key": terms.encryption_key.hex(),
        "acts": [name for bit, name in ACTS if terms.acts & bit],
        "tags": _hex(terms.tags),
        "purposes": list(terms.purposes),
        "not_before": terms.not_before,
        "not_after": terms.not_after,
        "named_at": leaf.named_at,
        "ended_at": leaf.ended_at,
    }


def _state(not_before: int, not_after: int, now_ms: int) -> str:
    if now_ms < not_before:
        return "not-yet"
    return "live" if now_ms < not_after else "expired"


def _hex(tags: Sequence[Sequence[bytes] | None]) -> list[list[str] | None]:
    return [None if listed is None else [one.hex() for one in listed] for listed in tags]
