"""A proof as text, for a QR code: what a scanner yields is a proof file as well.

A prefix, the file's bytes deflated (RFC 1950) in base 45 (RFC 9285), and a full stop: nothing but characters of a QR
code's alphanumeric mode, in which base 45 wastes 3 %. The full stop guards a space at the end, which is a digit of
base 45 and which scanners and editors take away. EU health certificates travel the same way.
"""

from __future__ import annotations

import zlib
from typing import Final

from protocol import limits
from protocol.errors import BadProof

PREFIX: Final = "CHARTLEDGER1:"
END: Final = "."
QR_CHARACTERS: Final = 4_296
"""What a QR code of the largest size (version 40) with the weakest correction (L) holds in alphanumeric mode."""
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}


class TooLargeForQr(BadProof):
    """The proof is larger than a QR code can be."""

    advice = (
        "Hand over the file itself. From a newer checkpoint (--checkpoint) a proof leaves out the epochs before it, "
        "and a proof of one field or record is smaller than one of a history."
    )


def is_text(data: bytes) -> bool:
    """Whether a file holds a proof's text form."""
    return data.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(PREFIX.encode())


def to_text(data: bytes) -> str:
    """The text form of a proof file's bytes."""
    return PREFIX + _base45(zlib.compress(data, 9)) + END


def to_qr_text(data: bytes) -> str:
    """The same for a QR code. Raises `TooLargeForQr`, which says by how much."""
    text = to_text(data)
    if len(text) > QR_CHARACTERS:
        fits = len(data) * QR_CHARACTERS // len(text) // 100 * 100
        raise TooLargeForQr(
            f"the proof has {len(data)} bytes, which become {len(text)} characters, and a QR code holds "
            f"{QR_CHARACTERS}: about {fits} bytes of such a proof"
        )
    return text


def from_text(data: bytes) -> bytes:
    """The proof file's bytes in its text form. Raises `BadProof` that begins with "text: "."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadProof("text: it holds characters that no proof's text has") from None
    if not text.startswith(PREFIX):
        raise BadProof(f"text: it does not begin with {PREFIX}")
    if not text.endswith(END):
        raise BadProof("text: it is cut short: the full stop at its end is missing")
    packed = _bytes(text[len(PREFIX) : -len(END)])
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(packed, limits.PROOF_BYTES + 1)
    except zlib.error:
        raise BadProof("text: it was changed or is cut short: it cannot be inflated") from None
    if len(plain) > limits.PROOF_BYTES:
        raise BadProof(f"text: it holds more than {limits.PROOF_BYTES} bytes")
    if not inflate.eof or inflate.unused_data:
        raise BadProof("text: it is cut short" if not inflate.eof else "text: more follows after its end")
    return plain


def _base45(data: bytes) -> str:
    digits = []
    for at in range(0, len(data), 2):
        value = int.from_bytes(data[at : at + 2], "big")
        for _ in range(3 if at + 1 < len(data) else 2):
            value, digit = divmod(value, 45)
            digits.append(_DIGITS[digit])
    return "".join(digits)


def _bytes(text: str) -> bytes:
    out = bytearray()
    for at in range(0, len(text), 3):
        group = text[at : at + 3]
        if len(group) == 1:
            raise BadProof("text: it is cut short: its length is none that base 45 has")
        value = 0
        for digit in reversed(group):
            if digit not in _VALUES:
                raise BadProof("text: it holds characters that no proof's text has")
            value = value * 45 + _VALUES[digit]
        size = len(group) - 1
        if value >= 1 << 8 * size:
            raise BadProof("text: it was changed: three of its characters stand for no two bytes")
        out += value.to_bytes(size, "big")
    return bytes(out)
