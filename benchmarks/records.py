"""What records cost: sealing, large files in and out, and reading many under one disclosure.

    .venv/bin/python benchmarks/records.py seal  [--runs 5] [--fhir DIR]
    .venv/bin/python benchmarks/records.py large [--megabytes 2048]
    .venv/bin/python benchmarks/records.py bulk  [--records 10000] [--runs 3]

Each prints JSON. `large` and `bulk` start a devnet of their own on loopback and remove it; `large` wants seven times
the file's size of free disk (the file, what is stored of it, what passes through, and what comes out).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from node.cli.chart import open_with
from node.cli.client import connect
from node.cli.grant import grant_with
from node.demo.generator import generate
from node.devnet import PASSPHRASE_COST, Devnet, wish_for
from node.processes import cpu_seconds, peak_resident_bytes
from node.records.fhir import FHIR_JSON, Described, bundle_slices
from node.records.kek import KeyEncryption
from node.records.seal import ChartSealer, Kek
from node.wallet import Wallet
from protocol.crypto.envelopes import MLKEM768_X25519, keypair_from_seed
from protocol.crypto.tags import GrantLabels, tags_of

NODES = 4
READER = 1
DAY_MS = 24 * 3600 * 1_000
LARGE_BYTES = 256 * 1024 * 1024


def seal(options: argparse.Namespace) -> dict[str, Any]:
    """Looking into, committing and sealing, in one thread, in its CPU time: records as they come, one of median size,
    a large one."""
    records = _resources(options.fhir)
    median = sorted(records, key=len)[len(records) // 2]
    _, public = keypair_from_seed(MLKEM768_X25519, secrets.token_bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        kek = Kek(KeyEncryption.open_file(Path(folder), secrets.token_bytes(32), bytes(32)))
    tags = partial(tags_of, secrets.token_bytes(32), 0)
    sealer = ChartSealer(kek, bytes(32), 0, tags, (MLKEM768_X25519, public))
    several = records[:2_000]
    large = os.urandom(LARGE_BYTES)
    medians, all_of_them, streamed = [], [], []
    for _ in range(options.runs):
        medians.append(
            _seconds(lambda: [sealer.seal(Described().plain(median, FHIR_JSON)) for _ in range(200)], time.process_time)
            / 200
        )
        all_of_them.append(
            _seconds(lambda: [sealer.seal(Described().plain(one, FHIR_JSON)) for one in several], time.process_time)
            / len(several)
        )
        streamed.append(_seconds(lambda: _stream(sealer, large), time.process_time))
    return {
        "runs": options.runs,
        "median_record_bytes": len(median),
        "median_record_cpu_ms": round(1e3 * statistics.median(medians), 3),
        "mean_record_cpu_ms": round(1e3 * statistics.median(all_of_them), 3),
        "large_mb_per_cpu_s": round(LARGE_BYTES / 1e6 / statistics.median(streamed), 1),
    }


def _stream(sealer: ChartSealer, data: bytes) -> None:
    stream = sealer.stream("application/octet-stream", Described().plain(b"", "application/octet-stream").labels, None)
    for at in range(0, len(data), 65_536):
        stream.update(data[at : at + 65_536])
    for _ in stream.finish():
        pass
    stream.sealed()


def _resources(folder: Path | None) -> list[bytes]:
    if folder is None:
        return [one for bundle in generate(8, 200) for one in bundle_slices(bundle.raw)]
    return [one for path in sorted(folder.glob("*.json")) for one in bundle_slices(path.read_bytes())]


def large(options: argparse.Namespace) -> dict[str, Any]:
    """One file of random bytes in through one node's socket and out through another's, by the command line."""
    with _Network() as network:
        source, target = network.folder / "large.bin", network.folder / "back.bin"
        digest = hashlib.sha256()
        with source.open("wb") as file:
            for _ in range(options.megabytes):
                piece = os.urandom(1024 * 1024)
                digest.update(piece)
                file.write(piece)
        chart, grant = network.chart()
        size = options.megabytes * 1024 * 1024
        submit = ("record", "submit", str(chart))
        sent_s = _seconds(
            lambda: network.command(0, *submit, str(source), "--category", "Media", "--sensitivity", "none")
        )
        memory_in = network.peaks_mb()
        source.unlink()
        read = ("record", "read", str(chart), str(network.last_record(chart)), "--grant", str(grant), "-o", str(target))
        read_s = _seconds(lambda: network.command(READER, *read))
        back = hashlib.sha256()
        with target.open("rb") as file:
            while piece := file.read(1024 * 1024):
                back.update(piece)
        return {
            "bytes": size,
            "in_mb_per_s": round(size / 1e6 / sent_s, 1),
            "out_mb_per_s": round(size / 1e6 / read_s, 1),
            "identical": back.digest() == digest.digest(),
            "peak_node_mb": network.peak_mb(),
            "peak_of_each_node_mb_after_in": memory_in,
            "peak_of_each_node_mb": network.peaks_mb(),
            "peak_command_mb": network.command_mb,
        }


def bulk(options: argparse.Namespace) -> dict[str, Any]:
    """Many records under one disclosure into a folder at another institution, by the command line."""
    with _Network() as network:
        chart, grant = network.chart()
        records = _resources(None)
        with connect(network.devnet.socket(0)) as session:
            sent = 0
            while sent < options.records:
                part = [records[(sent + n) % len(records)] for n in range(min(1_000, options.records - sent))]
                bundle = b'{"resourceType":"Bundle","type":"collection","entry":[%s]}' % b",".join(
                    b'{"resource":%s}' % one for one in part
                )
                session.submit_bundle(chart, bundle)
                sent += len(part)
        rates, disclosed = [], 0
        before = network.cpu_s()
        with connect(network.devnet.socket(READER)) as session:
            answer = session.disclose(chart, grant, "TREAT")
            disclosed = len(answer["records"])
        for run in range(options.runs):
            folder = network.folder / f"read-{run}"
            read = ("record", "read-all", str(chart), "--disclosure", str(answer["disclosure"]), "--into", str(folder))
            began = time.perf_counter()
            network.command(READER, *read)
            rates.append(disclosed / (time.perf_counter() - began))
        return {
            "records": disclosed,
            "runs": options.runs,
            "records_per_second": round(statistics.median(rates)),
            "all_runs": [round(one) for one in rates],
            "cpu_ms_per_record": network.cpu_since(before, disclosed * options.runs),
            "peak_node_mb": network.peak_mb(),
            "peak_command_mb": network.command_mb,
        }


class _Network:
    """A devnet for the run, with a wallet."""

    def __enter__(self) -> _Network:
        self.folder = Path(tempfile.mkdtemp(prefix="cl-records-"))
        self.devnet = Devnet.create(self.folder / "net", wish_for(NODES, "warning"))
        self.devnet.start()
        self.command_mb = 0.0
        self.command_cpu_s = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.devnet.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def chart(self) -> tuple[int, int]:
        """A chart at node 0, and a grant of everything to the reader."""
        wallet = Wallet.create(self.folder / "wallet", b"benchmark", cost=PASSPHRASE_COST)
        with connect(self.devnet.socket(0)) as session:
            number: int = open_with(session, wallet)["chart"]
            now = session.ledger_now()
            key = wallet.chart(session.chain(), number)
            granted = grant_with(
                session,
                wallet,
                key,
                grantees=[READER],
                labels=GrantLabels(sensitivities=("MH", "SUD", "HIV", "STD", "SEX", "SDV", "VIO", "GDIS", "COGN")),
                purposes=["TREAT"],
                not_before=now - 1,
                not_after=now + DAY_MS,
            )
        return number, int(granted["grant"])

    def last_record(self, chart: int) -> int:
        with connect(self.devnet.socket(0)) as session:
            return max(one["number"] for one in session.events(chart, "records"))

    def command(self, node: int, *words: str) -> None:
        """Run a chartledger command at a node, and note its largest memory."""
        program = [sys.executable, "-m", "node.cli.main", *words, "--socket", str(self.devnet.socket(node)), "--json"]
        child = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"{' '.join(words[:2])} failed with {child.returncode}")
        self.command_cpu_s += used.ru_utime + used.ru_stime
        self.command_mb = max(self.command_mb, round(used.ru_maxrss / 1e3, 1))

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far of custodian and reader, and of the commands."""
        pids = {"custodian": self.devnet.pid(0), "reader": self.devnet.pid(READER)}
        used = {name: cpu_seconds(pid) for name, pid in pids.items() if pid is not None}
        return used | {"command": self.command_cpu_s}

    def cpu_since(self, before: dict[str, float], records: int) -> dict[str, float]:
        """CPU milliseconds a record since then."""
        return {name: round(1e3 * (now - before[name]) / records, 3) for name, now in self.cpu_s().items()}

    def peak_mb(self) -> float:
        """The largest memory that any node ever had, in MB."""
        return max(self.peaks_mb())

    def peaks_mb(self) -> list[float]:
        """The largest memory that each node ever had, in MB: the first is the custodian."""
        pids = [self.devnet.pid(number) for number in self.devnet.numbers]
        return [round(peak_resident_bytes(pid) / 1e6, 1) for pid in pids if pid is not None]


def _seconds(work: Any, clock: Any = time.perf_counter) -> float:
    began = clock()
    work()
    return float(clock() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what records cost.")
    commands = parser.add_subparsers(required=True)
    sealing = commands.add_parser("seal")
    sealing.add_argument("--runs", type=int, default=5)
    sealing.add_argument("--fhir", type=Path, help="a folder of FHIR bundles; without it, made-up ones")
    sealing.set_defaults(measure=seal)
    files = commands.add_parser("large")
    files.add_argument("--megabytes", type=int, default=2_048)
    files.set_defaults(measure=large)
    many = commands.add_parser("bulk")
    many.add_argument("--records", type=int, default=10_000)
    many.add_argument("--runs", type=int, default=3)
    many.set_defaults(measure=bulk)
    options = parser.parse_args()
    print(json.dumps(options.measure(options), indent=2))


if __name__ == "__main__":
    main()
