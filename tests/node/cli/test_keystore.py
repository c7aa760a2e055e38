"""Key files: opened by their passphrase alone, and only while nobody else can read them."""

import io
import re

import pytest

from node import keystore as module
from node.config import Config
from node.keystore import (
    CREDENTIAL,
    EncryptionKey,
    KeyfileRefused,
    Keystore,
    NetworkKey,
    NoPassphrase,
    find_passphrase,
    open_keystore,
    write_file,
    write_keystore,
)
from protocol.crypto.keyfiles import Cost
from protocol.errors import WrongPassphrase

LOW = Cost(passes=1, memory_kib=8)
STORE = Keystore(
    (b"o" * 32,), (b"v" * 32,), (NetworkKey(b"n" * 32, b"der"),), (EncryptionKey(1, b"e" * 32),), b"k" * 32
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keystore"
    write_keystore(path, STORE, b"right", LOW)
    return path


def test_opens_with_its_passphrase(file):
    assert open_keystore(file, b"right").keystore == STORE
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_wrong_passphrase_is_refused_and_names_the_file(file):
    with pytest.raises(WrongPassphrase, match=re.escape(str(file))):
        open_keystore(file, b"wrong")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_loose_mode_is_refused_and_says_how_to_mend_it(file, mode):
    file.chmod(mode)
    with pytest.raises(KeyfileRefused, match="mode") as caught:
        open_keystore(file, b"right")
    assert caught.value.advice == f"Run `chmod 600 {file}`."


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(KeyfileRefused, match="No such file") as caught:
        open_keystore(tmp_path / "none", b"right")
    assert caught.value.advice.startswith("Check the path")


def test_what_is_no_key_file_is_refused(tmp_path):
    path = tmp_path / "keystore"
    path.write_bytes(b"nonsense")
    path.chmod(0o600)
    with pytest.raises(KeyfileRefused, match="not a chartledger key file"):
        open_keystore(path, b"right")


def test_a_key_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "keystore"
    write_file(path, b"a wallet", b"right", LOW)
    with pytest.raises(KeyfileRefused, match="not a node's keystore"):
        open_keystore(path, b"right")


def test_an_existing_file_is_never_overwritten(file):
    with pytest.raises(KeyfileRefused, match="exists already"):
        write_keystore(file, STORE, b"other", LOW)
    assert open_keystore(file, b"right").keystore == STORE
    assert [one.name for one in file.parent.iterdir()] == ["keystore"]


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(file, b"new", b"right", LOW, replace=True)
    assert open_keystore(file, b"right").keystore == STORE
    assert [one.name for one in file.parent.iterdir()] == ["keystore"]


def test_what_cannot_be_written_is_named_as_it_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as refused:
        write_file(tmp_path / "nowhere" / "wallet", b"new", b"right", LOW)
    assert refused.value.filename == str(tmp_path / "nowhere" / "wallet")


def test_a_missing_passphrase_file_is_not_taken_for_a_missing_wallet(tmp_path):
    with pytest.raises(NoPassphrase, match="there is no passphrase file") as refused:
        find_passphrase(None, tmp_path / "gone")
    assert "--passphrase-file" in refused.value.advice


def test_no_secret_in_the_repr():
    assert "o" * 8 not in repr(STORE)
    assert repr(STORE) == "Keystore(operations=1, votes=1)"


def passphrase_file(folder, text, mode=0o600):
    path = folder / "passphrase"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_passphrase_is_the_first_line_of_its_file(tmp_path):
    config = Config(institution=0, passphrase_file=passphrase_file(tmp_path, "two words\r\nmore\n"))
    assert find_passphrase(config) == b"two words"


def test_a_passphrase_file_must_be_closed_too(tmp_path):
    with pytest.raises(KeyfileRefused, match="mode 0644"):
        find_passphrase(passphrase_file=passphrase_file(tmp_path, "x", 0o644))


def test_an_empty_passphrase_file_is_refused(tmp_path):
    with pytest.raises(NoPassphrase, match="empty"):
        find_passphrase(passphrase_file=passphrase_file(tmp_path, "\n"))


def test_systemd_hands_over_a_credential(tmp_path, monkeypatch):
    (tmp_path / CREDENTIAL).write_text("from systemd")
    (tmp_path / CREDENTIAL).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert find_passphrase(Config(institution=0)) == b"from systemd"


def test_without_any_source_it_says_which_there_are(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(NoPassphrase) as caught:
        find_passphrase()
    assert "--passphrase-file" in caught.value.advice
    assert CREDENTIAL in caught.value.advice
