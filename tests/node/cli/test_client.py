"""The client of a node's socket: what breaks off is sent again under its key, and what nobody knows is said."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from node import client
from node.client import MAYBE, Client, Unreachable

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"fine": 1}'


class Broken:
    """Listens, takes requests, and answers the first so many with nothing."""

    def __init__(self, path: Path, silent: int, then: Callable[[], None] = lambda: None) -> None:
        self.requests: list[bytes] = []
        self._silent = silent
        self._then = then
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            with one:
                request = b""
                while b"\r\n\r\nbody" not in request:
                    request += one.recv(65_536)
                self.requests.append(request)
                if len(self.requests) > self._silent:
                    one.sendall(ANSWER)
                else:
                    self._then()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(client, "PAUSE_S", 0.0)
    return tmp_path / "s"


def key_of(request: bytes) -> bytes:
    return next(line for line in request.lower().split(b"\r\n") if line.startswith(b"idempotency-key"))


def test_a_node_that_starts_again_is_waited_for_under_the_same_key(place: Path) -> None:
    """Longer than the four tries in which it is told that there is none."""
    node = Broken(place, silent=12)
    with Client(place) as asking:
        assert asking.send("/v1/x", b"body", {}, key="k") == {"fine": 1}
        assert asking.upload("/v1/x", io.BytesIO(b"body"), 4, {}, "k") == {"fine": 1}
    node.stop()
    assert len(node.requests) == 14
    assert {key_of(one) for one in node.requests} == {b"idempotency-key: k"}


def test_who_may_have_submitted_something_is_told_to_look_before_repeating_it(place: Path) -> None:
    node = Broken(place, silent=1_000)
    with Client(place) as asking, pytest.raises(Unreachable) as refused:
        asking.send("/v1/x", b"body", {}, key="k")
    node.stop()
    assert refused.value.advice == MAYBE
    assert refused.value.code == "unreachable"
    assert len(node.requests) == client.TRIES_SENT


def test_a_node_that_is_not_there_is_told_of_soon_and_nothing_was_sent(place: Path) -> None:
    with Client(place) as asking, pytest.raises(Unreachable) as refused:
        asking.send("/v1/x", b"body", {}, key="k")
    assert refused.value.advice == Unreachable.advice


def test_a_node_that_goes_away_for_good_may_have_it(place: Path) -> None:
    node = Broken(place, silent=1, then=place.unlink)
    with Client(place) as asking, pytest.raises(Unreachable, match="No such file") as refused:
        asking.send("/v1/x", b"body", {}, key="k")
    node.stop()
    assert refused.value.advice == MAYBE
