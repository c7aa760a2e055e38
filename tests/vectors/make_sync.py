"""Writes tests/vectors/sync/*.json, one file a message of gossip and of sync: `python tests/vectors/make_sync.py`.

The form of a file is that of tests/vectors/make_wire.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
for place in (str(FOLDER), str(FOLDER.parents[1])):
    if place not in sys.path:
        sys.path.insert(0, place)

from make_wire import material, readable, refusals  # noqa: E402 - needs the path above

from protocol.codec.canonical import encode  # noqa: E402
from protocol.sync import messages  # noqa: E402

VALUES: dict[str, tuple[Any, list[Any]]] = {
    "transactions": (
        messages.GossipMessage,
        [messages.Transactions((b"one", b"two")), messages.Transactions((material("transaction", 300),))],
    ),
    "have": (messages.GossipMessage, [messages.Have((material("id"), material("other id")))]),
    "want": (messages.GossipMessage, [messages.Want((material("id"),))]),
    "range-request": (
        messages.RangeRequest,
        [messages.RangeRequest(1, 512, 4 * 1024 * 1024), messages.RangeRequest(0, 0, 0)],
    ),
    "range-block": (
        messages.RangeBlock,
        [messages.RangeBlock(b"block", None), messages.RangeBlock(b"block", b"certificate")],
    ),
    "rest": (messages.Rest, [messages.Rest((b"header", b"header above"), b"certificate")]),
    "final-range": (
        messages.FinalRange,
        [
            messages.FinalRange(9, (messages.RangeBlock(b"8", None), messages.RangeBlock(b"9", b"certificate")), None),
            messages.FinalRange(9, (messages.RangeBlock(b"7", None),), messages.Rest((b"8", b"9"), b"certificate")),
            messages.FinalRange(9, (), None),
        ],
    ),
}


def files(values: dict[str, tuple[Any, list[Any]]]) -> dict[str, Any]:
    """File name -> content, for messages by file name: the type to decode as, and its examples."""
    return {
        name: {
            "type": type(examples[0]).__name__,
            "cases": [{"fields": readable(value), "bytes": encode(value).hex()} for value in examples],
            "refused": refusals(kind, encode(examples[0])),
        }
        for name, (kind, examples) in values.items()
    }


def write(folder: Path, values: dict[str, tuple[Any, list[Any]]]) -> None:
    """Write every file."""
    folder.mkdir(exist_ok=True)
    for name, content in files(values).items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER / "sync", VALUES)
