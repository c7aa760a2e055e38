"""Honest nodes over real TLS on loopback: what is promised to the rest of the node."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from node.network.certificates import make_certificate
from node.network.exchange import REQUESTS_PER_CHANNEL
from node.network.interface import (
    BadAddress,
    Channel,
    ListenFailed,
    Member,
    PeerGone,
    PeerState,
    Refuse,
    RequestRefused,
    RequestTimedOut,
)
from node.network.tls import Identity, IdentityMismatch
from protocol import limits

from .conftest import PATIENCE_S, Net, Node, certificate_of, seed_of


async def test_a_broadcast_reaches_every_peer_but_the_excluded_one(net: Net) -> None:
    nodes = await net.mesh(4)
    nodes[0].network.broadcast(Channel.VOTES, b"vote")
    nodes[0].network.broadcast(Channel.TRANSACTIONS, b"batch", exclude=frozenset({2}))
    nodes[0].network.broadcast(Channel.VOTES, b"last")
    for node in nodes[1:]:
        await node.handler.until(lambda node=node: (0, Channel.VOTES, b"last") in node.handler.messages)
        got = {body for _, _, body in node.handler.messages}
        assert got == ({b"vote", b"last"} if node.number == 2 else {b"vote", b"batch", b"last"})


async def test_what_is_sent_when_a_peer_comes_up_arrives(net: Net) -> None:
    one = await net.start(0, {1: Member((certificate_of(1),))})
    one.handler.on_peer_up = lambda peer: one.network.broadcast(Channel.VOTES, b"what you missed")
    two = await net.start(1, {0: Member((certificate_of(0),), one.network.address)})
    await two.handler.until(lambda: two.handler.messages == [(0, Channel.VOTES, b"what you missed")])


async def test_messages_of_one_turn_leave_in_one_write(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await net.mesh(2)
    await one.network.request(1, Channel.SYNC, "settle", b"", 5.0)  # the first pings are through
    writes: list[int] = []
    transport = one.network._peers[1].connection._transport
    real = transport.write
    monkeypatch.setattr(transport, "write", lambda data: (writes.append(len(data)), real(data)))
    for _ in range(100):
        one.network.broadcast(Channel.TRANSACTIONS, bytes(100))
    await two.handler.until(lambda: len(two.handler.messages) == 100)
    assert writes == [100 * 105]


async def test_the_longest_message_arrives_and_votes_overtake_it(net: Net) -> None:
    one, two = await net.mesh(2)
    longest = bytes(limits.FRAME_BYTES)
    one.network.send(1, Channel.BLOBS, longest)
    await asyncio.sleep(0)  # its first slices are on their way
    assert 0 < one.status(1).queue_bytes < len(longest)
    one.network.send(1, Channel.VOTES, b"vote")
    await two.handler.until(lambda: len(two.handler.messages) == 2)
    assert two.handler.messages == [(0, Channel.VOTES, b"vote"), (0, Channel.BLOBS, longest)]
    with pytest.raises(ValueError, match="over the limit"):
        one.network.broadcast(Channel.BLOBS, longest + b"x")


async def test_a_request_is_answered_or_refused_by_name(net: Net) -> None:
    one, two = await net.mesh(2)
    assert await one.network.request(1, Channel.SYNC, "blocks", b"1", 5.0) == b"blocks1"
    with pytest.raises(RequestRefused, match="no such block") as refused:
        await one.network.request(1, Channel.SYNC, "refuse", b"", 5.0)
    assert refused.value.refusal == "not-here"
    for code, arrives in (("", "refused"), ("x" * 99, "x" * 40)):
        two.handler.answer = refuse_with(code)
        with pytest.raises(RequestRefused) as refused:
            await one.network.request(1, Channel.SYNC, "blocks", b"", 5.0)
        assert refused.value.refusal == arrives


def refuse_with(code: str) -> Callable[[int, str, bytes], Awaitable[bytes]]:
    async def answer(peer: int, method: str, payload: bytes) -> bytes:
        raise Refuse(code, "not now")

    return answer


async def test_more_requests_than_may_be_outstanding_wait_for_their_turn(net: Net) -> None:
    one, two = await net.mesh(2)
    running = most = 0

    async def slow(peer: int, method: str, payload: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return payload

    two.handler.answer = slow
    answers = await asyncio.gather(
        *(one.network.request(1, Channel.BLOBS, "get", b"%d" % n, 20.0) for n in range(5 * REQUESTS_PER_CHANNEL))
    )
    assert answers == [b"%d" % n for n in range(5 * REQUESTS_PER_CHANNEL)]
    assert most == REQUESTS_PER_CHANNEL


async def test_a_request_that_nobody_answers_times_out_and_a_late_answer_harms_nothing(net: Net) -> None:
    one, two = await net.mesh(2)
    go = asyncio.Event()

    async def late(peer: int, method: str, payload: bytes) -> bytes:
        if method == "late":
            await go.wait()
        return payload

    two.handler.answer = late
    with pytest.raises(RequestTimedOut, match="no answer to late within"):
        await one.network.request(1, Channel.SYNC, "late", b"a", 0.01)
    go.set()
    assert await one.network.request(1, Channel.SYNC, "next", b"b", 5.0) == b"b"


async def test_a_failing_handler_says_so_to_the_asker_and_the_connection_stands(net: Net) -> None:
    one, two = await net.mesh(2)

    async def broken(peer: int, method: str, payload: bytes) -> bytes:
        raise KeyError("a fault of this node")

    two.handler.answer = broken
    with capture_logs() as logged:
        with pytest.raises(RequestRefused, match="failed to answer") as refused:
            await one.network.request(1, Channel.SYNC, "blocks", b"", 5.0)
        assert refused.value.refusal == "internal"
        assert one.network.connected() == {1}
    (line,) = logged
    assert (line["event"], line["method"], type(line["exc_info"])) == ("failed to answer", "blocks", KeyError)


async def test_requests_of_a_peer_that_goes_away_fail_at_once(net: Net) -> None:
    one, two = await net.mesh(2)
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def never(peer: int, method: str, payload: bytes) -> bytes:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return b""

    two.handler.answer = never
    request = asyncio.create_task(one.network.request(1, Channel.SYNC, "blocks", b"", 60.0))
    await soon(asked)
    await two.network.stop()
    with pytest.raises(PeerGone, match="the node is stopping"):
        await request
    await soon(stopped)
    with pytest.raises(PeerGone, match="not connected"):
        await one.network.request(1, Channel.SYNC, "blocks", b"", 60.0)
    assert not one.network.send(1, Channel.VOTES, b"vote")
    assert one.handler.downs == [(1, "the peer ended the connection: the node is stopping (stopping)")]


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


async def test_a_peer_that_comes_back_is_connected_again(net: Net) -> None:
    one, two = await net.mesh(2)
    address = two.network.address
    await two.network.stop()
    await one.handler.until(lambda: one.handler.downs != [])
    members = {n: Member((certificate_of(n),)) for n in range(2)}  # the returning one does not dial: it must be dialled
    again = await net.start(1, members, listen=address)
    await again.until_connected(0)
    await one.handler.until(lambda: one.handler.ups == [1, 1])
    assert one.status(1).state is PeerState.CONNECTED
    assert one.status(1).address == address


async def test_when_both_dial_at_once_one_connection_remains(net: Net) -> None:
    nodes = await net.mesh(4, second_dialler_s=0.0)
    async with asyncio.timeout(PATIENCE_S):
        while any([c.is_open for c in node.network._connections] != [True] * 3 for node in nodes):
            await asyncio.sleep(0)
    for node in nodes:
        for connection in node.network._connections:
            assert await node.network.request(connection.institution, Channel.SYNC, "a", b"b", 5.0) == b"ab"
            facing = nodes[connection.institution].network._peers[node.number].connection
            assert (connection.dialled is None) != (facing.dialled is None), "each side kept another connection"


@pytest.mark.parametrize(
    ("new_by", "present_by", "instance", "open_", "kept"),
    [
        (3, 3, 7, True, True),  # dialled anew by the same side
        (5, 5, 7, True, True),
        (3, 5, 7, True, True),  # the lower's stays, whichever came first
        (5, 3, 7, True, False),
        (5, 3, 8, True, True),  # another life of the peer's process
        (5, 3, 7, False, True),  # the present one is ending
    ],
)
async def test_both_sides_keep_the_same_of_two_connections(
    new_by: int, present_by: int, instance: int, open_: bool, kept: bool
) -> None:
    for own, peer in ((3, 5), (5, 3)):
        new, present = (
            SimpleNamespace(
                institution=peer,
                dialled=peer if by == own else None,
                hello=SimpleNamespace(instance=number),
                is_open=open_,
            )
            for by, number in ((new_by, instance), (present_by, 7))
        )
        assert Node(own, {}).network._replaces(new, present) is kept


async def test_a_peer_says_how_far_it_is_and_what_it_runs(net: Net) -> None:
    one, two = await net.mesh(2)
    one.network.send(1, Channel.VOTES, b"vote")
    await two.handler.until(lambda: two.handler.messages != [])
    status = one.status(1)
    assert (status.institution, status.state, status.height) == (1, PeerState.CONNECTED, 101)
    assert status.agent is not None
    assert status.agent.startswith("chartledger/")
    assert status.address == two.network.address
    assert status.bytes_out > 0
    assert status.since_ms == 1_700_000_000_000
    assert status.dropped == status.throttled == 0


async def test_pings_tell_the_round_trip(net: Net) -> None:
    one, _ = await net.mesh(2, ping_interval_s=0.01, pings_unanswered=1_000)
    async with asyncio.timeout(PATIENCE_S):
        while one.status(1).rtt_ms is None:
            await one.network.request(1, Channel.SYNC, "a", b"", 5.0)


async def test_pings_tell_how_far_the_clocks_are_apart(net: Net) -> None:
    members = {n: Member((certificate_of(n),)) for n in range(2)}
    two = await net.start(1, members, ahead_ms=60_000)
    dialled = {**members, 1: Member((certificate_of(1),), two.network.address)}
    one = await net.start(0, dialled, ping_interval_s=0.01, pings_unanswered=1_000)
    await one.until_connected(1)
    async with asyncio.timeout(PATIENCE_S):
        while one.status(1).clock_offset_ms is None or two.status(0).clock_offset_ms is None:
            await one.network.request(1, Channel.SYNC, "a", b"", 5.0)
    # The test's clocks stand still, so half a round trip is all that the reckoning may be off by.
    for node, peer, apart in ((one, 1, 60_000), (two, 0, -60_000)):
        status = node.status(peer)
        assert 0 <= status.clock_offset_ms - apart <= status.rtt_ms / 2 + 1


async def test_a_removed_member_is_cut_off_and_does_not_come_back(net: Net) -> None:
    one, two, three = await net.mesh(3)
    left = {0: Member((certificate_of(0),)), 2: Member((certificate_of(2),), three.network.address)}
    one.network.set_members(left)
    assert one.network.connected() == {2}
    await two.handler.until(lambda: two.handler.downs != [])
    assert "its membership or key changed" in two.handler.downs[0][1]
    before = one.network.refused
    async with asyncio.timeout(PATIENCE_S):
        while one.network.refused < before + 3:
            await three.network.request(0, Channel.SYNC, "a", b"", 5.0)
    assert two.network.connected() == {2}
    assert one.handler.ups.count(1) == 1


async def test_a_member_whose_key_changed_must_show_the_new_one(net: Net) -> None:
    one, two, _ = await net.mesh(3)
    one.network.set_members({0: Member((certificate_of(0),)), 1: Member((certificate_of(7),), two.network.address)})
    assert one.network.connected() == frozenset()
    async with asyncio.timeout(PATIENCE_S):
        while (one.status(1).last_error or "").find("does not hold this institution's") < 0:
            await two.network.request(2, Channel.SYNC, "a", b"", 5.0)
    assert one.network.connected() == frozenset()


async def test_an_expired_certificate_still_connects(net: Net) -> None:
    expired = [make_certificate(seed_of(n), "Clinic", not_before_ms=0, not_after_ms=1_000) for n in range(2)]
    one = await net.start(0, {1: Member((expired[1],))}, certificate=expired[0])
    two = await net.start(1, {0: Member((expired[0],), one.network.address)}, certificate=expired[1])
    await two.until_connected(0)


async def test_what_cannot_be_reached_is_named_and_tried_again(net: Net) -> None:
    gone = await net.start(1, {0: Member((certificate_of(0),))})
    address = gone.network.address
    await gone.network.stop()
    one = await net.start(0, {1: Member((certificate_of(1),), address)})
    two = await net.start(2, {3: Member((certificate_of(3),))})
    three = await net.start(3, {2: Member((certificate_of(2),), two.network.address)})
    await three.until_connected(2)
    async with asyncio.timeout(PATIENCE_S):
        while one.status(1).last_error is None:
            await three.network.request(2, Channel.SYNC, "a", b"", 5.0)
    assert "it cannot be reached: " in one.status(1).last_error
    assert one.status(1).state in {PeerState.WAITING, PeerState.DIALLING}
    assert two.status(3).state is PeerState.CONNECTED
    assert two.status(3).address is None


async def test_a_name_that_can_be_no_hosts_is_named_and_tried_again(net: Net) -> None:
    """`a..b` is refused by no resolver but before one is asked, which is no error of the system's."""
    one = await net.start(0, {1: Member((certificate_of(1),), "a..b:7650")})
    two = await net.start(2, {3: Member((certificate_of(3),))})
    three = await net.start(3, {2: Member((certificate_of(2),), two.network.address)})
    await three.until_connected(2)
    async with asyncio.timeout(PATIENCE_S):
        while one.status(1).last_error is None:
            await three.network.request(2, Channel.SYNC, "a", b"", 5.0)
    assert "it cannot be reached: " in one.status(1).last_error
    assert one.status(1).state in {PeerState.WAITING, PeerState.DIALLING}


