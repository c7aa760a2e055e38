"""Framing, without I/O: how messages become frames on a connection, and frames messages again.

A frame is 4 bytes of length (big-endian, of what follows the kind), one byte of kind, and that many bytes. The kind's
bits: 0 to 3 what it is (`Kind`), 4 and 5 the channel, 7 set if more of the same message follows. A message longer than
a slice is cut, so that frames of other channels go in between: slices of different channels may interleave, slices of
one channel never do. docs/spec/network.md is the specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct as Layout

from node.network.interface import Channel
from protocol import limits
from protocol.errors import DecodeError

SLICE_BYTES = 64 * 1024
HEADER_BYTES = 5

_HEADER = Layout(">IB")
_MORE = 0x80
_KIND = 0x0F
_CHANNEL = 0x30
_RESERVED = 0x40


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 0
    PING = 1
    PONG = 2
    GOODBYE = 3
    MESSAGE = 4
    REQUEST = 5
    RESPONSE = 6


_CONTROL = frozenset({Kind.HELLO, Kind.PING, Kind.PONG, Kind.GOODBYE})
_KINDS = tuple(Kind)
_CHANNELS = tuple(Channel)


class BadFrame(DecodeError):
    """What came is no frame of this protocol."""


def frame(kind: Kind, body: bytes, channel: Channel = Channel.VOTES) -> bytes:
    """One whole frame; `body` is at most `SLICE_BYTES`."""
    assert len(body) <= SLICE_BYTES
    return _HEADER.pack(len(body), kind | channel << 4) + body


def frames(kind: Kind, channel: Channel, body: bytes) -> tuple[bytes, ...]:
    """The frames of a message of at most `limits.FRAME_BYTES`, in order. Raises ValueError above that."""
    if len(body) <= SLICE_BYTES:
        return (frame(kind, body, channel),)
    if len(body) > limits.FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is over the limit of {limits.FRAME_BYTES}")
    return tuple(_slices(kind | channel << 4, body))


def _slices(kind: int, body: bytes) -> Iterator[bytes]:
    last = (len(body) - 1) // SLICE_BYTES * SLICE_BYTES
    view = memoryview(body)
    for start in range(0, last, SLICE_BYTES):
        yield _HEADER.pack(SLICE_BYTES, kind | _MORE) + view[start : start + SLICE_BYTES]
    yield _HEADER.pack(len(body) - last, kind) + view[last:]


class Unframer:
    """Bytes in, whole messages out. Holds at most one message of each channel and one slice."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: dict[Channel, tuple[Kind, list[bytes], int]] = {}

    def feed(self, data: bytes) -> Iterator[tuple[Kind, Channel, bytes]]:
        """The messages that `data` completes, each as it is read; to be exhausted before the next call.

        Raises `BadFrame` after those that came before it: then nothing more can be read from this peer.
        """
        if self._rest:
            data = self._rest + data
        offset, end = 0, len(data)
        while end - offset >= HEADER_BYTES:
            length, code = _HEADER.unpack_from(data, offset)
            if length > SLICE_BYTES:
                raise BadFrame(f"a frame of {length} bytes is over the limit of {SLICE_BYTES}")
            if end - offset - HEADER_BYTES < length:
                break
            offset += HEADER_BYTES
            body = data[offset : offset + length]
            offset += length
            whole = self._assemble(code, body)
            if whole is not None:
                yield whole
        self._rest = data[offset:]

    def _assemble(self, code: int, body: bytes) -> tuple[Kind, Channel, bytes] | None:
        """The message that this slice completes, if it does."""
        number = code & _KIND
        if number >= len(_KINDS) or code & _RESERVED:
            raise BadFrame(f"unknown kind of frame {code:#04x}")
        kind, channel = _KINDS[number], _CHANNELS[(code & _CHANNEL) >> 4]
        begun = self._parts.get(channel) if self._parts else None
        if kind in _CONTROL:
            if code & (_MORE | _CHANNEL):
                raise BadFrame(f"a {kind.name} frame is whole and has no channel")
            return kind, channel, body
        if begun is None:
            if not code & _MORE:
                return kind, channel, body
            self._parts[channel] = (kind, [body], len(body))
            return None
        begun_kind, parts, size = begun
        size += len(body)
        if kind is not begun_kind:
            raise BadFrame(f"a {kind.name} frame amid the slices of a {begun_kind.name} on the same channel")
        if size > limits.FRAME_BYTES:
            raise BadFrame(f"a message of over {limits.FRAME_BYTES} bytes")
        if not body:
            raise BadFrame("an empty slice")
        parts.append(body)
        if code & _MORE:
            self._parts[channel] = (kind, parts, size)
            return None
        del self._parts[channel]
        return kind, channel, b"".join(parts)
