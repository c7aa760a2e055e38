"""The node's data folder: who may enter, and that only one process writes there at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from node.storage.errors import FolderInUse, StorageFailed


class DataFolder:
    """A data folder that this process holds until `close`, or until it ends in whatever way."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Create the folder (mode 0700) if need be and take its lock. Raises `FolderInUse` or `StorageFailed`."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageFailed(f"cannot use the data folder {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderInUse(f"another process is using the data folder {path}") from None
        return cls(path, descriptor)

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
