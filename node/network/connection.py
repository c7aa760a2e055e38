"""One TLS connection with one peer, from the certificate's comparison to the last byte.

The rules: the peer's certificate decides who it is, and its `Hello` must agree; before that nothing but a `Hello` and
a `Goodbye` is read. Small messages of one turn of the event loop leave in one write. While the transport is full
nothing is drawn from the queue, so that what is urgent still overtakes. Whatever breaks a rule ends the connection,
with a goodbye that says which. Relies on a `Owner` (the network) for who is who and for where messages go.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from msgspec import Struct

from node.network.exchange import Exchange
from node.network.frames import Kind, Unframer, frame, frames
from node.network.interface import Channel
from node.network.messages import (
    OLDEST_VERSION,
    VERSION,
    Hello,
    decode_goodbye,
    decode_ping,
    encode_goodbye,
    encode_ping,
    printable,
)
from node.network.meter import Meter
from node.network.queues import Drawn, SendQueue
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError

_WRITE_BYTES = 64 * 1024  # drawn at once: what a vote may have to wait for
_UNSENT_BYTES = 128 * 1024  # in the kernel, likewise
_PONGS = 64  # unsent answers to pings
VIOLATION = "violation"
CLOSE_S = 2.0  # for the peer to take a goodbye


class ConnectionEnded(Exception):
    """The handshake did not complete; the text is one sentence."""


class Limits(Struct, frozen=True):
    """What a connection is held to."""

    hello_s: float
    queue_bytes: int
    inbound_cost_per_s: float


class Owner(Protocol):
    """What a connection asks of the network that it belongs to."""

    def begin(self, connection: Connection) -> int | None:
        """TLS is up: the institution with exactly this `connection.certificate`, if it is a member."""

    def hello(self) -> Hello:
        """What this node says of itself."""

    def height(self) -> int:
        """This node's final height."""

    def wall_ms(self) -> int:
        """This node's clock, Unix milliseconds."""

    def admit(self, connection: Connection) -> tuple[str, str] | None:
        """The handshake is complete: take the connection, or refuse it with (code, sentence)."""

    def ended(self, connection: Connection, reason: str, violation: bool) -> None:
        """The connection is of no more use, admitted or not."""

    def closed(self, connection: Connection) -> None:
        """The ended connection's socket is closed."""

    def deliver(self, connection: Connection, channel: Channel, payload: bytes) -> None:
        """A message came."""

    async def answer(self, connection: Connection, method: str, payload: bytes) -> bytes:
        """A request came. Raises `Refuse`."""


