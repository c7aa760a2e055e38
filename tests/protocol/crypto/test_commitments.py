"""Commitments and fields: binding, hiding in what they show, and the same fields everywhere."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto import commitments
from protocol.crypto.commitments import LeafProof, Opening
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import Domain, digest
from protocol.crypto.merkle import merkle_path, merkle_root
from protocol.errors import BadProof, CommitmentMismatch, DecodeError

OPENING = Opening(bytes(range(64)), bytes(range(100, 132)))
RECORD = (
    b'{"resourceType": "Immunization", "occurrenceDateTime": "2021-05-04", "lotNumber": "A1", "x": [1, {"y": null}]}'
)
FIELDS = json_fields(RECORD)
COMMITMENT = commitments.commit(RECORD, FIELDS, OPENING)


def test_the_record_opens_and_no_other_does() -> None:
    commitments.check_record(COMMITMENT, RECORD, OPENING)
    for data, opening in (
        (RECORD + b" ", OPENING),
        (RECORD.replace(b"A1", b"A2"), OPENING),
        (RECORD, Opening(bytes(64), OPENING.secret)),
        (RECORD, Opening(OPENING.salt, bytes(32))),
    ):
        with pytest.raises(CommitmentMismatch):
            commitments.check_record(COMMITMENT, data, opening)


def test_fields_that_are_not_the_records_own_are_noticed() -> None:
    lying = commitments.commit(RECORD, [*FIELDS, ("/lotNumber2", b'"B"')], OPENING)
    with pytest.raises(CommitmentMismatch):
        commitments.check_record(lying, RECORD, OPENING)


def test_one_field_is_shown_without_the_rest() -> None:
    proof = commitments.field_proof(RECORD, FIELDS, OPENING, "/occurrenceDateTime")
    commitments.check_field(COMMITMENT, "/occurrenceDateTime", b'"2021-05-04"', proof)
    wire = encode(proof)
    assert decode(LeafProof, wire) == proof
    assert OPENING.secret not in wire
    assert b"A1" not in wire
    for pointer, value in (
        ("/occurrenceDateTime", b'"2021-05-05"'),
        ("/lotNumber", b'"2021-05-04"'),
        ("/occurrenceDateTim", b'e"2021-05-04"'),
    ):
        with pytest.raises(CommitmentMismatch):
            commitments.check_field(COMMITMENT, pointer, value, proof)
    with pytest.raises(BadProof):
        commitments.field_proof(RECORD, FIELDS, OPENING, "/none")


def test_the_bytes_are_shown_without_the_secret() -> None:
    proof = commitments.bytes_proof(RECORD, FIELDS, OPENING)
    commitments.check_bytes(COMMITMENT, RECORD, proof)
    assert OPENING.secret not in encode(proof)
    with pytest.raises(CommitmentMismatch):
        commitments.check_bytes(COMMITMENT, RECORD + b" ", proof)


def test_a_leaf_of_one_kind_does_not_pass_for_another() -> None:
    whole = commitments.bytes_proof(RECORD, FIELDS, OPENING)
    one = commitments.field_proof(RECORD, FIELDS, OPENING, "/lotNumber")
    with pytest.raises(CommitmentMismatch):
        commitments.check_field(COMMITMENT, "", RECORD, whole)
    with pytest.raises(CommitmentMismatch):
        commitments.check_bytes(COMMITMENT, b'"A1"', one)


def test_a_committer_cannot_bind_two_records_at_once() -> None:
    """One at leaf 0 and another in a field's place would let it show either."""
    leaves = [digest(Domain.COMMITTED_BYTES, bytes(32), b"record %d" % i) for i in range(16)]
    commitment = digest(Domain.COMMITMENT, bytes(64), merkle_root(leaves))
    for place in range(16):
        proof = LeafProof(bytes(64), bytes(32), place, 16, merkle_path(leaves, place))
        if place == 0:
            commitments.check_bytes(commitment, b"record 0", proof)
        else:
            with pytest.raises(CommitmentMismatch):
                commitments.check_bytes(commitment, b"record %d" % place, proof)


def test_every_flipped_byte_of_a_proof_is_noticed() -> None:
    wire = encode(commitments.field_proof(RECORD, FIELDS, OPENING, "/lotNumber"))
    for place in range(len(wire)):
        changed = wire[:place] + bytes([wire[place] ^ 1]) + wire[place + 1 :]
        with pytest.raises((CommitmentMismatch, DecodeError)):
            commitments.check_field(COMMITMENT, "/lotNumber", b'"A1"', decode(LeafProof, changed))


def test_the_place_and_number_of_fields_stay_hidden() -> None:
    """The tree tells no more than a power of two; where a field stands depends on the secret alone."""
    counts = {
        number: commitments.bytes_proof(b"", [(f"/{i}", b"1") for i in range(number)], OPENING).count
        for number in (0, 1, 15, 16, 31, 32, limits.FIELDS_PER_RECORD)
    }
    assert counts == {0: 16, 1: 16, 15: 16, 16: 32, 31: 32, 32: 64, limits.FIELDS_PER_RECORD: 4096}
    places = {
        commitments.field_proof(RECORD, FIELDS, Opening(bytes(64), bytes([i]) * 32), "/lotNumber").position
        for i in range(100)
    }
    assert places == set(range(1, 16))


