"""The real socket: its file, its mode, who is at the other end, streams, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from node.api import server as server_module
from node.api import stream
from node.api.app import make_api
from node.api.errors import SocketUnusable
from node.api.peercred import Peer, Role, UnknownSubmitter, peer_of, role_map
from node.api.server import ApiServer, ApiSettings, bind
from node.records import told
from node.services import FinalBlock
from node.storage import ledger_store
from tests.node.api.city import RECORD, City
from tests.node.api.conftest import LOOKER, SECRET, Town


def settings(town: Town) -> ApiSettings:
    return ApiSettings(socket=town.network.folder / "node.sock", roles=role_map(), wait_s=5.0)


def client(town: Town) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(settings(town).socket))
    return httpx.AsyncClient(transport=transport, base_url="http://node", timeout=30)


@pytest.fixture
async def server(town: Town) -> AsyncIterator[ApiServer]:
    hospital = town.custodian.hospital
    api = make_api(settings(town), hospital.core, hospital.records, hospital.ledger.idempotency, SECRET)
    await api.start()
    yield api
    await api.stop()


async def test_the_file_is_for_owner_and_group(town: Town, server: ApiServer) -> None:
    mode = settings(town).socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


async def test_a_bundle_of_six_megabytes_goes_in(town: Town, server: ApiServer) -> None:
    resource = b'{"resourceType":"Observation","note":"' + b"n" * 20_000 + b'"}'
    body = b'{"resourceType":"Bundle","entry":[' + b",".join([b'{"resource":%s}' % resource] * 300) + b"]}"
    assert len(body) > 6_000_000
    async with client(town) as asking:
        answer = await asking.post(
            f"/v1/charts/{town.chart}/records?split=true&wait=final",
            content=body,
            headers={"content-type": "application/fhir+json"},
        )
        assert len(answer.json()["records"]) == 300
        content = await asking.get(f"/v1/charts/{town.chart}/records/300/content")
        assert content.content == resource


async def test_garbage_and_half_requests_do_not_stop_it(town: Town, server: ApiServer) -> None:
    path = str(settings(town).socket)
    for sent in (b"\x00\xff" * 100, b"GET / HTTP/1.1\r\n", b"POST /v1/charts HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    async with client(town) as asking:
        assert (await asking.get("/v1/health")).status_code == 200


async def test_events_tell_of_blocks_and_one_chart(town: Town, server: ApiServer) -> None:
    async with client(town) as asking:
        path = f"/v1/events?chart={town.chart}"
        async with asking.stream("GET", path, headers={"last-event-id": "0"}) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": open"
            missed = [await anext(lines) for _ in range(7)]
            assert [line for line in missed if line.startswith(("id", "event"))] == [
                "event: chart", "id: 1", "event: block",
            ]  # fmt: skip
            assert '"kind":"opened"' in missed[2]
            await asking.post(
                f"/v1/charts/{town.chart}/records?wait=final", content=b"x", headers={"content-type": "text/plain"}
            )
            came = [await anext(lines) for _ in range(7)]
    assert [line for line in came if line.startswith(("id", "event"))] == [
        "event: chart", "id: 2", "event: block",
    ]  # fmt: skip


async def test_nothing_that_happened_to_a_chart_is_missed_over_a_broken_stream(
    town: Town, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was, and however few come at once: pages of two, of which one alone fits, and two blocks."""
    monkeypatch.setattr(stream, "AT_ONCE", 2)
    monkeypatch.setattr(stream, "MISSED_MOST", 2)
    monkeypatch.setattr(ledger_store, "EVENTS_BYTES", 1)
    for _ in range(5):
        answer = await town.custodian.post(
            f"/v1/charts/{town.chart}/records?wait=final", content=b"x", headers={"content-type": "text/plain"}
        )
        assert answer.status_code == 200
    for seen, missed in ((0, list(range(6))), (1, [1, 2, 3, 4, 5]), (4, [4, 5]), (6, [])):
        async with client(town) as asking:
            path = f"/v1/events?chart={town.chart}"
            async with asking.stream("GET", path, headers={"last-event-id": str(seen)}) as events:
                lines = events.aiter_lines()
                assert await anext(lines) == ": open"
                found = [await anext(lines) for _ in range(3 * len(missed) + 1)][1:]
        assert [json.loads(line[6:])["event"]["number"] for line in found if line.startswith("data: ")] == missed


