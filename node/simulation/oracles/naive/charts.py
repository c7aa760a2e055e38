"""The naive rules of charts, records, grants and disclosures (docs/spec/operations.md).

Left to the replay of state roots: what a disclosure's outcome is, and the cap on denials that follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from node.simulation.oracles.naive.state import Chart, Numbers, State, require
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import cosignature_message
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    Cosignature,
    Disclose,
    Grant,
    OpenChart,
    Operation,
    Revoke,
    SignedOperation,
)

Ordered = TypeVar("Ordered", int, str, bytes)
GRANTS_PER_CHART = 1_024
EVENTS_PER_CHART = 1 << 24


def cosigned(state: State, signed: SignedOperation, owner_key: bytes, numbers: Numbers) -> None:
    """Exactly the owner's co-signature stands beside the operation, and its number is used up."""
    require(len(signed.cosignatures) == 1, "the operation needs the owner's co-signature and no other")
    cosignature: Cosignature = signed.cosignatures[0]
    require(cosignature.role == ROLE_OWNER, "the co-signature is not the owner's")
    require(state.timestamp <= cosignature.expires_at, "the co-signature has expired")
    numbers.use(cosignature.number)
    message = cosignature_message(
        state.chain, operation_digest(signed.operation), ROLE_OWNER, 0, cosignature.number, cosignature.expires_at
    )
    require(state.verify(owner_key, message, cosignature.signature), "the co-signature does not verify")


def chart(state: State, number: int) -> Chart:
    """The chart of this number."""
    require(number < len(state.charts), f"there is no chart {number}")
    return state.charts[number]


def ascend(items: Sequence[Ordered], what: str) -> None:
    """A set has one form."""
    require(list(items) == sorted(set(items)), f"{what} do not ascend")


def open_chart(state: State, operation: OpenChart, signed: SignedOperation, carrier: int) -> None:
    """A chart gets the next number."""
    require(operation.custodian == carrier, "the chart's custodian is another institution than the carrier")
    fresh = Chart(carrier, operation.owner_key)
    cosigned(state, signed, operation.owner_key, fresh.numbers)
    require(operation.owner_key not in state.owners, "this owner key has opened a chart before")
    state.owners.add(operation.owner_key)
    state.charts.append(fresh)


def append_records(state: State, operation: AppendRecords, signed: SignedOperation, carrier: int) -> None:
    """One event an entry."""
    require(not signed.cosignatures, "the operation takes no co-signature")
    held = chart(state, operation.chart)
    require(held.custodian == carrier, "the carrier is not the chart's custodian")
    before = held.events
    for entry in operation.entries:
        if entry.supersedes is not None:
            known = entry.supersedes in held.records and entry.supersedes < max(before, held.events)
            require(known, "an entry supersedes what is no record before it")
        held.records.add(held.events)
        held.events += 1
    require(held.events <= EVENTS_PER_CHART, "the chart has more events than a chart may have")


def grant(state: State, operation: Grant, signed: SignedOperation, carrier: int) -> None:
    """The chart's next grant."""
    held, terms = chart(state, operation.chart), operation.terms
    cosigned(state, signed, held.owner_key, held.numbers)
    ascend(terms.grantees, "a grant's grantees")
    for grantee in terms.grantees:
        state.institution(grantee)
    require(terms.access in (1, 2, 3), "the grant's access is unknown")
    require(terms.not_before < terms.not_after and terms.not_after > state.timestamp, "the grant's times are wrong")
    ascend(terms.purposes, "a grant's purposes")
    for listed in terms.tags:
        ascend(listed or (), "a grant's tags")
    require(len(held.revoked) < GRANTS_PER_CHART, "the chart has had as many grants as it may")
    held.revoked[len(held.revoked)] = False
    held.events += 1


def revoke(state: State, operation: Revoke, signed: SignedOperation, carrier: int) -> None:
    """An event the first time only."""
    held = chart(state, operation.chart)
    cosigned(state, signed, held.owner_key, held.numbers)
    again = [reissue.grant for reissue in operation.reissues]
    require(all(number in held.revoked for number in (operation.grant, *again)), "there is no such grant")
    ascend(again, "reissued grants")
    require(operation.grant not in again, "the revoked grant is reissued")
    if not held.revoked[operation.grant]:
        held.revoked[operation.grant] = True
        held.events += 1


def disclose(state: State, operation: Disclose, signed: SignedOperation, carrier: int) -> None:
    """An event in any case."""
    require(not signed.cosignatures, "the operation takes no co-signature")
    held = chart(state, operation.chart)
    ascend(operation.records, "the records of a disclosure")
    require(all(number in held.records for number in operation.records), "a disclosure names what is no record")
    held.events += 1


def owners(operation: Operation) -> bool:
    """Whether an operation is an owner's, which come first in a block and never ride with others."""
    return isinstance(operation, Grant | Revoke)


def cost(operation: Operation) -> int:
    """What the operation counts towards a block's cost, as far as it names charts' things."""
    if isinstance(operation, AppendRecords):
        return 4 + len(operation.entries)
    if isinstance(operation, Disclose):
        return 4 + 4 + 16 + len(operation.records)
    if isinstance(operation, Grant):
        return 4 + 16 + 16 + len(operation.terms.grantees)
    if isinstance(operation, Revoke):
        return 4 + 16 * (1 + len(operation.reissues)) + 16 * (1 + len(operation.delegates)) + 4
    return 4
