"""Networks on loopback within one process, and a hostile member that speaks raw frames over the same TLS."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from node.network.asyncio_network import AsyncioNetwork, NetworkConfig
from node.network.certificates import make_certificate
from node.network.frames import Kind, Unframer, frame
from node.network.interface import Channel, Member, Refuse
from node.network.messages import OLDEST_VERSION, VERSION, Hello, decode_goodbye
from node.network.tls import Identity
from protocol.codec.canonical import encode

CHAIN = b"c" * 32
PATIENCE_S = 20.0
"""How long a test waits for what must happen before it calls it failed; nothing ever sleeps that long."""


def seed_of(number: int) -> bytes:
    return bytes([number + 1]) * 32


def certificate_of(number: int) -> bytes:
    return make_certificate(seed_of(number), "Clinic")


class Recorder:
    """A handler that remembers, and wakes whoever waits for a condition."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, Channel, bytes]] = []
        self.ups: list[int] = []
        self.downs: list[tuple[int, str]] = []
        self.answer: Callable[[int, str, bytes], Awaitable[bytes]] = self._echo
        self.check: Callable[[bytes], None] = lambda payload: None
        self._changed = asyncio.Event()

    def on_message(self, peer: int, channel: Channel, payload: bytes) -> None:
        self.check(payload)
        self.messages.append((peer, channel, payload))
        self._changed.set()

    async def on_request(self, peer: int, method: str, payload: bytes) -> bytes:
        return await self.answer(peer, method, payload)

    def on_peer_up(self, peer: int) -> None:
        self.ups.append(peer)
        self._changed.set()

    def on_peer_down(self, peer: int, reason: str) -> None:
        self.downs.append((peer, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @staticmethod
    async def _echo(peer: int, method: str, payload: bytes) -> bytes:
        if method == "refuse":
            raise Refuse("not-here", "this node has no such block")
        return method.encode() + payload


class Node:
    """A network and its handler."""

    def __init__(self, number: int, members: dict[int, Member], **settings: Any) -> None:
        self.number = number
        self.handler = Recorder()
        listen = settings.pop("listen", "127.0.0.1:0")
        certificate = settings.pop("certificate", certificate_of(number))
        ahead_ms = settings.pop("ahead_ms", 0)
        self.network = AsyncioNetwork(
            NetworkConfig(listen, **{"redial_least_s": 0.01, "redial_most_s": 0.05, "barred_s": 0.01, **settings}),
            Identity(number, certificate, seed_of(number)),
            CHAIN,
            members,
            height=lambda: 100 + number,
            clock_ms=lambda: 1_700_000_000_000 + ahead_ms,
            rng=random.Random(number),
            handler=self.handler,
        )

    async def until_connected(self, *peers: int) -> None:
        await self.handler.until(lambda: self.network.connected() >= frozenset(peers))

    def status(self, peer: int) -> Any:
        return next(status for status in self.network.peers() if status.institution == peer)


class Net:
    """Starts nodes that know each other, and stops them all at the end."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    async def mesh(self, count: int, **settings: Any) -> list[Node]:
        """`count` nodes, all connected to each other; each listens on a port of its own."""
        strangers = {n: Member((certificate_of(n),)) for n in range(count)}
        nodes = [await self.start(n, strangers, **settings) for n in range(count)]
        members = {n: Member((certificate_of(n),), node.network.address) for n, node in enumerate(nodes)}
        for node in nodes:
            node.network.set_members(members)
        for node in nodes:
            await node.until_connected(*(set(range(count)) - {node.number}))
        return nodes

    async def start(self, number: int, members: dict[int, Member], **settings: Any) -> Node:
        node = Node(number, members, **settings)
        await node.network.start()
        self.nodes.append(node)
        return node


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await asyncio.gather(*(node.network.stop() for node in net.nodes))
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the network left something running"


class RawMember:
    """A member that holds a right key and does as it likes on the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self._unframer = Unframer()
        self.received: list[tuple[Kind, Channel, bytes]] = []
        self.kinds: list[Kind] = []

    def hello(self, **changes: Any) -> bytes:
        hello = Hello(OLDEST_VERSION, VERSION, CHAIN, self.number, 77, 5, "raw")
        return frame(Kind.HELLO, encode(msgspec.structs.replace(hello, **changes)))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def until_received(self, kind: Kind, count: int = 1) -> bytes:
        """The body of the frame of this kind that comes `count`-th from now."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self.received:
                    found, _, body = self.received.pop(0)
                    self.kinds.append(found)
                    if found is kind:
                        count -= 1
                        if not count:
                            return body
                data = await self.reader.read(65536)
                assert data, f"the connection ended before a {kind.name} came"
                self.received += self._unframer.feed(data)

    async def until_goodbye(self) -> str:
        return decode_goodbye(await self.until_received(Kind.GOODBYE))

    async def until_ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return


async def raw_member(
    node: Node, number: int, *, key: int | None = None, sock: socket.socket | None = None
) -> RawMember:
    """Connect to `node` as institution `number` (with the key of `key`), without a word said yet."""
    key = number if key is None else key
    identity = Identity(key, certificate_of(key), seed_of(key))
    reader, writer = await asyncio.open_connection(
        sock=sock or await connected_socket(node),
        ssl=identity.dialler_context((certificate_of(node.number),)),
        server_hostname="",
    )
    return RawMember(reader, writer, number)


async def connected_socket(node: Node) -> socket.socket:
    """A TCP connection to `node`, TLS not begun."""
    host, port = node.network.address.rsplit(":", 1)
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    return sock


@pytest.fixture
async def hostile() -> AsyncIterator[Callable[..., Awaitable[RawMember]]]:
    """Makes `RawMember`s and closes them."""
    made: list[RawMember] = []

    async def make(node: Node, number: int, **how: Any) -> RawMember:
        made.append(await raw_member(node, number, **how))
        return made[-1]

    yield make
    for member in made:
        member.writer.transport.abort()
