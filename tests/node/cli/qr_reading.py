"""Reads QR codes of error correction L in alphanumeric mode from their modules, by ISO/IEC 18004 and without whoever
made them. What is damaged is not mended: a picture that was just written needs no mending."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Modules = Sequence[Sequence[int]]
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
# By version: the centres of the alignment patterns, and (how many blocks, data codewords of each), from the standard.
ALIGNMENT = {5: (6, 30), 40: (6, 30, 58, 86, 114, 142, 170)}
BLOCKS = {5: ((1, 108),), 40: ((19, 118), (6, 119))}
MASKS = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)


def read(modules: Modules) -> str:
    """The text in a code of version 5 or 40. `modules` are its rows, 1 for dark, without the quiet zone."""
    size = len(modules)
    version = (size - 17) // 4
    kind = int("".join(str(modules[8][column]) for column in range(5)), 2) ^ 0b10101
    assert kind >> 3 == 0b01, "the error correction is L"
    mask = MASKS[kind & 7]
    bits = [modules[row][column] ^ mask(row, column) for row, column in _data_places(size, version)]
    codewords = [int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, len(bits) - len(bits) % 8, 8)]
    stream = "".join(f"{word:08b}" for word in _deinterleaved(codewords, version))
    return _alphanumeric(stream, version)


def _data_places(size: int, version: int) -> Iterator[tuple[int, int]]:
    """Upwards and downwards in pairs of columns from the right, around what belongs to patterns."""
    taken = set()
    for top, left in ((0, 0), (0, size - 8), (size - 8, 0)):
        taken |= {(row, column) for row in range(top, top + 9) for column in range(left, left + 9)}
    taken |= {(6, at) for at in range(size)} | {(at, 6) for at in range(size)}
    centres = ALIGNMENT[version]
    for row in centres:
        for column in centres:
            if (row, column) not in ((6, 6), (6, centres[-1]), (centres[-1], 6)):
                taken |= {(row + y, column + x) for y in range(-2, 3) for x in range(-2, 3)}
    if version >= 7:
        for at in range(6):
            taken |= {(at, size - 11 + x) for x in range(3)} | {(size - 11 + x, at) for x in range(3)}
    right, upwards = size - 1, True
    while right > 0:
        if right == 6:
            right -= 1
        for row in range(size - 1, -1, -1) if upwards else range(size):
            for column in (right, right - 1):
                if (row, column) not in taken:
                    yield row, column
        right, upwards = right - 2, not upwards


def _deinterleaved(codewords: Sequence[int], version: int) -> list[int]:
    lengths = [words for count, words in BLOCKS[version] for _ in range(count)]
    blocks: list[list[int]] = [[] for _ in lengths]
    words = iter(codewords)
    for at in range(max(lengths)):
        for block, length in zip(blocks, lengths, strict=True):
            if at < length:
                block.append(next(words))
    return [word for block in blocks for word in block]


def _alphanumeric(stream: str, version: int) -> str:
    assert stream[:4] == "0010", "the mode is alphanumeric"
    width = 9 if version < 10 else 11 if version < 27 else 13
    count, at = int(stream[4 : 4 + width], 2), 4 + width
    text = ""
    while len(text) < count:
        if count - len(text) > 1:
            pair = int(stream[at : at + 11], 2)
            text += DIGITS[pair // 45] + DIGITS[pair % 45]
            at += 11
        else:
            text += DIGITS[int(stream[at : at + 6], 2)]
            at += 6
    return text
