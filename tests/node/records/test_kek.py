"""The file of the key-encryption key: closed, whole, and nothing of a former key left beside it."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from node.keystore import Keystore
from node.records import kek
from node.records.kek import FILE_NAME, WRAPPED_BYTES, KekGone, KekRefused, KeyEncryption
from node.storage.errors import StorageFailed
from protocol.errors import SealBroken

ROOT, CHAIN = b"r" * 32, b"c" * 32


def opened(folder: Path) -> KeyEncryption:
    return KeyEncryption.open_file(folder, ROOT, CHAIN)


def test_it_is_made_once_closed_to_others_and_opens_again(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert first.fresh
    sealed = first.seal(b"secret", b"here")
    again = opened(tmp_path)
    assert not again.fresh
    assert again.open(sealed, b"here") == b"secret"
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    with pytest.raises(SealBroken):
        again.open(sealed, b"elsewhere")


def test_another_keystore_or_chain_does_not_open_it(tmp_path: Path) -> None:
    opened(tmp_path)
    for root, chain in ((b"x" * 32, CHAIN), (ROOT, b"x" * 32)):
        with pytest.raises(KekRefused):
            KeyEncryption.open_file(tmp_path, root, chain)
    (tmp_path / FILE_NAME).write_bytes(b"short")
    with pytest.raises(KekRefused):
        opened(tmp_path)


async def test_a_renewal_keeps_both_until_its_end_and_then_one(tmp_path: Path) -> None:
    key = opened(tmp_path)
    sealed = key.seal(b"secret", b"here")
    key.begin()
    name = key.present
    key.begin()
    assert key.present == name, "a renewal that goes on is not begun again"
    again = opened(tmp_path)
    assert again.renewing
    assert again.open(sealed, b"here") == b"secret"
    anew = again.rewrapped(sealed)
    assert anew is not None
    assert again.rewrapped(anew) is None
    assert anew[WRAPPED_BYTES:] == sealed[WRAPPED_BYTES:]
    again.finish()
    assert again.open(anew, b"here") == b"secret"
    with pytest.raises(KekGone):
        again.open(sealed, b"here")
    with pytest.raises(KekGone):
        opened(tmp_path).open(sealed, b"here")


def test_what_a_torn_write_left_goes_at_the_next_start(tmp_path: Path) -> None:
    opened(tmp_path)
    left = tmp_path / f".{FILE_NAME}.0badcafe"
    content = (tmp_path / FILE_NAME).read_bytes()
    left.write_bytes(content)
    with left.open("rb") as before:
        opened(tmp_path)
        assert before.read() != content
    assert not left.exists()


def test_what_stood_in_the_file_is_written_over(tmp_path: Path) -> None:
    """Both times: the file from before the renewal holds the key that is about to be destroyed, too."""
    key = opened(tmp_path)
    for step in (key.begin, key.finish, key.begin, key.finish):
        with (tmp_path / FILE_NAME).open("rb") as before:  # it lives on for whoever holds it open, as on a disk
            content = before.read()
            step()
            before.seek(0)
            assert before.read() != content


@pytest.mark.parametrize("fails", ["fsync", "pwrite", "open"])
def test_a_disk_that_refuses_is_told_of_by_name_and_the_renewal_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Whoever renews in the background knows storage's name for it and tries again; any other ended the node."""
    key = opened(tmp_path)
    sealed = key.seal(b"secret", b"here")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in (key.begin, key.finish):
        with monkeypatch.context() as patched:
            patched.setattr(kek.os, fails, full)
            with pytest.raises(StorageFailed, match="No space left"):
                step()
        assert key.open(sealed, b"here") == b"secret"
        assert opened(tmp_path).open(sealed, b"here") == b"secret"
        step()
        sealed = key.rewrapped(sealed) or sealed
    assert not key.renewing
    assert opened(tmp_path).open(sealed, b"here") == b"secret"


async def test_leases_are_waited_for_and_those_taken_later_are_not(tmp_path: Path) -> None:
    key = opened(tmp_path)
    with key.lease():
        waiting = asyncio.create_task(key.quiet())
        await asyncio.sleep(0)
        with key.lease():
            assert not waiting.done()
    await waiting


def test_no_keystore_holds_it() -> None:
    """`keys backup` copies the keystore: what it does not hold, no backup of it does."""
    assert "kek" not in Keystore.__struct_fields__
