"""The ASGI application: the table of places on Starlette, each call with its role checked and its errors named.

Whatever goes wrong is answered as problem+json. A failure that has no name is logged by type and place alone, never by
its message, since a message may quote what a request carried.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback

from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.api.call import Call, InFlight, json_response
from node.api.context import Context
from node.api.errors import BadRequest, InternalError, MethodNotAllowed, NoSuchPlace, NotAllowed
from node.api.openapi import openapi
from node.api.peercred import Peer
from node.api.place import Place
from node.api.places import PLACES
from node.api.problems import problem_response
from node.api.server import ApiServer, ApiSettings
from node.api.writes import Writes
from node.logs import get_logger
from node.records.service import Records
from node.services import NodeServices
from node.storage.outbox import Idempotency
from protocol.errors import ChartledgerError

log = get_logger("api")


class _Number(IntegerConvertor):
    """Starlette's own takes digits without end, which Python then refuses to read as a number."""

    regex = "[0-9]{1,20}"


register_url_convertor("number", _Number())


def make_api(
    settings: ApiSettings, node: NodeServices, records: Records, rows: Idempotency, secret: bytes
) -> ApiServer:
    """The socket of a node, not started yet. `secret` (any length up to 64 bytes, of this node's own, the same after
    a restart) keys what is remembered of requests."""
    closing = asyncio.Event()
    own = hashlib.blake2b(b"", key=secret, digest_size=32, person=b"cl-api-secret").digest()
    context = Context(settings, node, records, Writes(node, rows, own, settings.wait_s), closing)
    return ApiServer(settings, make_app(context, own), closing)


def make_app(context: Context, secret: bytes) -> ASGIApp:
    """The application alone, for tests that need no socket."""
    in_flight = InFlight(context.settings.in_flight_bytes)
    document = openapi()

    async def describe(request: Request) -> Response:
        return json_response(document)

    by_path: dict[str, dict[str, Place]] = {}
    for place in PLACES:
        by_path.setdefault(place.path, {})[place.method] = place
    routes = [_route(path, places, context, in_flight, secret) for path, places in by_path.items()]
    handlers = {ChartledgerError: _named, HTTPException: _plain, ClientDisconnect: _gone, Exception: _unnamed}
    app = Starlette(routes=[Route("/openapi.json", describe), *routes], exception_handlers=handlers)
    app.router.redirect_slashes = False
    return _Guard(app)


def _route(path: str, places: dict[str, Place], context: Context, in_flight: InFlight, secret: bytes) -> Route:
    async def endpoint(request: Request) -> Response:
        place = places["GET" if request.method == "HEAD" else request.method]
        peer: Peer = request.state.peer
        role = context.settings.roles.role(peer)
        if role < place.role:
            raise NotAllowed(f"this needs the role {place.role.name.lower()}, and your user has {role.name.lower()}")
        settings = context.settings
        call = Call(request, peer.uid, settings.request_bytes, settings.body_s, in_flight, secret)
        try:
            return await place.handler(context, call)
        finally:
            call.done()

    return Route(path.replace(":int}", ":number}"), endpoint, methods=list(places))


async def _named(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChartledgerError)
    response = problem_response(error)
    if response.status_code >= 500:
        log.warning("request failed", code=error.code, method=request.method)
    return response


async def _plain(request: Request, error: Exception) -> Response:
    """Starlette's own refusals."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem_response(NoSuchPlace("nothing answers at this path"))
    if error.status_code == 405:
        response = problem_response(MethodNotAllowed("this path does not answer to that method"))
        response.headers.update(error.headers or {})
        return response
    return problem_response(BadRequest("the request is malformed"))


async def _gone(request: Request, error: Exception) -> Response:
    """The client went away before its body had come: nobody hears the answer, and nothing was submitted."""
    return problem_response(BadRequest("the body ended early"))


async def _unnamed(request: Request, error: Exception) -> Response:
    return problem_response(InternalError("the daemon failed on this request"))


class _Guard:
    """Around the application, where Starlette raises an unnamed failure again once it has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def sending(message: Message) -> None:
            nonlocal complete
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("unnamed failure", kind=kind, file=place.filename, line=place.lineno)  # noqa: TRY400  # no message
            if not complete:  # the server closes the connection, so that half an answer does not pass for a whole
                raise ConnectionAbortedError("the answer broke off") from None
