"""A network of real nodes on this machine: one folder, one process a node, loopback ports.

Relies on the file system and on starting `chartledger node run`. Each process is known by its pid and by the
configuration that it was started with, so that a pid which meanwhile belongs to somebody else is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from node.genesis_file import write_genesis
from node.institution_keys import NewInstitution, new_institution
from node.keystore import locked, write_keystore, write_private
from node.storage.journal import Journal, Owner
from protocol.crypto.hashing import chain_id
from protocol.crypto.keyfiles import Cost
from protocol.errors import ChartledgerError
from protocol.ledger.genesis import check_genesis
from protocol.params import Params
from protocol.types.institutions import Genesis

NAMES = ("St. Anna Hospital", "Rivertown Clinic", "Lakeside Laboratory", "University Hospital")
NODES = 32
START_SECONDS = 30
STOP_SECONDS = 20
PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral ports, so that no outgoing connection takes one between creation and start."""

PASSPHRASE_COST = Cost(passes=1, memory_kib=8 * 1024)
"""Cheaper than a real node's: a devnet's passphrase is random, and stands in a file beside the keystore."""


class DevnetFailed(ChartledgerError):
    """The devnet cannot do this."""

    advice = "`chartledger devnet status` shows its nodes; each node's log is in its folder, node.log."


class DevnetNode(msgspec.Struct, frozen=True):
    """One node of the network."""

    number: int
    name: str
    port: int


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new devnet is to be like; configs/devnet.toml is one. `params` are those that differ from the defaults."""

    institutions: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=80)], ...], Meta(min_length=1, max_length=NODES)
    ] = NAMES
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    params: dict[str, int] = {}


def read_wish(path: Path) -> Wish:
    """The wish in a TOML file. Raises `DevnetFailed`."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Wish)
    except OSError as error:
        raise DevnetFailed(f"cannot read {path}: {error.strerror}", advice="configs/devnet.toml is one.") from None
    except msgspec.DecodeError as error:
        raise DevnetFailed(f"{path}: {error}", advice="configs/devnet.toml explains it.") from None


def wish_for(count: int, log_level: Literal["info", "warning"] = "info", params: dict[str, int] | None = None) -> Wish:
    """A devnet of `count` nodes with the usual names; `params` are those that differ from the defaults."""
    names = (*NAMES, *(f"Institution {number}" for number in range(len(NAMES), count)))
    return Wish(institutions=names[:count], log_level=log_level, params=params or {})


class Plan(msgspec.Struct, frozen=True):
    """What devnet.json says. `chain` is hex."""

    chain: str
    nodes: list[DevnetNode]


