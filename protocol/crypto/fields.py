"""The fields of a JSON record: which of its parts a commitment can open one by one.

A field is a scalar leaf, named by its JSON pointer (RFC 6901) and valued by the exact bytes that stand in the source.
What has no fields is committed to as a whole only: docs/spec/cryptography.md states the rule so that any
implementation finds the same ones. Relies on `msgspec.Raw`, which slices the source and accepts RFC 8259 strictly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from protocol import limits

_object = msgspec.json.Decoder(dict[str, Raw])
_array = msgspec.json.Decoder(list[Raw])
_OPENERS = b"{["
_OPEN_ARRAY = b"["[0]
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # an unfinished one too: linear on any input
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


class _OutOfBounds(Exception):
    """The text has no fields, since it breaks a bound."""


def json_fields(data: bytes) -> list[tuple[str, bytes]]:
    """(JSON pointer, source bytes) of each string, number, true, false or null, ascending by the pointer's UTF-8 bytes.

    Of equal names in one object the last counts, as in most parsers. Empty for what is not one UTF-8 JSON object (no
    byte order mark, no lone surrogate), nests deeper than `FIELD_DEPTH` objects and arrays, has more than
    `FIELDS_PER_RECORD` such leaves, a leaf, object or array whose pointer is longer than `POINTER_BYTES`, or is larger
    than `FIELDS_BYTES`.
    """
    if len(data) > limits.FIELDS_BYTES or not data.lstrip(b" \t\r\n").startswith(b"{"):
        return []
    # Bounded beforehand: how deep msgspec follows depends on its caller's stack, and a commitment must not.
    if data.count(b"{") + data.count(b"[") > limits.FIELD_DEPTH and _depth(data) > limits.FIELD_DEPTH:
        return []
    try:
        data.decode()  # slices are not checked for it
        return sorted(_walk(data), key=_by_pointer)
    except (msgspec.DecodeError, UnicodeDecodeError, _OutOfBounds):
        return []


def _depth(data: bytes) -> int:
    """How deep brackets nest outside strings; what is no JSON gets some number."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKET):
        depth += 1 if bracket in _OPENERS else -1
        deepest = max(deepest, depth)
    return deepest


def _walk(data: bytes) -> list[tuple[str, bytes]]:
    """The leaves in no particular order. Raises `_OutOfBounds` as soon as there are too many, or one too long a name:
    a short text can have a long name above very many leaves, and pointers to all of them would fill the memory."""
    fields: list[tuple[str, bytes]] = []
    containers: list[tuple[str, str | int | None, bytes]] = [("", None, data.strip(b" \t\r\n"))]
    while containers:
        above, step, source = containers.pop()
        prefix = "" if step is None else _pointer(above, step)  # only now: those that wait share what is above them
        for name, raw in _children(source):
            child = bytes(raw)
            if child[0] in _OPENERS:
                containers.append((prefix, name, child))
            else:
                fields.append((_pointer(prefix, name), child))
                if len(fields) > limits.FIELDS_PER_RECORD:
                    raise _OutOfBounds
    return fields


def _pointer(prefix: str, step: str | int) -> str:
    pointer = f"{prefix}/{step}"
    if len(pointer) * 4 > limits.POINTER_BYTES and len(pointer.encode()) > limits.POINTER_BYTES:
        raise _OutOfBounds
    return pointer


def _children(source: bytes) -> Iterable[tuple[str | int, Raw]]:
    """What an object or array holds, each with its step of a pointer."""
    if source[0] == _OPEN_ARRAY:
        return enumerate(_array.decode(source))
    members = _object.decode(source)
    if b"/" in source or b"~" in source or b"\\" in source:  # only then may a name need escaping
        return [(name.replace("~", "~0").replace("/", "~1"), child) for name, child in members.items()]
    return members.items()


def _by_pointer(field: tuple[str, bytes]) -> bytes:
    return field[0].encode()
