"""A client of a node's local socket: JSON in and out, problems raised as the named errors that they are.

Small on purpose: `docs/api.md` and /openapi.json say what there is to ask. A submission carries an idempotency key, so
when the connection breaks before the answer, the same request is sent again and nothing is written twice. Relies on
httpx.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from protocol import errors
from protocol.errors import ChartledgerError

TIMEOUT_S = 120.0
"""Above what a node waits for finality (60 s), so that the node's own answer comes first."""
TRIES = 4
PAUSE_S = 0.5


class Unreachable(ChartledgerError):
    """No node answers on the socket."""

    advice = (
        "Start it with `chartledger node run --config FILE`, or name its socket with --socket or CHARTLEDGER_SOCKET."
    )


class Problem(ChartledgerError):
    """The node refused, with an error that this client has no class for."""


class NotAnswered(ChartledgerError):
    """The node took the request and did not answer in time."""

    advice = "Look at `chartledger status`; what was submitted is kept and still becomes final if it can."


class Client:
    """A connection to one node."""

    def __init__(self, socket: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket
        transport = httpx.HTTPTransport(uds=str(socket))
        self._http = httpx.Client(transport=transport, base_url="http://chartledger", timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document."""
        return msgspec.json.decode(self.read(path, **query))

    def read(self, path: str, **query: Any) -> bytes:
        """The body of an answer, as it came."""
        return self._answer(self._request("GET", path, query, None, {}))

    def post(self, path: str, document: Any, *, key: str | None = None, wait: bool = False, **query: Any) -> Any:
        """Send a JSON document; with `wait`, the answer comes when what it submits is final."""
        headers = {"content-type": "application/json"}
        return self.send(path, msgspec.json.encode(document), headers, key=key, wait=wait, **query)

    def send(
        self,
        path: str,
        body: bytes,
        headers: dict[str, str],
        *,
        key: str | None = None,
        wait: bool = False,
        **query: Any,
    ) -> Any:
        """Send bytes with their media type in `headers`. With `key`, a broken connection leads to another try."""
        if wait:
            query["wait"] = "final"
        if key is not None:
            headers = headers | {"idempotency-key": key}
        for left in range(TRIES if key is not None else 1, 0, -1):
            try:
                return msgspec.json.decode(self._answer(self._request("POST", path, query, body, headers)))
            except Unreachable:
                if left == 1:
                    raise
                time.sleep(PAUSE_S)
        raise AssertionError("the last try returns or raises")

    def _request(
        self, method: str, path: str, query: dict[str, Any], body: bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, params=query, content=body, headers=headers)
        except httpx.TimeoutException:
            raise NotAnswered(f"the node on {self.socket} did not answer in time") from None
        except httpx.TransportError as error:
            raise Unreachable(f"no node answers on {self.socket}: {_reason(error)}") from None

    def _answer(self, answer: httpx.Response) -> bytes:
        if answer.is_success:
            return answer.content
        raise problem_of(answer.content, answer.status_code)


def problem_of(body: bytes, status: int) -> ChartledgerError:
    """The named error that a problem document (RFC 9457) tells of."""
    try:
        document = msgspec.json.decode(body)
        code = str(document["type"]).rpartition("/")[2].rpartition(":")[2]
        sentence, advice = str(document["detail"]), str(document.get("advice", ""))
    except (msgspec.DecodeError, KeyError, TypeError):
        return Problem(f"the node answered {status}")
    kind = _ERRORS.get(code)
    if kind is None:
        found: ChartledgerError = Problem(sentence, advice=advice)
        found.code = code
        return found
    return kind(sentence, advice=advice)


def _reason(error: httpx.TransportError) -> str:
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    text = getattr(cause, "strerror", None) or str(error)
    return str(text) or "the connection broke"


_ERRORS = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ChartledgerError)
}
