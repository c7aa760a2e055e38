"""The base of every wire value, and the primitive fields that they share.

Relies on msgspec alone: a `Wire` encodes as a MessagePack array in field order, and its annotations carry the bounds
that decoding checks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol import limits


class Wire(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An immutable value with one encoding: a MessagePack array of its fields, in order."""


Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Tag = Annotated[bytes, Meta(min_length=16, max_length=16)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U8 = Annotated[int, Meta(ge=0, le=0xFF)]
Number = Annotated[int, Meta(ge=0, le=limits.U53)]
"""A position or a count that the ledger assigns; exact in every JSON reader."""
TimeMs = Annotated[int, Meta(ge=0, le=limits.U53)]
"""Milliseconds since 1970-01-01T00:00:00Z."""
Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_BYTES)]

ZERO_DIGEST = bytes(32)
