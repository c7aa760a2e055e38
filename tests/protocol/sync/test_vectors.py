"""Every message of gossip and sync against tests/vectors/sync: one encoding each, and the rest refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError
from protocol.sync import messages

FOLDER = Path(__file__).resolve().parents[2] / "vectors/sync"
FILES = sorted(FOLDER.glob("*.json"))
UNION = {"Transactions", "Have", "Want"}


def kind_of(name: str) -> type[Any]:
    return cast(type[Any], messages.GossipMessage if name in UNION else getattr(messages, name))


def test_every_message_has_a_file() -> None:
    assert {json.loads(path.read_text())["type"] for path in FILES} == UNION | {
        "RangeRequest",
        "RangeBlock",
        "Rest",
        "FinalRange",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bytes_are_those_on_file(path: Path) -> None:
    vector = json.loads(path.read_text())
    kind = kind_of(vector["type"])
    for case in vector["cases"]:
        raw = bytes.fromhex(case["bytes"])
        value = decode(kind, raw)
        assert type(value).__name__ == vector["type"]
        assert encode(value) == raw
    assert len(vector["refused"]) > 5
    for case in vector["refused"]:
        with pytest.raises(DecodeError) as caught:
            decode(kind, bytes.fromhex(case["bytes"]))
        assert caught.value.code == case["error"]
