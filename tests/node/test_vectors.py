"""What nodes say about records and on a connection, against the vectors: one encoding each, the rest refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from node.network import messages as network
from node.reading_pass import ReadingPass
from node.records import detail_messages, holding_messages, messages, owner_messages
from node.records.seal import Secret
from node.write_permits import WritePermit
from protocol.codec.canonical import decode, encode
from protocol.crypto.shares import KeyShare
from protocol.errors import DecodeError
from protocol.types.base import Wire

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FILES = sorted([*(VECTORS / "records").glob("*.json"), *(VECTORS / "network").glob("*.json")])


def wire_types(module: ModuleType) -> dict[str, type[Wire]]:
    """The messages that a module defines, by name."""
    return {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Wire) and kind.__module__ == module.__name__
    }


KINDS: dict[str, type[Wire]] = {
    "Secret": Secret,
    "WritePermit": WritePermit,
    "ReadingPass": ReadingPass,
    **wire_types(owner_messages),
    **wire_types(messages),
    **wire_types(detail_messages),
    "KeyShare": KeyShare,
    **wire_types(holding_messages),
    **wire_types(network),
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