def test_too_many_fields_are_a_programming_error() -> None:
    with pytest.raises(ValueError):
        commitments.commit(b"", [("/a", b"1")] * (limits.FIELDS_PER_RECORD + 1), OPENING)


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_committing_in_pieces_is_the_same(data: bytes, size: int) -> None:
    for record in (data, RECORD + b" " * len(data)):
        committer = commitments.Committer(OPENING)
        for start in range(0, len(record), size):
            committer.update(record[start : start + size])
        assert committer.finish() == commitments.commit(record, json_fields(record), OPENING)


def test_a_record_too_large_for_fields_commits_to_its_bytes() -> None:
    large = b'{"a":"' + b"x" * limits.FIELDS_BYTES + b'"}'
    committer = commitments.Committer(OPENING)
    committer.update(large[:1000])
    committer.update(large[1000:])
    assert json_fields(large) == []
    assert committer.finish() == commitments.commit(large, [], OPENING)


# --- fields ----------------------------------------------------------------------------------------------------


def _expected(value: Any, pointer: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        members = ((name.replace("~", "~0").replace("/", "~1"), child) for name, child in value.items())
    elif isinstance(value, list):
        members = ((str(index), child) for index, child in enumerate(value))
    else:
        return {pointer: value}
    found: dict[str, Any] = {}
    for name, child in members:
        found |= _expected(child, f"{pointer}/{name}")
    return found


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
trees = st.recursive(scalars, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=20)


@given(st.dictionaries(st.text(), trees), st.booleans(), st.sampled_from([None, 2]))
def test_fields_are_the_leaves_as_python_reads_them(tree: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    fields = json_fields(data)
    assert {pointer: json.loads(value) for pointer, value in fields} == _expected(json.loads(data))
    assert all(value in data for _, value in fields)
    assert [pointer.encode() for pointer, _ in fields] == sorted(pointer.encode() for pointer, _ in fields)


@given(st.binary(max_size=100))
def test_garbage_has_no_fields_and_raises_nothing(data: bytes) -> None:
    fields = json_fields(data)
    if fields:
        assert isinstance(json.loads(data), dict)


@pytest.mark.parametrize("opener", [b'{"a":', b"[", b'{"a":['])
def test_depth_without_end_is_no_recursion_error(opener: bytes) -> None:
    assert json_fields(b'{"a":' + opener * 100_000) == []
    assert json_fields(b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}") == []


def _called_from_deep(depth: int, data: bytes) -> list[tuple[str, bytes]]:
    return _called_from_deep(depth - 1, data) if depth else json_fields(data)


@pytest.mark.parametrize("nested", [1, 63, 64, 65, 300, 900, 2_000])
def test_fields_depend_on_the_bytes_alone_and_not_on_the_callers_stack(nested: int) -> None:
    for data in (
        b'{"a":' + b"[" * nested + b"1" + b"]" * nested + b',"b":2}',
        b'{"b":' + b"[" * nested + b"1" + b"]" * nested + b',"b":2}',  # the deep one does not count, but is there
    ):
        assert bool(json_fields(data)) is (nested < limits.FIELD_DEPTH)
        assert _called_from_deep(600, data) == json_fields(data)


def test_brackets_in_strings_are_not_depth() -> None:
    value = b'"' + b'[{\\"' * 500 + b'"'
    assert json_fields(b'{"a":' + value + b"}") == [("/a", value)]
    assert json_fields(b'{"a":"' + b'\\"' * 300_000) == []  # unfinished, and read in linear time


def test_the_number_of_fields_is_bounded() -> None:
    at_most = {f"f{i}": i for i in range(limits.FIELDS_PER_RECORD)}
    assert len(json_fields(json.dumps(at_most).encode())) == limits.FIELDS_PER_RECORD
    assert json_fields(json.dumps(at_most | {"one": 1}).encode()) == []


def test_a_long_name_above_many_fields_does_not_fill_the_memory() -> None:
    """A custodian that releases this kind of record would otherwise take 1,000 times its size from each reader."""
    for below in (b"1,", b"[1],", b"[[]],"):
        hostile = b'{"' + b"n" * 100_000 + b'":[' + below * 4_000 + b"1]}"
        tracemalloc.start()
        assert json_fields(hostile) == []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20 * len(hostile)


def test_a_pointer_has_a_longest() -> None:
    longest = "n" * (limits.POINTER_BYTES - 3)
    assert json_fields(json.dumps({longest: {"a": 1}}).encode()) == [(f"/{longest}/a", b"1")]
    assert json_fields(json.dumps({longest: {"ab": 1}}).encode()) == []
    assert json_fields(json.dumps({longest: {"ab": {}}, "a": 1}).encode()) == []
