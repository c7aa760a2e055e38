"""The journal of one vote key: an append-only file that is synced before anything built on it leaves the node.

File: a header, then frames. All numbers big-endian.

    header   magic (8) | chain (32) | vote key (32) | epoch (8) | sequence before the first frame (8) | CRC-32 (4)
    frame    payload length (4) | CRC-32 of the rest (4) | sequence (8) | synced (8) | payload

`sequence` counts records over the journal's whole life, rewrites included, from a random number on: so bytes that
others got into a record cannot pass for a later frame and make a torn tail look like a loss. `synced` is the highest
sequence that was known to be durable when the frame was written. Reading stops at the first frame that is not whole.
That is a torn tail, cut off without harm, unless the frame must have been durable: because a later frame says so by its
`synced`, or because the mark does that the ledger database stores with each commit. Then votes may have been lost that
others have seen, and `JournalBroken` says that this node must not vote (design, section 5, rule 7).

`epoch` is the first in which the key may still sign: what it signed in those before was thrown away when they were over
(`rewrite`), so a node whose copy of the chain was dropped, and begins anew at an old epoch, must only follow there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct as Layout
from typing import Final, NamedTuple

from protocol.errors import JournalBroken

_MAGIC: Final = b"CLJRNL\x00\x02"
_HEADER: Final = Layout(">8s32s32sQQI")
_FRAME: Final = Layout(">IIQQ")
_LENGTH_AND_CRC: Final = 8
_MARK: Final = Layout(">32s32sQ")
RECORD_BYTES: Final = 16 * 1024 * 1024
MARK_BYTES: Final = _MARK.size
"""Of a mark: the chain's id, the vote key, then a sequence."""


class Owner(NamedTuple):
    """Whose journal it is: of which chain's vote key (32 bytes, public)."""

    chain: bytes
    vote_key: bytes


def journal_path(folder: Path, vote_key: bytes) -> Path:
    """Where in the data folder the journal of this vote key lies."""
    return folder / f"journal-{vote_key.hex()[:16]}"


