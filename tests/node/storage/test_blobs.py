"""A blob that was put is there after a crash, and one that changed is named: design, section 7."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.storage.blobs import PACKED_BYTES, BlobProblem, BlobStore, BlobTotals
from node.storage.errors import BlobCorrupt, BlobMissing, StorageFailed
from node.storage.folder import DataFolder, FolderInUse
from protocol.crypto.hashing import blob_id

SMALL = b"small" * 100
LARGE = bytes(range(256)) * 1024


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobStore]:
    store = await BlobStore.open(tmp_path)
    yield store
    await store.close()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def object_of(folder: Path, data: bytes) -> Path:
    name = blob_id(data).hex()
    return folder / "objects" / name[:2] / name


@pytest.mark.parametrize("size", [0, 1, PACKED_BYTES - 1, PACKED_BYTES, PACKED_BYTES + 1, 11_000_000])
async def test_blobs_of_any_size_come_back_after_a_restart(tmp_path: Path, blobs: BlobStore, size: int) -> None:
    data = os.urandom(size)
    assert await blobs.put(data) == blob_id(data)
    assert object_of(tmp_path, data).exists() is (size >= PACKED_BYTES)
    streamed = os.urandom(size)
    assert await blobs.put(pieces(streamed, 50_000)) == blob_id(streamed)
    await blobs.close()
    again = await BlobStore.open(tmp_path)
    for one in (data, streamed):
        assert await again.get(blob_id(one)) == one
        assert await again.size(blob_id(one)) == size
        assert await again.check(blob_id(one)) == "ok"
    await again.close()


@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_parts_come_from_anywhere_in_a_blob(blobs: BlobStore, data: bytes) -> None:
    identity = await blobs.put(data)
    for offset, length in ((0, 10), (100, 1), (len(data) - 5, 50), (len(data), 10), (len(data) + 7, 10), (3, 0)):
        assert await blobs.part(identity, offset, length) == data[offset : offset + length]
    with pytest.raises(BlobMissing):
        await blobs.part(bytes(32), 0, 1)


async def test_many_go_in_with_one_sync(blobs: BlobStore) -> None:
    many = [b"blob %d" % n for n in range(300)] + [LARGE]
    ids = await blobs.put_many(many)
    assert ids == [blob_id(one) for one in many]
    assert await blobs.known([*ids, bytes(32)]) == set(ids)
    assert await blobs.totals() == BlobTotals(301, sum(map(len, many)))
    assert [problem async for problem in blobs.scan()] == []


async def test_the_same_bytes_are_stored_once(tmp_path: Path, blobs: BlobStore) -> None:
    for _ in range(2):
        await blobs.put_many([SMALL, SMALL, LARGE])
        await blobs.put(pieces(LARGE, 9_999))
    assert await blobs.totals() == BlobTotals(2, len(SMALL) + len(LARGE))
    assert list((tmp_path / "objects" / "incoming").iterdir()) == []


async def test_files_and_folders_are_private(tmp_path: Path, blobs: BlobStore) -> None:
    await blobs.put_many([SMALL, LARGE])
    await blobs.put(pieces(LARGE[1:], 10_000))
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.is_file() else 0o700), path


async def test_large_blobs_are_synced_before_put_returns(
    tmp_path: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    for data, source in ((LARGE, LARGE), (LARGE[1:], pieces(LARGE[1:], 10_000))):
        synced.clear()
        await blobs.put(source)
        path = object_of(tmp_path, data)
        assert {str(path), str(path.parent), str(tmp_path / "objects")} <= set(synced)


async def test_an_unknown_blob_is_missing(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing):
        await blobs.get(bytes(32))
    with pytest.raises(BlobMissing):
        await blobs.size(bytes(32))
    assert await blobs.check(bytes(32)) == "missing"


async def test_a_file_that_is_gone_or_changed_is_named(tmp_path: Path, blobs: BlobStore) -> None:
    ids = await blobs.put_many([SMALL, LARGE, LARGE[1:], LARGE[2:]])
    gone, changed = object_of(tmp_path, LARGE), object_of(tmp_path, LARGE[1:])
    gone.unlink()
    data = bytearray(LARGE[1:])
    data[77] ^= 1
    changed.write_bytes(data)
    assert [await blobs.check(one) for one in ids] == ["ok", "missing", "corrupt", "ok"]
    with pytest.raises(BlobMissing, match=gone.name):
        await blobs.get(ids[1])
    with pytest.raises(BlobCorrupt, match=changed.name):
        await blobs.get(ids[2])
    read: list[int] = []
    assert [problem async for problem in blobs.scan(read.append)] == [
        BlobProblem(ids[1], "missing", str(gone)),
        BlobProblem(ids[2], "corrupt", str(changed)),
    ]
    assert read == [4]


async def test_one_changed_byte_of_a_packed_blob_is_named(tmp_path: Path, blobs: BlobStore) -> None:
    canary = b"recognisable bytes of one sealed record"
    ids = await blobs.put_many([b"before", canary, b"after"])
    await blobs.close()
    file = tmp_path / "blobs.db"
    data = bytearray(file.read_bytes())
    data[data.index(canary) + 5] ^= 0x20
    file.write_bytes(data)
    again = await BlobStore.open(tmp_path)
    assert [await again.check(one) for one in ids] == ["ok", "corrupt", "ok"]
    with pytest.raises(BlobCorrupt, match="row 2 of"):
        await again.get(ids[1])
    assert [problem.id async for problem in again.scan()] == [ids[1]]
    await again.close()


async def test_an_upload_that_breaks_off_leaves_no_blob(blobs: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield LARGE
        raise ConnectionResetError("the sender went away")

    with pytest.raises((StorageFailed, ConnectionResetError)):
        await blobs.put(broken())
    assert await blobs.totals() == BlobTotals(0, 0)
    assert await blobs.put(LARGE) == blob_id(LARGE)


async def test_another_object_store_by_url(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store = await BlobStore.open(tmp_path, elsewhere.as_uri())
    identity = await store.put(LARGE)
    assert await store.get(identity) == LARGE
    assert not (tmp_path / "objects").exists()
    assert (elsewhere / identity.hex()[:2] / identity.hex()).exists()
    await store.close()


@pytest.mark.parametrize("url", ["foo://x/y", "file:///nowhere/at/all", "s3://"])
async def test_a_url_that_names_no_store_is_refused_at_once_in_one_sentence(tmp_path: Path, url: str) -> None:
    """And not with the first large record, as a fault of the daemon's."""
    with pytest.raises(StorageFailed, match=f"cannot use {url} for blobs: ") as refused:
        await BlobStore.open(tmp_path, url)
    assert "\n" not in str(refused.value)


