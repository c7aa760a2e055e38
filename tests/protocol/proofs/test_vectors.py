"""The golden vectors of tests/vectors/proofs: what the generator makes, and what checks from the files alone."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from protocol.codec.canonical import decode, encode
from protocol.errors import BadProof, DecodeError
from protocol.proofs import bundle, final, inclusion
from protocol.proofs.explaining import explain
from protocol.proofs.final import FinalityProof
from protocol.proofs.light import Checkpoint, EpochHop, LightClient
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import Certificate

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
KINDS: dict[str, type[Any]] = {
    "epoch-hop": EpochHop,
    "checkpoint": Checkpoint,
    "finality-proof": FinalityProof,
}


def load(name: str) -> Any:
    return json.loads((VECTORS / "proofs" / f"{name}.json").read_text(encoding="utf-8"))


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vectors_make_proofs", VECTORS / "make_proofs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [*KINDS, "walk", "claims"])
def test_the_files_are_what_this_code_makes(name: str) -> None:
    assert json.loads(json.dumps(generator().FILES[name]())) == load(name)


def test_no_file_is_left_unread() -> None:
    assert (
        {path.stem for path in (VECTORS / "proofs").glob("*.json")}
        == {*KINDS, "walk", "claims"}
        == set(generator().FILES)
    )


@pytest.mark.parametrize("name", KINDS)
def test_bytes_are_those_on_file(name: str) -> None:
    vector = load(name)
    for case in vector["cases"]:
        raw = bytes.fromhex(case["bytes"])
        assert encode(decode(KINDS[name], raw)) == raw
    assert len(vector["refused"]) > 5
    for case in vector["refused"]:
        with pytest.raises(DecodeError) as caught:
            decode(KINDS[name], bytes.fromhex(case["bytes"]))
        assert caught.value.code == case["error"]


def test_the_walk_is_followed_from_the_files_alone() -> None:
    walk = load("walk")
    genesis = decode(Genesis, bytes.fromhex(walk["genesis"]))
    client = LightClient.from_genesis(genesis)
    for case in walk["refused"]:
        with pytest.raises(BadProof, match=f"^{case['check']}: "):
            client.hop(decode(EpochHop, bytes.fromhex(case["hop"])))
    for raw, authorities in zip(walk["hops"], walk["sets"], strict=True):
        client.hop(decode(EpochHop, bytes.fromhex(raw)))
        assert client.authorities == decode(AuthoritySet, bytes.fromhex(authorities))
    above = [decode(Header, bytes.fromhex(raw)) for raw in walk["above"]]
    header, certificate = (bytes.fromhex(walk[name]) for name in ("header", "certificate"))
    assert list(client.check(decode(Header, header), decode(Certificate, certificate), above)) == walk["signers"]


def test_the_files_of_the_walk_are_checked_and_explained() -> None:
    walk = load("walk")
    genesis = decode(Genesis, bytes.fromhex(walk["genesis"]))
    kept = bundle.read_checkpoint(bytes.fromhex(walk["checkpoint_file"]))
    proof = bundle.read_inclusion(bytes.fromhex(walk["inclusion_file"]))
    assert explain(inclusion.check(proof, genesis, checkpoint=kept), genesis) == walk["inclusion_explained"]
    by_checkpoint = inclusion.check(proof, None, checkpoint=kept)
    assert explain(by_checkpoint, None) == walk["inclusion_explained_by_checkpoint"]
    shown = final.check(bundle.read_final(bytes.fromhex(walk["finality_file"])), genesis=genesis)
    assert explain(shown, genesis) == walk["finality_explained"]


def test_the_claims_check_from_the_files_alone() -> None:
    claims = load("claims")
    genesis = decode(Genesis, bytes.fromhex(claims["genesis"]))
    assert {case["kind"] for case in claims["true"].values()} == set(bundle.WORDS.values())
    for case in claims["true"].values():
        record = None if case["record"] is None else case["record"].encode()
        for raw in (bytes.fromhex(case["bytes"]), case["text"].encode()):
            shown = bundle.check(bundle.read(raw), genesis=genesis, record=record)
            assert explain(shown, genesis) == case["explained"]
    assert len({case["check"] for case in claims["refused"]}) >= 7
    for case in claims["refused"]:
        with pytest.raises(BadProof, match=f"^{case['check']}: "):
            bundle.check(bundle.read(bytes.fromhex(case["bytes"])), genesis=genesis)
