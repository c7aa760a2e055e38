"""Whether a record may be released now: the last word before a key leaves its custodian. Pure.

The rules decided in the block; this asks them again on the newest final state, since a grant may have ended meanwhile,
and refuses to trust a state that is not fresh (design, sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from node.records.errors import GrantEnded, NotDisclosed, NotFresh, RecordUnknownHere, ReleaseDenied, ReleaseOverdue
from protocol.errors import NotAccredited
from protocol.ledger.access import decide
from protocol.ledger.events import Disclosed, Event, Outcome, Reason, RecordAppended, reason_text
from protocol.ledger.leaves import GrantLeaf
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import STATUS_ACCREDITED, Institution
from protocol.types.operations import RecordEntry


def check_disclosure(event: Event | None, reader: int, records: Sequence[int]) -> Disclosed:
    """The final disclosure by which `reader` may ask for these records.

    Raises `NotDisclosed` if it is no disclosure, another's, or does not name them all; `ReleaseDenied` if denied.
    """
    if not isinstance(event, Disclosed):
        raise NotDisclosed("there is no final disclosure of that event number on this chart")
    if event.institution != reader:
        raise NotDisclosed("that disclosure is another institution's")
    if event.outcome is not Outcome.DISCLOSED:
        raise ReleaseDenied(f"the disclosure was denied: {reason_text(event.reason)}")
    if not set(event.records).issuperset(records):
        raise NotDisclosed("that disclosure does not name this record")
    return event


def check_fresh(head: Header, now_ms: int, params: Params) -> None:
    """Raise `NotFresh` unless the final head is young enough to release anything by it."""
    age_ms = now_ms - head.timestamp
    if age_ms > params.freshness_ms:
        raise NotFresh(
            f"the last final block is {age_ms // 1_000} s old, and at most {params.freshness_ms // 1_000} s are allowed"
        )


def check_in_force(
    disclosed: Disclosed,
    grant: GrantLeaf | None,
    reader: Institution | None,
    entries: Sequence[RecordEntry],
    time_ms: int,
) -> None:
    """Raise unless the disclosure may still be acted on at `time_ms`: the later of the head's time and the clock.

    `ReleaseOverdue` past its deadline, `NotAccredited` if the reader lost its standing, `GrantEnded` if the rules would
    deny it now.
    """
    if disclosed.release_until is None or time_ms >= disclosed.release_until:
        raise ReleaseOverdue
    if reader is None or reader.status != STATUS_ACCREDITED:
        raise NotAccredited("the institution that asks is no longer accredited")
    tags = [entry.tags for entry in entries]
    reason = decide(grant, disclosed.institution, disclosed.purpose, time_ms, tags)
    if reason is not Reason.NONE:
        raise GrantEnded(f"the permission behind this disclosure no longer holds: {reason_text(reason)}")


def entry_of(event: Event | None, record: int) -> RecordEntry:
    """The ledger's entry of a record. Raises `RecordUnknownHere`."""
    if not isinstance(event, RecordAppended):
        raise RecordUnknownHere(f"event {record} of that chart is no record")
    return event.entry