class Journal:
    """An open journal. `append` any number of records, then `sync` once; only then are they written and durable."""

    def __init__(self, path: Path, owner: Owner, epoch: int, descriptor: int, sequence: int, size: int) -> None:
        self.path = path
        self.epoch = epoch
        """The first in which the key may sign."""
        self._owner = owner
        self._descriptor = descriptor
        self._sequence = sequence
        self._synced = sequence
        self._size = size
        self._waiting: list[bytes] = []
        self._broken: str | None = None

    @staticmethod
    def create(folder: Path, owner: Owner) -> None:
        """Make the empty journal of a vote key that has signed nothing yet, and the data folder with mode 0700.

        Done once in a vote key's life, when the key is made. A node that runs never makes one: a data folder that was
        wiped must not look like one that never voted. Raises `JournalBroken` if there is one.
        """
        path = journal_path(folder, owner.vote_key)
        if path.exists():
            raise JournalBroken(f"{path} exists already", advice="A journal is made once in a vote key's life.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, owner, 0, secrets.randbits(62), b"")

    @classmethod
    def open(cls, folder: Path, owner: Owner, mark: bytes | None) -> tuple[Journal, list[bytes]]:
        """Open, and give the records that it holds, oldest first.

        `mark` is what the ledger database holds (`LedgerStore.journal_mark`), None if it never stored one; one of
        another vote key says nothing of this one's journal. Raises `JournalBroken` for a journal that is absent, older
        than the mark, of another chain, or damaged where it must have been durable.
        """
        path = journal_path(folder, owner.vote_key)
        marked = _marked(mark, owner)
        if not path.exists():
            raise JournalBroken(f"{path} is missing, and votes may have been cast from it", advice=_ADVICE)
        data = path.read_bytes()
        epoch, sequence, records, size = _read(path, data, owner)
        if marked is not None and sequence < marked:
            raise JournalBroken(
                f"{path} ends at record {sequence}, and record {marked} was written: it is an old copy, or damaged",
                advice=_ADVICE,
            )
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)  # what was read may have been in memory only
        except OSError as error:
            os.close(descriptor)
            raise JournalBroken(f"{path} cannot be repaired: {error}") from error
        return cls(path, owner, epoch, descriptor, sequence, size), records

    @property
    def size_bytes(self) -> int:
        """What is in the file."""
        return self._size

    def mark(self) -> bytes:
        """How far the journal must reach from now on: everything synced so far. For `LedgerStore.commit`."""
        return _MARK.pack(*self._owner, self._synced)

    def append(self, records: Iterable[bytes]) -> None:
        """Take records (each 1 byte to 16 MiB) to be written by the next `sync`."""
        for record in records:
            if not 1 <= len(record) <= RECORD_BYTES:
                raise ValueError(f"a journal record has 1 to {RECORD_BYTES} bytes, not {len(record)}")
            self._sequence += 1
            self._waiting.append(_frame(self._sequence, self._synced, record))

    def sync(self) -> None:
        """Write what was appended and wait until it is durable. Blocks for about a disk's sync.

        Raises `JournalBroken` if the disk refuses; after that the journal takes nothing more, since what a failed sync
        left behind cannot be known (the node must stop).
        """
        if self._broken is not None:
            raise JournalBroken(self._broken)
        sequence, waiting = self._sequence, self._waiting
        self._waiting = []  # `append` may go on while this runs in another thread
        data = b"".join(waiting)
        if not data:
            return
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._broken = f"{self.path} cannot be written: {error}"
            raise JournalBroken(self._broken, advice="Free or replace the disk, then start the node again.") from error
        self._size += len(data)
        self._synced = sequence

    async def write(self, records: Sequence[bytes]) -> None:
        """`append` and `sync` off the event loop. One call at a time. Not interrupted by cancellation."""
        self.append(records)
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.sync))

    def rewrite(self, records: Iterable[bytes], epoch: int) -> None:
        """Replace all that is in the file by these records, atomically and durably: compaction.

        The key signs in no epoch before `epoch` from now on. After a crash the file is the old or the new one. The new
        records count on from the old ones. Blocks.
        """
        if epoch < self.epoch:
            raise ValueError(f"a journal of epoch {self.epoch} cannot go back to {epoch}")
        self.sync()
        before = self._sequence
        frames = [_frame(sequence, sequence - 1, record) for sequence, record in enumerate(records, start=before + 1)]
        try:
            self._size = _replace(self.path, self._owner, epoch, before, b"".join(frames))
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            self._broken = f"{self.path} cannot be rewritten: {error}"
            raise JournalBroken(self._broken) from error
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._sequence = self._synced = before + len(frames)
        self.epoch = epoch

    def close(self) -> None:
        """Close the file. What was appended and not synced is lost, as it would be in a crash."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._broken = f"{self.path} is closed"


_ADVICE: Final = (
    "This node follows without voting until its vote key is rotated: run `chartledger keys rotate vote --config FILE`. "
    "Never copy a journal back from a backup."
)


def _frame(sequence: int, synced: int, record: bytes) -> bytes:
    rest = _FRAME.pack(len(record), 0, sequence, synced)[_LENGTH_AND_CRC:] + record
    return len(record).to_bytes(4, "big") + _crc(len(record), rest).to_bytes(4, "big") + rest


def _crc(length: int, rest: bytes | memoryview) -> int:
    return zlib.crc32(rest, zlib.crc32(length.to_bytes(4, "big")))


def _marked(mark: bytes | None, owner: Owner) -> int | None:
    if mark is None:
        return None
    if len(mark) != _MARK.size:
        raise JournalBroken("the ledger database holds a damaged journal mark", advice=_ADVICE)
    of_chain, of_key, sequence = _MARK.unpack(mark)
    if of_chain != owner.chain:
        raise JournalBroken("the ledger database holds the journal mark of another chain", advice=_ADVICE)
    return int(sequence) if of_key == owner.vote_key else None


def _replace(path: Path, owner: Owner, epoch: int, sequence: int, frames: bytes) -> int:
    """Write a whole new file beside the old one, sync it, move it into place, sync the folder. Its size in bytes."""
    header = _HEADER.pack(_MAGIC, *owner, epoch, sequence, 0)[:-4]
    data = header + zlib.crc32(header).to_bytes(4, "big") + frames
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return len(data)


def journals(folder: Path) -> dict[Path, Owner]:
    """The journals in a data folder and whose they are, without those whose header is damaged."""
    found = {}
    for path in sorted(folder.glob("journal-" + "[0-9a-f]" * 16)):
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
        if len(header) == _HEADER.size and zlib.crc32(header[:-4]) == int.from_bytes(header[-4:], "big"):
            _, chain, vote_key, _, _, _ = _HEADER.unpack(header)
            found[path] = Owner(chain, vote_key)
    return found


def last_epoch(folder: Path, owner: Owner) -> int | None:
    """The last epoch in which this vote key could sign so far; None if its journal is as it was made, so that nothing
    was ever signed with it. Raises `JournalBroken` for one that is missing or damaged."""
    path = journal_path(folder, owner.vote_key)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise JournalBroken(f"{path} is missing", advice=_ADVICE) from None
    epoch, _, records, _ = _read(path, data, owner)
    return epoch if epoch or records else None


def _read(path: Path, data: bytes, owner: Owner) -> tuple[int, int, list[bytes], int]:
    """(epoch, last sequence, records, bytes that are good). Raises `JournalBroken` for what is not just a torn tail."""
    if len(data) < _HEADER.size or zlib.crc32(data[: _HEADER.size - 4]) != int.from_bytes(
        data[_HEADER.size - 4 : _HEADER.size], "big"
    ):
        raise JournalBroken(f"{path} has a damaged header", advice=_ADVICE)
    magic, of_chain, of_key, epoch, sequence, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise JournalBroken(f"{path} is not a journal that this version can read", advice=_ADVICE)
    if of_chain != owner.chain:
        raise JournalBroken(f"{path} is the journal of another chain", advice=_ADVICE)
    if of_key != owner.vote_key:
        raise JournalBroken(f"{path} is the journal of another vote key", advice=_ADVICE)
    records = []
    offset = _HEADER.size
    view = memoryview(data)
    while (found := _frame_at(view, offset)) is not None and found[0] == sequence + 1:
        sequence, _, end = found
        records.append(data[offset + _FRAME.size : end])
        offset = end
    _refuse_hole(path, view, offset, sequence)
    return epoch, sequence, records, offset


def _frame_at(data: memoryview, offset: int) -> tuple[int, int, int] | None:
    """(sequence, synced, end) of the whole frame at `offset`; None if there is none."""
    if offset + _FRAME.size > len(data):
        return None
    length, crc, sequence, synced = _FRAME.unpack_from(data, offset)
    end = offset + _FRAME.size + length
    if not 1 <= length <= RECORD_BYTES or end > len(data):
        return None
    if _crc(length, data[offset + _LENGTH_AND_CRC : end]) != crc:
        return None
    return sequence, synced, end


def _refuse_hole(path: Path, data: memoryview, bad: int, last: int) -> None:
    """Raise `JournalBroken` if any whole frame beyond `bad` shows that record `last + 1` was durable."""
    offset = bad
    while offset + _FRAME.size <= len(data):
        _, _, sequence, synced = _FRAME.unpack_from(data, offset)
        # the cheap test first: a stretch of arbitrary bytes rarely looks like the next sequences
        if last < synced < sequence <= last + len(data) and _frame_at(data, offset) is not None:
            raise JournalBroken(f"{path} is damaged at byte {bad}: record {last + 1} was durable", advice=_ADVICE)
        offset += 1
