"""Grants in the past: whether one was in force at a height, from the chart's history alone.

Nodes keep the newest state and no older one, but everything that ever decided about a grant is an event of its chart.
So the events up to a height, shown to be all of them, played in order, give the grant and the policy as they stood; the
header at that height, shown to be final, gives the time to judge them by. What a chart's events do not tell, how the
institution stood, is said to be not shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof, GenesisMismatch
from protocol.ledger.events import Event, Granted, PolicySet, Revoked
from protocol.ledger.leaves import GrantLeaf
from protocol.proofs import final, history
from protocol.proofs.final import FinalityProof
from protocol.proofs.grant import Checksum, GrantClaim, bars_told, check_asked, checksum, judge
from protocol.proofs.history import HistoryClaim, HistoryProof
from protocol.proofs.light import Checkpoint
from protocol.proofs.parts import GrantNumber, InstitutionNumber
from protocol.types.base import Wire
from protocol.types.institutions import Genesis
from protocol.types.terms import Policy


class PastGrantProof(Wire, frozen=True, tag=6):
    """`block` shows the header to judge at; `history` begins with event 0 and reaches the first event after that
    height, or the last of all. `checksum` is as in `GrantProof`."""

    block: FinalityProof
    history: HistoryProof
    grant: GrantNumber
    institution: InstitutionNumber | None
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class Stood:
    """What events say stood at a height."""

    grant: GrantLeaf | None
    policy: Policy | None
    grants: int
    generation: int


def prove(block: FinalityProof, history: HistoryProof, grant: int, institution: int | None) -> PastGrantProof:
    """The proof of how a grant stood at `block`, for this institution if one is named."""
    return PastGrantProof(block, history, grant, institution, checksum(grant, institution))


def events_until(claim: HistoryClaim, height: int) -> list[Event]:
    """All events of the chart in blocks up to this height. Raises `BadProof` unless the claim shows them all."""
    if claim.first != 0:
        raise BadProof(f"history: it begins with event {claim.first}, and what was before may have decided")
    if height > claim.final.header.height:
        raise BadProof(f"history: it is shown at block {claim.final.header.height}, and says nothing of block {height}")
    if claim.end < claim.total and claim.events[-1].height <= height:
        raise BadProof(f"history: it ends with event {claim.end - 1}, and what followed may have decided")
    return [event for event in claim.events if event.height <= height]


def replay(events: Iterable[Event], grant: int) -> Stood:
    """What these events, a chart's first ones in order, leave of one grant and of the policy."""
    leaf: GrantLeaf | None = None
    policy: Policy | None = None
    generation = grants = 0
    for event in events:
        match event:
            case Granted():
                grants += 1
                if event.grant == grant:
                    leaf = GrantLeaf(event.terms, event.height, generation)
            case Revoked():
                generation = event.generation
                if leaf is not None and event.grant == grant:
                    leaf = replace(leaf, revoked_at=event.height)
                for again in event.reissues:
                    if leaf is not None and again.grant == grant:
                        leaf = replace(leaf, terms=replace(leaf.terms, tags=again.tags))
                if event.bars is not None:
                    policy = replace(policy or Policy(), bars=event.bars)
            case PolicySet():
                policy = event.policy
            case _:
                pass
    return Stood(leaf, policy, grants, generation)


def check(
    proof: PastGrantProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> GrantClaim:
    """What `proof` shows. Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed."""
    check_asked(proof.grant, proof.institution, proof.checksum)
    at = final.check(proof.block, genesis=genesis, checkpoint=checkpoint, verifier=verifier)
    shown = history.check(proof.history, genesis=genesis, checkpoint=checkpoint, verifier=verifier)
    if at.header.chain != shown.final.header.chain:
        raise GenesisMismatch("the proof's block and its history are of two chains")
    header = at.header
    stood = replay(events_until(shown, header.height), proof.grant)
    leaf, institution = stood.grant, proof.institution
    against = judge(leaf, stood.policy, institution, header.timestamp)
    return GrantClaim(
        final=at,
        height=header.height,
        time_ms=header.timestamp,
        chart=shown.chart,
        grant=proof.grant,
        institution=institution,
        terms=None if leaf is None else leaf.terms,
        against=against,
        standing=None,
        bars=(bars := bars_told(stood.policy, institution, leaf)),
        bars_stale=any(bar.generation < stood.generation for bar in bars),
        record=None,
        grants=stood.grants,
        revoked_at=None if leaf is None else leaf.revoked_at,
        later=shown.final,
    )