async def test_a_folder_that_cannot_be_made_is_named_in_one_sentence(tmp_path: Path, blobs: BlobStore) -> None:
    (tmp_path / "objects").write_bytes(b"")
    with pytest.raises(StorageFailed, match="File exists") as refused:
        await blobs.put(LARGE)
    assert "\n" not in str(refused.value)
    (tmp_path / "objects").unlink()
    await blobs.put(LARGE)
    for folder in (tmp_path / "objects").iterdir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.write_bytes(b"")
    with pytest.raises(StorageFailed) as refused:
        await blobs.get(blob_id(LARGE))
    assert "\n" not in str(refused.value)


def test_the_object_store_library_waits_until_it_is_needed(tmp_path: Path) -> None:
    """It costs a node tens of megabytes, and one that keeps no large blob never pays."""
    code = (
        "import asyncio, sys; from pathlib import Path; from node.storage.blobs import BlobStore\n"
        "async def main():\n"
        "    store = await BlobStore.open(Path(sys.argv[1])); await store.put(b'small'); await store.close()\n"
        "asyncio.run(main()); sys.exit('obstore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[3])


def test_a_data_folder_has_one_user(tmp_path: Path) -> None:
    path = tmp_path / "data" / "node"
    held = DataFolder.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with pytest.raises(FolderInUse):
        DataFolder.open(path)
    held.close()
    DataFolder.open(path).close()


async def test_what_is_discarded_leaves_nothing(tmp_path: Path, blobs: BlobStore) -> None:
    kept, gone = os.urandom(PACKED_BYTES), os.urandom(PACKED_BYTES)
    ids = await blobs.put_many([SMALL, gone, kept, b"kept"])
    half = object_of(tmp_path, b"a crash came before its row")
    half.parent.mkdir(exist_ok=True)
    half.with_name(half.name + "#1").write_bytes(b"half")
    await blobs.discard([ids[0], ids[1], bytes.fromhex(half.name), bytes(32), ids[0]])
    assert await blobs.totals() == BlobTotals(2, len(kept) + 4)
    assert await blobs.known(ids) == {ids[2], ids[3]}
    found = {path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()}
    assert found == {ids[2].hex()}
    assert [problem async for problem in blobs.scan()] == []


async def test_nothing_is_kept_of_a_blob_that_is_refused_once_its_id_is_known(tmp_path: Path, blobs: BlobStore) -> None:
    told: list[tuple[bytes, int]] = []

    async def refuse(identity: bytes, size: int) -> None:
        told.append((identity, size))
        raise BlobMissing("refused")

    for data in (SMALL, LARGE):
        with pytest.raises(BlobMissing):
            await blobs.put(pieces(data, 9_999), refuse)
    assert told == [(blob_id(SMALL), len(SMALL)), (blob_id(LARGE), len(LARGE))]
    assert await blobs.totals() == BlobTotals(0, 0)
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_an_upload_that_breaks_off_leaves_no_file(tmp_path: Path, blobs: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(6_000_000)
        raise BlobMissing("gone")

    with pytest.raises((BlobMissing, StorageFailed)):
        await blobs.put(broken())
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


async def test_what_a_crash_left_of_uploads_is_cleaned_at_a_start(tmp_path: Path, blobs: BlobStore) -> None:
    await blobs.clean()
    await blobs.put(LARGE)
    incoming = tmp_path / "objects" / "incoming"
    incoming.mkdir(exist_ok=True)
    for name in ("ab", "ab#1"):
        (incoming / name).write_bytes(b"half")
    await blobs.clean()
    assert list(incoming.iterdir()) == []
    assert await blobs.get(blob_id(LARGE)) == LARGE
