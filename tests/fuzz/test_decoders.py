"""Whatever bytes arrive, a decoder answers with a value that encodes to those very bytes, or with a named error.

Starts from the golden vectors, so that mutations get past the first bytes. CHARTLEDGER_FUZZ sets the examples a type.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.codec.canonical import decode, encode
from protocol.errors import BadProof, DecodeError
from protocol.proofs import bundle, scan
from protocol.proofs.erasure import ErasureProof
from protocol.proofs.field import FieldProof
from protocol.proofs.final import FinalityProof
from protocol.proofs.grant import GrantProof
from protocol.proofs.history import HistoryProof
from protocol.proofs.inclusion import InclusionProof
from protocol.proofs.light import Checkpoint, EpochHop
from protocol.proofs.past import PastGrantProof
from protocol.types.block import Block
from protocol.types.institutions import Genesis
from protocol.types.operations import SignedOperation
from protocol.types.transaction import Transaction
from protocol.types.votes import Certificate, ConsensusMessage, Proposal, Vote

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FOLDERS = ("wire", "proofs")
EXAMPLES = int(os.environ.get("CHARTLEDGER_FUZZ", "150"))
KINDS: list[Any] = [Transaction, SignedOperation, Block, Vote, Certificate, Proposal, Genesis, ConsensusMessage]
KINDS += [EpochHop, Checkpoint, FinalityProof, InclusionProof, HistoryProof, FieldProof, GrantProof, PastGrantProof]
KINDS += [ErasureProof, bundle.Bundle, bundle.CheckpointFile]


def golden() -> list[bytes]:
    """All canonical bytes of the vectors."""
    found: list[bytes] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in {"canonical", "bytes", "encoding", "raw"} and isinstance(inner, str):
                    found.append(bytes.fromhex(inner))
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    for folder in FOLDERS:
        for path in (VECTORS / folder).glob("*.json"):
            collect(json.loads(path.read_text()))
    return found


SEEDS = golden()


def test_there_is_something_to_start_from() -> None:
    assert len(SEEDS) >= len(KINDS)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A golden encoding with a few bytes flipped, cut, doubled or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "swap"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                data[at:at] = data[at : at + 16]
            case _:
                other = draw(st.sampled_from(SEEDS))
                data[at:] = other[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: getattr(kind, "__name__", "ConsensusMessage"))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(st.binary(max_size=300), mutated()))
def test_a_decoder_takes_only_what_encode_writes(kind: Any, data: bytes) -> None:
    try:
        value = decode(kind, data)
    except DecodeError:
        return
    assert encode(value) == data


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode), mutated()))
def test_a_proof_file_is_read_or_refused_by_name(data: bytes) -> None:
    for read, write in ((bundle.read, bundle.write), (bundle.read_checkpoint, bundle.write_checkpoint)):
        with contextlib.suppress(BadProof, DecodeError):
            assert write(read(data)) == data  # type: ignore[operator]  # each of what the other gives


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=600), cut=st.integers(0, 20), noise=st.text(alphabet=scan._DIGITS + "!", max_size=3))
def test_a_proofs_text_is_read_or_refused_by_name(data: bytes, cut: int, noise: str) -> None:
    text = scan.to_text(data)
    assert scan.from_text(text.encode()) == data
    at = cut * len(text) // 20
    for edited in (text[:at] + noise + text[at:], text[:at] + noise + text[at + 1 :], noise + text, text[:at]):
        with contextlib.suppress(BadProof):
            assert scan.from_text(edited.encode()) == data  # the checksum of what is deflated tells any other
