"""Proof files at the command line: QR codes, and a machine that has never seen the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import segno

from node.cli import prove
from node.cli.exits import BadArgument
from node.cli.qr import write_qr
from node.genesis_file import write_genesis
from protocol.errors import BadProof
from protocol.proofs import bundle, scan
from protocol.proofs.scan import TooLargeForQr
from protocol.types.operations import AppendRecords
from tests.node.cli.qr_reading import read
from tests.protocol.conftest import World
from tests.protocol.proofs.proving import DATA, Prover, immunization

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("length", "version"), [(78, 5), (2_820, 40)])
def test_a_qr_code_holds_the_file_as_a_scanner_reads_it(length: int, version: int) -> None:
    data = os.urandom(length)
    (text,) = scan.to_qr_texts(data)
    code = segno.make_qr(text, error="L", boost_error=False)
    assert code.version == version
    assert read(code.matrix) == text
    assert scan.from_text(text.encode()) == data


def test_the_largest_qr_code_and_one_byte_more(tmp_path: Path) -> None:
    fits = max(n for n in range(2_800, 2_900) if len(scan.to_text(bytes_that_do_not_deflate(n))) <= scan.QR_CHARACTERS)
    assert fits == 2_843
    one = str(tmp_path / "one.svg")
    assert write_qr(bytes_that_do_not_deflate(fits), one, private=True) == [one]
    names = write_qr(bytes_that_do_not_deflate(fits + 1), str(tmp_path / "two.svg"), private=True)
    assert names == [str(tmp_path / "two-1.svg"), str(tmp_path / "two-2.svg")]
    assert all(Path(name).stat().st_mode & 0o777 == 0o600 for name in names)


def test_more_codes_than_anybody_scans(tmp_path: Path) -> None:
    assert len(scan.to_qr_texts(bytes_that_do_not_deflate(16_900))) == 6
    with pytest.raises(TooLargeForQr, match="the proof has 17200 bytes, which become 25824 characters"):
        write_qr(bytes_that_do_not_deflate(17_200), str(tmp_path / "more.svg"))
    assert not list(tmp_path.iterdir())
    assert "Hand over the file itself" in TooLargeForQr().advice


def test_several_codes_are_put_together_in_any_order_or_it_is_said_what_is_wrong() -> None:
    data = os.urandom(7_000)
    parts = scan.to_qr_texts(data)
    assert len(parts) == 3
    assert all(read(segno.make_qr(part, error="L", boost_error=False, version=40).matrix) == part for part in parts)
    assert len({len(part) for part in parts[:-1]}) == 1
    for lines in (parts, parts[::-1], [*parts, parts[0]]):
        assert scan.from_text("\r\n".join(lines).encode()) == data
    other = scan.to_qr_texts(os.urandom(7_000))
    changed = parts[0][:100] + ("A" if parts[0][100] != "A" else "B") + parts[0][101:]
    for lines, sentence in (
        (parts[:2], "part 3 of 3 is missing"),
        ([parts[0], *other[1:]], "parts of several proofs"),
        ([changed, *parts[1:]], "a part of it was changed"),
        ([*parts, changed], "two different parts 1"),
        ([parts[0][:-1], *parts[1:]], "no whole part"),
        ([*parts, "hello"], "no whole part"),
    ):
        with pytest.raises(BadProof, match=f"^text: .*{sentence}"):
            scan.from_text("\n".join(lines).encode())


def bytes_that_do_not_deflate(length: int) -> bytes:
    from hashlib import shake_256

    return shake_256(b"proof").digest(length)


def test_each_way_to_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = os.urandom(300)
    for name, start in (("p.svg", b"<?xml"), ("p.png", b"\x89PNG"), ("p.txt", scan.PREFIX.encode())):
        assert write_qr(data, str(tmp_path / name), private=True) == [str(tmp_path / name)]
        assert (tmp_path / name).read_bytes().startswith(start)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    write_qr(os.urandom(5_000), str(tmp_path / "large.txt"))  # a text may be of any size
    write_qr(data, "-")
    assert "▀" in capsys.readouterr().out or "█" in capsys.readouterr().out
    with pytest.raises(BadArgument, match="no name for a QR code"):
        write_qr(data, "proof.gif")


def test_where_a_proof_goes_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="where the proof is to go"):
        prove._give_out(b"x", {}, None, None, as_json=False)
    with pytest.raises(BadArgument, match="do not go together"):
        prove._give_out(b"x", {}, None, "-", as_json=True)
    prove._give_out(b"x", {}, tmp_path / "field", None, as_json=True, private=True)
    assert (tmp_path / "field").stat().st_mode & 0o777 == 0o600


# --- a machine that has never seen the network


SANDBOX = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("verify opened a socket")
from node.cli.main import main
from node.cli import proof
socket.socket.__init__ = socket.socket.connect = refuse
socket.create_connection = socket.getaddrinfo = refuse
sys.argv[0] = "chartledger"
main()
"""


