"""One field of a record: that what was committed to then has this value at this place, without the rest of it.

An inclusion proof shows the record's entry; the opening of one leaf of the entry's commitment shows pointer and value.
The other leaves stay closed: each has a salt of its own, and none of those salts is in the proof. Made by who has the
record's opening: its owner, or an institution that stores it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from protocol import limits
from protocol.crypto.commitments import LeafProof, Opening, check_field, field_proof
from protocol.crypto.fields import json_fields
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof, CommitmentMismatch
from protocol.ledger.events import RecordAppended
from protocol.proofs import inclusion
from protocol.proofs.inclusion import Claim, InclusionProof
from protocol.proofs.light import Checkpoint
from protocol.types.base import Wire
from protocol.types.institutions import Genesis

MOST_FIELDS_NAMED = 12
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


class NoSuchField(BadProof):
    """The record has no field of this name. The advice names those that it has, and none of their values."""

    advice = "Name one of the record's fields, as a JSON pointer."


class FieldOpening(Wire, frozen=True):
    """A field and what opens it: its JSON pointer, the exact bytes of its value, its leaf."""

    pointer: Annotated[str, Meta(min_length=1, max_length=limits.POINTER_BYTES)]
    value: Annotated[bytes, Meta(min_length=1, max_length=limits.FIELDS_BYTES)]
    leaf: LeafProof


class FieldProof(Wire, frozen=True, tag=4):
    """`inclusion` is of the record's event, and opens nothing itself."""

    inclusion: InclusionProof
    field: FieldOpening


@dataclass(frozen=True, slots=True)
class FieldClaim:
    """What a field proof has shown: `value` are the bytes that stand in the record's JSON at `pointer`."""

    entry: Claim
    pointer: str
    value: bytes


def open_field(data: bytes, opening: Opening, pointer: str) -> FieldOpening:
    """What shows one field of the record whose exact bytes are `data`. CPU work.

    Raises `NoSuchField`.
    """
    fields = json_fields(data)
    values = dict(fields)
    if pointer not in values:
        raise NoSuchField(f"the record has no field '{pointer}'", advice=_known([name for name, _ in fields], pointer))
    return FieldOpening(pointer, values[pointer], field_proof(data, fields, opening, pointer))


def prove(proof: InclusionProof, field: FieldOpening) -> FieldProof:
    """The proof of a field of the record that `proof` shows."""
    return FieldProof(replace(proof, record=None), field)


def check(
    proof: FieldProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> FieldClaim:
    """What `proof` shows. Raises `GenesisMismatch`, `ForkShown`, or `BadProof` naming the check that failed."""
    if proof.inclusion.record is not None:
        raise BadProof("record: a proof of a field opens the whole record, too")
    entry = inclusion.check(proof.inclusion, genesis, verifier, checkpoint=checkpoint)
    if not isinstance(entry.event, RecordAppended):
        raise BadProof("field: the event is no record, and the proof shows a field of one")
    field = proof.field
    _check_form(field)
    try:
        check_field(entry.event.entry.commitment, field.pointer, field.value, field.leaf)
    except (BadProof, CommitmentMismatch) as error:
        raise BadProof(f"field: {error}") from None
    return FieldClaim(entry, field.pointer, field.value)


def _check_form(field: FieldOpening) -> None:
    """Whoever committed can have put anything into a leaf: what no JSON record has at any place is shown to nobody, or
    it could say whatever it likes in the sentence that people are given."""
    if not _POINTER.fullmatch(field.pointer) or len(field.pointer.encode()) > limits.POINTER_BYTES:
        raise BadProof("field: its name is no JSON pointer that a field can have")
    if json_fields(b'{"":' + field.value + b"}") != [("/", field.value)]:
        raise BadProof("field: its value is no JSON text, number, true, false or null")


def _known(names: list[str], wanted: str) -> str:
    """Which fields there are: those below what was asked for, if any, for a pointer to a part that is no value."""
    if not names:
        return "It has none: only JSON records of a bounded size have. Show the whole record with `proof record`."
    below = [name for name in names if name.startswith(wanted + "/")] or names
    more = f", and {len(below) - MOST_FIELDS_NAMED} more" if len(below) > MOST_FIELDS_NAMED else ""
    listed = ", ".join(below[:MOST_FIELDS_NAMED])
    return f"A field is a JSON pointer to a text, number, true, false or null: {listed}{more}."
