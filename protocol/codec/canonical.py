"""Canonical encoding: MessagePack arrays, and decoding that refuses whatever encoding would not write.

A value has exactly one encoding, since `encode` is a function and `decode` accepts only its image: it decodes, encodes
again and compares. That catches longer integer forms, floats, duplicate forms and trailing bytes at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from protocol import limits
from protocol.errors import DecodeError, NonCanonical, Oversize

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""The canonical bytes of a wire value."""


@cache
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast(Any, kind))


def decode(kind: type[T], data: bytes, limit_bytes: int = limits.FRAME_BYTES) -> T:
    """The value of type `kind` (a `Wire` or a union of tagged ones) whose canonical bytes are `data`.

    Raises `Oversize` above `limit_bytes`, `DecodeError` for what is no such value, `NonCanonical` for bytes that
    `encode` would not have written. Errors name types and fields, never content.
    """
    if len(data) > limit_bytes:
        raise Oversize(f"{len(data)} bytes are over the limit of {limit_bytes}")
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(kind, "__name__", "message")
        raise DecodeError(f"not a {name}: {_shape(error)}") from None
    if _encoder.encode(value) != data:
        raise NonCanonical(f"not the canonical encoding of a {getattr(kind, '__name__', 'message')}")
    return value


def _shape(error: Exception) -> str:
    """What is wrong in terms of types and places; msgspec echoes values only for enums and tags."""
    text = str(error)
    return "unknown tag" if text.startswith("Invalid value") else text
