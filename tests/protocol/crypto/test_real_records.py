"""Real FHIR records, where a folder of bundles is named: fields, commitment and sealing keep every byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.crypto import commitments, fields, sealing

FOLDER = Path(os.environ.get("CHARTLEDGER_FHIR", Path(__file__).resolve().parents[4] / "shared/fhir")) / "bundles"
KEY = bytes(range(32))
OPENING = commitments.Opening(bytes(64), bytes(range(100, 132)))

pytestmark = [
    pytest.mark.real_records,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no FHIR bundles: name their folder by CHARTLEDGER_FHIR"),
]


class Entry(msgspec.Struct):
    resource: msgspec.Raw


class Bundle(msgspec.Struct):
    entry: list[Entry]


def _leaves(value: Any, pointer: str = "") -> dict[str, Any]:
    if not isinstance(value, dict | list):
        return {pointer: value}
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for step, child in steps:
        found |= _leaves(child, f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}")
    return found


def test_real_records_keep_every_byte() -> None:
    # The smallest bundles have each kind of resource; all of them would take minutes for nothing new.
    for path in sorted(FOLDER.glob("*.json"), key=lambda found: found.stat().st_size)[:3]:
        for entry in msgspec.json.decode(path.read_bytes(), type=Bundle).entry:
            record = bytes(entry.resource)
            found = fields.json_fields(record)
            assert {pointer: json.loads(value) for pointer, value in found} == _leaves(json.loads(record))
            commitment = commitments.commit(record, found, OPENING)
            opened = sealing.open_sealed(sealing.seal(record, KEY), KEY)
            assert opened == record
            commitments.check_record(commitment, opened, OPENING)
