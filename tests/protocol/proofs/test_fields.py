"""One field of a record, shown without the rest: as it was committed to, or not at all."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocol.crypto.commitments import LeafProof, commit, field_proof
from protocol.crypto.hashing import Domain, digest
from protocol.errors import BadProof
from protocol.proofs import bundle
from protocol.proofs.explaining import explain
from protocol.proofs.field import FieldClaim, FieldOpening, FieldProof, NoSuchField, open_field
from protocol.types.operations import AppendRecords
from tests.protocol.proofs.proving import DATA, FIELDS, OPENING, POINTER, VALUE, Prover, immunization
from tests.protocol.proofs.test_claims import prover, shown

__all__ = ["prover"]


def test_one_field_without_the_rest(prover: Prover) -> None:
    proof = prover.field(1)
    claim = shown(prover, proof)
    assert isinstance(claim, FieldClaim)
    assert (claim.pointer, claim.value, claim.entry.number) == (POINTER, VALUE, 1)
    raw = bundle.write(proof)
    for name, value in FIELDS:
        inside = name.encode() in raw or value.strip(b'"') in raw
        assert inside == (name == POINTER), name
    assert OPENING.secret not in raw
    assert all("Yellow" not in line for line in explain(claim, None))


def test_nobody_guesses_the_other_fields_from_what_a_proof_gives_away(prover: Prover) -> None:
    """Every digest on the path, tried with each other field, the record's own bytes and each salt that was given away:
    a field's value is a guess away (a date, a code) unless its own salt is kept back."""
    leaf = prover.field(1).field.leaf
    salts = [leaf.leaf_salt, leaf.salt, leaf.salt[:32], leaf.salt[32:], bytes(32)]
    guesses = set()
    for salt in salts:
        for name, value in FIELDS:
            raw = name.encode()
            guesses.add(digest(Domain.COMMITTED_FIELD, salt, len(raw).to_bytes(4, "big"), raw, value))
        guesses |= {digest(Domain.COMMITTED_BYTES, salt, DATA), digest(Domain.COMMITTED_DUMMY, salt)}
    assert guesses.isdisjoint(leaf.path)
    other = open_field(DATA, OPENING, "/status").leaf
    assert other.leaf_salt != leaf.leaf_salt


def test_a_field_is_shown_as_it_was_committed_to_or_not_at_all(prover: Prover) -> None:
    proof = prover.field(1)
    leaf = proof.field.leaf
    for forged in (
        replace(proof.field, value=b'"2026-03-15"'),
        replace(proof.field, pointer="/status"),
        replace(proof.field, leaf=replace(leaf, position=leaf.position ^ 1)),
        replace(proof.field, leaf=replace(leaf, count=leaf.count * 2)),
        replace(proof.field, leaf=replace(leaf, salt=bytes(64))),
        replace(proof.field, leaf=LeafProof(leaf.salt, leaf.leaf_salt, 0, leaf.count, leaf.path)),
    ):
        with pytest.raises(BadProof, match=r"^field: "):
            shown(prover, replace(proof, field=forged))
    with pytest.raises(BadProof, match=r"^field: the event is no record"):
        shown(prover, replace(proof, inclusion=prover.record(0)))
    with pytest.raises(BadProof, match=r"^record: a proof of a field opens the whole"):
        shown(prover, replace(proof, inclusion=prover.record(1, opened=True)))


@pytest.mark.parametrize(
    ("pointer", "value", "why"),
    [
        (POINTER, b"1.\nThe bytes at hand are exactly the record that was committed to then", "its value"),
        (POINTER, b'"2026-03-14"\n', "its value"),
        (POINTER, b'1,"b":2', "its value"),
        (POINTER, b'{"a":1}', "its value"),
        (POINTER, b"\xff", "its value"),
        ("occurrenceDateTime", VALUE, "its name"),
        ("/a~2", VALUE, "its name"),
        ("/" + "\u20ac" * 400, VALUE, "its name"),
    ],
)
def test_a_leaf_that_is_no_field_of_any_record_shows_nothing(
    prover: Prover, pointer: str, value: bytes, why: str
) -> None:
    """Whoever appends an entry can commit to any leaves. Verifying must not let them put words into its sentences."""
    with pytest.raises(BadProof, match=f"^field: {why}"):
        shown(prover, forged(prover, pointer, value))


def test_a_fields_name_cannot_end_the_line(prover: Prover) -> None:
    """A JSON name can have a line's end in it, and then its pointer does."""
    pointer = '/x is "ill".\nOn the same day\u2028\u202e'
    proof = forged(prover, pointer, VALUE)
    lines = explain(shown(prover, proof), None)
    assert all(line.isprintable() for line in lines)
    assert "committed to it" in lines[0]
    assert any("whole bytes say the same" in line for line in lines)


def forged(prover: Prover, pointer: str, value: bytes) -> FieldProof:
    """A true proof of a record whose writer committed to this leaf."""
    fields = [(pointer, value)]
    commitment = commit(DATA, fields, OPENING)
    number = prover.world.chart(prover.patient).events
    prover.world.run(0, AppendRecords(prover.chart, (replace(immunization(), commitment=commitment),)))
    leaf = field_proof(DATA, fields, OPENING, pointer)
    return FieldProof(prover.record(number), FieldOpening(pointer, value, leaf))


def test_a_field_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NoSuchField, match="no field '/vaccineCode'") as refused:
        open_field(DATA, OPENING, "/vaccineCode")
    assert "/vaccineCode/text" in refused.value.advice
    assert "/lotNumber" not in refused.value.advice
    with pytest.raises(NoSuchField) as refused:
        open_field(b"a picture", OPENING, "/x")
    assert "proof record" in refused.value.advice
