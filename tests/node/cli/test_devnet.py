"""A devnet's folder: keys that fit the genesis, closed files, ports of its own; and whose process a pid is."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import msgspec
import pytest

import node.cli.devnet as command
from node.bench_load import OUTSIDE_KEY, Signer
from node.config import load_config
from node.devnet import Devnet, DevnetFailed, Wish, free_ports, read_wish, wish_for
from node.genesis_file import read_genesis
from node.keystore import find_passphrase, open_keystore
from protocol.codec.canonical import decode
from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import SigningKey, transaction_message, verify
from protocol.errors import GenesisInvalid
from protocol.types.transaction import Transaction

ROOT = Path(__file__).parents[3]


@pytest.fixture
def devnet(tmp_path):
    return Devnet.create(tmp_path / "net", wish_for(5), outside_keys=1)


def test_every_node_has_its_own_keys_and_knows_the_others(devnet):
    genesis = read_genesis(devnet.genesis)
    assert chain_id(genesis).hex() == devnet.plan.chain
    assert genesis.authorities == tuple(range(5))
    assert [one.name for one in genesis.institutions][-1] == "Institution 4"
    for number in devnet.numbers:
        config = load_config(devnet.config(number))
        keystore = open_keystore(config.keystore, find_passphrase(config)).keystore
        assert SigningKey(keystore.operations[0]).public == genesis.institutions[number].operation_keys[0]
        assert SigningKey(devnet.outside_keys(number)[0]).public == genesis.institutions[number].operation_keys[1]
        assert set(config.peers) == set(devnet.numbers) - {number}
        assert config.socket == devnet.socket(number)
        for name in ("keystore", "passphrase", "outside-keys"):
            assert (devnet.home(number) / name).stat().st_mode & 0o777 == 0o600
    assert len({node.port for node in devnet.plan.nodes}) == 5


def test_it_is_found_again(devnet):
    again = Devnet.load(devnet.folder)
    assert again.plan == devnet.plan
    assert [again.pid(number) for number in again.numbers] == [None] * 5


def test_nothing_is_overwritten(devnet):
    with pytest.raises(DevnetFailed, match="not empty"):
        Devnet.create(devnet.folder)


def test_what_is_no_devnet(tmp_path):
    with pytest.raises(DevnetFailed, match="no devnet"):
        Devnet.load(tmp_path)


def test_a_pid_that_belongs_to_somebody_else_is_never_taken_for_a_node(devnet):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (devnet.home(0) / "pid").write_text(str(stranger.pid))
        assert devnet.pid(0) is None
        devnet.kill(0)
        devnet.stop()
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    (devnet.home(0) / "pid").write_text(str(os.getpid()))
    assert devnet.pid(0) is None


def test_the_sample_plan_is_the_default():
    assert read_wish(ROOT / "configs" / "devnet.toml") == Wish()


@pytest.mark.parametrize("text", ["institutions = []", "log_level = 'loud'", "nonsense = 1", "params = 3", "= 1"])
def test_a_plan_that_is_wrong(tmp_path, text):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(DevnetFailed, match=r"plan\.toml"):
        read_wish(tmp_path / "plan.toml")


def test_parameters_come_from_the_plan_and_are_checked(tmp_path):
    devnet = Devnet.create(tmp_path / "a", Wish(params={"delta_ms": 70}))
    assert read_genesis(devnet.genesis).params.delta_ms == 70
    with pytest.raises(DevnetFailed, match="no parameter"):
        Devnet.create(tmp_path / "b", Wish(params={"delta": 70}))
    with pytest.raises(GenesisInvalid, match="delta_ms"):
        Devnet.create(tmp_path / "c", Wish(params={"delta_ms": 0}))


def test_ports_are_distinct():
    assert len(set(free_ports(20))) == 20


def test_the_load_generator_signs_what_a_ledger_accepts(devnet):
    chain = bytes.fromhex(devnet.plan.chain)
    signer = Signer(chain, 2, devnet.outside_keys(2)[0], entries=6, charts_each=3)
    signer.charts = [10, 11, 12, 13]
    source = signer.appends(1_000)
    first, second = (decode(Transaction, next(source)) for _ in range(2))
    key = read_genesis(devnet.genesis).institutions[2].operation_keys[OUTSIDE_KEY]
    assert verify(key, transaction_message(first.body), first.signature)
    assert (first.body.key, first.body.number, second.body.number) == (OUTSIDE_KEY, 1, 2)
    assert [one.operation.chart for one in (*first.body.operations, *second.body.operations)] == [
        10,
        11,
        12,
        13,
        10,
        11,
    ]
    assert sum(len(one.operation.entries) for one in first.body.operations) == 6
    assert msgspec.msgpack.decode(next(signer.openings(1, 1_000)))


class Dummies(Devnet):
    """Starts processes that wait for nothing, in place of nodes."""

    spawned: ClassVar[list[int]] = []
    broken: ClassVar[set[int]] = set()

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        self.spawned.append(number)
        code = "raise SystemExit" if number in self.broken else "import signal; signal.pause()"
        return subprocess.Popen([sys.executable, "-c", code, str(self.config(number))])

    def _wait_for_socket(self, number: int, until: float) -> None:
        if number in self.broken:
            self._started[number].wait()
            raise DevnetFailed(f"node {number} stopped at once")


@pytest.fixture
def dummies(devnet, monkeypatch):
    monkeypatch.setattr(Dummies, "spawned", [])
    monkeypatch.setattr(Dummies, "broken", set())
    made: list[Devnet] = []

    def another() -> Dummies:
        made.append(Dummies(devnet.folder, devnet.plan))
        return made[-1]

    yield another
    for one in made:
        for child in one._started.values():
            child.kill()
            child.wait()


def test_two_commands_at_once_start_each_node_once(dummies):
    """Of a node started twice the second ends at once, and took the first's pid along."""
    networks = [dummies() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda one: one.start(wait=False), networks))
    assert sorted(Dummies.spawned) == list(range(5))
    assert all(networks[0].pid(number) is not None for number in range(5))


def test_a_node_that_does_not_start_stops_none_that_ran_before(dummies, monkeypatch):
    before = dummies()
    before.start([0, 1, 2])
    monkeypatch.setattr(Dummies, "broken", {4})
    monkeypatch.setattr(command, "Devnet", SimpleNamespace(load=lambda folder: dummies()))
    with pytest.raises(DevnetFailed, match="node 4"):
        command.up(before.folder)
    assert [before.pid(number) is not None for number in range(5)] == [True, True, True, False, False]
