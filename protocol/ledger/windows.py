"""Anti-replay windows, as in IPsec (RFC 4303, section 3.4.3): any order within the window, never twice.

A window is the highest number used and a bitmap of those at and below it: bit i stands for `highest - i`. Numbers
that fell off its lower end count as used. A jump above the highest is bounded, so that one slip of a client cannot
use up all the numbers that a key will ever have.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.errors import NumberTooFar, Replayed
from protocol.types.base import Number, Wire


class Window(Wire, frozen=True):
    """`bitmap` is big-endian without leading zero bytes; empty means that no number was used yet."""

    highest: Number
    bitmap: Annotated[bytes, Meta(max_length=limits.WINDOW_BITS_INSTITUTION // 8)]


FRESH = Window(0, b"")
"""The window of a key that has used no number: 0 is the lowest that there is."""


def use(window: Window, number: int, bits: int) -> Window:
    """The window after `number` is used up, for a window `bits` wide.

    Raises `Replayed` if it was used or lies below the window, `NumberTooFar` if it lies more than
    `limits.NUMBER_JUMP` above the highest number used.
    """
    bitmap = int.from_bytes(window.bitmap, "big")
    ahead = number - window.highest
    if ahead > 0:
        if ahead > limits.NUMBER_JUMP:
            raise NumberTooFar(
                f"number {number} lies {ahead} above the highest used; at most {limits.NUMBER_JUMP} is allowed"
            )
        kept = (bitmap << ahead) & ((1 << bits) - 1) if ahead < bits else 0
        return _window(number, kept | 1)
    if -ahead >= bits:
        raise Replayed(f"number {number} lies below the window, whose lowest is {window.highest - bits + 1}")
    mask = 1 << -ahead
    if bitmap & mask:
        raise Replayed(f"number {number} was used before")
    return _window(window.highest, bitmap | mask)


def used(window: Window, number: int, bits: int) -> bool:
    """Whether `number` can no longer be used: it was, or it lies below the window."""
    behind = window.highest - number
    if behind < 0:
        return False
    return behind >= bits or bool(int.from_bytes(window.bitmap, "big") >> behind & 1)


def _window(highest: int, bitmap: int) -> Window:
    return Window(highest, bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "big"))
