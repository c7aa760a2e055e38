"""One request as the handlers see it: checked numbers, bounded bodies, and a mark by which a repeat is known.

Relies on Starlette's `Request`. A body is read once, counted against its limit before it is kept, and fed to the mark
on the way; msgspec's messages about bodies are not passed on, since they may quote what a patient's record says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from node.api.errors import BadRequest, BodyTooLarge, BodyTooSlow, StillSending, UnsupportedMediaType
from node.api.schemas import Request
from node.storage.schema import CHARTS
from protocol import limits

T = TypeVar("T")
CHART_MAX = CHARTS - 1
JSON = "application/json"
MARKED_HEADERS = ("content-type", "category", "year", "sensitivities", "supersedes")
"""Headers that change what a request does, and so belong to its mark."""
KEY_BYTES = 255
BYTES_PER_S = 16 * 1024
"""A body that comes slower than this, and has used up what it may be late by, is given up."""


class InFlight:
    """Bounds the bytes of all request bodies held in memory at once."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0

    def take(self, count: int) -> None:
        """Raises `StillSending` when the sum would go over the limit."""
        if self._held + count > self._limit:
            raise StillSending
        self._held += count

    def give_back(self, count: int) -> None:
        self._held -= count


class Call:
    """A request on its way through a handler."""

    def __init__(
        self, request: HttpRequest, uid: int, limit_bytes: int, body_s: float, in_flight: InFlight, secret: bytes
    ) -> None:
        """`body_s` is how many seconds the body may be late by; `secret` keys the mark, so that stored marks tell
        nothing about bodies."""
        self.request = request
        self.uid = uid
        self.limit_bytes = limit_bytes
        self.body_s = body_s
        self._in_flight = in_flight
        self._held = 0
        self._read = False
        self._mark = hashlib.blake2b(key=secret, digest_size=32, person=b"cl-request-mark")
        query = "&".join(f"{k}={v}" for k, v in sorted(self.query.multi_items()) if k != "wait")
        headers = [f"{name}:{self.request.headers.get(name, '')}" for name in MARKED_HEADERS]
        self._mark.update("\n".join([request.method, request.url.path, query, *headers, ""]).encode())

    @property
    def query(self) -> QueryParams:
        return self.request.query_params

    @property
    def media_type(self) -> str:
        """The body's media type without parameters, in lower case."""
        return self.request.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def wait_final(self) -> bool:
        """Whether the caller asked to wait for finality. Raises `BadRequest` for any other wish."""
        wish = self.query.get("wait")
        if wish not in (None, "final"):
            raise BadRequest("wait can be final, or absent")
        return wish == "final"

    @property
    def idempotency_key(self) -> str | None:
        key = self.request.headers.get("idempotency-key")
        if key is not None and not (1 <= len(key) <= KEY_BYTES and key.isascii() and key.isprintable()):
            raise BadRequest(f"Idempotency-Key is 1 to {KEY_BYTES} printable ASCII characters")
        return key

    def mark(self) -> bytes:
        """32 bytes that tell this request from any other; complete once the body was read."""
        return self._mark.digest()

    def chart(self) -> int:
        """The chart's number in the path."""
        return self.path_number("chart", CHART_MAX)

    def event(self, name: str) -> int:
        """An event's number in the path."""
        return self.path_number(name, limits.EVENTS_PER_CHART - 1)

    def path_number(self, name: str, highest: int = limits.U53) -> int:
        value = int(self.request.path_params[name])
        if value > highest:
            raise BadRequest(f"{name} is at most {highest}")
        return value

    def query_number(self, name: str, default: int, highest: int = limits.U53) -> int:
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal()) or int(text[:20]) > highest or len(text) > 16:
            raise BadRequest(f"{name} is a number from 0 to {highest}")
        return int(text)

    def optional_number(self, name: str, highest: int) -> int | None:
        """The same; None where it is absent."""
        return self.query_number(name, 0, highest) if name in self.query else None

    def query_flag(self, name: str) -> bool:
        text = self.query.get(name, "false")
        if text not in ("true", "false"):
            raise BadRequest(f"{name} can be true or false")
        return text == "true"

    async def chunks(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body piece by piece, marked and counted. Raises `BodyTooLarge` or `BodyTooSlow`."""
        if "content-length" in self.request.headers and self.announced_bytes() > limit_bytes:
            raise BodyTooLarge(f"the body is over {limit_bytes} bytes")
        self._read = True
        total = 0
        async for chunk in self._in_time():
            total += len(chunk)
            if total > limit_bytes:
                raise BodyTooLarge(f"the body is over {limit_bytes} bytes")
            self._mark.update(chunk)
            if chunk:
                yield chunk

    async def _in_time(self) -> AsyncIterator[bytes]:
        """The body as it comes. What counts is how long it is waited for, not what becomes of it meanwhile."""
        loop = asyncio.get_running_loop()
        stream = self.request.stream()
        left = self.body_s
        while True:
            begun = loop.time()
            try:
                async with asyncio.timeout(left):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise BodyTooSlow from None
            if chunk is None:
                return
            left = min(left - (loop.time() - begun) + len(chunk) / BYTES_PER_S, self.body_s)
            yield chunk

    def announced_bytes(self) -> int:
        """The body's length if it was announced; more than any limit if the body comes in chunks of its own."""
        text = self.request.headers.get("content-length")
        if text is None:
            chunked = "transfer-encoding" in self.request.headers
            return limits.U53 if chunked else 0
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else limits.U53

    @property
    def is_read(self) -> bool:
        """Whether reading the body has begun."""
        return self._read

    async def drain(self) -> None:
        """Read what is left of the body, so that the mark is complete."""
        if not self._read:
            async for _ in self.chunks(limits.U53):
                pass

    async def body(self, limit_bytes: int | None = None) -> bytes:
        """The whole body, up to `limit_bytes` if that is less than what a request may be. Raises `BodyTooLarge`, or
        `StillSending` when too many bodies are held at once."""
        pieces = []
        async for chunk in self.chunks(min(self.limit_bytes, limit_bytes or self.limit_bytes)):
            self._in_flight.take(len(chunk))
            self._held += len(chunk)
            pieces.append(chunk)
        return b"".join(pieces)

    async def json(self, kind: type[T]) -> T:
        """The body as a value of a request type. Raises `UnsupportedMediaType` or `BadRequest`."""
        if self.media_type != JSON:
            raise UnsupportedMediaType(f"send {JSON}")
        return parse_json(await self.body(), kind)

    def done(self) -> None:
        """Give back what was held for the body."""
        self._in_flight.give_back(self._held)
        self._held = 0


def parse_json(body: bytes, kind: type[T]) -> T:
    """A request type from JSON. The error names the place in the document, never what stands there."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body is not a {kind.__name__}: see {_place(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not JSON in UTF-8") from None


def _place(message: str) -> str:
    """Where msgspec found fault, as far as it is told in names of our own: the body's may be anything."""
    place = message.rpartition(" - at `")[2].rstrip("`")
    names = re.sub(r"\[(\.\.\.|\d+)\]", "", place).split(".")
    own = {name for kind in Request.__subclasses__() for name in kind.__struct_fields__}
    return place if names[0] == "$" and own.issuperset(names[1:]) else "$"


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON. Answers speak of the present, so they are not for caches."""
    return Response(msgspec.json.encode(value), status, {"cache-control": "no-store"}, JSON)
