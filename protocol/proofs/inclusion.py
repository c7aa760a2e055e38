"""Inclusion: that an event stands in a chart's history, final, on the chain of a given genesis.

The steps, each of which `check` names when it fails: the genesis is this chain's; a quorum of its authorities
finalized the header; the chart's leaf stands in the state tree under the header's `state_root`; the event stands in
the history that the leaf commits to; and, if the record's bytes are at hand, they are what its entry commits to.
The authority set is the genesis's own: epochs have not begun (`header.epoch` is 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.codec.canonical import decode
from protocol.consensus.quorum import check_certificate
from protocol.crypto.commitments import LeafProof, check_bytes
from protocol.crypto.hashing import block_digest, chain_id
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadCertificate, BadProof, CommitmentMismatch, DecodeError, GenesisMismatch
from protocol.ledger import history, keys, tree
from protocol.ledger.events import Event, RecordAppended, event_digest
from protocol.ledger.genesis import EPOCH, authority_set, check_genesis
from protocol.ledger.leaves import Chart
from protocol.types.base import Digest, Number, Wire
from protocol.types.block import Header
from protocol.types.institutions import Genesis
from protocol.types.votes import FINALIZE, Certificate

NODE_BYTES = 2_048  # a node of 16 children with the longest digits has 1,200
LEAF_BYTES = 8_192
PATH_STEPS = 40  # the longest key has 34 digits


class InclusionProof(Wire, frozen=True, tag=1):
    """Everything that `check` needs besides the genesis. `leaf` and `event` are canonical bytes.

    `record` shows, for a record, that bytes at hand are those committed to, and gives away no other opening.
    """

    header: Header
    certificate: Certificate
    chart: Annotated[int, Meta(ge=0, le=keys.CHART_MAX)]
    leaf: Annotated[bytes, Meta(max_length=LEAF_BYTES)]
    state_path: Annotated[
        tuple[Annotated[bytes, Meta(max_length=NODE_BYTES)], ...], Meta(min_length=1, max_length=PATH_STEPS)
    ]
    number: Number
    event: Annotated[bytes, Meta(max_length=limits.TRANSACTION_BYTES)]
    history_path: Annotated[tuple[Digest, ...], Meta(max_length=53)]
    record: LeafProof | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a proof has shown. `signers` are numbers of institutions; times are ledger time in ms.

    `header` is the final block that it was shown at; `event.height` and `event.time_ms` tell when it happened.
    `record_shown` says that the bytes at hand are the record that the event commits to.
    """

    network: str
    header: Header
    signers: tuple[int, ...]
    chart: int
    number: int
    event: Event
    events: int
    record_shown: bool


def events_needed(chart: Chart, number: int) -> range:
    """The numbers of the events whose bytes `prove` needs to show event `number`. Raises `BadProof` if it is none."""
    _, first, height = history.mountain(chart.events, number)
    return range(first, first + (1 << height))


def prove(
    header: Header,
    certificate: Certificate,
    *,
    chart: int,
    leaf: bytes,
    state_path: Sequence[bytes],
    number: int,
    events: Sequence[bytes],
    record: LeafProof | None = None,
) -> InclusionProof:
    """The proof of event `number` of a chart whose leaf is `leaf` in the state after the final block `header`.

    `certificate` finalizes that very block, `state_path` comes from `tree.Walk.prove` at its state, `events` are the
    bytes of `events_needed`, in order.
    """
    needed = events_needed(decode(Chart, leaf), number)
    if len(events) != len(needed):
        raise BadProof(f"{len(needed)} events are needed for the path, {len(events)} were given")
    digests = [event_digest(chart, at, raw) for at, raw in zip(needed, events, strict=True)]
    place = number - needed.start
    return InclusionProof(
        header=header,
        certificate=certificate,
        chart=chart,
        leaf=leaf,
        state_path=tuple(state_path),
        number=number,
        event=events[place],
        history_path=history.path(digests, place),
        record=record,
    )


def check(proof: InclusionProof, genesis: Genesis, verifier: Verifier = verify, record: bytes | None = None) -> Claim:
    """What `proof` shows on the chain of `genesis`. `record`: the record's bytes, to be shown to be those committed.

    Raises `GenesisMismatch`, or `BadProof` naming the check that failed.
    """
    signers = check_final(proof.header, proof.certificate, genesis, verifier)
    try:
        tree.check_leaf(proof.header.state_root, keys.chart(proof.chart), proof.leaf, proof.state_path)
    except BadProof as error:
        raise BadProof(f"state: {error}") from None
    try:
        chart = decode(Chart, proof.leaf)
        event: Event = decode(Event, proof.event)  # type: ignore[arg-type]  # a union is no type to mypy
    except DecodeError as error:
        raise BadProof(f"decoding: {error}") from None
    try:
        leaf = event_digest(proof.chart, proof.number, proof.event)
        history.check(chart.peaks, chart.events, proof.number, leaf, proof.history_path)
    except BadProof as error:
        raise BadProof(f"history: {error}") from None
    return Claim(
        network=genesis.name,
        header=proof.header,
        signers=signers,
        chart=proof.chart,
        number=proof.number,
        event=event,
        events=chart.events,
        record_shown=_check_record(proof, event, record),
    )


def check_final(header: Header, certificate: Certificate, genesis: Genesis, verifier: Verifier) -> tuple[int, ...]:
    """The institutions that finalized `header` on the chain of `genesis`; at least a quorum of its authorities.

    Raises `GenesisMismatch` or `BadProof`.
    """
    check_genesis(genesis)
    chain = chain_id(genesis)
    if header.chain != chain:
        raise GenesisMismatch(f"the proof is of chain {header.chain.hex()}, the genesis file of {chain.hex()}")
    if header.epoch != EPOCH:
        raise BadProof(f"epoch: this version checks epoch {EPOCH} alone, and the header is of {header.epoch}")
    members = authority_set(genesis).members
    subject = certificate.subject
    if subject.kind != FINALIZE or subject.block != block_digest(header):
        raise BadProof("certificate: it does not finalize this header")
    try:
        check_certificate(certificate, chain, EPOCH, [member.vote_key for member in members], verifier)
    except BadCertificate as error:
        raise BadProof(f"certificate: {error}") from None
    return tuple(members[index].institution for index, _ in certificate.signatures)


def _check_record(proof: InclusionProof, event: Event, record: bytes | None) -> bool:
    if proof.record is not None and not isinstance(event, RecordAppended):
        raise BadProof("record: the event is no record, and the proof opens one")
    if record is None:
        return False
    if proof.record is None or not isinstance(event, RecordAppended):
        raise BadProof("record: the proof holds nothing that shows a record's bytes")
    try:
        check_bytes(event.entry.commitment, record, proof.record)
    except (BadProof, CommitmentMismatch) as error:
        raise BadProof(f"record: {error}") from None
    return True
