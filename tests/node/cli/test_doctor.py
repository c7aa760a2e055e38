"""The doctor on a node that has never run: settings, keys and files, each fault named with what to do."""

import asyncio
import errno
from pathlib import Path

import pytest
from msgspec.structs import replace

from node import doctor
from node.config import load_config
from node.devnet import Devnet, wish_for
from node.doctor import examine, last_examination
from node.genesis_file import read_genesis, write_genesis
from node.membership import Remembered
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock
from protocol.codec.canonical import encode
from protocol.ledger.genesis import genesis_block


@pytest.fixture
def devnet(tmp_path):
    return Devnet.create(tmp_path / "net", wish_for(3))


def findings(devnet, **edits):
    file = devnet.config(0)
    text = file.read_text()
    for old, new in edits.values():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return {finding.check: finding for finding in examine(load_config(file))}


def test_a_fresh_node_has_nothing_wrong(devnet):
    found = findings(devnet)
    assert {check: finding.state for check, finding in found.items()} == {
        "settings": "ok", "labels": "ok", "genesis": "ok", "keystore": "ok", "data": "ok", "ledger": "skipped",
    }  # fmt: skip


def test_what_was_found_is_told_where_it_cannot_be_kept(devnet, monkeypatch):
    """A full disk is when it is wanted most."""

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(doctor, "write_private", full)
    found = examine(load_config(devnet.config(0)))
    assert found[0].check == "settings"
    assert (found[-1].state, "No space left" in found[-1].sentence) == ("warning", True)


def test_what_a_running_node_removes_meanwhile_is_nothing_wrong(devnet, monkeypatch):
    data = load_config(devnet.config(0)).data
    rglob = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, what: [*rglob(path, what), data / "passing"])
    assert findings(devnet)["data"].state == "ok"


def test_another_institutions_keystore_is_named(devnet):
    found = findings(devnet, keystore=('"keystore"', '"../1/keystore"'), secret=('"passphrase"', '"../1/passphrase"'))
    assert found["keystore"].wrong
    assert found["keystore"].sentence.startswith("the operations, vote, network, encryption key is not the one")


def test_keys_are_not_held_against_a_ledger_that_was_dropped(devnet):
    """They may have been rotated since the genesis, and the newest be the right ones."""
    data = load_config(devnet.config(0)).data
    Remembered(1, {}).write(data)
    found = findings(devnet, keystore=('"keystore"', '"../1/keystore"'), secret=('"passphrase"', '"../1/passphrase"'))
    assert found["keystore"].state == "ok"
    assert "once this node has caught up" in found["keystore"].sentence


def test_a_wrong_passphrase_is_named(devnet):
    assert findings(devnet, secret=('"passphrase"', '"../1/passphrase"'))["keystore"].wrong


def test_a_number_that_the_genesis_does_not_know_may_have_been_accredited_later(devnet):
    found = findings(devnet, number=("institution = 0", "institution = 7"))
    assert found["genesis"].state == "warning"
    assert "no institution 7" in found["genesis"].sentence
    assert found["keystore"].state == "ok"


def test_a_peer_that_the_genesis_does_not_know_may_have_been_accredited_later(devnet):
    found = findings(devnet, peer=("[peers]", '[peers]\n9 = "127.0.0.1:9"'))
    assert found["genesis"].state == "warning"
    assert "no institution 9" in found["genesis"].sentence


def test_an_authority_without_address_is_a_warning(devnet):
    port = devnet.plan.nodes[2].port
    found = findings(devnet, peer=(f'2 = "127.0.0.1:{port}"', ""))
    assert found["genesis"].state == "warning"
    assert "authority 2" in found["genesis"].sentence


def test_an_altered_genesis_is_named(devnet):
    genesis = read_genesis(devnet.genesis)
    write_genesis(devnet.genesis, genesis)
    devnet.genesis.write_text(devnet.genesis.read_text().replace("Rivertown", "Rivertawn"))
    assert findings(devnet)["genesis"].wrong


@pytest.mark.parametrize("own", [True, False])
def test_a_sound_ledger_of_another_genesis_is_not_sound(devnet, own):
    """Whoever can write the file could put a chain there that agrees with itself from its own genesis on."""
    genesis = read_genesis(devnet.genesis)
    begun = genesis if own else replace(genesis, created_at=genesis.created_at + 1)
    start = genesis_block(begun)

    async def begin():
        store = await LedgerStore.open(devnet.data(0) / "ledger.db")
        first = CommittedBlock(start.header, (), None, (), start.changes.leaves, start.tree.nodes, ())
        await store.init_genesis(encode(begun), first)
        await store.close()

    asyncio.run(begin())
    found = findings(devnet)["ledger"]
    assert found.wrong is not own
    assert own or "began from another genesis" in found.sentence


def test_open_files_are_named_and_findings_are_left_for_status(devnet):
    data = devnet.data(0)
    next(data.glob("journal-*")).chmod(0o644)
    found = findings(devnet)
    assert found["data"].wrong
    assert "journal" in found["data"].sentence
    left = last_examination(data)
    assert left is not None
    assert found["data"] in left.findings
    assert (data / "doctor.json").stat().st_mode & 0o777 == 0o600


def test_what_is_no_examination_is_none(tmp_path):
    assert last_examination(tmp_path) is None
    (tmp_path / "doctor.json").write_text("{}")
    assert last_examination(tmp_path) is None
