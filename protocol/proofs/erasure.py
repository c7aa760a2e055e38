"""Erasure: which records were ordered erased, who owes a receipt for it, who gave one, and who did not.

Shown at one final block: the event that ordered it, the erasure's leaf, and the leaf of every institution that still
owes, since one that was removed from the consortium will never answer. A receipt is the institution's own statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof
from protocol.ledger import keys
from protocol.ledger.events import Erased
from protocol.ledger.leaves import Chart, Erasure
from protocol.proofs.final import Anchor, Finality, check_anchor
from protocol.proofs.light import Checkpoint
from protocol.proofs.parts import ChartNumber, EventShown, LeafBytes, Nodes, check_event, check_state, leaf_at
from protocol.types.base import Wire
from protocol.types.institutions import STATUS_REMOVED, Genesis, Institution


class ErasureProof(Wire, frozen=True, tag=7):
    """`ordered` is the event that ordered it, `erasure` its leaf; `owing` are the leaves of the institutions that gave
    no receipt, ascending by number. `nodes` lead to all of them and to the chart's leaf."""

    anchor: Anchor
    chart: ChartNumber
    leaf: LeafBytes
    ordered: EventShown
    erasure: LeafBytes
    owing: Annotated[tuple[LeafBytes, ...], Meta(max_length=limits.HOLDERS_PER_ERASURE + 1)]
    nodes: Nodes


@dataclass(frozen=True, slots=True)
class ErasureClaim:
    """What an erasure proof has shown. `receipts` are (institution, height of the block); `owing` are those who gave
    none, by number, as they stood then."""

    final: Finality
    chart: int
    number: int
    ordered: Erased
    receipts: tuple[tuple[int, int], ...]
    owing: Mapping[int, Institution]

    @property
    def gone(self) -> tuple[int, ...]:
        """Those of whom no receipt will ever come."""
        return tuple(number for number, one in self.owing.items() if one.status == STATUS_REMOVED)

    @property
    def complete(self) -> bool:
        """Whether everybody who stored any of it acknowledged."""
        return not self.owing


def still_owing(erasure: Erasure) -> list[int]:
    """Who gave no receipt, ascending."""
    given = {institution for institution, _ in erasure.receipts}
    return [institution for institution in erasure.owed if institution not in given]


def keys_needed(chart: int, number: int, erasure: Erasure) -> list[bytes]:
    """The leaves that the proof shows, the chart's first, the erasure's next."""
    standings = [keys.institution(one) for one in still_owing(erasure)]
    return [keys.chart(chart), keys.erasure(chart, number), *standings]


def prove(
    anchor: Anchor, *, chart: int, ordered: EventShown, leaves: Mapping[bytes, bytes], nodes: Sequence[bytes]
) -> ErasureProof:
    """The proof; `leaves` are those of `keys_needed`, and `nodes` lead to them."""
    key = keys.erasure(chart, ordered.number)
    owing = still_owing(leaf_at(key, leaves[key], Erasure))
    return ErasureProof(
        anchor,
        chart,
        leaves[keys.chart(chart)],
        ordered,
        leaves[key],
        tuple(leaves[keys.institution(one)] for one in owing),
        tuple(nodes),
    )


def check(
    proof: ErasureProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> ErasureClaim:
    """What `proof` shows. Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed."""
    final = check_anchor(proof.anchor, genesis=genesis, checkpoint=checkpoint, verifier=verifier)
    number = proof.ordered.number
    key = keys.erasure(proof.chart, number)
    erasure = leaf_at(key, proof.erasure, Erasure)
    owing = still_owing(erasure)
    if len(owing) != len(proof.owing):
        raise BadProof(f"state: {len(owing)} institutions owe a receipt, and the proof shows {len(proof.owing)}")
    if owing and owing[-1] > keys.INSTITUTION_MAX:
        raise BadProof(f"state: there is no institution {owing[-1]}")
    standings = dict(zip(owing, proof.owing, strict=True))
    leaves: dict[bytes, bytes | None] = {keys.chart(proof.chart): proof.leaf, key: proof.erasure}
    leaves |= {keys.institution(one): raw for one, raw in standings.items()}
    check_state(final.header.state_root, leaves, proof.nodes)
    chart = leaf_at(keys.chart(proof.chart), proof.leaf, Chart)
    ordered = check_event(proof.chart, chart, proof.ordered)
    if not isinstance(ordered, Erased):
        raise BadProof(f"history: event {number} is no erasure")
    held = {one: leaf_at(keys.institution(one), raw, Institution) for one, raw in standings.items()}
    return ErasureClaim(final, proof.chart, number, ordered, erasure.receipts, held)
