"""Every wire type against tests/vectors/wire: one encoding each, and everything else refused by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocol.errors as errors
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.signing import (
    ApplicationSubject,
    CosignatureSubject,
    OwnerPossessionSubject,
    PossessionSubject,
    ReadingPassSubject,
    sign_transaction,
    transaction_message,
    transaction_message_of,
)
from protocol.errors import DecodeError, Oversize
from protocol.types import operations
from protocol.types.base import Wire
from protocol.types.governance import Change, KeyChange
from protocol.types.operations import Operation
from protocol.types.transaction import Transaction
from protocol.types.votes import ConsensusMessage

Generator = Callable[[str], ModuleType]
WIRE = Path(__file__).resolve().parents[2] / "vectors" / "wire"
FILES = sorted(path.stem for path in WIRE.glob("*.json"))
MODULES = ("base", "terms", "operations", "governance", "transaction", "block", "votes", "institutions")


def _types() -> dict[str, Any]:
    signed = (ApplicationSubject, CosignatureSubject, OwnerPossessionSubject, PossessionSubject, ReadingPassSubject)
    found: dict[str, Any] = {kind.__name__: kind for kind in signed}
    for name in MODULES:
        for key, value in vars(importlib.import_module(f"protocol.types.{name}")).items():
            if isinstance(value, type) and issubclass(value, Wire) and value is not Wire:
                found[key] = value
    return found


TYPES = _types()


def _decoded_as(name: str) -> Any:
    """What a reader of the wire decodes: a member of a union is told by its tag."""
    kind = TYPES[name]
    for union in (Operation, ConsensusMessage, Change, KeyChange):
        if kind in get_args(union):
            return union
    return kind


def test_every_type_has_vectors(vectors: Callable[[str], Any]) -> None:
    assert {vectors(f"wire/{name}")["type"] for name in FILES} == set(TYPES)


def test_the_files_are_what_the_generator_writes(vectors: Callable[[str], Any], generator: Generator) -> None:
    made = generator("make_wire").files()
    assert sorted(made) == FILES
    for name, content in made.items():
        assert content == vectors(f"wire/{name}"), name


@pytest.mark.parametrize("name", FILES)
def test_encode_and_decode_match(name: str, vectors: Callable[[str], Any], generator: Generator) -> None:
    content = vectors(f"wire/{name}")
    module = generator("make_wire")
    for case in content["cases"]:
        raw = bytes.fromhex(case["bytes"])
        value = decode(_decoded_as(content["type"]), raw)
        assert type(value).__name__ == content["type"]
        assert module.readable(value) == case["fields"]
        assert encode(value) == raw
        assert {key: case[key] for key in case if key not in ("fields", "bytes")} == module.digests(value)


@pytest.mark.parametrize("name", FILES)
def test_what_is_listed_is_refused(name: str, vectors: Callable[[str], Any]) -> None:
    content = vectors(f"wire/{name}")
    codes = {kind.code for kind in (errors.DecodeError, errors.NonCanonical, errors.Oversize)}
    refused = content["refused"]
    assert {"last byte missing", "a byte too many", "array in a longer form", "one item more"} <= {
        case["name"] for case in refused
    }
    for case in refused:
        assert case["error"] in codes
        with pytest.raises(DecodeError) as caught:
            decode(_decoded_as(content["type"]), bytes.fromhex(case["bytes"]))
        assert caught.value.code == case["error"], case["name"]


@pytest.mark.parametrize("name", FILES)
def test_no_changed_byte_decodes_to_the_same_value(name: str, vectors: Callable[[str], Any]) -> None:
    """Whatever one byte becomes: refused by name, or another value with the changed bytes as its encoding."""
    content = vectors(f"wire/{name}")
    kind, raw = _decoded_as(content["type"]), bytes.fromhex(content["cases"][0]["bytes"])
    original = decode(kind, raw)
    for data in _one_byte_changed(raw):
        try:
            value = decode(kind, data)
        except DecodeError:
            continue
        assert value != original
        assert encode(value) == data


def _one_byte_changed(raw: bytes) -> Iterator[bytes]:
    for place in range(len(raw)):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            yield raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]


@given(st.binary(max_size=200))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    for kind in (Transaction, Operation, ConsensusMessage):
        try:
            value: Any = decode(kind, data)
        except DecodeError:
            continue
        assert encode(value) == data


@given(st.recursive(st.none() | st.integers(-5, 2**60) | st.binary(max_size=40) | st.text(max_size=8), st.lists))
def test_well_formed_messagepack_of_another_shape_is_refused_by_name(tree: Any) -> None:
    with pytest.raises(DecodeError):
        decode(Transaction, msgspec.msgpack.encode(tree))


def test_deep_nesting_is_refused_and_does_not_recurse() -> None:
    with pytest.raises(DecodeError):
        decode(Transaction, b"\x91" * 1_000_000 + b"\xc0")


def test_a_float_with_an_integral_value_is_no_number() -> None:
    raw = encode(operations.Revoke(1, 2))
    assert raw == bytes([0x96, 4, 1, 2, 0x90, 0x90, 0xC0])
    with pytest.raises(DecodeError):
        decode(Operation, bytes([0x96, 4]) + b"\xcb" + b"\x3f\xf0" + bytes(6) + bytes([2, 0x90, 0x90, 0xC0]))


def test_oversize_is_refused_before_decoding() -> None:
    with pytest.raises(Oversize):
        decode(Transaction, b"\xc1" * (limits.TRANSACTION_BYTES + 1), limits.TRANSACTION_BYTES)


@pytest.mark.parametrize("count", [limits.ENTRIES_PER_OPERATION, limits.ENTRIES_PER_OPERATION + 1])
def test_the_number_of_entries_is_bounded(count: int) -> None:
    entry = operations.RecordEntry(bytes(32), (bytes(16),) * 4)
    raw = encode(operations.AppendRecords(0, (entry,) * count))
    if count <= limits.ENTRIES_PER_OPERATION:
        assert len(decode(Operation, raw).entries) == count
    else:
        with pytest.raises(DecodeError):
            decode(Operation, raw)


def test_errors_say_no_content() -> None:
    secret = "hypertension"
    for value in ([secret], [secret, secret], {secret: 1}, [[[secret]], b""], [99, secret]):
        for kind in (Transaction, Operation, ConsensusMessage):
            with pytest.raises(DecodeError) as caught:
                decode(kind, msgspec.msgpack.encode(value))
            assert secret not in str(caught.value)
            assert caught.value.__cause__ is None


def test_the_signed_part_can_be_cut_out_of_a_transaction(generator: Generator) -> None:
    module = generator("make_wire")
    for name in module.OPERATIONS:
        made = module.a_transaction(name)
        assert transaction_message_of(encode(made)) == transaction_message(made.body)
        assert sign_transaction(module.SIGNER, made.body) == made
