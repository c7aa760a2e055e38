"""A proof as a QR code: on the terminal, as a picture, or as the text that is in it."""

from __future__ import annotations

import sys
from pathlib import Path

import segno

from node.cli.exits import BadArgument
from node.keystore import close_to_others
from protocol.proofs import scan

TERMINAL = "-"
PICTURES = (".svg", ".png")
TEXT = ".txt"


def write_qr(data: bytes, target: str, *, private: bool = False) -> list[str]:
    """Write the QR code of a proof file's bytes to a file, or to the terminal for "-". Where one code does not hold
    them, as many as do: "proof.svg" becomes "proof-1.svg" and so on. Returns where to, a name a code.

    `private`: others on this machine may not read it. Raises `BadArgument` for a name that is no picture's and
    `TooLargeForQr`; then nothing was written.
    """
    suffix = Path(target).suffix.lower()
    if target != TERMINAL and suffix not in (*PICTURES, TEXT):
        raise BadArgument(
            f"{target} is no name for a QR code",
            advice="Give --qr a name ending in .svg, .png or .txt, or - to print it.",
        )
    if suffix == TEXT:
        _touch(target, private)
        text = scan.to_text(data)  # of any size: it need not become a picture
        Path(target).write_text(text + "\n", encoding="ascii")
        return [target]
    texts = scan.to_qr_texts(data)
    targets = [target] if len(texts) == 1 else [_numbered(target, number) for number in range(1, len(texts) + 1)]
    for text, one in zip(texts, targets, strict=True):
        code = segno.make_qr(text, error="L", boost_error=False)
        if target == TERMINAL:
            code.terminal(out=sys.stdout, compact=True)
        else:
            _touch(one, private)
            code.save(one, scale=4)
    return targets


def _numbered(target: str, number: int) -> str:
    path = Path(target)
    return target if target == TERMINAL else str(path.with_name(f"{path.stem}-{number}{path.suffix}"))


def _touch(target: str, private: bool) -> None:
    if private:
        close_to_others(Path(target))