class Bare:
    """An empty home, nothing of the environment, no sockets; the genesis file and one proof."""

    def __init__(self, folder: Path, world: Any) -> None:
        self.folder = folder
        self.genesis = folder / "genesis.json"
        write_genesis(self.genesis, world.genesis)
        self.home = folder / "home"
        self.home.mkdir()

    def verify(self, data: bytes, *more: object) -> subprocess.CompletedProcess[str]:
        (self.folder / "proof").write_bytes(data)
        command = [sys.executable, "-c", SANDBOX, "verify", "proof", "--genesis", "genesis.json", *map(str, more)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"HOME": str(self.home), "PYTHONPATH": str(ROOT), "COLUMNS": "4000"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not list(self.home.iterdir())
        return done


@pytest.fixture(scope="module")
def prover() -> Prover:
    world = World()
    patient = world.open_chart()
    made = Prover(world, patient)
    world.run(0, AppendRecords(patient.chart, (immunization(), immunization()), (1, 2)))
    world.grant(patient)
    return made


def test_all_five_claims_on_a_machine_that_has_never_seen_the_network(prover: Prover, tmp_path: Path) -> None:
    bare = Bare(tmp_path, prover.world)
    early = prover.block()
    erasure = prover.erase([2], [1, 2])
    prover.acknowledge(erasure, 1)
    (tmp_path / "record").write_bytes(DATA)
    for proof, more, claim, words in (
        (prover.record(1, opened=True), ("--record", "record"), "event", "exactly the record that was committed to"),
        (prover.history(), (), "history", "None was left out, moved or put in"),
        (prover.grant(0), (), "grant", "was in force for Oakfield Clinic"),
        (prover.grant(9), (), "grant", "there was no such grant"),
        (prover.past(early, 0), (), "grant", "complete up to that block"),
        (prover.field(1), (), "field", 'at /occurrenceDateTime the value "2026-03-14"'),
        (prover.erasure(erasure), (), "erasure", "Oakfield Clinic acknowledged"),
    ):
        data = bundle.write(proof)
        told = bare.verify(data, *more)
        assert (told.returncode, told.stderr) == (0, "")
        assert words in told.stdout
        assert "Not shown" in told.stdout
        shown = json.loads(bare.verify(data, *more, "--json").stdout)
        assert (shown["valid"], shown["claim"]) == (True, claim)
    scanned = bare.verify(scan.to_text(bundle.write(prover.field(1))).encode() + b"\n")
    assert scanned.returncode == 0
    assert "2026-03-14" in scanned.stdout


def test_what_fails_is_named_in_one_sentence_with_exit_code_1(prover: Prover, tmp_path: Path) -> None:
    bare = Bare(tmp_path, prover.world)
    data = bundle.write(prover.grant(0))
    edited = bytearray(data)
    edited[len(data) // 2] ^= 1
    for bad, words in (
        (bytes(edited), "error: state: the state holds another value at this key, where"),
        (data[:-1], "error: file: it is cut short"),
        (data + b"\n", "error: file: it is longer than its contents"),
        (b"", "error: file: it is empty"),
        (b"hello", "error: file: "),
    ):
        told = bare.verify(bad)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.count("\n") == 1
        assert words in told.stderr
        assert told.stderr.endswith("[bad-proof]\n")
