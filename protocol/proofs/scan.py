"""A proof as text, for QR codes: what a scanner yields is a proof file as well.

A prefix, the file's bytes deflated (RFC 1950) in base 45 (RFC 9285), and a full stop: nothing but characters of a QR
code's alphanumeric mode, in which base 45 wastes 3 %. The full stop guards a space at the end, which is a digit of
base 45 and which scanners and editors take away. EU health certificates travel the same way. What one code does not
hold goes into several: each part says which it is, of how many and of which proof, so that their order is no matter.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from protocol import limits
from protocol.errors import BadProof

PREFIX: Final = "CHARTLEDGER1:"
END: Final = "."
QR_CHARACTERS: Final = 4_296
"""What a QR code of the largest size (version 40) with the weakest correction (L) holds in alphanumeric mode."""
QR_CODES: Final = 6
"""More of them nobody scans."""
PART_PREFIX: Final = "CHARTLEDGER1-"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_PART: Final = re.compile(rf"{PART_PREFIX}([1-9])/([1-9])-([0-9A-F]{{8}}):([^\n]*)\.")
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}


class TooLargeForQr(BadProof):
    """The proof is larger than QR codes can hold."""

    advice = (
        "Hand over the file itself. From a newer checkpoint (--checkpoint) a proof leaves out the epochs before it, "
        "and a proof of one field or record is smaller than one of a history."
    )


def is_text(data: bytes) -> bool:
    """Whether a file holds a proof's text form."""
    return data.lstrip(b" \t\r\n\xef\xbb\xbf").startswith((PREFIX.encode(), PART_PREFIX.encode()))


def to_text(data: bytes) -> str:
    """The text form of a proof file's bytes."""
    return PREFIX + _base45(zlib.compress(data, 9)) + END


def to_qr_texts(data: bytes) -> list[str]:
    """The same for QR codes: as one text if one code holds it, else in parts of one length, each for a code of its own.

    Raises `TooLargeForQr`, which says by how much, where more codes would be needed than anybody scans.
    """
    whole = to_text(data)
    if len(whole) <= QR_CHARACTERS:
        return [whole]
    packed = whole[len(PREFIX) : -len(END)]
    room = QR_CHARACTERS - len(_part_prefix(1, 1, b"")) - len(END)
    count = -(-len(packed) // room)
    if count > QR_CODES:
        raise TooLargeForQr(
            f"the proof has {len(data)} bytes, which become {len(packed)} characters, and {QR_CODES} QR codes hold "
            f"{QR_CODES * room}"
        )
    length = -(-len(packed) // count)
    pieces = [packed[at : at + length] for at in range(0, len(packed), length)]
    return [f"{_part_prefix(at, count, packed.encode())}{piece}{END}" for at, piece in enumerate(pieces, 1)]


def from_text(data: bytes) -> bytes:
    """The proof file's bytes in its text form, or in the parts of it, a line each, in any order. Raises `BadProof` that
    begins with "text: "."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadProof("text: it holds characters that no proof's text has") from None
    if text.startswith(PART_PREFIX):
        packed = _joined(text)
    elif text.startswith(PREFIX):
        packed = _ended(text)[len(PREFIX) :]
    else:
        raise BadProof(f"text: it does not begin with {PREFIX}")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(_bytes(packed), limits.PROOF_BYTES + 1)
    except zlib.error:
        raise BadProof("text: it was changed or is cut short: it cannot be inflated") from None
    if len(plain) > limits.PROOF_BYTES:
        raise BadProof(f"text: it holds more than {limits.PROOF_BYTES} bytes")
    if not inflate.eof or inflate.unused_data:
        raise BadProof("text: it is cut short" if not inflate.eof else "text: more follows after its end")
    return plain


def _ended(text: str) -> str:
    """Without the full stop."""
    if not text.endswith(END):
        raise BadProof("text: it is cut short: the full stop at its end is missing")
    return text[: -len(END)]


def _part_prefix(number: int, count: int, packed: bytes) -> str:
    return f"{PART_PREFIX}{number}/{count}-{zlib.crc32(packed):08X}:"


def _joined(text: str) -> str:
    """The parts of one proof, put together."""
    found: dict[int, str] = {}
    proofs: set[tuple[str, str]] = set()
    for line in text.splitlines():
        part = _PART.fullmatch(line.strip())
        if part is None:
            raise BadProof("text: a line of it is no whole part of a proof")
        number, count, proof, piece = part.groups()
        if found.setdefault(int(number), piece) != piece:
            raise BadProof(f"text: it holds two different parts {number}")
        proofs.add((count, proof))
    if len(proofs) != 1:
        raise BadProof("text: it holds parts of several proofs")
    ((count, proof),) = proofs
    missing = [number for number in range(1, int(count) + 1) if number not in found]
    if missing:
        raise BadProof(f"text: part {missing[0]} of {count} is missing")
    packed = "".join(found[number] for number in sorted(found))
    if f"{zlib.crc32(packed.encode()):08X}" != proof:
        raise BadProof("text: a part of it was changed")
    return packed


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
