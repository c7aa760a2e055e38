"""What frames carry besides payloads: the handshake, pings, requests and answers. All canonical but pings.

A `Hello` names the oldest and newest protocol version that a node speaks; the connection uses the newest that both
do. Its layout never changes: what a later version has to say besides goes into a frame after it.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError
from protocol.types.base import U16, Digest, Number, Wire

VERSION = 1
OLDEST_VERSION = 1

SENTENCE_CHARACTERS = 300
CODE_CHARACTERS = 40


class Hello(Wire, frozen=True):
    """The first frame of both sides. `instance` is drawn at a process's start and tells its lives apart."""

    oldest: U16
    newest: U16
    chain: Digest
    institution: Number
    instance: Number
    height: Number
    agent: Annotated[str, Meta(max_length=64)]


class Goodbye(Wire, frozen=True):
    """Why the sender ends the connection: a stable code and a sentence for people."""

    code: Annotated[str, Meta(max_length=CODE_CHARACTERS)]
    sentence: Annotated[str, Meta(max_length=SENTENCE_CHARACTERS)]


class Request(Wire, frozen=True):
    """`number` counts up within a connection and direction; the answer repeats it."""

    number: Number
    method: Annotated[str, Meta(min_length=1, max_length=CODE_CHARACTERS)]
    payload: bytes


class Response(Wire, frozen=True):
    """The answer. `refusal` is empty, or a stable code, and then `payload` is a sentence in UTF-8."""

    number: Number
    refusal: Annotated[str, Meta(max_length=CODE_CHARACTERS)]
    payload: bytes


OVERHEAD_BYTES = 64
"""What `Request` and `Response` add to a payload, at most."""
PAYLOAD_BYTES = limits.FRAME_BYTES - OVERHEAD_BYTES

_PING = Layout(">QQQ")


def encode_ping(nonce: int, height: int, time_ms: int) -> bytes:
    """The body of a ping or pong: nonce, the sender's final height and its clock (Unix milliseconds), 8 bytes each,
    big-endian."""
    return _PING.pack(nonce, height, time_ms)


def decode_ping(body: bytes) -> tuple[int, int, int]:
    """(nonce, height, Unix milliseconds). Raises `DecodeError`."""
    if len(body) != _PING.size:
        raise DecodeError(f"a ping has {_PING.size} bytes, not {len(body)}")
    nonce, height, time_ms = _PING.unpack(body)
    if time_ms > limits.U53:
        raise DecodeError("a ping's time is no time")
    return nonce, height, time_ms


def encode_goodbye(code: str, sentence: str) -> bytes:
    """The body of a goodbye; an over-long sentence is cut."""
    return encode(Goodbye(code, sentence[:SENTENCE_CHARACTERS]))


def decode_goodbye(body: bytes) -> str:
    """One sentence for operators. What does not decode is not shown."""
    try:
        goodbye = decode(Goodbye, body)
    except DecodeError:
        return "the peer ended the connection and gave no readable reason"
    return f"the peer ended the connection: {printable(goodbye.sentence)} ({printable(goodbye.code)})"


def printable(text: str) -> str:
    """Text of a peer, fit for a terminal and a log: no control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:SENTENCE_CHARACTERS])
