"""What a grant would open, record by record, before anything is signed: the ledger's own rules on what stands there.

Tags say everything that authorities will look at; what they mean is told as far as the wallet knows the labels. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from node.wallet.tagging import Meanings
from protocol.crypto.tags import NONE, SEVERAL
from protocol.ledger import decisions
from protocol.ledger.decisions import Asked
from protocol.ledger.events import RecordAppended
from protocol.ledger.leaves import PolicyLeaf
from protocol.types.operations import ACCESS_READ, GrantTerms, Policy


class Line(Struct, frozen=True):
    """One record: its labels as far as known, whether the grant would open it, and why not. `closed_for` are the
    grantees to whom it stays closed whatever a grant says."""

    record: int
    category: str | None
    year: str | None
    sensitivities: list[str]
    opens: bool
    why: list[str]
    closed_for: list[int]


def preview(
    terms: GrantTerms,
    policy: Policy,
    records: Iterable[tuple[int, RecordAppended]],
    erased: Collection[int],
    meanings: Meanings,
) -> list[Line]:
    """A line for each record, in the order given."""
    return [_line(terms, policy, number, event, number in erased, meanings) for number, event in records]


def _line(
    terms: GrantTerms, policy: Policy, number: int, event: RecordAppended, erased: bool, meanings: Meanings
) -> Line:
    tags = event.entry.tags
    category, year, *marks = meanings.record(tags)
    why = [
        _missing(position, label)
        for position, label in enumerate((category, year, *marks))
        if (listed := terms.tags[position]) is not None and tags[position] not in listed
    ]
    if not terms.access & ACCESS_READ:
        why.append("the permission is to write, not to read")
    if erased:
        why.append("it was erased")
    barred = [
        grantee
        for grantee in terms.grantees
        if decisions.barred(
            Asked(grantee, terms.purposes[0], terms.not_before, None, [event]),
            PolicyLeaf(policy, bytes(32), 0),
            emergency=False,
        )
    ]
    if len(barred) == len(terms.grantees):
        why.append("you have forbidden it")
    sensitivities = [mark or "unknown" for mark in marks if mark != NONE]
    return Line(number, category, year, sensitivities, not why, why, barred)


def _missing(position: int, label: str | None) -> str:
    if label is None:
        return "it is labelled with something that this wallet does not know"
    if position == 0:
        return f"{label} is not among the kinds named"
    if position == 1:
        return "records without a year are not named" if label == NONE else f"the year {label} is not named"
    if label == SEVERAL:
        return "it is marked sensitive in more than two ways, and that is not named"
    return f"it is marked sensitive ({label}), and that is not named"
