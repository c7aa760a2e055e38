"""Many rows by their keys in one query: the shape that a block's read set has."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

_MOST = 1_024


def rows_in(connection: sqlite3.Connection, select: str, keys: Collection[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of `select ... IN` (given without its list) for all `keys`, in no particular order.

    Lists have lengths that are powers of two, filled up with NULL, which matches nothing: so SQLite sees few different
    statements and keeps them prepared.
    """
    remaining = iter(keys)
    while part := list(islice(remaining, _MOST)):
        length = 1 << (len(part) - 1).bit_length()
        part.extend([None] * (length - len(part)))
        yield from connection.execute(f"{select} ({','.join('?' * length)})", part)
