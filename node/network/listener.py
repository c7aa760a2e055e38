"""Who may begin a handshake: a few at a time, and fewer from one address, since a half-open one costs 300 kB.

What comes beyond that is closed before TLS begins. A slot is held until the peer is admitted or refused.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from node.network.connection import CLOSE_S, Connection, ConnectionEnded
from node.network.interface import BadAddress, ListenFailed

_CALLER_GONE = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO})
_EXHAUSTED_PAUSE_S = 1.0


class Listener:
    """Accepts on one TCP address. `refused` counts connections that did not become a peer's."""

    def __init__(
        self,
        make: Callable[[], Connection],
        context: Callable[[], ssl.SSLContext],
        *,
        slots: int,
        slots_per_address: int,
        handshake_s: float,
    ) -> None:
        self._make = make
        self._context = context
        self._slots = slots
        self._slots_per_address = slots_per_address
        self._handshake_s = handshake_s
        self._held: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self.refused = 0

    def listen(self, address: str) -> str:
        """Begin; the address listened on, its port known. Raises `ListenFailed` and `BadAddress`."""
        host, port = split_address(address)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ListenFailed(f"cannot listen on {address}: {reason}") from None
        self._socket.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))
        bound_host, bound_port = self._socket.getsockname()[:2]
        return f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"

    async def stop(self) -> None:
        """Accept nothing more and give up handshakes that are under way."""
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                # A caller that went away is its own affair; when descriptors ran out, wait for some to close.
                if error.errno not in _CALLER_GONE:
                    await asyncio.sleep(_EXHAUSTED_PAUSE_S)
                continue
            address = peer[0]
            if self._held.total() >= self._slots or self._held[address] >= self._slots_per_address:
                self.refused += 1
                sock.close()
                continue
            self._held[address] += 1
            task = loop.create_task(self._handshake(sock, address, self._context()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handshake(self, sock: socket.socket, address: str, context: ssl.SSLContext) -> None:
        try:
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                sock,
                ssl=context,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=CLOSE_S,
            )
            await asyncio.shield(connection.opened)
        except (OSError, ConnectionEnded):
            self.refused += 1  # a stranger, or a peer whose reason the connection has told the network
        finally:
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port". Raises `BadAddress`."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535 or not host:
        raise BadAddress(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