async def test_of_very_much_that_was_missed_the_newest_is_told(
    town: Town, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And blocks as many as are kept short, though they come a few at a time."""
    monkeypatch.setattr(stream, "CHART_MISSED_MOST", 2)
    core = town.custodian.hospital.core
    blocks = core.blocks

    async def few(first: int, count: int) -> list[FinalBlock]:
        return (await blocks(first, count))[:2]

    monkeypatch.setattr(core, "blocks", few)
    for _ in range(5):
        await town.custodian.post(
            f"/v1/charts/{town.chart}/records?wait=final", content=b"x", headers={"content-type": "text/plain"}
        )
    async with client(town) as asking:
        path = f"/v1/events?chart={town.chart}"
        async with asking.stream("GET", path, headers={"last-event-id": "0"}) as events:
            lines = events.aiter_lines()
            found = [await anext(lines) for _ in range(2 + 3 * 2 + 4 * 6)]
    given = [json.loads(line[6:]) for line in found if line.startswith("data: ")]
    assert [one["event"]["number"] for one in given if "event" in one] == [4, 5]
    assert [one["height"] for one in given if "height" in one] == [1, 2, 3, 4, 5, 6]


async def test_a_watcher_that_reads_nothing_delays_no_emergency(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket is full in the middle of what happened before, and nobody waits for it."""
    monkeypatch.setattr(told, "TELL_S", 600.0)
    hospital = city.custodian.hospital
    where = settings(city)
    api = make_api(where, hospital.core, hospital.records, hospital.ledger.idempotency, SECRET)
    await api.start()
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.setblocking(False)
        stuck.connect(str(where.socket))
        stuck.sendall(b"GET /v1/events?chart=%d HTTP/1.1\r\nHost: node\r\n\r\n" % city.chart)
        await wait_for_watcher(hospital.records.told, city.chart)
        many = [{"media_type": "text/plain", "data": "eA==", "category": "Letter", "year": "2024"}] * 900
        answer = await city.custodian.post(f"/v1/charts/{city.chart}/records?wait=final", json={"records": many})
        assert answer.status_code == 200
        asked = await city.emergency()
        path = f"/v1/disclosures/{city.chart}/{asked['disclosure']}/records/1"
        async with asyncio.timeout(60):
            assert (await city.reader.get(path)).content == RECORD
        (watcher,) = hospital.records.told._watchers[city.chart]
        assert watcher.giving, "the socket took all: nothing was shown"
    await api.stop()


async def wait_for_watcher(watched: told.Told, chart: int) -> None:
    """A stream begins when its request was read, of which nobody is told."""
    async with asyncio.timeout(30):
        while not any(not one.giving for one in watched._watchers.get(chart, ())):
            await asyncio.sleep(0.01)


async def test_who_may_only_look_keeps_nobody_out_who_may_do_more(
    town: Town, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of all connections are theirs at most, whether or not anything is asked on them."""
    monkeypatch.setattr(server_module, "LOOKERS", 2)
    path = str(settings(town).socket)

    async def health(uid: int) -> bytes:
        with monkeypatch.context() as patched:
            patched.setattr(server_module, "peer_of", lambda _: Peer(1, uid, frozenset()))
            reader, writer = await asyncio.open_unix_connection(path)
            open_.append(writer)
            writer.write(b"GET /v1/health HTTP/1.1\r\nHost: node\r\n\r\n")
            return await reader.readuntil(b"}")

    open_: list[asyncio.StreamWriter] = []
    assert [(await health(LOOKER)).split()[1] for _ in range(3)] == [b"200", b"200", b"503"]
    assert b"too-many-connections" in await health(LOOKER)
    assert [(await health(os.getuid())).split()[1] for _ in range(3)] == [b"200"] * 3
    open_[0].close()
    await open_[0].wait_closed()
    async with asyncio.timeout(30):
        while (await health(LOOKER)).split()[1] == b"503":
            pass
    for writer in open_:
        writer.close()


async def test_event_streams_are_counted(town: Town, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STREAMS_MOST", 1)
    async with client(town) as asking, asking.stream("GET", "/v1/events") as first:
        assert await anext(first.aiter_lines()) == ": open"
        async with asking.stream("GET", "/v1/events") as refused:
            assert refused.status_code == 503  # before its body, which would have no end if it were let in
            await refused.aread()
            assert refused.json()["type"] == "urn:chartledger:problem:too-many-streams"
        assert (await asking.get("/v1/health")).status_code == 200


async def test_stopping_ends_event_streams_and_removes_the_file(town: Town, server: ApiServer) -> None:
    async with client(town) as asking, asking.stream("GET", "/v1/events") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == ": open"
        await server.stop()
        assert [line async for line in lines if line] == []
    assert not settings(town).socket.exists()
    await server.stop()


async def test_a_second_daemon_is_refused_and_a_stale_file_replaced(town: Town, server: ApiServer) -> None:
    hospital = town.custodian.hospital
    second = make_api(settings(town), hospital.core, hospital.records, hospital.ledger.idempotency, SECRET)
    with pytest.raises(SocketUnusable, match="listens"):
        await second.start()
    stale = town.network.folder / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    bind(stale, 0o660).close()


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    with pytest.raises(SocketUnusable, match="not a socket"):
        bind(precious, 0o660)
    assert precious.read_text() == "data"
    with pytest.raises(SocketUnusable, match="longer"):
        bind(tmp_path / ("x" * 120), 0o660)
    with pytest.raises(SocketUnusable, match="No such file"):
        bind(tmp_path / "absent" / "node.sock", 0o660)
    with pytest.raises(SocketUnusable, match="no group"):
        bind(tmp_path / "grouped.sock", 0o660, "no-such-group-here")


def test_the_kernel_says_who_connected() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        peer = peer_of(one)
    assert (peer.pid, peer.uid) == (os.getpid(), os.getuid())
    assert peer.groups >= {os.getgid()} | set(os.getgroups())


def test_roles() -> None:
    roles = role_map(["4321", "@77", "root"], ["5432", "@88"])
    assert roles.role(Peer(1, os.getuid(), frozenset())) is Role.GOVERN
    assert roles.role(Peer(1, 0, frozenset())) is Role.GOVERN
    assert roles.role(Peer(1, 5432, frozenset())) is Role.GOVERN
    assert roles.role(Peer(1, 4321, frozenset({88}))) is Role.GOVERN
    assert roles.role(Peer(1, 4321, frozenset())) is Role.SUBMIT
    assert roles.role(Peer(1, 9999, frozenset({77}))) is Role.SUBMIT
    assert roles.role(Peer(1, 9999, frozenset({78}))) is Role.LOOK
    for stranger in ("no-such-user-here", "@no-such-group-here"):
        with pytest.raises(UnknownSubmitter):
            role_map([stranger])
        with pytest.raises(UnknownSubmitter):
            role_map([], [stranger])


@pytest.fixture
async def hasty(town: Town) -> AsyncIterator[ApiServer]:
    """A socket without patience."""
    hospital = town.custodian.hospital
    made = replace(settings(town), head_s=0.05, body_s=0.05, stall_s=0.05)
    api = make_api(made, hospital.core, hospital.records, hospital.ledger.idempotency, SECRET)
    await api.start()
    yield api
    await api.stop()


HEALTH = b"GET /v1/health HTTP/1.1\r\n"


@pytest.mark.parametrize("sent", [b"", HEALTH, HEALTH + b"Host: n\r\n\r\nGET"])
async def test_a_head_that_does_not_come_is_not_waited_for(town: Town, hasty: ApiServer, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings(town).socket))
    writer.write(sent)
    answered = await reader.read()
    assert answered.startswith(b"HTTP/1.1 200") if b"\r\n\r\n" in sent else answered == b""
    writer.close()


@pytest.mark.parametrize(
    "head", [b"Content-Length: 99\r\n", b"Content-Length: 99000000\r\n", b"Transfer-Encoding: chunked\r\n"]
)
async def test_a_body_that_does_not_come_is_not_waited_for(town: Town, hasty: ApiServer, head: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings(town).socket))
    piece = b"x" if b"Length" in head else b"1\r\nx\r\n"
    path = f"/v1/charts/{town.chart}/records".encode()
    writer.write(b"POST %s HTTP/1.1\r\nContent-Type: text/plain\r\n%s\r\n%s" % (path, head, piece))
    answered = await reader.read()
    assert answered.startswith(b"HTTP/1.1 408"), answered
    assert b"urn:chartledger:problem:body-too-slow" in answered
    assert (await town.custodian.hospital.blobs.totals()).count == 0
    writer.close()


async def test_an_upload_cut_short_after_a_part_of_it_was_stored_is_named_and_leaves_no_file(
    town: Town, hasty: ApiServer
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings(town).socket))
    path = f"/v1/charts/{town.chart}/records".encode()
    writer.write(b"POST %s HTTP/1.1\r\nContent-Type: a/b\r\nContent-Length: 99000000\r\n\r\n" % path)
    writer.write(os.urandom(12_000_000))
    assert (await reader.read()).startswith(b"HTTP/1.1 408")
    objects = town.custodian.hospital.folder / "objects"
    assert [found for found in objects.rglob("*") if found.is_file()] == []
    writer.close()


async def test_who_takes_nothing_is_cut_off(town: Town, hasty: ApiServer) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, str(settings(town).socket))

        async def only_ask() -> None:
            while True:
                await loop.sock_sendall(connection, HEALTH.replace(b"v1/health", b"openapi.json") + b"Host: n\r\n\r\n")

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await only_ask()


@pytest.mark.parametrize(
    "sent",
    [
        HEALTH + b"X: ",
        HEALTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        HEALTH + b"Transfer-Encoding: chunked\r\n\r\n1;",
        b"GET /",
    ],
)
async def test_a_head_or_a_trailer_without_end_is_refused(town: Town, server: ApiServer, sent: bytes) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, str(settings(town).socket))
        await loop.sock_sendall(connection, sent)

        async def go_on() -> None:
            for _ in range(1_000):
                await loop.sock_sendall(connection, b"a" * 65_536)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await go_on()


async def test_what_is_no_http_is_refused_by_name(town: Town, server: ApiServer) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings(town).socket))
    writer.write(b"Canary Smith, 1950\r\n\r\n")
    answered = await reader.read()
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answered
    assert b"urn:chartledger:problem:bad-request" in answered
    assert b"Canary" not in answered
    writer.close()


async def test_a_body_in_chunks_of_one_byte_goes_in(town: Town, server: ApiServer) -> None:
    reader, writer = await asyncio.open_unix_connection(str(settings(town).socket))
    path = f"/v1/charts/{town.chart}/records?wait=final".encode()
    writer.write(b"POST %s HTTP/1.1\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n" % path)
    writer.write(b"Connection: close\r\n\r\n" + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
