"""The commands around reading, on real sockets: break-glass and its review, who looked, delegates, the accounting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from node.api.app import make_api
from node.api.peercred import role_map
from node.api.server import ApiSettings
from node.cli import client, output
from node.cli.main import build
from node.keystore import write_file
from node.wallet import Wallet
from protocol.crypto.keyfiles import Cost
from tests.node.records.fake_core import Chain, Network

QUICK = Cost(passes=1, memory_kib=8)
REASON = "found unconscious in the street"


class Desks:
    """Four hospitals with sockets, and people with wallets."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        (folder / "pass").write_text("sesame\n")
        (folder / "pass").chmod(0o600)

    def socket(self, number: int) -> Path:
        return self.folder / f"{number}.sock"

    async def run(self, at: int, *words: str | int, code: int = 0) -> str:
        """What a command prints at institution `at`'s socket."""
        arguments = [str(word) for word in words]

        def invoke() -> Result:
            env = {"CHARTLEDGER_SOCKET": str(self.socket(at))}
            env["CHARTLEDGER_WALLET_PASSPHRASE_FILE"] = str(self.folder / "pass")
            return CliRunner().invoke(build(arguments), arguments, env=env)

        done = await asyncio.to_thread(invoke)
        if code < 0:
            assert done.exception is not None
            return f"{done.exception}"
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    async def json(self, at: int, *words: str | int, code: int = 0) -> Any:
        return json.loads(await self.run(at, *words, "--json", code=code))

    async def wallet(self, name: str) -> Path:
        path = self.folder / name
        await asyncio.to_thread(Wallet.create, path, b"sesame", None, QUICK)
        return path

    async def deliver(self, number: int) -> None:
        await self.network.hospitals[number].records.confidence.deliver()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences on one line, whatever the terminal behind the tests is like."""
    monkeypatch.setattr(output.console, "_width", 400)


@asynccontextmanager
async def staffed(network: Network, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desks]:
    """All hospitals of the network run, each with its socket."""
    monkeypatch.setattr("node.wallet.wallet.write_file", _quickly)
    monkeypatch.setattr(client, "own_clock_ms", lambda: network.chain.clock.ms)
    made = Desks(network, folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(network.close)
        for number in range(len(network.chain.genesis.institutions)):
            hospital = await network.start(number)
            settings = replace(ApiSettings(made.socket(number), role_map()), wait_s=5.0)
            api = make_api(settings, hospital.core, hospital.records, hospital.ledger.idempotency, b"secret")
            await api.start()
            stack.push_async_callback(api.stop)
        yield made


@pytest.fixture
async def desks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desks]:
    async with staffed(Network(Chain(4), tmp_path), tmp_path, monkeypatch) as made:
        yield made


def _quickly(path: Path, plain: bytes, passphrase: bytes, cost: Cost | None = None, **options: Any) -> bytes:
    return write_file(path, plain, passphrase, QUICK, **options)


async def patient(desks: Desks) -> tuple[Path, int]:
    """A patient with a chart at hospital 0 and a letter in it."""
    wallet = await desks.wallet("patient.wallet")
    chart: int = (await desks.json(0, "chart", "open", "--wallet", wallet))["chart"]
    letter = desks.folder / "letter.txt"
    letter.write_text("the letter")
    await desks.run(0, "record", "submit", chart, letter, "--category", "DocumentReference", "--sensitivity", "none")
    return wallet, chart


async def test_the_whole_way_of_an_emergency(desks: Desks) -> None:
    wallet, chart = await patient(desks)
    into = desks.folder / "into"
    broken = await desks.json(
        1, "access", "break-glass", chart, 1, "--reason", REASON, "--practitioner", "s-17", "--family", "Okafor",
        "--role", "registrar", "--into", into,
    )  # fmt: skip
    event = broken["disclosure"]
    assert (into / "record-1").read_text() == "the letter"
    assert (into / "record-1").stat().st_mode & 0o777 == 0o600
    await desks.deliver(1)
    told = await desks.run(0, "disclosures", chart, "--wallet", wallet)
    assert told.splitlines()[0].startswith("Emergency: hospital 1 read without your permission on")
    assert "Okafor (registrar)" in told
    assert f'"{REASON}"' in told
    assert "review owed" in told
    without = await desks.run(2, "disclosures", chart)
    assert REASON not in without
    assert "said in confidence, not here yet" in without
    assert "unreviewed" in await desks.run(3, "access", "emergencies")
    findings = desks.folder / "findings.txt"
    findings.write_text("The patient was at home and well.")
    await desks.run(2, "access", "review", chart, event, "unjustified", "--findings", findings)
    assert "no emergency waits" in await desks.run(3, "access", "emergencies")
    await desks.deliver(2)
    told = await desks.run(0, "disclosures", chart, "--wallet", wallet)
    assert 'hospital 2 found: "The patient was at home and well."' in told
    assert "found NOT justified" in told
    (look,) = await desks.json(0, "disclosures", chart, "--wallet", wallet)
    assert (look["state"], look["said"]["reason"], look["emergency"]) == ("unjustified", REASON, True)
    alerts = await desks.json(0, "access", "alerts")
    assert [one["kind"] for one in alerts] == ["stranger"]
    assert "without a grant for treatment" in await desks.run(0, "access", "alerts")


async def test_what_waits_for_a_second_institution(desks: Desks) -> None:
    wallet, chart = await patient(desks)
    await desks.run(0, "policy", "set", chart, "--break-glass", "two-institutions", "--wallet", wallet)
    told = await desks.run(1, "access", "break-glass", chart, 1, "--reason", REASON)
    event = next(word for word in told.split() if word.isdecimal() or word[:-1].isdecimal()).rstrip(";")
    assert f"chartledger access confirm {chart} {event}" in told
    assert "waits for a second institution" in await desks.run(0, "disclosures", chart)
    await desks.run(2, "access", "confirm", chart, event)
    assert await desks.run(1, "record", "read", chart, 1, "--disclosure", event) == "the letter"


async def test_a_forbidden_emergency_ends_with_1_and_is_told(desks: Desks) -> None:
    wallet, chart = await patient(desks)
    await desks.run(0, "policy", "set", chart, "--break-glass", "forbidden", "--wallet", wallet)
    told = await desks.run(1, "access", "break-glass", chart, 1, "--reason", REASON, code=1)
    assert "forbidden" in told
    assert "Emergency: hospital 1 asked" in await desks.run(0, "disclosures", chart)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("break-glass", 0, 1, "--reason", "x", "--purpose", "TREAT"), "no emergency"),
        (("break-glass", 0, 1, "--reason", "  "), "says why"),
        (("confirm", 0, 1), "no emergency"),
        (("review", 0, 99, "justified"), "no emergency"),
    ],
)
async def test_what_is_wrong_is_said(desks: Desks, words: tuple[str | int, ...], said: str) -> None:
    await patient(desks)
    assert said in await desks.run(1, "access", *words, code=-1)


async def test_findings_that_are_too_long_or_no_text(desks: Desks) -> None:
    file = desks.folder / "findings"
    file.write_text("x" * 2_001)
    assert "2000 characters" in await desks.run(1, "access", "review", 0, 1, "justified", "--findings", file, code=-1)
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in await desks.run(1, "access", "review", 0, 1, "justified", "--findings", file, code=-1)


async def test_a_grant_is_read_with_a_reason_and_accounted_for(desks: Desks) -> None:
    wallet, chart = await patient(desks)
    await desks.run(
        0, "grant", chart, "--to", 1, "--until", "30d", "--purpose", "TREAT", "--purpose", "HRESCH", "--wallet", wallet
    )
    for purpose, reason in (("TREAT", "follow-up"), ("HRESCH", "study 7"), ("HRESCH", "study 7")):
        await desks.run(
            1, "record", "read", chart, 1, "--grant", 0, "--purpose", purpose, "--practitioner", "s-9", "--reason",
            reason, "--family", "=Byrne",
        )  # fmt: skip
    refused = await desks.run(1, "record", "read", chart, 1, "--grant", 0, "--purpose", "HMARKT", code=-1)
    assert "denied" in refused
    assert "where the patient reads: Your permission is for other purposes." in refused
    await desks.deliver(1)
    listed = await desks.run(0, "disclosures", chart, "--wallet", wallet)
    assert "Your permission is for other purposes." in listed
    addresses = desks.folder / "addresses.json"
    addresses.write_text('{"1": "1 Lake Road"}')
    listing = desks.folder / "list.csv"
    listing.write_text("of before")
    listing.chmod(0o644)
    await desks.run(0, "disclosures", chart, "--wallet", wallet, "--csv", listing)
    assert listing.stat().st_mode & 0o777 == 0o600, "names and reasons of a patient's stand in it"
    assert "\n" in listing.read_text()
    assert ",'=Byrne" in listing.read_text(), "who asks chooses its name, and runs nothing at the patient's by it"
    out = desks.folder / "accounting.json"
    out.touch(mode=0o644)
    words = ("disclosures", chart, "--wallet", wallet, "--accounting", "--addresses", addresses)
    await desks.run(0, *words, "--format", "json", "--out", out)
    assert out.stat().st_mode & 0o777 == 0o600
    rows = json.loads(out.read_bytes())["rows"]
    assert [(row["purpose"], row["count"], row["exempt"]) for row in rows] == [
        ("HRESCH", 2, None),
        ("TREAT", 1, "treatment"),
    ]
    assert rows[0]["address"] == "1 Lake Road"
    assert rows[0]["description"] == "1 record: DocumentReference"
    assert rows[0]["people"] == ["=Byrne"]
    assert rows[0]["reasons"] == ["study 7"]
    page = await desks.run(0, *words)
    assert page.startswith("<!doctype html>")
    assert "1 Lake Road" in page
    assert (await desks.run(0, *words, "--format", "csv")).count("recipient") == 1
    later = await desks.json(0, *words, "--from", "2031-01-01", "--until", "2032-01-01")
    assert later["rows"] == []
    assert "ends before" in await desks.run(0, *words, "--from", "2032-01-01", "--until", "2031-01-01", code=-1)
    addresses.write_text("[]")
    assert "JSON object" in await desks.run(0, *words, code=-1)


async def test_a_delegate_reads_with_its_own_wallet(desks: Desks) -> None:
    wallet, chart = await patient(desks)
    helper = await desks.wallet("helper.wallet")
    card = desks.folder / "card"
    await desks.run(0, "delegate", "key", chart, "--output", card, "--wallet", helper)
    await desks.run(
        0, "delegate", "add", chart, "--card", card, "--act", "read", "--until", "30d", "--wallet", wallet
    )  # fmt: skip
    read = await desks.run(0, "record", "read", chart, 1, "--as-delegate", "--wallet", helper)
    assert read == "the letter"
    beyond = await desks.run(
        0, "record", "read", chart, 1, "--as-delegate", "--wallet", helper, "--purpose", "HMARKT", code=-1
    )
    assert "not to read this" in beyond
    told = await desks.run(0, "disclosures", chart, "--wallet", wallet)
    assert "delegate 0" in told
    stranger = await desks.run(0, "record", "read", chart, 1, "--as-delegate", "--wallet", wallet, code=-1)
    assert "has not named this wallet" in stranger
