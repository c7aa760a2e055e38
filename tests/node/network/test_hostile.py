"""Hostile peers and strangers: each is turned away by name, and the others go on undisturbed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

from node.network.exchange import REQUESTS_PER_CHANNEL
from node.network.frames import Kind, frame, frames
from node.network.interface import Channel, Member, PeerState
from node.network.messages import Request, Response, encode_ping
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError

from .conftest import PATIENCE_S, Net, Node, RawMember, certificate_of, connected_socket

Hostile = Callable[..., Awaitable[RawMember]]


async def pair_and_place(net: Net, **settings: object) -> tuple[Node, Node]:
    """Two connected nodes, and a third member (2) that they know and that is not there."""
    one, two = await net.mesh(2, **settings)
    one.network.set_members(
        {
            0: Member((certificate_of(0),)),
            1: Member((certificate_of(1),), two.network.address),
            2: Member((certificate_of(2),)),
        }
    )
    return one, two


async def greeted(one: Node, hostile: Hostile) -> RawMember:
    """Member 2, its handshake complete."""
    raw = await hostile(one, 2)
    raw.write(raw.hello())
    await raw.until_received(Kind.HELLO)
    await one.handler.until(lambda: 2 in one.network.connected())
    return raw


async def undisturbed(one: Node) -> None:
    assert 1 in one.network.connected()
    assert await one.network.request(1, Channel.SYNC, "still", b"here", 5.0) == b"stillhere"
    assert all(peer != 1 for peer, _ in one.handler.downs)


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (frame(Kind.MESSAGE, b"x"), "before the handshake is complete"),
        (frame(Kind.HELLO, b"\x90"), "not a Hello"),
        (b"\xff" * 5, "over the limit"),
        (b"\x00\x00\x00\x00\x0f", "unknown kind"),
    ],
)
async def test_what_is_no_handshake_ends_the_connection(net: Net, hostile: Hostile, wire: bytes, what: str) -> None:
    one, _ = await pair_and_place(net)
    raw = await hostile(one, 2)
    raw.write(wire)
    assert what in await raw.until_goodbye()
    await raw.until_ended()
    assert what in one.status(2).last_error
    assert 2 not in one.handler.ups
    await undisturbed(one)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"chain": b"d" * 32}, "another chain"),
        ({"institution": 1}, "its certificate is another's"),
        ({"oldest": 2, "newest": 9}, "no common protocol version"),
        ({"oldest": 0, "newest": 0}, "no common protocol version"),
    ],
)
async def test_a_handshake_that_does_not_fit_is_refused_with_its_reason(
    net: Net, hostile: Hostile, changes: dict[str, object], what: str
) -> None:
    one, _ = await pair_and_place(net)
    raw = await hostile(one, 2)
    raw.write(raw.hello(**changes))
    assert what in await raw.until_goodbye()
    assert what in one.status(2).last_error
    assert 2 not in one.handler.ups
    await undisturbed(one)


async def test_newer_versions_that_still_speak_this_one_are_welcome(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    raw = await hostile(one, 2)
    raw.write(raw.hello(oldest=1, newest=9))
    await one.handler.until(lambda: 2 in one.network.connected())


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"\xff" * 5, "over the limit"),
        (frame(Kind.REQUEST, b"\x01"), "not a Request"),
        (frame(Kind.RESPONSE, b"\x01"), "not a Response"),
        (frame(Kind.PING, b"short"), "a ping has 24 bytes"),
        (frame(Kind.PONG, encode_ping(999, 1, 1)), "never sent"),
        (frame(Kind.PING, encode_ping(1, 1, 1 << 53)), "no time"),
        (frame(Kind.HELLO, b""), "a second HELLO"),
        (frame(Kind.MESSAGE, b"undecodable"), "not a Vote"),
        (frame(Kind.REQUEST, encode(Request(1, "undecodable", b""))), "undecodable: not a Range"),
    ],
)
async def test_what_does_not_decode_drops_the_peer_for_a_while_and_no_other(
    net: Net, hostile: Hostile, wire: bytes, what: str
) -> None:
    one, _ = await pair_and_place(net, barred_s=3600.0)

    def check(payload: bytes) -> None:
        if payload == b"undecodable":
            raise DecodeError("not a Vote")

    async def answer(peer: int, method: str, payload: bytes) -> bytes:
        raise DecodeError("not a Range")

    one.handler.check, one.handler.answer = check, answer
    raw = await greeted(one, hostile)
    raw.write(frame(Kind.MESSAGE, b"good", Channel.TRANSACTIONS) + wire)
    assert what in await raw.until_goodbye()
    await one.handler.until(lambda: one.handler.downs != [])
    assert (2, Channel.TRANSACTIONS, b"good") in one.handler.messages
    assert one.handler.downs[0][0] == 2
    assert what in one.handler.downs[0][1]
    assert what in one.status(2).last_error
    again = await hostile(one, 2)
    again.write(again.hello())
    assert "stays out for a while" in await again.until_goodbye()
    await undisturbed(one)


async def test_a_dropped_peer_may_come_back(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, barred_s=0.0)
    await greeted(one, hostile)
    one.network.drop(2, "it sent a block that breaks the rules")
    await one.handler.until(lambda: (2, "it sent a block that breaks the rules") in one.handler.downs)
    await greeted(one, hostile)
    assert one.status(2).state is PeerState.CONNECTED


async def test_a_stranger_gets_nothing(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    raw = await hostile(one, 2, key=9)
    raw.write(raw.hello())
    said = b""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            said = await raw.reader.read()
    assert said == b""
    assert one.status(2).last_error is None
    await undisturbed(one)


async def test_a_member_removed_before_its_tls_is_through_gets_no_hello(net: Net, hostile: Hostile) -> None:
    one, two = await pair_and_place(net)
    sock = await connected_socket(one)
    await until_held(one, 1)  # the listener has taken its list for this connection
    one.network.set_members({1: Member((certificate_of(1),), two.network.address)})
    raw = await hostile(one, 2, sock=sock)
    assert "no longer, the one expected" in await raw.until_goodbye()
    assert raw.kinds == [Kind.GOODBYE]
    await undisturbed(one)


async def test_a_key_replaced_before_the_hello_is_not_admitted(net: Net, hostile: Hostile) -> None:
    one, two = await pair_and_place(net)
    raw = await hostile(one, 2)
    await raw.until_received(Kind.HELLO)
    one.network.set_members({1: Member((certificate_of(1),), two.network.address), 2: Member((certificate_of(8),))})
    raw.write(raw.hello())
    assert "no longer, on the ledger's list" in await raw.until_goodbye()
    assert 2 not in one.handler.ups
    await undisturbed(one)


async def test_garbage_instead_of_tls_harms_nobody(net: Net) -> None:
    one, _ = await pair_and_place(net)
    host, port = one.network.address.rsplit(":", 1)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.transport.abort()
    await undisturbed(one)


async def test_half_open_handshakes_take_a_few_slots_and_lose_them_again(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, handshakes_per_address=3, handshake_s=0.5)
    host, port = one.network.address.rsplit(":", 1)
    before = one.network.refused
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
    async with asyncio.timeout(PATIENCE_S):
        for reader, _ in silent:
            try:
                await reader.read()  # beyond the slots at once, the others once their time is over
            except ConnectionError:
                continue
    assert one.network.refused == before + 10
    await greeted(one, hostile)
    for _, writer in silent:
        writer.transport.abort()
    await undisturbed(one)


@pytest.mark.parametrize("slots", [{"handshakes_per_address": 1}, {"handshakes": 1}])
async def test_beyond_the_slots_a_connection_ends_before_tls(net: Net, slots: dict[str, int]) -> None:
    one, _ = await pair_and_place(net, handshake_s=3600.0, **slots)
    host, port = one.network.address.rsplit(":", 1)
    holder = await asyncio.open_connection(host, int(port))
    await until_held(one, 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    for each in (holder[1], writer):
        each.transport.abort()
    await undisturbed(one)


async def until_held(node: Node, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while node.network._listener._held.total() < count:
            await asyncio.sleep(0)


async def test_a_member_that_never_says_hello_is_let_go(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, handshake_s=0.3)
    raw = await hostile(one, 2)
    await raw.until_ended()
    await undisturbed(one)
    assert one.status(2).last_error == "it did not say hello in time"


async def test_a_silent_peer_is_dropped_and_named(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, ping_interval_s=0.1)
    await greeted(one, hostile)  # and never answers a ping
    await one.handler.until(lambda: one.handler.downs != [])
    assert one.handler.downs == [(2, "it did not answer 3 pings in a row")]
    assert one.status(2).last_error == "it did not answer 3 pings in a row"
    await undisturbed(one)


async def test_who_does_not_read_costs_a_bounded_queue_and_no_other_peer_anything(net: Net, hostile: Hostile) -> None:
    one, two = await pair_and_place(net, queue_bytes=9_000_000)
    raw = await hostile(one, 2)
    raw.writer.transport.pause_reading()
    raw.write(raw.hello())
    await one.handler.until(lambda: 2 in one.network.connected())
    count = 60
    for number in range(count):
        one.network.broadcast(Channel.TRANSACTIONS, b"%d" % number + bytes(1_000_000))
        await two.handler.until(lambda number=number: len(two.handler.messages) == number + 1)
    status = one.status(2)
    assert status.queue_bytes <= 9_000_000 + 1_100_000
    assert status.dropped > 0
    assert one.status(1).dropped == 0
    await undisturbed(one)


async def test_a_flood_is_throttled_and_counted_and_nothing_of_it_lost(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, inbound_cost_per_s=10_000_000.0)
    raw = await greeted(one, hostile)
    count = 11_000  # at 2,000 each 2.2 seconds' worth, of which two are a burst
    raw.write(frame(Kind.MESSAGE, b"x", Channel.TRANSACTIONS) * count)
    await one.handler.until(lambda: len(one.handler.messages) == count)
    raw.write(frame(Kind.MESSAGE, b"x", Channel.TRANSACTIONS) * 2_000)
    await one.handler.until(lambda: len(one.handler.messages) == count + 2_000)
    assert one.status(2).throttled > 0
    await undisturbed(one)


async def test_pings_whose_answers_are_not_read_end_the_connection(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, inbound_cost_per_s=1e12)
    raw = await greeted(one, hostile)
    raw.writer.transport.pause_reading()
    one.network.send(2, Channel.BLOBS, bytes(8_000_000))
    async with asyncio.timeout(PATIENCE_S):
        while 2 in one.network.connected():
            raw.write(frame(Kind.PING, encode_ping(1, 1, 1)) * 1_000)
            await asyncio.sleep(0)
    await one.handler.until(lambda: one.handler.downs != [])
    assert "does not read the answers" in one.handler.downs[0][1]
    await undisturbed(one)


async def test_more_requests_than_may_be_outstanding_are_refused(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    go = asyncio.Event()

    async def waiting(peer: int, method: str, payload: bytes) -> bytes:
        await go.wait()
        return payload

    one.handler.answer = waiting
    raw = await greeted(one, hostile)
    for number in range(REQUESTS_PER_CHANNEL + 1):
        raw.write(frame(Kind.REQUEST, encode(Request(number, "get", b"")), Channel.BLOBS))
    first = decode(Response, await raw.until_received(Kind.RESPONSE))
    assert (first.number, first.refusal) == (REQUESTS_PER_CHANNEL, "busy")
    go.set()
    numbers = {decode(Response, await raw.until_received(Kind.RESPONSE)).number for _ in range(REQUESTS_PER_CHANNEL)}
    assert numbers == set(range(REQUESTS_PER_CHANNEL))


async def test_refusals_that_nobody_reads_stay_bounded(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net, queue_bytes=100_000, inbound_cost_per_s=1e12)
    one.handler.answer = lambda peer, method, payload: asyncio.Event().wait()
    raw = await greeted(one, hostile)
    raw.writer.transport.pause_reading()
    one.network.send(2, Channel.VOTES, bytes(8_000_000))  # nothing is drawn behind it
    request = frame(Kind.REQUEST, encode(Request(1, "get", b"")), Channel.BLOBS)
    async with asyncio.timeout(PATIENCE_S):
        while not one.status(2).dropped:
            raw.write(request * 1_000)
            await asyncio.sleep(0)
    assert one.status(2).queue_bytes <= 8_200_000


async def test_a_peer_that_died_unseen_is_replaced_by_its_next_life(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    await greeted(one, hostile)
    later = await hostile(one, 2)
    later.write(later.hello(instance=78))
    await one.handler.until(lambda: one.handler.ups.count(2) == 2)
    assert one.handler.downs == [(2, "a newer connection took its place")]
    one.network.send(2, Channel.VOTES, b"vote")
    assert await later.until_received(Kind.MESSAGE) == b"vote"


async def test_slices_of_an_unfinished_message_are_bounded(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    raw = await greeted(one, hostile)
    endless = frames(Kind.MESSAGE, Channel.BLOBS, bytes(65_537))[0]
    raw.write(endless * 129)
    assert "a message of over" in await raw.until_goodbye()
    await undisturbed(one)


async def test_the_private_key_never_reaches_a_file_with_a_name(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []
    real = ssl.SSLContext.load_cert_chain
    monkeypatch.setattr(
        ssl.SSLContext, "load_cert_chain", lambda self, path, *rest: (paths.append(path), real(self, path, *rest))[1]
    )
    await net.mesh(2)
    assert paths
    assert all(path.startswith("/proc/self/fd/") for path in paths)


async def test_goodbyes_of_a_peer_are_shown_without_control_characters(net: Net, hostile: Hostile) -> None:
    one, _ = await pair_and_place(net)
    raw = await greeted(one, hostile)
    raw.write(frame(Kind.GOODBYE, b"\x92\xa1x\xa6\x1b[31mr"))
    await one.handler.until(lambda: one.handler.downs != [])
    assert one.handler.downs == [(2, "the peer ended the connection: ?[31mr (x)")]


async def test_a_port_that_speaks_no_tls_is_named(net: Net) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.org ESMTP\r\n")
            said.set()
            await reader.read()
            writer.close()

        said = asyncio.Event()
        server = await asyncio.start_server(speak, sock=sock)
        one = await net.start(0, {1: Member((certificate_of(1),), f"127.0.0.1:{port}")})
        async with asyncio.timeout(PATIENCE_S):
            while one.status(1).last_error is None:
                await asyncio.sleep(0)
        assert said.is_set()
        assert one.status(1).last_error == "who answers there does not speak this network's TLS"
        server.close()
        await one.network.stop()
        await server.wait_closed()