async def test_an_address_that_is_taken_or_no_address_is_refused_in_one_sentence(net: Net) -> None:
    one, _ = await net.mesh(2)
    with pytest.raises(ListenFailed, match=f"cannot listen on {one.network.address}: Address already in use"):
        await Node(5, {}, listen=one.network.address).network.start()
    for wrong in ("nowhere", "host:port", ":7400", "host:70000"):
        with pytest.raises(BadAddress, match="is not host:port"):
            await Node(5, {}, listen=wrong).network.start()
        with pytest.raises(BadAddress, match="is not host:port"):
            one.network.set_members({1: Member((certificate_of(1),), wrong)})
    assert one.network.connected() == {1}


def test_a_key_that_is_not_the_certificates_is_refused_and_no_secret_is_shown() -> None:
    with pytest.raises(IdentityMismatch):
        Identity(1, certificate_of(1), seed_of(2))
    assert repr(Identity(1, certificate_of(1), seed_of(1))) == "Identity(1)"


def test_tls_is_1_3_alone_without_tickets_and_with_no_trust_but_the_members() -> None:
    identity = Identity(1, certificate_of(1), seed_of(1))
    listening = identity.listener_context([certificate_of(2), certificate_of(3)])
    dialling = identity.dialler_context((certificate_of(2),))
    assert listening.num_tickets == 0
    for context, trusted in ((listening, [2, 3]), (dialling, [2])):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.options & ssl.OP_NO_TICKET
        assert sorted(context.get_ca_certs(binary_form=True)) == sorted(map(certificate_of, trusted))


async def test_a_second_certificate_overlaps_with_the_first_and_nothing_is_cut(net: Net) -> None:
    """Peers learn of the new one at different times: the old connection stands, and either makes new ones."""
    one, two = await net.mesh(2)
    both = (certificate_of(1), certificate_of(7))
    one.network.set_members({0: Member((certificate_of(0),)), 1: Member(both, two.network.address)})
    assert one.network.connected() == {1}
    two.network.set_identity(Identity(1, certificate_of(7), seed_of(7)))
    one.network.set_members({0: Member((certificate_of(0),)), 1: Member(both[1:], two.network.address)})
    assert one.network.connected() == frozenset()  # what it showed then counts no more
    async with asyncio.timeout(PATIENCE_S):
        await one.handler.until(lambda: one.handler.ups.count(1) == 2)
    assert one.network._peers[1].connection.certificate == both[1]
