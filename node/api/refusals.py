"""Why something was refused, for machines: a code, and the exception of 45 CFR part 171 that it rests on, if any.

The information-blocking rules want each refusal to state which exception applies. One table for the ledger's reasons
and one for named errors; what stands there as None was looked at and rests on none, and a test finds what is in
neither. Which exception applies in a given case an institution's counsel decides: this is the machine's statement of
what happened. https://www.ecfr.gov/current/title-45/subtitle-A/subchapter-D/part-171
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from node.api import errors as api
from node.network.interface import RequestFailed
from node.records import errors as records
from node.storage import errors as storage
from protocol import chart_errors
from protocol import errors as core
from protocol.errors import ChartledgerError
from protocol.ledger.events import Reason


class BlockingException(Struct, frozen=True):
    """An exception to the ban on information blocking: its section of 45 CFR, its name, and the condition met."""

    section: str
    title: str
    condition: str


PRECONDITION: Final = BlockingException(
    "171.202(b)", "Privacy", "a precondition of law or consent for giving access is not satisfied"
)
REQUEST: Final = BlockingException("171.202(e)", "Privacy", "the individual asked that it not be shared")
SECURITY: Final = BlockingException(
    "171.203", "Security", "a tailored, even-handed safeguard of confidentiality, integrity or availability"
)
OUTAGE: Final = BlockingException(
    "171.204(a)(1)", "Infeasibility", "an event beyond control, such as an interruption of the network"
)
PERFORMANCE: Final = BlockingException(
    "171.205", "Health IT Performance", "the system is unavailable for no longer than its upkeep takes"
)

OF_REASONS: Final[dict[Reason, BlockingException | None]] = {
    Reason.NONE: None,
    Reason.EMERGENCY_PURPOSE: PRECONDITION,
    Reason.NO_GRANT: PRECONDITION,
    Reason.WRONG_INSTITUTION: PRECONDITION,
    Reason.REVOKED: REQUEST,
    Reason.NOT_YET: PRECONDITION,
    Reason.EXPIRED: PRECONDITION,
    Reason.PURPOSE: PRECONDITION,
    Reason.OUTSIDE: PRECONDITION,
    Reason.BARRED: REQUEST,
    Reason.ERASED: None,  # there is nothing left to give access to
    Reason.PRACTITIONER: PRECONDITION,
    Reason.WRITE_ONLY: PRECONDITION,
    Reason.DELEGATE_ENDED: PRECONDITION,
    Reason.DELEGATE_BOUNDS: PRECONDITION,
    Reason.BREAK_GLASS_FORBIDDEN: REQUEST,
    Reason.REVIEWS_OWED: SECURITY,
}
OF_ERRORS: Final[dict[type[ChartledgerError], BlockingException | None]] = {
    ChartledgerError: None,
    # at release
    records.RecordsError: None,
    records.ReleaseDenied: PRECONDITION,
    records.NotDisclosed: PRECONDITION,
    records.GrantEnded: PRECONDITION,
    records.PassRefused: PRECONDITION,
    records.ReleaseOverdue: None,  # asking again is all that it takes
    records.NotFresh: OUTAGE,
    records.CustodianUnreachable: OUTAGE,
    records.CustodianRefused: None,
    records.TooFewHolders: OUTAGE,
    records.RecordErased: None,  # there is nothing left to give access to
    records.NotCustodian: None,
    records.NotWriter: None,
    records.NotHeld: None,
    records.RecordUnknownHere: None,
    records.RecordErased: None,  # there is nothing left to give access to
    records.ReasonMissing: SECURITY,
    core.NotAccredited: SECURITY,
    core.CommitmentMismatch: None,  # what came is not the record
    core.SealBroken: None,
    storage.StorageError: None,
    storage.StorageFailed: PERFORMANCE,
    storage.BlobMissing: None,
    storage.BlobCorrupt: None,
    RequestFailed: OUTAGE,
    # asking
    core.Unauthorised: PRECONDITION,
    core.DenialCapReached: SECURITY,
    chart_errors.OwnerFrozen: SECURITY,
    chart_errors.DelegateNotInForce: PRECONDITION,
    chart_errors.BeyondBounds: PRECONDITION,
    chart_errors.TooManyUnreviewed: SECURITY,
    core.Busy: PERFORMANCE,
    # on the socket
    api.NotAllowed: SECURITY,
    api.NotFinalYet: PERFORMANCE,
    api.StillSending: PERFORMANCE,
    api.TooManyConnections: PERFORMANCE,
    api.TooManyStreams: PERFORMANCE,
    api.InternalError: None,
}


def of_reason(reason: Reason) -> BlockingException | None:
    """What a denial for this reason rests on."""
    return OF_REASONS[reason]


def of_error(kind: type[ChartledgerError]) -> BlockingException | None:
    """What a refusal by this error rests on: as its own class says, or its nearest ancestor's."""
    return next(OF_ERRORS[ancestor] for ancestor in kind.__mro__ if ancestor in OF_ERRORS)
