"""Named errors as HTTP answers: problem details (RFC 9457), one status for each name.

The table is by class, and the nearest ancestor counts, so a new error of a known family has a status at once.
docs/integrators.md lists what comes of it; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from node.api import errors as api
from node.api.refusals import BlockingException, of_error
from node.network.interface import RequestFailed
from node.practitioners import BadStaffId
from node.records import errors as records
from node.records import owner_keys
from node.storage import errors as storage
from protocol import chart_errors as chart
from protocol import errors as core
from protocol.errors import ChartledgerError

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:chartledger:problem:"

STATUS: dict[type[ChartledgerError], int] = {
    ChartledgerError: 500,
    core.DecodeError: 400,
    core.Oversize: 413,
    core.CryptoError: 400,
    core.CommitmentMismatch: 502,
    core.SealBroken: 502,
    core.InvalidTransaction: 422,
    core.Unauthorised: 403,
    core.NotAccredited: 403,
    core.UnknownChart: 404,
    core.UnknownGrant: 404,
    core.UnknownRecord: 404,
    core.Replayed: 409,
    core.ChartExists: 409,
    core.ChartFull: 409,
    core.Expired: 409,
    core.CosignatureExpired: 409,
    core.CosignatureTooLong: 422,
    core.TooManyGrants: 409,
    core.DenialCapReached: 429,
    core.NotAnAuthority: 403,
    core.UnknownMotion: 404,
    core.MotionClosed: 409,
    core.OtherMotion: 409,
    core.AlreadyVoted: 409,
    core.TooManyMotions: 409,
    core.Contradicted: 409,
    core.LastAuthority: 409,
    core.SetFull: 409,
    core.Claimed: 409,
    core.RotatedTooSoon: 409,
    core.AlreadyReported: 409,
    chart.UnknownDelegate: 404,
    chart.UnknownEmergency: 404,
    chart.UnknownErasure: 404,
    chart.UnknownHold: 404,
    chart.TooManyDelegates: 409,
    chart.WrongChange: 409,
    chart.ChangePending: 409,
    chart.NoGuardians: 409,
    chart.TooEarly: 409,
    chart.NotWaiting: 409,
    chart.AlreadyReviewed: 409,
    chart.TooManyUnreviewed: 409,
    chart.AlreadyErased: 409,
    chart.OnHold: 409,
    chart.AlreadyAcknowledged: 409,
    chart.TooManyHolds: 409,
    core.BadProof: 422,
    core.Busy: 503,
    records.RecordsError: 422,
    records.NotCustodian: 409,
    records.ChartUnknownHere: 409,
    records.OtherSecret: 409,
    records.PermitMissing: 409,
    records.PermitOutdated: 409,
    records.BeyondPermit: 403,
    records.RecordUnknownHere: 404,
    owner_keys.OwnerKeyUnknown: 409,
    owner_keys.OwnerKeyMissing: 409,
    BadStaffId: 400,
    records.ReasonMissing: 422,
    records.NotStated: 404,
    records.RecordErased: 410,
    records.NoSuchDraft: 404,
    records.ReleaseDenied: 403,
    records.NotDisclosed: 403,
    records.GrantEnded: 403,
    records.PassRefused: 403,
    records.ReleaseOverdue: 403,
    records.NotFresh: 503,
    records.CustodianUnreachable: 504,
    records.CustodianRefused: 502,
    records.PartlyFinal: 409,
    storage.StorageError: 500,
    storage.StorageFailed: 503,
    storage.BlobMissing: 502,
    storage.BlobCorrupt: 502,
    storage.NumberTaken: 409,
    RequestFailed: 504,
    api.RequestError: 400,
    api.NoSuchPlace: 404,
    api.NothingThere: 404,
    api.MethodNotAllowed: 405,
    api.BodyTooSlow: 408,
    api.BodyTooLarge: 413,
    api.UnsupportedMediaType: 415,
    api.NotAllowed: 403,
    api.IdempotencyKeyReused: 422,
    api.NotFinalYet: 504,
    api.StillSending: 503,
    api.TooManyConnections: 503,
    api.TooManyStreams: 503,
    api.InternalError: 500,
}
RETRY_AFTER_S = 1


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 problem details; `reason` is the error's name, `advice` says what to do next, `exception` on which
    exception of 45 CFR part 171 the refusal rests, if on any, `transactions` which ids are concerned."""

    type: str
    title: str
    status: int
    detail: str
    advice: str
    reason: str = ""
    exception: BlockingException | None = None
    transactions: list[str] = []


def status_of(kind: type[ChartledgerError]) -> int:
    """The HTTP status of a named error: its own, or its nearest ancestor's."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def title_of(kind: type[ChartledgerError]) -> str:
    return (kind.__doc__ or kind.code).strip().splitlines()[0].rstrip(".")


def problem(error: ChartledgerError, transactions: list[str] | None = None) -> Problem:
    kind = type(error)
    code = error.code
    return Problem(
        type=TYPE_PREFIX + code,
        title=title_of(kind),
        status=status_of(kind),
        detail=str(error),
        advice=error.advice,
        reason=code,
        exception=of_error(kind),
        transactions=transactions or [],
    )


def problem_response(error: ChartledgerError, transactions: list[str] | None = None) -> Response:
    """The answer for a named error. Its sentence is fit for strangers by the rule of `protocol.errors`."""
    found = problem(error, transactions)
    headers: dict[str, Any] = {"cache-control": "no-store"}
    if found.status == 503:
        headers["retry-after"] = str(RETRY_AFTER_S)
    if found.status == 408:  # RFC 9110, section 15.5.9: the rest of the body is not waited for
        headers["connection"] = "close"
    return Response(msgspec.json.encode(found), found.status, headers, PROBLEM_JSON)
