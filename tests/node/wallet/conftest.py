"""Hospitals that answer on real sockets, on a core without consensus or network, and commands run in this process."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from node import keystore
from node.api.app import make_api
from node.api.peercred import RoleMap
from node.api.server import ApiServer, ApiSettings
from node.cli import client
from node.cli.client import Session
from node.cli.exits import report
from node.cli.main import build
from node.client import Client
from node.wallet import Wallet
from protocol.crypto.keyfiles import Cost
from tests.node.api.conftest import LETTERS
from tests.node.records.fake_core import Chain, Hospital, Network

LOW = Cost(passes=1, memory_kib=8)
HOSPITALS = 4
PASSPHRASE = "correct horse"
DAY_MS = 24 * 3600 * 1_000


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class City:
    """Hospitals with a socket each, in a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.chain = Chain(HOSPITALS)
        self.network: Network = self.on_loop(self._network())
        self.servers: list[ApiServer] = []
        self.sessions: list[Session] = []
        for number in range(HOSPITALS):
            self.on_loop(self._serve(number))
        self.sessions = [Session(Client(self.socket(number))) for number in range(HOSPITALS)]

    def socket(self, number: int) -> Path:
        return self.folder / f"s{number}"

    def hospital(self, number: int) -> Hospital:
        return self.network.hospitals[number]

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _network(self) -> Network:
        return Network(self.chain, self.folder)

    async def _serve(self, number: int) -> None:
        hospital = await self.network.start(number)
        core = hospital.core

        async def status() -> dict[str, Any]:
            return {
                "healthy": True, "summary": "healthy", "chain": self.chain.id.hex(),
                "institution": {"number": number}, "head_time_ms": max(self.chain.clock.ms, core.head().timestamp),
            }  # fmt: skip

        core.status = status  # type: ignore[method-assign]
        uids = frozenset({os.getuid()})
        settings = ApiSettings(self.socket(number), RoleMap(uids, govern_uids=uids), wait_s=5, labelling=LETTERS)
        server = make_api(settings, core, hospital.records, hospital.ledger.idempotency, b"secret")
        await server.start()
        self.servers.append(server)

    def later(self, ms: int) -> None:
        """Time passes, and each hospital's node does what is then due."""
        self.chain.clock.ms = max(self.chain.clock.ms, self.chain.header.timestamp) + ms
        self.on_loop(self._changes())
        for session in self.sessions:
            session._status = None

    async def _changes(self) -> None:
        for hospital in self.network.hospitals.values():
            changes = hospital.records.changes
            await changes.load()
            for _ in range(2):
                while await changes.once():
                    pass

    def wait_out(self) -> None:
        """The waiting time of what was begun."""
        self.later(7 * DAY_MS + 1_000)

    def close(self) -> None:
        for session in self.sessions:
            session.client.__exit__(None, None, None)
        for server in self.servers:
            self.on_loop(server.stop())
        self.on_loop(self.network.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def city(monkeypatch: pytest.MonkeyPatch) -> Iterator[City]:
    monkeypatch.setattr(keystore, "Cost", lambda: LOW)
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    made = City(folder)
    monkeypatch.setattr(client, "own_clock_ms", lambda: made.chain.clock.ms)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


class Person:
    """Somebody with a wallet, at the command line."""

    def __init__(self, city: City, name: str, run: Callable[..., Ended], seed: bytes | None = None) -> None:
        self.city = city
        self.file = city.folder / f"{name}.wallet"
        self._run = run
        self._secret = city.folder / "passphrase"
        self._secret.write_text(PASSPHRASE + "\n")
        self._secret.chmod(0o600)
        self.wallet = Wallet.create(self.file, PASSPHRASE.encode(), seed or secrets.token_bytes(32), LOW)

    def does(self, *words: object, at: int = 0, code: int = 0) -> Any:
        """Run a command with this wallet at a hospital's socket; its JSON, or its error if it is to be refused."""
        ended = self._run(*words, *self.options(at), "--json", code=code)
        return ended.json() if code == 0 else ended.err

    def asks(self, *words: object, at: int = 0, code: int = 0) -> Any:
        """The same for a command that takes no wallet."""
        ended = self._run(*words, "--socket", self.city.socket(at), "--json", code=code)
        return ended.json() if code == 0 else ended.err

    def says(self, *words: object, at: int = 0) -> str:
        """What a command prints for people."""
        return self._run(*words, *self.options(at)).out

    def options(self, at: int) -> tuple[object, ...]:
        return ("--socket", self.city.socket(at), "--wallet", self.file, "--passphrase-file", self._secret)

    def reopen(self) -> Wallet:
        return Wallet.open(self.file, PASSPHRASE.encode(), LOW)

    @property
    def secret(self) -> Path:
        return self._secret


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ended]:
    """A command line in this process, with the exit code that it must end with."""

    def go(*words: object, code: int = 0) -> Ended:
        arguments = [str(word) for word in words]
        capfdbinary.readouterr()
        ended = 0
        try:
            build(arguments)(arguments)
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
        except Exception as error:
            ended = int(report(error))
        told = capfdbinary.readouterr()
        out, err = told.out.decode(), told.err.decode()
        assert ended == code, f"{arguments}: {out}{err}"
        return Ended(ended, out, err)

    return go


@pytest.fixture
def person(city: City, run: Callable[..., Ended]) -> Callable[..., Person]:
    def make(name: str = "patient", seed: bytes | None = None) -> Person:
        return Person(city, name, run, seed)

    return make
