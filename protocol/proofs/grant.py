"""Grants: whether one was in force at a final block, for an institution, and if not why not.

Shown at one block: the grant's leaf or that there is none, the chart's policy or that it has none, and the leaf of the
institution, each under the block's `state_root`; what has fallen due is judged by the block's own time. With a record
the question is the one that every authority asks about a disclosure, and `protocol.ledger.decisions` answers it here as
there. `past` answers for an earlier height, from the chart's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from zlib import crc32

from msgspec import Meta

from protocol.codec.canonical import encode
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof
from protocol.ledger import decisions, keys, reading
from protocol.ledger.decisions import Asked
from protocol.ledger.events import Reason, RecordAppended
from protocol.ledger.leaves import Chart, ErasedPage, GrantLeaf, PolicyLeaf
from protocol.proofs.final import Anchor, Finality, check_anchor
from protocol.proofs.light import Checkpoint
from protocol.proofs.parts import (
    ChartNumber,
    EventShown,
    GrantNumber,
    InstitutionNumber,
    LeafBytes,
    Nodes,
    check_event,
    check_state,
    leaf_at,
    maybe_leaf_at,
)
from protocol.types.base import Wire
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution
from protocol.types.terms import ACCESS_READ, ACCESS_WRITE, Bar, GrantTags, GrantTerms, Policy

Checksum = Annotated[int, Meta(ge=0, lt=1 << 32)]


class GrantProof(Wire, frozen=True, tag=5):
    """`grant_leaf`, `policy` and `standing` (the institution's leaf) are None where nothing stands, `institution` and
    `record` where nobody and nothing was asked about; `erased` is the page of the record, if any of it is erased.

    `checksum` is the CRC-32 of what is asked (`checksum`): where there is no such grant, a file with another number is
    as true, of something else, and must not be taken for what it was made for because a byte of it broke.
    """

    anchor: Anchor
    chart: ChartNumber
    grant: GrantNumber
    institution: InstitutionNumber | None
    leaf: LeafBytes
    grant_leaf: LeafBytes | None
    policy: LeafBytes | None
    standing: LeafBytes | None
    record: EventShown | None
    erased: LeafBytes | None
    nodes: Nodes
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class GrantClaim:
    """What was shown of a grant, as of a block's `height` and `time_ms`.

    `terms` is None if there was no such grant; `against` is the first rule that spoke against it, `Reason.NONE` if it
    was in force. `standing` is the institution's status then, None if it was not shown. `bars` are those that may take
    something from what the grant covers for the institution, or for any of its grantees; `bars_stale` says that they
    wait for their renewal, until when newer records count as barred. `record` is the number of the record asked about,
    `grants` counts those ever made. `final` shows the block asked about, and `later`, if it was judged from the chart's
    history, the block that this was shown at.
    """

    final: Finality
    height: int
    time_ms: int
    chart: int
    grant: int
    institution: int | None
    terms: GrantTerms | None
    against: Reason
    standing: int | None
    bars: tuple[Bar, ...]
    bars_stale: bool
    record: int | None
    grants: int
    revoked_at: int | None
    later: Finality | None = None

    @property
    def suspended(self) -> bool:
        """Whether nothing that the institution signs counted then."""
        return self.standing is not None and self.standing != STATUS_ACCREDITED

    @property
    def in_force(self) -> bool:
        """Whether the institution could do then what the grant permits."""
        return self.against is Reason.NONE and not self.suspended


def keys_needed(chart: int, grant: int, institution: int | None, record: int | None) -> list[bytes]:
    """The keys that the proof shows, the chart's first."""
    needed = [keys.chart(chart), keys.grant(chart, grant), keys.policy(chart)]
    if institution is not None:
        needed.append(keys.institution(institution))
    if record is not None:
        needed.append(keys.erased(chart, record))
    return needed


def prove(
    anchor: Anchor,
    *,
    chart: int,
    grant: int,
    institution: int | None,
    record: EventShown | None,
    leaves: Mapping[bytes, bytes],
    nodes: Sequence[bytes],
) -> GrantProof:
    """The proof; `leaves` are those of `keys_needed` that there are, and `nodes` lead to all of them."""
    return GrantProof(
        anchor,
        chart,
        grant,
        institution,
        leaves[keys.chart(chart)],
        leaves.get(keys.grant(chart, grant)),
        leaves.get(keys.policy(chart)),
        None if institution is None else leaves.get(keys.institution(institution)),
        record,
        None if record is None else leaves.get(keys.erased(chart, record.number)),
        tuple(nodes),
        checksum(grant, institution),
    )


def check(
    proof: GrantProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> GrantClaim:
    """What `proof` shows. Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed."""
    check_asked(proof.grant, proof.institution, proof.checksum)
    final = check_anchor(proof.anchor, genesis=genesis, checkpoint=checkpoint, verifier=verifier)
    number = proof.chart
    chart_key, grant_key, policy_key = keys.chart(number), keys.grant(number, proof.grant), keys.policy(number)
    leaves: dict[bytes, bytes | None] = {
        chart_key: proof.leaf,
        grant_key: proof.grant_leaf,
        policy_key: proof.policy,
    }
    if proof.institution is not None:
        leaves[keys.institution(proof.institution)] = proof.standing
    if proof.record is not None:
        leaves[keys.erased(number, proof.record.number)] = proof.erased
    if (proof.institution is None and proof.standing is not None) or (
        proof.record is None and proof.erased is not None
    ):
        raise BadProof("state: the proof holds a leaf that nothing asks for")
    check_state(final.header.state_root, leaves, proof.nodes)
    chart = leaf_at(chart_key, proof.leaf, Chart)
    grant = maybe_leaf_at(grant_key, proof.grant_leaf, GrantLeaf)
    policy_leaf = maybe_leaf_at(policy_key, proof.policy, PolicyLeaf)
    policy = None if policy_leaf is None else policy_leaf.policy
    standing = None
    if proof.institution is not None and proof.standing is not None:
        standing = leaf_at(keys.institution(proof.institution), proof.standing, Institution).status
    header = final.header
    if proof.record is None:
        against = judge(grant, policy, proof.institution, header.timestamp)
    else:
        against = _judge_record(proof, chart, grant, policy_leaf, header.timestamp)
    return GrantClaim(
        final=final,
        height=header.height,
        time_ms=header.timestamp,
        chart=number,
        grant=proof.grant,
        institution=proof.institution,
        terms=None if grant is None else grant.terms,
        against=against,
        standing=standing,
        bars=(bars := bars_told(policy, proof.institution, grant)),
        bars_stale=any(bar.generation < chart.generation for bar in bars),
        record=None if proof.record is None else proof.record.number,
        grants=chart.grants,
        revoked_at=None if grant is None else grant.revoked_at,
    )


def checksum(grant: int, institution: int | None) -> int:
    """CRC-32 over the canonical bytes of [grant, institution]."""
    return crc32(encode([grant, institution]))


def check_asked(grant: int, institution: int | None, stated: int) -> None:
    """Raise `BadProof` if a proof is not of the grant and institution that it was made for."""
    if stated != checksum(grant, institution):
        raise BadProof("grant: the file was changed: it was made for another grant or institution")


def judge(grant: GrantLeaf | None, policy: Policy | None, institution: int | None, time_ms: int) -> Reason:
    """The first rule against a grant as a whole at this ledger time, or `Reason.NONE`; in the order of
    `decisions.by_grant`. It is barred if a bar takes everything that it covers."""
    if grant is None:
        return Reason.NO_GRANT
    terms = grant.terms
    for against, reason in (
        (institution is not None and institution not in terms.grantees, Reason.WRONG_INSTITUTION),
        (grant.revoked_at is not None, Reason.REVOKED),
        (time_ms < terms.not_before, Reason.NOT_YET),
        (time_ms >= terms.not_after, Reason.EXPIRED),
    ):
        if against:
            return reason
    reads_only = terms.access & ACCESS_READ and not terms.access & ACCESS_WRITE  # bars speak of reading
    if reads_only and any(_takes_all(bar, terms.tags) for bar in bars_against(policy, institution)):
        return Reason.BARRED
    return Reason.NONE


def bars_against(policy: Policy | None, institution: int | None) -> tuple[Bar, ...]:
    """The bars that hold for this institution; without one, those that hold for all."""
    if policy is None:
        return ()
    return tuple(bar for bar in policy.bars if bar.institution in (None, institution))


def bars_told(policy: Policy | None, institution: int | None, grant: GrantLeaf | None) -> tuple[Bar, ...]:
    """Those that may take something from what the grant covers: for the institution, or without one for any of its
    grantees."""
    if policy is None or grant is None or institution is not None:
        return bars_against(policy, institution)
    return tuple(bar for bar in policy.bars if bar.institution is None or bar.institution in grant.terms.grantees)


def _takes_all(bar: Bar, tags: GrantTags) -> bool:
    """Whether every record with tags that the grant lists is barred."""
    granted = (tags[0], tags[1])
    for listed, barred in zip(granted, bar.tags[:2], strict=True):
        if barred is not None and (listed is None or set(listed).difference(barred)):
            return False
    sensitivities = bar.tags[2]
    return sensitivities is None or any(not set(listed).difference(sensitivities) for listed in tags[2:])


def _judge_record(
    proof: GrantProof, chart: Chart, grant: GrantLeaf | None, policy: PolicyLeaf | None, time_ms: int
) -> Reason:
    """The judgement of the authorities on a disclosure of this record, for a purpose and to a person that the grant
    names."""
    assert proof.record is not None
    if proof.institution is None:
        raise BadProof("grant: whether a record could be read depends on who asks, and the proof names nobody")
    event = check_event(proof.chart, chart, proof.record)
    number = proof.record.number
    if not isinstance(event, RecordAppended):
        raise BadProof(f"history: event {number} is no record")
    page = maybe_leaf_at(keys.erased(proof.chart, number), proof.erased, ErasedPage)
    erased = page is not None and reading.is_erased(page.bitmap, number)
    if grant is None:
        return Reason.NO_GRANT
    terms = grant.terms
    practitioner = None if terms.practitioners is None else terms.practitioners[0]
    asked = Asked(proof.institution, terms.purposes[0], time_ms, practitioner, [event], erased)
    return decisions.by_grant(asked, grant, policy)
