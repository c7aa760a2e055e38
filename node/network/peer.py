"""What this node knows of one peer across its connections, and when it is dialled again.

Redial is for ever: the pause doubles up to a cap and is drawn with jitter, so that a network that comes back does not
dial in step. A connection that stood for a while makes the next pause short again.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable

from node.network.connection import Connection, ConnectionEnded
from node.network.interface import Member, PeerState, PeerStatus

_STOOD_S = 10.0  # a connection that lasted this long was a good one


class Peer:
    """One member other than this node. `connection` is the open one, if any."""

    def __init__(self, number: int, member: Member, clock_ms: Callable[[], int]) -> None:
        self.number = number
        self.member = member
        self.connection: Connection | None = None
        self.barred_until_s = 0.0
        self.last_error: str | None = None
        self.state = PeerState.UNDIALLED if member.address is None else PeerState.DIALLING
        self._clock_ms = clock_ms
        self._since_ms = clock_ms()
        self._present = asyncio.Event()
        self._absent = asyncio.Event()
        self._absent.set()
        self._failures = 0
        self._ended = [0, 0, 0, 0]  # bytes in and out, dropped, throttled of earlier connections
        self.dialling: asyncio.Task[None] | None = None

    def connected(self, connection: Connection) -> None:
        """This connection is the one now."""
        self.connection = connection
        self._set(PeerState.CONNECTED)
        self._absent.clear()
        self._present.set()

    def disconnected(self, connection: Connection, lasted_s: float) -> None:
        """The open connection ended."""
        self.connection = None
        if lasted_s >= _STOOD_S:
            self._failures = 0
        self._set(PeerState.UNDIALLED if self.member.address is None else PeerState.WAITING)
        self._present.clear()
        self._absent.set()

    def count(self, connection: Connection) -> None:
        """Keep what an ended connection counted."""
        for place, value in enumerate(_counts(connection)):
            self._ended[place] += value

    def status(self) -> PeerStatus:
        """The peer as operators see it."""
        connection = self.connection
        live = _counts(connection) if connection else (0, 0, 0, 0)
        bytes_in, bytes_out, dropped, throttled = (a + b for a, b in zip(self._ended, live, strict=True))
        return PeerStatus(
            institution=self.number,
            address=self.member.address,
            state=self.state,
            since_ms=self._since_ms,
            rtt_ms=connection.rtt_ms if connection else None,
            clock_offset_ms=connection.clock_offset_ms if connection else None,
            height=connection.height if connection else None,
            agent=connection.agent if connection else None,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            queue_bytes=connection.queue.size_bytes if connection else 0,
            dropped=dropped,
            throttled=throttled,
            last_error=self.last_error,
        )

    async def keep_dialled(
        self, dial: Callable[[Peer], Awaitable[None]], backoff: Backoff, first_pause_s: float
    ) -> None:
        """Dial whenever there is no connection; runs until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = first_pause_s
        while True:
            if not await self._present_within(max(pause_s, self.barred_until_s - loop.time())):
                self._set(PeerState.DIALLING)
                try:
                    await dial(self)
                except (OSError, ConnectionEnded, UnicodeError) as error:  # the last: what is no host's name
                    self._failed(error)
            await self._absent.wait()
            pause_s = backoff.pause_s(self._failures)

    async def _present_within(self, pause_s: float) -> bool:
        """Whether the peer connected by itself while this node waited."""
        if pause_s > 0:
            try:
                async with asyncio.timeout(pause_s):
                    await self._present.wait()
            except TimeoutError:
                pass  # it may have connected in the same turn of the event loop
        return self._present.is_set()

    def _failed(self, error: Exception) -> None:
        if self.connection is not None:
            return  # it lost against the connection that the peer made meanwhile
        self._failures += 1
        self.last_error = _sentence(error)
        self._set(PeerState.WAITING)

    def _set(self, state: PeerState) -> None:
        if state is not self.state:
            self.state = state
            self._since_ms = self._clock_ms()


class Backoff:
    """Pauses between attempts: from `least_s`, doubling to `most_s`, each with jitter of a half."""

    def __init__(self, least_s: float, most_s: float, rng: random.Random) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._rng = rng

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return float(min(self._most_s, self._least_s * 2 ** min(failures, 30)) * self._rng.uniform(0.5, 1.5))


def _counts(connection: Connection) -> tuple[int, int, int, int]:
    return connection.bytes_in, connection.bytes_out, connection.queue.dropped, connection.throttled


def _sentence(error: Exception) -> str:
    if isinstance(error, ConnectionEnded):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return "who answers there does not hold this institution's network certificate"
    if isinstance(error, ssl.SSLError):
        return "who answers there does not speak this network's TLS"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return f"it cannot be reached: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