class Connection(asyncio.Protocol):
    """See the module. `dialled` is the institution that this node dialled, None if the peer did."""

    def __init__(self, owner: Owner, limits: Limits, dialled: int | None) -> None:
        self._owner = owner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.dialled = dialled
        self.certificate = b""
        self.institution: int | None = None
        self.hello: Hello | None = None
        self.height: int | None = None
        self.rtt_ms: float | None = None
        self.clock_offset_ms: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.throttled = 0
        self.opened_at_s = 0.0
        self.queue = SendQueue(limits.queue_bytes)
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._unframer = Unframer()
        self._meter = Meter(limits.inbound_cost_per_s, self._loop.time())
        self._is_open = False
        self._closing = False
        self._paused = False
        self._flushing = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._unanswered = 0
        self._pinged_at_s = 0.0
        self._pings = 0
        self._exchange = Exchange(self._send, lambda method, payload: owner.answer(self, method, payload), self.violate)
        self.request = self._exchange.request

    # --- the transport's side ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up: who is it?"""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # asyncio does this for sockets that it opened itself, not for those accepted from a listener of ours;
            # without it a vote waits up to 40 ms for the acknowledgement of what was sent just before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        tls = cast(ssl.SSLObject, self._transport.get_extra_info("ssl_object"))
        self.certificate = tls.getpeercert(binary_form=True) or b""
        self.institution = self._owner.begin(self)
        if self.institution is None or self.dialled not in (None, self.institution):
            self.close("not-a-member", "the certificate is not, or no longer, the one expected")
            return
        self._put_control(Kind.HELLO, encode(self._owner.hello()))
        self._later(self._limits.hello_s, self._await_hello)

    def _await_hello(self) -> None:
        if not self._is_open:
            self.abort("it did not say hello in time")

    def data_received(self, data: bytes) -> None:
        """Bytes came; whatever is wrong with them ends the connection."""
        if self._closing:
            return
        self.bytes_in += len(data)
        count = 0
        try:
            for kind, channel, body in self._unframer.feed(data):
                self._take(kind, channel, body)
                count += 1
        except DecodeError as error:
            self.violate(str(error))
            return
        pause_s = self._meter.charge(len(data), count, self._loop.time())
        if pause_s and not self._closing and self._transport is not None:
            self.throttled += 1
            self._transport.pause_reading()
            self._later(pause_s, self._transport.resume_reading)

    def pause_writing(self) -> None:
        """The peer reads more slowly than is sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        self._schedule_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The last byte is through, whoever ended it."""
        self._end(_why(exc, said_hello=self.hello is not None, dialled=self.dialled is not None))
        self._transport = None
        for timer in self._timers:
            timer.cancel()
        self.closed.set_result(None)
        self._owner.closed(self)

    # --- ending --------------------------------------------------------------------------------------------------

    def close(self, code: str, sentence: str) -> None:
        """Say why, then end; at once if the peer does not take the goodbye."""
        if self._closing or self._transport is None:
            return
        self._put_control(Kind.GOODBYE, encode_goodbye(code, sentence))
        self._flush()
        transport = self._transport
        self._loop.call_soon(transport.close)
        self._later(CLOSE_S, transport.abort)
        self._end(sentence, violation=code == VIOLATION)

    def violate(self, sentence: str) -> None:
        """The peer broke a rule."""
        self.close(VIOLATION, sentence)

    def abort(self, reason: str) -> None:
        """End without a word: the peer does not listen."""
        if self._transport is not None:
            self._transport.abort()
            self._end(reason)

    def _end(self, reason: str, *, violation: bool = False) -> None:
        """From here on nothing is sent, taken or waited for; the first reason is the one that counts."""
        if self._closing:
            return
        self._closing = True
        self._exchange.end(f"institution {self.institution}: {reason}")
        if not self.opened.done():
            self.opened.set_exception(ConnectionEnded(reason))
            self.opened.exception()  # whoever waits has it, and nobody need wait
        self._owner.ended(self, reason, violation)

    # --- reading -------------------------------------------------------------------------------------------------

    def _take(self, kind: Kind, channel: Channel, body: bytes) -> None:
        if self._closing:
            return  # an earlier message of the same bytes ended it
        if kind is Kind.GOODBYE:
            self.abort(decode_goodbye(body))
        elif not self._is_open:
            self._greeted(kind, body)
        elif kind is Kind.MESSAGE:
            self._owner.deliver(self, channel, body)
        elif kind is Kind.REQUEST:
            self._exchange.requested(channel, body)
        elif kind is Kind.RESPONSE:
            self._exchange.responded(body)
        elif kind is Kind.PING:
            nonce, self.height, _ = decode_ping(body)
            if self.queue.control_frames > _PONGS:
                raise DecodeError("it pings and does not read the answers")
            self._put_control(Kind.PONG, encode_ping(nonce, self._owner.height(), self._owner.wall_ms()))
        elif kind is Kind.PONG:
            self._ponged(*decode_ping(body))
        else:
            raise DecodeError(f"a second {kind.name}")

    def _ponged(self, nonce: int, height: int, time_ms: int) -> None:
        if not 0 < nonce <= self._pings:
            raise DecodeError("an answer to a ping that was never sent")
        self.height = height
        self._unanswered = 0
        if nonce == self._pings:
            self.rtt_ms = (self._loop.time() - self._pinged_at_s) * 1e3
            # The peer read its clock half a round trip ago, give or take as much.
            self.clock_offset_ms = time_ms - round(self._owner.wall_ms() - self.rtt_ms / 2)

    def _greeted(self, kind: Kind, body: bytes) -> None:
        if kind is not Kind.HELLO:
            raise DecodeError(f"a {kind.name} before the handshake is complete")
        hello, own = decode(Hello, body), self._owner.hello()
        self.hello = hello
        if hello.institution != self.institution:
            self.violate(f"it says that it is institution {hello.institution}, its certificate is another's")
        elif hello.chain != own.chain:
            self.close("foreign-chain", f"another chain: {hello.chain.hex()[:16]} there, {own.chain.hex()[:16]} here")
        elif hello.oldest > VERSION or hello.newest < OLDEST_VERSION:
            self.close(
                "version",
                f"no common protocol version: {hello.oldest} to {hello.newest} there, "
                f"{OLDEST_VERSION} to {VERSION} here",
            )
        else:
            self._open(hello)

    def _open(self, hello: Hello) -> None:
        self._is_open = True  # from here on the node may send, as it does when it is told of the peer
        self.height = hello.height
        self.opened_at_s = self._loop.time()
        refusal = self._owner.admit(self)
        if refusal is not None:
            self.close(*refusal)
        elif self.is_open:
            self.opened.set_result(None)
            self.ping()

    # --- writing -------------------------------------------------------------------------------------------------

    @property
    def agent(self) -> str | None:
        """The peer's software, as it says."""
        return printable(self.hello.agent) if self.hello is not None else None

    @property
    def is_open(self) -> bool:
        """The handshake is complete and the connection not ending."""
        return self._is_open and not self._closing

    def send(self, channel: Channel, frames: tuple[bytes, ...], size_bytes: int) -> None:
        """Queue the frames of a message, which may be dropped if the peer is slow."""
        self.queue.put(channel, frames, size_bytes)
        self._schedule_flush()

    def ping(self) -> int:
        """Ask for a sign of life; how many pings before this one are unanswered."""
        unanswered = self._unanswered
        self._unanswered += 1
        self._pings += 1
        self._pinged_at_s = self._loop.time()
        self._put_control(Kind.PING, encode_ping(self._pings, self._owner.height(), self._owner.wall_ms()))
        return unanswered

    def _send(self, kind: Kind, channel: Channel, body: bytes, drawn: Drawn | None) -> None:
        parts = frames(kind, channel, body)
        self.queue.put(channel, parts, sum(map(len, parts)), drawn)
        self._schedule_flush()

    def _put_control(self, kind: Kind, body: bytes) -> None:
        self.queue.put_control(frame(kind, body))
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flushing and not self._paused:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        while not self._paused and not self._closing and self._transport is not None:
            batch = self.queue.batch(_WRITE_BYTES)
            if not batch:
                break
            data = batch[0] if len(batch) == 1 else b"".join(batch)
            self.bytes_out += len(data)
            self._transport.write(data)

    def _later(self, delay_s: float, call: Callable[[], object]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            call()

        timer = self._loop.call_later(delay_s, fire)
        self._timers.add(timer)


def _why(error: Exception | None, *, said_hello: bool, dialled: bool) -> str:
    """One sentence for a connection that ended without a goodbye."""
    if said_hello:
        detail = "" if error is None else f": {getattr(error, 'strerror', None) or type(error).__name__}"
        return f"the connection broke{detail}"
    if dialled:
        return "it ended the connection before its hello: perhaps it does not know this institution's certificate"
    return "it went away before its hello"
