"""Inclusion: that an event stands in a chart's history, final, on the chain of a given genesis or checkpoint.

The steps, each of which `check` names when it fails: the header is final, by way of the epochs in between (`final`);
the chart's leaf stands in the state tree under the header's `state_root`; the event stands in the history that the leaf
commits to; and, if the record's bytes are at hand, they are what its entry commits to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.codec.canonical import decode
from protocol.crypto.commitments import LeafProof, check_bytes
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof, CommitmentMismatch
from protocol.ledger import keys
from protocol.ledger.events import Event, RecordAppended
from protocol.ledger.leaves import Chart
from protocol.proofs.final import Finality, Hops, check_final
from protocol.proofs.light import Checkpoint, EpochHop
from protocol.proofs.parts import (
    ChartNumber,
    EventBytes,
    EventShown,
    HistoryPath,
    LeafBytes,
    Path,
    check_event,
    check_state,
    events_needed,
    leaf_at,
    show_event,
)
from protocol.types.base import Number, Wire
from protocol.types.block import Header
from protocol.types.institutions import Genesis
from protocol.types.votes import Certificate

__all__ = ["Claim", "InclusionProof", "check", "events_needed", "prove"]


class InclusionProof(Wire, frozen=True, tag=1):
    """Everything that `check` needs besides the genesis. `leaf` and `event` are canonical bytes.

    `record` shows, for a record, that bytes at hand are those committed to, and gives away no other opening.
    """

    header: Header
    certificate: Certificate
    hops: Hops
    chart: ChartNumber
    leaf: LeafBytes
    state_path: Path
    number: Number
    event: EventBytes
    history_path: HistoryPath
    record: LeafProof | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a proof has shown; times are ledger time in ms.

    `final` is the block that it was shown at; `event.height` and `event.time_ms` tell when it happened.
    `record_shown` says that the bytes at hand are the record that the event commits to.
    """

    final: Finality
    chart: int
    number: int
    event: Event
    events: int
    record_shown: bool

    @property
    def header(self) -> Header:
        """Of the final block that it was shown at."""
        return self.final.header

    @property
    def signers(self) -> tuple[int, ...]:
        """Numbers of the institutions that finalized that block."""
        return self.final.signers


def prove(
    header: Header,
    certificate: Certificate,
    *,
    chart: int,
    leaf: bytes,
    state_path: Sequence[bytes],
    number: int,
    events: Sequence[bytes],
    hops: Sequence[EpochHop] = (),
    record: LeafProof | None = None,
) -> InclusionProof:
    """The proof of event `number` of a chart whose leaf is `leaf` in the state after the final block `header`.

    `certificate` finalizes that very block, `state_path` comes from `tree.Walk.prove` at its state, `events` are the
    bytes of `events_needed`, in order; `hops` are the ends of the epochs before the header's, from the one on that the
    verifier trusts: from epoch 0 for somebody with the genesis alone.
    """
    shown = show_event(chart, decode(Chart, leaf), number, events)
    return InclusionProof(
        header=header,
        certificate=certificate,
        hops=tuple(hops),
        chart=chart,
        leaf=leaf,
        state_path=tuple(state_path),
        number=number,
        event=shown.event,
        history_path=shown.path,
        record=record,
    )


def check(
    proof: InclusionProof,
    genesis: Genesis | None,
    verifier: Verifier = verify,
    record: bytes | None = None,
    *,
    checkpoint: Checkpoint | None = None,
) -> Claim:
    """What `proof` shows on the chain of `genesis` or `checkpoint`.

    `record`: the record's bytes, to be shown to be those committed.

    Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed.
    """
    final = check_final(
        proof.header, proof.certificate, proof.hops, genesis=genesis, checkpoint=checkpoint, verifier=verifier
    )
    key = keys.chart(proof.chart)
    check_state(proof.header.state_root, {key: proof.leaf}, proof.state_path)
    chart = leaf_at(key, proof.leaf, Chart)
    event = check_event(proof.chart, chart, EventShown(proof.number, proof.event, proof.history_path))
    return Claim(
        final=final,
        chart=proof.chart,
        number=proof.number,
        event=event,
        events=chart.events,
        record_shown=_check_record(proof, event, record),
    )


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
