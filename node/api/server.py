"""The socket itself: bound here, guarded by its mode and by peer credentials, served by uvicorn.

uvicorn's own `uds` option makes the file 0666 and its server takes over the signals; so this module binds the socket
itself under a umask and leaves signals to `node.app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from node.alerts.rules import Thresholds
from node.api.errors import BadRequest, RequestError, SocketUnusable, TooManyConnections
from node.api.peercred import Role, RoleMap, peer_of
from node.api.problems import problem_response
from node.records.labelling import Labelling
from node.records.messages import RECORD_BYTES

BACKLOG = 256
BESIDE_BODY_BYTES = 512 * 1024
BESIDE_EACH_BYTE = 16
"""What a request may send besides its body, as its head and for each byte of a body in chunks; more than is read at
once, which counts in full for the request that begins in it."""
CONNECTIONS = 1_024
LOOKERS = 512
"""Of these, so many are for those who may only look: they keep nobody out who may do more."""
PATH_BYTES = 107  # sun_path less its terminator, unix(7)


class ApiSettings(Struct, frozen=True):
    """How the socket is served. Sizes in bytes, times in seconds.

    A client has `head_s` to send a request's head, may be late by `body_s` with its body, and is given up when it takes
    nothing of an answer for `stall_s`.
    """

    socket: Path
    roles: RoleMap
    mode: int = 0o660
    group: str | None = None
    stop_s: int = 10
    request_bytes: int = 64 * 1024 * 1024
    record_bytes: int = RECORD_BYTES
    wait_s: float = 60.0
    head_s: float = 30.0
    body_s: float = 30.0
    stall_s: float = 120.0
    in_flight_bytes: int = 256 * 1024 * 1024
    thresholds: Thresholds = Thresholds()
    labelling: Labelling = Labelling()


class _Protocol(HttpToolsProtocol):
    """Notes who connected, for the requests of that connection, and gives up clients that neither send nor take."""

    head_s = 30.0
    stall_s = 120.0
    roles: RoleMap
    lookers: set[_Protocol]
    _received = 0
    _useful = 0
    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "peer": peer}
        if self.roles.role(peer) is Role.LOOK:
            if len(self.lookers) >= LOOKERS:
                self._refuse(TooManyConnections())
                return
            self.lookers.add(self)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting, self._stalled):
            if timer is not None:
                timer.cancel()
        self.lookers.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The parser itself keeps a head, or the trailer and the extensions of a chunked body, of any size."""
        super().data_received(data)
        self._received += len(data)
        if self._received > BESIDE_BODY_BYTES + BESIDE_EACH_BYTE * self._useful and not self.transport.is_closing():
            self.send_400_response("")

    def on_body(self, body: bytes) -> None:
        self._useful += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as every other refusal is."""
        self._refuse(BadRequest("the request is not HTTP/1.1, or its head is too large"))

    def _refuse(self, error: RequestError) -> None:
        """Answer without a request, and end the connection."""
        answer = problem_response(error)
        status = b"%d %s" % (answer.status_code, HTTPStatus(answer.status_code).phrase.encode())
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 %s\r\n%sconnection: close\r\n\r\n%s" % (status, head, answer.body))
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._received = self._useful = 0
        self._await_head()

    def on_headers_complete(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self.head_s, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, telling when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def bind(path: Path, mode: int, group: str | None = None) -> socket.socket:
    """A Unix socket bound at `path` with exactly `mode`; a stale file of a dead daemon is replaced.

    Without a group the file is the daemon's own group's.
    Raises `SocketUnusable` where somebody listens, something else lies, or the place cannot be written.
    """
    if len(os.fsencode(path)) > PATH_BYTES:
        raise SocketUnusable(f"the path of the local socket is longer than {PATH_BYTES} bytes")
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        if group is not None:
            shutil.chown(path, group=group)
    except LookupError:
        listener.close()
        raise SocketUnusable(f"there is no group {group!r} to give the local socket to") from None
    except OSError as error:
        listener.close()
        raise SocketUnusable(f"the local socket {path} cannot be bound: {os.strerror(error.errno or 0)}") from None
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _clear(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketUnusable(f"the local socket {path} cannot be used: {os.strerror(error.errno or 0)}") from None
    if not stat.S_ISSOCK(kind):
        raise SocketUnusable(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(str(path))
    if answer != errno.ECONNREFUSED:
        raise SocketUnusable(f"another process listens on {path}")
    path.unlink()


class ApiServer:
    """Serves an ASGI application on the local socket from `start` to `stop`."""

    def __init__(self, settings: ApiSettings, app: ASGIApp, closing: asyncio.Event) -> None:
        """`closing` is set when stopping begins: endless answers (event streams) end by it."""
        self._settings = settings
        self._app = app
        self._closing = closing
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and listen; returns when requests are answered. Raises `SocketUnusable`."""
        listener = bind(self._settings.socket, self._settings.mode, self._settings.group)
        own = {
            "head_s": self._settings.head_s,
            "stall_s": self._settings.stall_s,
            "roles": self._settings.roles,
            "lookers": set(),
        }
        config = uvicorn.Config(
            self._app,
            http=type("Protocol", (_Protocol,), own),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=self._settings.stop_s,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([listener]), name="api-server")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            listening.cancel()
            await self._task

    async def stop(self) -> None:
        """Answer what is being answered, end event streams, close and remove the socket. Idempotent."""
        if self._server is None or self._task is None:
            return
        self._closing.set()
        self._server.should_exit = True
        await self._task
        self._settings.socket.unlink(missing_ok=True)
        self._server = self._task = None
