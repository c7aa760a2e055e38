"""The folder that takes large blobs where no object store is named: what the object store library leaves to us there,
which is to make files durable, and to remove them, and what uploads left of them, durably."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from node.storage.errors import StorageFailed


def sync_file(path: Path, top: Path) -> None:
    """The file closed to others, as is its folder, which the library makes as open as it finds usual; and durable with
    the folders above it up to `top`."""
    path.chmod(0o600)
    path.parent.chmod(0o700)
    for at in (path, path.parent, top):
        _sync(at)


def remove_objects(top: Path, keys: Sequence[str]) -> None:
    """Remove objects, or what there is of them, durably; absent ones are passed over. Raises `StorageFailed`."""
    for key in keys:
        path = top / key
        remove_files(path.parent, path.name)
        remove_files(path.parent, f"{path.name}#*")  # as obstore names what it has not finished
    try:
        for folder in {(top / key).parent for key in keys}:
            if folder.exists():
                _sync(folder)
    except OSError as error:
        raise StorageFailed(f"cannot remove from {top}: {error}") from error


def remove_files(folder: Path, pattern: str) -> None:
    """Remove the files of this pattern. Raises `StorageFailed`."""
    try:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"cannot remove from {folder}: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
