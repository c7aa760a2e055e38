"""A carer acts for a patient, who loses the wallet; guardians bring the chart back: typed, on real daemons."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.devnet import Devnet, Wish
from tests.e2e.conftest import Network
from tests.e2e.test_cli import passphrase, run, socket_of

pytestmark = pytest.mark.processes

__all__ = ["passphrase"]

WAIT_MS = 10_000


@pytest.fixture
def hasty() -> Iterator[Network]:
    """Four daemons on a chain where a change of owner waits for seconds, not days."""
    folder = Path(tempfile.mkdtemp(prefix="cl-"))
    devnet = Devnet.create(folder / "net", Wish(params={"recovery_ms": WAIT_MS}))
    net = Network(devnet)
    try:
        devnet.start()
        yield net
    finally:
        net.close()
        shutil.rmtree(folder, ignore_errors=True)


class Person:
    """Somebody with a wallet, who types."""

    def __init__(self, name: str, folder: Path, passphrase: Path, env: dict[str, str]) -> None:
        self.file = folder / name
        self._env = env
        self._secret = ("--passphrase-file", passphrase)
        run("wallet", "new", self.file, *self._secret, "--json")

    def does(self, *words: object, env: dict[str, str] | None = None, code: int = 0):
        ended = run(*words, "--wallet", self.file, *self._secret, "--json", env=env or self._env, code=code)
        return ended.json() if code == 0 else ended.err


def test_a_carer_acts_and_guardians_bring_a_lost_chart_back(hasty: Network, tmp_path: Path, passphrase: Path) -> None:
    custodian, reader = socket_of(hasty, 0), socket_of(hasty, 2)
    patient, carer, new, anna, ben = (
        Person(name, tmp_path, passphrase, custodian) for name in ("patient", "carer", "new", "anna", "ben")
    )
    chart = patient.does("chart", "open")["chart"]
    note = tmp_path / "note.txt"
    note.write_text("Zoë's note\n")
    record = run("record", "submit", chart, note, "--json", env=custodian).json()["files"][0]["records"][0]

    card = tmp_path / "card"
    carer.does("delegate", "key", chart, "-o", card)
    patient.does("delegate", "add", chart, "--card", card, "--act", "grant", "--act", "revoke", "--until", "30d")
    grant = carer.does("grant", chart, "--to", "2", "--until", "7d", "--as-delegate")["grant"]
    assert "[beyond-bounds]" in carer.does("grant", chart, "--to", "2", "--until", "90d", "--as-delegate", code=1)
    hasty.same_height()
    assert run("record", "read", chart, record, "--grant", grant, env=reader).out == "Zoë's note\n"
    patient.does("policy", "bar", chart, "2")
    hasty.same_height()
    assert "denied" in run("record", "read", chart, record, "--grant", grant, env=reader, code=1).err
    patient.does("policy", "unbar", chart, "2")

    keys = [part for one in (anna, ben) for part in ("--key", one.does("guardian", "key", chart)["key"])]
    patient.does("guardian", "set", chart, "--threshold", "2", *keys)
    request = tmp_path / "request"
    key = new.does("recovery", "begin", chart, "-o", request)["owner_key"]
    anna.does("recovery", "sign", request)
    assert "[too-few-guardians]" in run("recovery", "submit", request, env=custodian, code=1).err
    ben.does("recovery", "sign", request)
    assert run("recovery", "submit", request, "--json", env=custodian).json()["key_handed_in"] is True
    assert "[not-the-owner]" in new.does("grant", chart, "--to", "2", "--until", "1d", code=1)
    # Nobody does anything: the custodian's node completes it once the time is over.
    session = hasty.session(0)
    hasty.eventually("the chart has its new owner", lambda: session.control(chart)["owner_key"] == key)

    new.does("recovery", "complete", chart)
    assert "[not-the-owner]" in patient.does("grant", chart, "--to", "2", "--until", "1d", code=1)
    assert "[delegate-not-in-force]" in carer.does(
        "grant", chart, "--to", "2", "--until", "1d", "--as-delegate", code=1
    )
    out = tmp_path / "out"
    new.does("record", "read", chart, record, "-o", out)
    assert out.read_text() == "Zoë's note\n"
    read = new.does("revoke", chart, grant)["read_before"]
    assert [(one["institution"], one["records"]) for one in read] == [(2, [record])]
    hasty.same_height()
    assert "denied" in run("record", "read", chart, record, "--grant", grant, env=reader, code=1).err
