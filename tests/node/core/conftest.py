"""A throwaway chain for tests of the core: keys from small integers, a genesis, and signed transactions."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from node.app import Node
from node.config import Config
from node.core import Core
from node.genesis_file import write_genesis
from node.institution_keys import application, new_institution
from node.keystore import KeystoreFile, open_keystore, write_keystore
from node.mempool import Entry
from node.mempool import make_entry as make_pool_entry
from node.services import Final
from node.storage.journal import Journal, Owner, journal_path
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import chain_id
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import SigningKey, cosign, sign_transaction
from protocol.params import Params
from protocol.types.governance import Accredit, Ballot, Motion
from protocol.types.institutions import Genesis
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    OpenChart,
    Operation,
    RecordEntry,
    SignedOperation,
)
from protocol.types.transaction import Transaction, TransactionBody
from tests.node.core.solo import Place

CHAIN = bytes(range(32))
PASSPHRASE, QUICK = b"sesame", Cost(passes=1, memory_kib=8)


def seed(label: str, number: int = 0) -> bytes:
    return hashlib.blake2b(f"{label} {number}".encode(), digest_size=32).digest()


def record(number: int) -> RecordEntry:
    tag = number.to_bytes(16, "big")
    return RecordEntry(number.to_bytes(32, "big"), (tag, tag, tag, tag))


def append(chart: int = 0, number: int = 0) -> AppendRecords:
    return AppendRecords(chart, (record(number),))


def sign(
    institution: int,
    number: int,
    operations: Sequence[Operation] | None = None,
    valid_until: int = 10**14,
    chain: bytes = CHAIN,
    key: int = 0,
) -> bytes:
    """The canonical bytes of a signed transaction."""
    signed = tuple(SignedOperation(one) for one in operations or [append(number=number)])
    body = TransactionBody(chain, institution, key, number, valid_until, signed)
    return encode(sign_transaction(SigningKey(seed("operations", institution)), body))


def entry_of(raw: bytes) -> Entry:
    return make_pool_entry(decode(Transaction, raw), raw, None)


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    def make(*args: object, **kwargs: object) -> Entry:
        return entry_of(sign(*args, **kwargs))  # type: ignore[arg-type]

    return make


class Devnet:
    """Four nodes in this process: real network on loopback, real storage in a temporary folder."""

    def __init__(self, folder: Path, params: Params, count: int = 4) -> None:
        self.folder = folder
        made = [new_institution(f"Hospital {number}", outside_keys=1) for number in range(count)]
        self.first_vote_keys = [one.public.vote_key for one in made]
        self.outside = [SigningKey(one.outside[0]) for one in made]
        self.genesis = Genesis(
            "test", 1_700_000_000_000, params, tuple(one.public for one in made), tuple(range(count))
        )
        self.chain = chain_id(self.genesis)
        write_genesis(folder / "genesis.json", self.genesis)
        self.ports = _free_ports(count)
        self.nodes: list[Node | None] = [None] * count
        for number in range(count):
            vote_key = self.first_vote_keys[number]
            Journal.create(self.config(number).data, Owner(self.chain, vote_key))
            write_keystore(self.config(number).keystore, made[number].keystore, PASSPHRASE, QUICK)

    def config(self, number: int) -> Config:
        data = self.folder / f"n{number}"
        return Config(
            institution=number,
            genesis=self.folder / "genesis.json",
            data=data,
            keystore=self.folder / f"keystore{number}",
            socket=self.folder / f"{number}.sock",
            listen=f"127.0.0.1:{self.ports[number]}",
            peers={n: f"127.0.0.1:{port}" for n, port in enumerate(self.ports) if n != number},
            disk_warning_bytes=0,
        )

    def keys(self, number: int) -> KeystoreFile:
        """The node's keystore, opened."""
        return open_keystore(self.config(number).keystore, PASSPHRASE)

    def journal(self, number: int) -> Path:
        """Where the node keeps the journal of the vote key that it began with."""
        return journal_path(self.config(number).data, self.first_vote_keys[number])

    async def start(self, *numbers: int) -> None:
        for number in numbers:
            node = Node(self.config(number), self.keys(number))
            await node.start()
            self.nodes[number] = node

    async def stop(self, *numbers: int) -> None:
        for number in numbers:
            node = self.nodes[number]
            if node is not None:
                self.nodes[number] = None
                await node.stop()

    def services(self, number: int) -> Core:
        node = self.nodes[number]
        assert node is not None
        return node.services

    async def accredit(self, name: str) -> int:
        """One more institution, whose node was never started yet, by a motion of 0 that 1 and 2 vote for."""
        made = new_institution(name)
        number = len(self.nodes)
        self.ports += _free_ports(1)
        self.nodes.append(None)
        Journal.create(self.config(number).data, Owner(self.chain, made.public.vote_key))
        write_keystore(self.config(number).keystore, made.keystore, PASSPHRASE, QUICK)
        self.first_vote_keys.append(made.public.vote_key)
        change = Accredit(application(made, self.chain))
        until = self.services(0).now_ms() + 3_600_000
        (moved,) = await self.submit(0, [[SignedOperation(Motion(change, until))]])
        motion, height = moved.receipt.operations[0].motion, moved.height
        for voter in (1, 2):
            await self.height(voter, height)
            (final,) = await self.submit(voter, [[SignedOperation(Ballot(motion, change, True))]])
            height = final.height
        return number

    async def height(self, number: int, height: int) -> None:
        """Wait until the node's final head is at least that high."""
        services = self.services(number)
        async with services.subscribe() as blocks:
            while services.head().height < height:
                await anext(blocks)

    async def met(self, number: int) -> None:
        """Wait until the node is connected to every other: who dials when is up to each of them."""
        async with asyncio.timeout(60):
            while not all(peer["state"] == "connected" for peer in self.services(number).peers()):
                await asyncio.sleep(0.01)  # connections have no event that a test could wait for

    async def open_charts(self, number: int, first: int, count: int) -> list[Final]:
        """Charts `first` and so on at institution `number`, final there."""
        owners = [SigningKey(seed("owner", n)) for n in range(first, first + count)]
        return await self.submit(number, [[self.opening(number, owner)] for owner in owners])

    def opening(self, number: int, owner: SigningKey) -> SignedOperation:
        operation = OpenChart(number, owner.public, 1, bytes(32))
        expires = int(time.time() * 1_000) + 3_600_000
        return SignedOperation(operation, (cosign(owner, self.chain, operation, ROLE_OWNER, 0, expires),))

    async def submit(self, number: int, batches: Sequence[Sequence[SignedOperation]]) -> list[Final]:
        services = self.services(number)
        prepared = await services.prepare(batches)
        await services.submit(prepared)
        outcomes = await services.outcomes([one.id for one in prepared], 60)
        assert all(isinstance(one, Final) for one in outcomes), outcomes
        return [one for one in outcomes if isinstance(one, Final)]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
async def devnet(tmp_path: Path) -> AsyncIterator[Devnet]:
    """Four nodes, started."""
    # A short path: a Unix socket's is bounded.
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    net = Devnet(folder, Params())
    try:
        await net.start(0, 1, 2, 3)
        yield net
    finally:
        await net.stop(0, 1, 2, 3)
        shutil.rmtree(folder)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    await made.stop()
    made.threads.shutdown()
