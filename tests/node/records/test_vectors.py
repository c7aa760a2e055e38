"""Messages about records against tests/vectors/records: one encoding each, and the rest refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.records import messages
from node.records.seal import Secret
from protocol.codec.canonical import decode, encode
from protocol.errors import DecodeError
from protocol.types.base import Wire

FILES = sorted((Path(__file__).resolve().parents[2] / "vectors/records").glob("*.json"))
KINDS: dict[str, type[Wire]] = {"Secret": Secret} | {
    name: kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and kind.__module__ == messages.__name__
}


def test_every_message_has_a_file() -> None:
    assert {json.loads(path.read_text())["type"] for path in FILES} == set(KINDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bytes_are_those_on_file(path: Path) -> None:
    vector = json.loads(path.read_text())
    kind = KINDS[vector["type"]]
    for case in vector["cases"]:
        raw = bytes.fromhex(case["bytes"])
        assert encode(decode(kind, raw)) == raw
    assert len(vector["refused"]) > 5
    for case in vector["refused"]:
        with pytest.raises(DecodeError) as caught:
            decode(kind, bytes.fromhex(case["bytes"]))
        assert caught.value.code == case["error"]
