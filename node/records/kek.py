"""The key-encryption key: under it lies, row by row, what opens records here; when it is made anew, what was erased
can be opened by nobody any more, whatever is left of it on old pages, in old logs or in old backups.

Each row has a key of its own, sealed under the key-encryption key in front of it. So a renewal seals those row keys
anew and nothing else: it needs to know nothing about the rows, and no record's key passes through memory for it.

The key lies in a file of its own, beside no backup, sealed under the keystore's root and so under the passphrase.
While a renewal goes on the file holds the former key too; so whatever a crash leaves, each row opens under one of the
two. What was sealed before a renewal and is stored after it would be lost: whoever seals, then stores, holds a *lease*
meanwhile, and so does who reads, then opens. Rows are sealed anew once no lease from before the new key is left, and
the former key is destroyed once none is left from before the last row was.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from node.keystore import read_private, write_private
from node.storage.errors import StorageFailed
from protocol.codec.canonical import decode, encode
from protocol.crypto.sealing import KEY_BYTES, NONCE_BYTES, secretbox_open, secretbox_seal
from protocol.errors import ChartledgerError, DecodeError, SealBroken
from protocol.types.base import Wire

ID_BYTES: Final = 8
TAG_BYTES: Final = 16
WRAPPED_BYTES: Final = ID_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES
"""What stands in front of each sealed row: which key it lies under, and the row's own key sealed under that."""
FILE_BYTES: Final = 4_096
FILE_NAME: Final = "kek"


class KekRefused(ChartledgerError):
    """The file of the key-encryption key does not open."""

    advice = (
        "Put back the file that belongs to this keystore. If there is none any more, move this one away: the node "
        "makes a new one, and what lies sealed under the old one opens no more."
    )


class KekGone(SealBroken):
    """What is stored here lies sealed under a key that was destroyed since, or lost."""

    advice = "Nothing here opens it any more: docs/operators.md says how a restored backup and a lost key look."


class OneKey(Wire, frozen=True):
    """A key-encryption key and the random name by which rows know it."""

    id: Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    key: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]

    def __repr__(self) -> str:
        return f"OneKey({self.id.hex()})"


class KekFile(Wire, frozen=True):
    """What the file holds: the key in force and, while a renewal goes on, the one before."""

    present: OneKey
    former: OneKey | None = None


