"""One field of a real record: shown from a file that has nothing of the rest. Messages of failures tell no values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from protocol.crypto.commitments import Opening, check_record, commit
from protocol.crypto.fields import json_fields
from protocol.errors import BadProof
from protocol.proofs import bundle, field
from protocol.types.operations import AppendRecords
from tests.protocol.proofs.proving import POINTER, Prover, immunization
from tests.real_records import bundles

OPENING = Opening(bytes(range(64)), bytes(range(100, 132)))


class Kind(msgspec.Struct):
    kind: str = msgspec.field(name="resourceType")


class Entry(msgspec.Struct):
    resource: msgspec.Raw


class Bundle(msgspec.Struct):
    entry: list[Entry]


def an_immunization(paths: list[Path]) -> bytes:
    """The exact bytes of the first one in these bundles that says when it was given; skips where there is none."""
    for path in sorted(paths, key=lambda found: found.stat().st_size):
        for entry in msgspec.json.decode(path.read_bytes(), type=Bundle).entry:
            record = bytes(entry.resource)
            if msgspec.json.decode(record, type=Kind).kind == "Immunization" and POINTER in dict(json_fields(record)):
                return record
    pytest.skip(f"no Immunization with {POINTER} in the bundles of CHARTLEDGER_FHIR")


@pytest.mark.real_records
def test_the_day_of_a_real_immunization_is_shown_without_the_rest(world: Any) -> None:
    data = an_immunization(bundles())
    fields = dict(json_fields(data))
    patient = world.open_chart()
    entry = replace(immunization(), commitment=commit(data, json_fields(data), OPENING))
    check_record(entry.commitment, data, OPENING)
    world.run(0, AppendRecords(patient.chart, (entry,), (1, 2)))

    proof = field.prove(Prover(world, patient).record(1), field.open_field(data, OPENING, POINTER))
    file = bundle.write(proof)
    claim = bundle.check(bundle.read(file), genesis=world.genesis)

    shown = fields[POINTER]
    assert (claim.entry.event.entry.commitment, claim.pointer) == (entry.commitment, POINTER)
    right = claim.value == shown and msgspec.json.decode(claim.value) == msgspec.json.decode(data)[POINTER[1:]]
    assert right, "another value was shown than stands in the record"
    rest = {pointer: value for pointer, value in fields.items() if pointer != POINTER}
    given = [pointer for pointer in rest if pointer.encode() in file]
    given += [pointer for pointer, value in rest.items() if _words(value) in file and _words(value) not in shown]
    assert len(rest) > 5, "a record that has no rest shows little"
    assert not given, "the file has something of other fields"
    kept = [OPENING.secret not in file, data not in file]
    assert kept == [True, True], "the file opens the whole record"

    other = next(value for value in rest.values() if value != shown)
    for change in ({"value": other}, {"pointer": next(iter(rest))}, {"value": shown[:-1] + b' "'}):
        with pytest.raises(BadProof, match=r"^field: "):
            bundle.check(replace(proof, field=replace(proof.field, **change)), genesis=world.genesis)


def _words(value: bytes) -> bytes:
    """A field's value without quotation marks; of what has fewer than 4 characters (true, 1) nothing could be told."""
    bare = value.strip(b'"')
    return bare if len(bare) > 3 and bare not in (b"true", b"false", b"null") else value
