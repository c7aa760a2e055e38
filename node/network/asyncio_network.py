"""The network over asyncio and TLS: every member of the ledger's list dialled, one connection for each pair.

Relies on `Identity` for TLS, `Listener` for admission, `Peer` for redial and `Connection` for everything on the wire.
When both ends dial at once, both sides keep the same connection: that of the lower number, unless it belongs to an
earlier life of the peer's process.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping

from msgspec import Struct

from node import __version__
from node.network.connection import CLOSE_S, Connection, Limits
from node.network.frames import Kind, frames
from node.network.interface import Channel, Handler, Member, PeerGone, PeerStatus
from node.network.listener import Listener, split_address
from node.network.messages import OLDEST_VERSION, VERSION, Hello
from node.network.peer import Backoff, Peer
from node.network.tls import Identity

_AGENT = f"chartledger/{__version__}"


class NetworkConfig(Struct, frozen=True):
    """How the network behaves. `listen` is "host:port"; port 0 takes a free one."""

    listen: str
    ping_interval_s: float = 5.0
    pings_unanswered: int = 3  # in a row, then the connection ends
    handshake_s: float = 5.0
    handshakes: int = 32  # at once, before a peer is admitted
    handshakes_per_address: int = 8
    redial_least_s: float = 0.5
    redial_most_s: float = 10.0
    second_dialler_s: float = 0.2  # how long the higher number lets the lower dial first
    barred_s: float = 5.0  # how long a peer that broke a rule stays out
    queue_bytes: int = 12 * 1024 * 1024  # for each peer and channel
    inbound_cost_per_s: float = 64.0 * 1024 * 1024  # bytes, a message counting 2,000 besides its own


class AsyncioNetwork:
    """See `node.network.interface.Network`. `height` is asked for whenever this node says how far it is."""

    def __init__(
        self,
        config: NetworkConfig,
        identity: Identity,
        chain: bytes,
        members: Mapping[int, Member],
        *,
        height: Callable[[], int],
        clock_ms: Callable[[], int],
        rng: random.Random,
        handler: Handler | None = None,
    ) -> None:
        self._config = config
        self._identity = identity
        self._chain = chain
        self._members = dict(members)
        self._height = height
        self._clock_ms = clock_ms
        self._handler = handler
        self._instance = rng.getrandbits(53)
        self._backoff = Backoff(config.redial_least_s, config.redial_most_s, rng)
        self._limits = Limits(config.handshake_s, config.queue_bytes, config.inbound_cost_per_s)
        self._peers: dict[int, Peer] = {}
        self._by_certificate: dict[bytes, int] = {}
        self._connections: set[Connection] = set()
        self._listener_context: ssl.SSLContext | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._running = False
        self._listener = Listener(
            lambda: self._connection(None),
            self._accept_context,
            slots=config.handshakes,
            slots_per_address=config.handshakes_per_address,
            handshake_s=config.handshake_s,
        )
        self.address = config.listen

    # --- the node's side -----------------------------------------------------------------------------------------

    def set_handler(self, handler: Handler) -> None:
        """Who gets what comes in; before `start`."""
        self._handler = handler

    async def start(self) -> None:
        """Listen (`address` then tells the port) and dial. Raises `ListenFailed` and `BadAddress`."""
        if self._handler is None:
            raise RuntimeError("a network needs a handler before it starts")
        _check(self._members)
        self.address = self._listener.listen(self._config.listen)
        self._running = True
        self.set_members(self._members)
        self._tick()

    async def stop(self) -> None:
        """Close every connection and wait until nothing of the network runs."""
        self._running = False
        if self._ticker is not None:
            self._ticker.cancel()
        dialling = [peer.dialling for peer in self._peers.values() if peer.dialling is not None]
        for task in dialling:
            task.cancel()
        await self._listener.stop()
        await asyncio.gather(*dialling, return_exceptions=True)
        ending = list(self._connections)
        for connection in ending:
            connection.close("stopping", "the node is stopping")
        if ending:
            await asyncio.wait([connection.closed for connection in ending], timeout=2 * CLOSE_S)

    def set_members(self, members: Mapping[int, Member]) -> None:
        """Who may connect from now on; a connection of who is not among them, or whose key changed, ends at once.

        Raises `BadAddress`, and then nothing changes.
        """
        _check(members)
        self._members = dict(members)
        if not self._running:
            return
        others = {n: member for n, member in members.items() if n != self._identity.number}
        self._by_certificate = {der: n for n, member in others.items() for der in member.certificates}
        self._listener_context = self._identity.listener_context(self._by_certificate)
        for number, peer in list(self._peers.items()):
            if not _may_stay(peer, others.get(number)):
                self._forget(self._peers.pop(number))
        for number, member in others.items():
            if number in self._peers:
                self._peers[number].member = member
            else:
                self._peers[number] = self._know(number, member)

    def set_identity(self, identity: Identity) -> None:
        """Another key and certificate of this institution, for every connection from now on."""
        self._identity = identity
        if self._running:
            self._listener_context = identity.listener_context(self._by_certificate)

    def broadcast(self, channel: Channel, payload: bytes, exclude: frozenset[int] = frozenset()) -> None:
        """Send to every connected peer but `exclude`; the frames are made once and shared."""
        parts = frames(Kind.MESSAGE, channel, payload)
        size_bytes = sum(map(len, parts))
        for number, peer in self._peers.items():
            connection = peer.connection
            if connection is not None and number not in exclude:
                connection.send(channel, parts, size_bytes)

    def send(self, peer: int, channel: Channel, payload: bytes) -> bool:
        """Send to one peer. False if it is not connected."""
        connection = self._connection_of(peer)
        if connection is None:
            return False
        parts = frames(Kind.MESSAGE, channel, payload)
        connection.send(channel, parts, sum(map(len, parts)))
        return True

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        """The peer's answer. Raises `PeerGone`, `RequestTimedOut` or `RequestRefused`."""
        connection = self._connection_of(peer)
        if connection is None:
            raise PeerGone(f"institution {peer} is not connected", sent=False)
        return await connection.request(channel, method, payload, timeout_s)

    def drop(self, peer: int, reason: str) -> None:
        """End the connection with a peer that misbehaves; it is let in again after a pause."""
        connection = self._connection_of(peer)
        if connection is not None:
            connection.violate(reason)

    def connected(self) -> frozenset[int]:
        """The peers that are connected now."""
        return frozenset(n for n in self._peers if self._connection_of(n) is not None)

    def peers(self) -> list[PeerStatus]:
        """Every other member, by number."""
        return [self._peers[number].status() for number in sorted(self._peers)]

    @property
    def refused(self) -> int:
        """How many connections were refused or did not complete the handshake."""
        return self._listener.refused

    # --- the connections' side (`connection.Owner`) --------------------------------------------------------------

    def begin(self, connection: Connection) -> int | None:
        """TLS is up: the member with exactly this certificate."""
        self._connections.add(connection)
        return self._by_certificate.get(connection.certificate)

    def hello(self) -> Hello:
        """What this node says of itself."""
        return Hello(
            oldest=OLDEST_VERSION,
            newest=VERSION,
            chain=self._chain,
            institution=self._identity.number,
            instance=self._instance,
            height=self._height(),
            agent=_AGENT,
        )

    def height(self) -> int:
        """This node's final height."""
        return self._height()

    def wall_ms(self) -> int:
        """This node's clock, Unix milliseconds."""
        return max(0, self._clock_ms())

    def admit(self, connection: Connection) -> tuple[str, str] | None:
        """Take a greeted connection in place of the peer's present one, or refuse it with (code, sentence)."""
        number = connection.institution
        peer = self._peers.get(number) if number is not None else None
        if peer is None or connection.certificate not in peer.member.certificates or not self._running:
            return "not-a-member", "this institution is not, or no longer, on the ledger's list"
        if peer.barred_until_s > asyncio.get_running_loop().time():
            return "barred", "it broke a rule a moment ago and stays out for a while"
        present = peer.connection
        if present is not None:
            if not self._replaces(connection, present):
                return "duplicate", "another connection of this pair stands"
            self._part(peer, present, "a newer connection took its place")
            present.close("duplicate", "a newer connection took its place")
        peer.connected(connection)
        self._to_handler().on_peer_up(peer.number)
        return None

    def ended(self, connection: Connection, reason: str, violation: bool) -> None:
        """A connection is of no more use, admitted or not."""
        peer = self._peers.get(connection.institution) if connection.institution is not None else None
        if peer is None:
            return
        peer.count(connection)
        if violation:
            peer.barred_until_s = asyncio.get_running_loop().time() + self._config.barred_s
        if peer.connection is connection:
            self._part(peer, connection, reason)
        elif peer.connection is None:
            peer.last_error = reason

    def closed(self, connection: Connection) -> None:
        """An ended connection's socket is closed."""
        self._connections.discard(connection)

    def deliver(self, connection: Connection, channel: Channel, payload: bytes) -> None:
        """A message came."""
        assert connection.institution is not None
        self._to_handler().on_message(connection.institution, channel, payload)

    async def answer(self, connection: Connection, method: str, payload: bytes) -> bytes:
        """A request came."""
        assert connection.institution is not None
        return await self._to_handler().on_request(connection.institution, method, payload)

    # --- within --------------------------------------------------------------------------------------------------

    def _to_handler(self) -> Handler:
        assert self._handler is not None
        return self._handler

    def _connection_of(self, number: int) -> Connection | None:
        peer = self._peers.get(number)
        connection = peer.connection if peer is not None else None
        return connection if connection is not None and connection.is_open else None

    def _connection(self, dialled: int | None) -> Connection:
        return Connection(self, self._limits, dialled)

    def _accept_context(self) -> ssl.SSLContext:
        assert self._listener_context is not None
        return self._listener_context

    def _know(self, number: int, member: Member) -> Peer:
        peer = Peer(number, member, self._clock_ms)
        if member.address is not None:
            first_s = 0.0 if self._identity.number < number else self._config.second_dialler_s
            peer.dialling = asyncio.get_running_loop().create_task(
                peer.keep_dialled(self._dial, self._backoff, first_s)
            )
        return peer

    def _forget(self, peer: Peer) -> None:
        if peer.dialling is not None:
            peer.dialling.cancel()
        connection = peer.connection
        if connection is not None:
            self._part(peer, connection, "its membership or key changed")
            connection.close("not-a-member", "its membership or key changed")

    def _part(self, peer: Peer, connection: Connection, reason: str) -> None:
        peer.last_error = reason
        peer.disconnected(connection, asyncio.get_running_loop().time() - connection.opened_at_s)
        self._to_handler().on_peer_down(peer.number, reason)

    def _replaces(self, new: Connection, present: Connection) -> bool:
        """Whether the new one is kept: both sides decide alike, from what both know."""
        assert new.hello is not None
        assert present.hello is not None
        if not present.is_open or new.hello.instance != present.hello.instance:
            return True  # the present one belongs to a process that is no more
        # Dialled anew by the same side, so to that side the present one is dead; or dialled by both, then the lower's.
        return self._dialler(new) <= self._dialler(present)

    def _dialler(self, connection: Connection) -> int:
        """The institution that dialled."""
        assert connection.institution is not None
        return connection.institution if connection.dialled is None else self._identity.number

    async def _dial(self, peer: Peer) -> None:
        assert peer.member.address is not None
        host, port = split_address(peer.member.address)
        async with asyncio.timeout(2 * self._config.handshake_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: self._connection(peer.number),
                host,
                port,
                ssl=self._identity.dialler_context(peer.member.certificates),
                server_hostname="",
                ssl_handshake_timeout=self._config.handshake_s,
                ssl_shutdown_timeout=CLOSE_S,
            )
            await asyncio.shield(connection.opened)

    def _tick(self) -> None:
        """Ping everyone; end what has not answered."""
        for connection in list(self._connections):
            if connection.is_open and connection.ping() >= self._config.pings_unanswered:
                connection.abort(f"it did not answer {self._config.pings_unanswered} pings in a row")
        self._ticker = asyncio.get_running_loop().call_later(self._config.ping_interval_s, self._tick)


def _may_stay(peer: Peer, member: Member | None) -> bool:
    """Whether a known peer, and its connection if it has one, is the same member still."""
    if member is None or member.address != peer.member.address:
        return False
    connection = peer.connection
    return connection is None or connection.certificate in member.certificates


def _check(members: Mapping[int, Member]) -> None:
    for member in members.values():
        if member.address is not None:
            split_address(member.address)
