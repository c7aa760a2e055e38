"""Files that commands write: whole or not at all, and closed to others where they hold what is nobody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A new file that gets its name when all of it is on disk, and none if anything goes wrong. What is no file (a
    device, a pipe) is written to as it is: it must not give its name to one."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, *, private: bool) -> None:
    """The same at once; closed to others if it is private."""
    with written_whole(path, 0o600 if private else 0o666) as file:
        file.write(data)
