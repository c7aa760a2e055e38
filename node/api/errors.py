"""How a request itself can be wrong, by name; what the ledger or the records side refuses has its own names."""

from __future__ import annotations

from protocol.errors import ChartledgerError


class RequestError(ChartledgerError):
    """The request is not acceptable."""

    advice = "GET /openapi.json describes every request."


class BadRequest(RequestError):
    """The request is malformed."""


class NoSuchPlace(RequestError):
    """Nothing answers at this path."""


class NothingThere(RequestError):
    """There is no such thing at the final head."""


class MethodNotAllowed(RequestError):
    """This path does not answer to that method."""


class BodyTooLarge(RequestError):
    """The body is larger than a request may be."""

    advice = "Send it in several requests, or a single document as a raw body; limits stand in docs/integrators.md."


class BodyTooSlow(RequestError):
    """The body came too slowly."""

    advice = "Send the request again, with its Idempotency-Key; docs/integrators.md says how slow is too slow."


class UnsupportedMediaType(RequestError):
    """The body is of a type that is not accepted here."""


class NotAllowed(RequestError):
    """Your user may not do this on this socket."""

    advice = "The node's configuration names who may submit under `submitters`, who may govern under `governors`."


class IdempotencyKeyReused(RequestError):
    """This Idempotency-Key was used with another request."""

    advice = "Take a fresh key for each new request; repeat a request unchanged under its own key."


class NotFinalYet(RequestError):
    """The transactions are kept and still waiting to become final."""

    advice = (
        "Nothing is lost: repeat the request with the same Idempotency-Key; GET /v1/status says why it takes so long."
    )


class StillSending(RequestError):
    """Too much is in flight on this socket."""

    advice = "Wait a moment and send the same request again."


class TooManyConnections(RequestError):
    """As many connections are open as those who may only look may have."""

    advice = "Close connections that nobody uses, or wait until others did."


class TooManyStreams(RequestError):
    """As many event streams are open as this socket may have."""

    advice = "Close streams that nobody reads; one stream without `chart` tells of every block."


class InternalError(RequestError):
    """The daemon failed in a way that it should not."""

    advice = (
        "Report it with the daemon's log line of the same time; the request may be repeated with its Idempotency-Key."
    )


class SocketUnusable(ChartledgerError):
    """The local socket cannot be opened."""

    advice = "Name another path under `socket` in the configuration, or stop the daemon that uses this one."