class Devnet:
    """A devnet's folder, and its processes as they are now."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def create(cls, folder: Path, wish: Wish | None = None, outside_keys: int = 0) -> Devnet:
        """Write keys, genesis and configurations of institutions, all authorities, into a new folder.

        With `outside_keys`, each institution has that many operations keys besides its node's, whose seeds stand in
        `<n>/outside-keys`. Raises `DevnetFailed` if the folder holds something.
        """
        wish = wish or Wish()
        if folder.exists() and any(folder.iterdir()):
            raise DevnetFailed(f"{folder} is not empty", advice="Name another folder, or remove this one.")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        folder = folder.resolve()
        names = wish.institutions
        made = [new_institution(name, outside_keys) for name in names]
        genesis = Genesis(
            name="devnet",
            created_at=time.time_ns() // 1_000_000,
            params=_params(wish.params),
            institutions=tuple(one.public for one in made),
            authorities=tuple(range(len(names))),
        )
        check_genesis(genesis)
        ports = free_ports(len(names))
        nodes = [DevnetNode(n, name, port) for n, (name, port) in enumerate(zip(names, ports, strict=True))]
        devnet = cls(folder, Plan(chain_id(genesis).hex(), nodes))
        write_genesis(devnet.genesis, genesis)
        for node, one in zip(nodes, made, strict=True):
            devnet._write_node(node, one, wish.log_level)
        (folder / "devnet.json").write_bytes(msgspec.json.format(msgspec.json.encode(devnet.plan), indent=2))
        return devnet

    @classmethod
    def load(cls, folder: Path) -> Devnet:
        """The devnet in `folder`. Raises `DevnetFailed` if there is none."""
        try:
            plan = msgspec.json.decode((folder / "devnet.json").read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError):
            raise DevnetFailed(
                f"there is no devnet in {folder}", advice=f"Make one with `chartledger devnet up {folder}`."
            ) from None
        return cls(folder.resolve(), plan)

    @property
    def genesis(self) -> Path:
        """The genesis file."""
        return self.folder / "genesis.json"

    @property
    def numbers(self) -> range:
        """The nodes' institution numbers."""
        return range(len(self.plan.nodes))

    def home(self, number: int) -> Path:
        """A node's folder."""
        return self.folder / str(number)

    def config(self, number: int) -> Path:
        """A node's configuration file."""
        return self.home(number) / "node.toml"

    def data(self, number: int) -> Path:
        """A node's data folder."""
        return self.home(number) / "data"

    def socket(self, number: int) -> Path:
        """A node's local HTTP socket."""
        return self.home(number) / "s"

    def log(self, number: int) -> Path:
        """A node's log."""
        return self.home(number) / "node.log"

    def outside_keys(self, number: int) -> list[bytes]:
        """Seeds of the operations keys that the node itself does not hold."""
        text = (self.home(number) / "outside-keys").read_text()
        return [bytes.fromhex(line) for line in text.split()]

    def pid(self, number: int) -> int | None:
        """The pid of a node's running process, or None."""
        child = self._started.get(number)
        if child is not None:
            return child.pid if child.poll() is None else None
        try:
            pid = int((self.home(number) / "pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.config(number)).encode() in _command_line(pid).split(b"\0") else None

    def start(self, numbers: Iterable[int] | None = None, *, wait: bool = True) -> None:
        """Start nodes that do not run, and wait until their sockets answer. Raises `DevnetFailed` with the reason."""
        asked = list(self.numbers if numbers is None else numbers)
        with locked(self.folder / "devnet.json"):  # or two commands start each node twice, and know one of each
            for number in asked:
                if self.pid(number) is None:
                    self._started[number] = child = self._spawn(number)
                    (self.home(number) / "pid").write_text(str(child.pid))
                    # Right after the start Linux shows no command line yet: to `pid`, asked by another command, that
                    # is some process that is not ours.
                    while child.poll() is None and not _command_line(child.pid):
                        time.sleep(0.001)
        if wait:
            until = time.monotonic() + START_SECONDS
            for number in asked:
                self._wait_for_socket(number, until)

    @property
    def started(self) -> list[int]:
        """The nodes that were started through this object, whether or not they still run."""
        return sorted(self._started)

    def stop(self, numbers: Iterable[int] | None = None) -> None:
        """Ask nodes to stop (SIGTERM) and wait for it; one that does not within its time is killed and reported."""
        asked = [(n, pid) for n in (self.numbers if numbers is None else numbers) if (pid := self.pid(n)) is not None]
        for _, pid in asked:
            _signal(pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        stuck = [number for number, _ in asked if not self._gone(number, until)]
        for number in stuck:
            self.kill(number)
        if stuck:
            raise DevnetFailed(f"node {stuck[0]} did not stop within {STOP_SECONDS} s and was killed")

    def kill(self, number: int) -> None:
        """kill -9, and wait until the process is gone."""
        pid = self.pid(number)
        if pid is not None:
            _signal(pid, signal.SIGKILL)
            self._gone(number, time.monotonic() + STOP_SECONDS)

    def last_words(self, number: int) -> str:
        """The last line of a node's log, or an empty text."""
        try:
            lines = self.log(number).read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "node.cli.main", "node", "run", "--config", str(self.config(number))]
        with self.log(number).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.home(number)
            )

    def _wait_for_socket(self, number: int, until: float) -> None:
        while time.monotonic() < until:
            if self.pid(number) is None:
                raise DevnetFailed(f"node {number} stopped at once: {self.last_words(number) or 'no log'}")
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket(number)))
                return
            time.sleep(0.02)
        raise DevnetFailed(f"node {number} did not open its socket within {START_SECONDS} s")

    def _gone(self, number: int, until: float) -> bool:
        while self.pid(number) is not None:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def _write_node(self, node: DevnetNode, one: NewInstitution, log_level: str) -> None:
        home = self.home(node.number)
        home.mkdir(mode=0o700)
        passphrase = secrets.token_hex(16).encode()
        write_private(home / "passphrase", passphrase + b"\n")
        write_keystore(home / "keystore", one.keystore, passphrase, PASSPHRASE_COST)
        if one.outside:
            write_private(home / "outside-keys", b"\n".join(seed.hex().encode() for seed in one.outside))
        Journal.create(self.data(node.number), Owner(bytes.fromhex(self.plan.chain), one.public.vote_key))
        others = "".join(f'{n.number} = "127.0.0.1:{n.port}"\n' for n in self.plan.nodes if n.number != node.number)
        self.config(node.number).write_text(
            f"# {node.name}: a node of a devnet, for trying things out on one machine.\n"
            f"# Its passphrase lies beside its keystore, which no real node should do.\n"
            f'institution = {node.number}\ngenesis = "../genesis.json"\nkeystore = "keystore"\n'
            f'passphrase_file = "passphrase"\ndata = "data"\nsocket = "s"\n'
            f'listen = "127.0.0.1:{node.port}"\nlog_level = "{log_level}"\n\n[peers]\n{others}'
        )


def _params(changed: dict[str, int]) -> Params:
    strange = sorted(set(changed) - set(Params.__struct_fields__))
    if strange:
        raise DevnetFailed(f"there is no parameter {strange[0]!r}", advice="docs/spec/limits.md lists them.")
    return Params(**changed)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            return found
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
    raise DevnetFailed(f"this machine has no {count} free ports between {PORTS.start} and {PORTS.stop}")


def _command_line(pid: int) -> bytes:
    """The words of a process, each ended by a zero byte; empty if there is none, or it is only just beginning."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