class KeyEncryption:
    """The open key-encryption key of one node. Get it from `open_file`."""

    def __init__(self, path: Path, root: bytes, chain: bytes, content: KekFile, *, fresh: bool) -> None:
        self.fresh = fresh
        """Whether there was no file, so that whatever lies sealed here opens no more."""
        self._path = path
        self._root = root
        self._chain = chain
        self._content = content
        self._leases: dict[int, int] = {}  # how many, by the round in which they were taken
        self._round = 0
        self._returned = asyncio.Event()

    def __repr__(self) -> str:
        return "KeyEncryption(hidden)"

    @classmethod
    def open_file(cls, folder: Path, root: bytes, chain: bytes) -> KeyEncryption:
        """The key in `folder`, made if there is none. `root` is the keystore's. Raises `KekRefused`,
        `KeyfileRefused` or `StorageFailed`."""
        path = folder / FILE_NAME
        _sweep(path)
        sealed_by = hashlib.blake2b(chain, key=root, digest_size=32, person=b"cl-kek-file").digest()
        if not path.exists():
            made = KekFile(_draw())
            _write(path, sealed_by, made)
            return cls(path, sealed_by, chain, made, fresh=True)
        try:
            plain = secretbox_open(sealed_by, read_private(path, FILE_BYTES), b"kek")
            return cls(path, sealed_by, chain, decode(KekFile, plain), fresh=False)
        except (SealBroken, DecodeError):
            raise KekRefused(f"{path} does not open with this node's keystore") from None

    @property
    def present(self) -> bytes:
        """The name of the key that everything is sealed under from now on (8 bytes)."""
        return self._content.present.id

    @property
    def renewing(self) -> bool:
        """Whether a renewal was begun and is not at its end."""
        return self._content.former is not None

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """`plain` for storage, bound to the chain and `context`. CPU work."""
        own = os.urandom(KEY_BYTES)
        wrapped = self._wrap(self._content.present, own)
        return wrapped + secretbox_seal(own, os.urandom(NONCE_BYTES), plain, self._chain + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What `seal` sealed. Raises `KekGone`, or `SealBroken` for what was sealed for another context."""
        own = self._unwrap(sealed[:WRAPPED_BYTES])
        return secretbox_open(own, sealed[WRAPPED_BYTES:], self._chain + context)

    def knows(self, sealed: bytes) -> bool:
        """Whether the key that this lies under is here."""
        return self._by_id(sealed[:ID_BYTES]) is not None

    def is_former(self, sealed: bytes) -> bool:
        """Whether this lies under the key that a renewal is about to destroy."""
        former = self._content.former
        return former is not None and sealed[:ID_BYTES] == former.id

    # --- renewal -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From now on a new key is in force and the former is kept beside it; both are on disk when this returns.
        Nothing if a renewal goes on already. Blocks on the disk. Raises `StorageFailed`."""
        if self._content.former is None:
            content = KekFile(_draw(), self._content.present)
            _write(self._path, self._root, content, shred=True)  # its blocks would keep the key past its destruction
            self._content = content

    def rewrapped(self, sealed: bytes) -> bytes | None:
        """The same row under the key in force; None if it lies under it already, or under one that is not here."""
        if sealed[:ID_BYTES] == self._content.present.id or not self.knows(sealed):
            return None
        own = self._unwrap(sealed[:WRAPPED_BYTES])
        return self._wrap(self._content.present, own) + sealed[WRAPPED_BYTES:]

    async def quiet(self) -> None:
        """Wait until every lease that is held now was given back."""
        until, self._round = self._round, self._round + 1
        while any(held <= until for held in self._leases):
            self._returned.clear()
            await self._returned.wait()

    def finish(self) -> None:
        """Destroy the former key. The caller has seen to it that no row lies under it and nobody holds a lease from
        before that was so. Blocks on the disk. Raises `StorageFailed`."""
        content = KekFile(self._content.present)
        _write(self._path, self._root, content, shred=True)
        _sweep(self._path)
        self._content = content

    @contextmanager
    def lease(self) -> Iterator[None]:
        """For the time between sealing and storing, or between reading and opening."""
        held = self._round
        self._leases[held] = self._leases.get(held, 0) + 1
        try:
            yield
        finally:
            self._leases[held] -= 1
            if not self._leases[held]:
                del self._leases[held]
            self._returned.set()

    # --- inside ------------------------------------------------------------------------------------------------

    def _by_id(self, identity: bytes) -> OneKey | None:
        for one in (self._content.present, self._content.former):
            if one is not None and one.id == identity:
                return one
        return None

    def _wrap(self, under: OneKey, own: bytes) -> bytes:
        return under.id + secretbox_seal(under.key, os.urandom(NONCE_BYTES), own, b"row" + under.id)

    def _unwrap(self, wrapped: bytes) -> bytes:
        under = self._by_id(wrapped[:ID_BYTES])
        if under is None:
            raise KekGone()
        return secretbox_open(under.key, wrapped[ID_BYTES:], b"row" + under.id)


def _draw() -> OneKey:
    return OneKey(os.urandom(ID_BYTES), os.urandom(KEY_BYTES))


def _sweep(path: Path) -> None:
    """Remove what writes of the file that a crash cut short have left: a key must not outlive its end there. Raises
    `StorageFailed`."""
    with _by_name(path):
        for left in path.parent.glob(f".{path.name}.*"):
            descriptor = os.open(left, os.O_RDWR | os.O_CLOEXEC)
            try:
                _write_over(descriptor)
            finally:
                os.close(descriptor)
            left.unlink(missing_ok=True)


def _write(path: Path, sealed_by: bytes, content: KekFile, *, shred: bool = False) -> None:
    """Whole or not at all, synced. With `shred`, what stood there before is written over as well, as far as the medium
    does what it is told. Raises `StorageFailed`."""
    with _by_name(path):
        before = os.open(path, os.O_RDWR | os.O_CLOEXEC) if shred else -1
        try:
            write_private(path, secretbox_seal(sealed_by, os.urandom(NONCE_BYTES), encode(content), b"kek"))
            if before >= 0:
                _write_over(before)
        finally:
            if before >= 0:
                os.close(before)


@contextmanager
def _by_name(path: Path) -> Iterator[None]:
    """A full or failing disk by its name, which a renewal outlives."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"cannot write {path}: {error.strerror}") from error


def _write_over(descriptor: int) -> None:
    os.pwrite(descriptor, os.urandom(os.fstat(descriptor).st_size), 0)
    os.fsync(descriptor)
