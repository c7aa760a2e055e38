"""A client of a node's local socket: JSON in and out, problems raised as the named errors that they are.

Small on purpose: `docs/integrators.md` and /openapi.json say what there is to ask. A submission carries an idempotency
key, so when the connection breaks before the answer, the same request is sent again and nothing is written twice.
Uses the standard library alone, which costs a quarter of what the usual packages do for each request.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlencode

import msgspec

from protocol import chart_errors, errors
from protocol.errors import ChartledgerError

TIMEOUT_S = 120.0
"""Above what a node waits for finality (60 s), so that the node's own answer comes first."""
TRIES = 4
TRIES_SENT = 30
"""How often what carries a key is sent, and how often once a node may have it: one that starts again takes seconds."""
PAUSE_S = 0.5
MAYBE = (
    "It may have been taken. Once the node answers again, see before you repeat it: `chartledger record list` and "
    "`chartledger chart history` show what stands."
)


class Unreachable(ChartledgerError):
    """No node answers on the socket."""

    advice = (
        "Start it with `chartledger node run --config FILE`, or name its socket with --socket or CHARTLEDGER_SOCKET."
    )
    sent = False
    """Whether a node was there, which may have the request."""


class Problem(ChartledgerError):
    """The node refused, with an error that this client has no class for."""


class NotAnswered(ChartledgerError):
    """The node took the request and did not answer in time."""

    advice = "Look at `chartledger status`; what was submitted is kept and still becomes final if it can."


class Source(Protocol):
    """What is sent piece by piece: a file, or what behaves like one."""

    def read(self, count: int = ..., /) -> bytes: ...

    def seek(self, place: int, /) -> int: ...


class Client:
    """Connections to one node: one for each thread that asks, kept open."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._mine = threading.local()
        self._all: list[_Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.close()

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document."""
        return msgspec.json.decode(self.read(path, **query))

    def read(self, path: str, **query: Any) -> bytes:
        """The body of an answer, as it came."""
        try:
            return self._request("GET", path, query, None, {})
        except Unreachable:
            # A connection that was kept open may have been closed meanwhile, by a restart for instance.
            return self._request("GET", path, query, None, {})

    @contextmanager
    def stream(self, path: str) -> Iterator[HTTPResponse]:
        """The body of an answer while it comes in: `read(n)` of what is yielded, in as little memory as `n` takes.

        A body that breaks off raises `Unreachable` once what came before has been read.
        """
        connection = self._connection()
        try:
            yield self._answer(connection, "GET", path, None, {})
        except (OSError, HTTPException) as error:
            raise Unreachable(f"the connection to {self.path} broke: {error}") from None
        finally:
            connection.close()  # whatever was not read is not waited for

    def upload(self, path: str, body: Source, length: int, headers: dict[str, str], key: str, **query: str) -> Any:
        """Send a file of `length` bytes from its beginning, in bounded memory; a broken connection leads to another
        try, as for `send`."""
        headers = headers | {"idempotency-key": key, "content-length": str(length)}

        def attempt() -> bytes:
            body.seek(0)
            return self._request("POST", path, {"wait": "final", **query}, body, headers)

        return self._persist(attempt)

    def post(self, path: str, document: Any, *, key: str | None = None, wait: bool = False, **query: Any) -> Any:
        """Send a JSON document; with `wait`, the answer comes when what it submits is final."""
        headers = {"content-type": "application/json"}
        return self.send(path, msgspec.json.encode(document), headers, key=key, wait=wait, **query)

    def draw(self, path: str, document: Any, **query: Any) -> bytes:
        """Send a JSON document that changes nothing, and give the body of the answer as it came."""
        body, headers = msgspec.json.encode(document), {"content-type": "application/json"}
        try:
            return self._request("POST", path, query, body, headers)
        except Unreachable:
            return self._request("POST", path, query, body, headers)

    def put(self, path: str, document: Any) -> Any:
        """Send a JSON document that may be sent again at will."""
        body, headers = msgspec.json.encode(document), {"content-type": "application/json"}
        try:
            return msgspec.json.decode(self._request("PUT", path, {}, body, headers))
        except Unreachable:
            return msgspec.json.decode(self._request("PUT", path, {}, body, headers))

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
        if key is None:
            return msgspec.json.decode(self._request("POST", path, query, body, headers))
        return self._persist(lambda: self._request("POST", path, query, body, headers))

    def _persist(self, attempt: Callable[[], bytes]) -> Any:
        """What a request with a key leads to, made again while the connection breaks."""
        failures, sent = 0, False
        while True:
            try:
                return msgspec.json.decode(attempt())
            except Unreachable as error:
                failures, sent = failures + 1, sent or error.sent
                if not sent and failures >= TRIES:
                    raise
                if failures >= TRIES_SENT:
                    raise Unreachable(str(error), advice=MAYBE) from None
            time.sleep(PAUSE_S)

    def _request(
        self, method: str, path: str, query: dict[str, Any], body: bytes | Source | None, headers: dict[str, str]
    ) -> bytes:
        target = f"{path}?{urlencode(query)}" if query else path
        connection = self._connection()
        connection.reached = connection.sock is not None
        try:
            return self._answer(connection, method, target, body, headers).read()
        except TimeoutError:
            connection.close()
            raise NotAnswered(f"the node on {self.path} did not answer in time") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or "the connection broke"
            unreachable = Unreachable(f"no node answers on {self.path}: {reason}")
            unreachable.sent = connection.reached
            connection.close()
            raise unreachable from None

    def _answer(
        self, connection: _Connection, method: str, target: str, body: bytes | Source | None, headers: dict[str, str]
    ) -> HTTPResponse:
        """The answer, its body still to be read. Raises the named error that a refusal tells of."""
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        if answer.status // 100 != 2:
            raise problem_of(answer.read(), answer.status)
        return answer

    def _connection(self) -> _Connection:
        found: _Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = self._mine.connection = _Connection(self.path, self._timeout_s)
            self._all.append(found)
        return found


class _Connection(HTTPConnection):
    """HTTP over a Unix socket; opened with the first request, and again after `close`. `reached`: whether somebody was
    there for the request under way."""

    sock: socket.socket | None
    reached = False

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("chartledger", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(self.timeout)
            made.connect(str(self._path))
        except BaseException:
            made.close()
            raise
        self.sock, self.reached = made, True


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


_ERRORS = {
    kind.code: kind
    for module in (errors, chart_errors)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, ChartledgerError)
}
