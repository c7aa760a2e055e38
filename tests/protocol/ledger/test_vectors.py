"""The golden vectors of tests/vectors/ledger: what the generator makes, and what replays from the files alone."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import transaction_message, verify
from protocol.errors import InvalidTransaction
from protocol.ledger import blocks, history, keys, purposes, tree, windows
from protocol.ledger.events import Event, Reason, event_digest
from protocol.ledger.genesis import genesis_block
from protocol.ledger.leaves import KINDS
from protocol.ledger.overlay import LayeredView
from protocol.ledger.state import ReadSet, read_set
from protocol.ledger.transition import Execution, SignedBy
from protocol.proofs import bundle, inclusion
from protocol.proofs.explaining import explain
from protocol.types.block import Block, Header
from protocol.types.institutions import Genesis
from protocol.types.transaction import Transaction

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
FILES = ("chain", "events", "leaves", "tree", "history", "windows", "purposes", "proof")


def load(name: str) -> Any:
    return json.loads((VECTORS / "ledger" / f"{name}.json").read_text(encoding="utf-8"))


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vectors_make_ledger", VECTORS / "make_ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_this_code_makes(name: str) -> None:
    assert json.loads(json.dumps(generator().FILES[name]())) == load(name)


def test_no_file_is_left_unread() -> None:
    assert {path.stem for path in (VECTORS / "ledger").glob("*.json")} == set(FILES) == set(generator().FILES)


def signed_by(transaction: Transaction) -> SignedBy:
    return lambda public: verify(public, transaction_message(transaction.body), transaction.signature)


class Replay:
    """A node that has nothing but the file."""

    def __init__(self, genesis: Genesis) -> None:
        start = genesis_block(genesis)
        self.genesis = genesis
        self.head = start.header
        self.leaves = dict(start.changes.leaves)
        self.nodes = dict(start.tree.nodes)
        self.events: dict[tuple[int, int], bytes] = {}

    def view(self, read: ReadSet) -> LayeredView:
        leaves = {key: self.leaves[key] for key in read.keys if key in self.leaves}
        events = {place: self.events[place] for place in read.events if place in self.events}
        return LayeredView(None, read, leaves, events)

    def apply(self, header: Header, raws: list[bytes]) -> tuple[Any, bytes]:
        bodies = []
        for raw in raws:
            transaction = decode(Transaction, raw)
            bodies.append((transaction.body, signed_by(transaction)))
        view = self.view(read_set((body for body, _ in bodies), self.head.child_epoch))
        executed = blocks.apply_block(view, self.head, Block(header, tuple(raws)), bodies, verify)
        after = tree.update(self.nodes, executed.changes.leaves)
        self.nodes.update(after.nodes)
        self.leaves.update(executed.changes.leaves)
        self.events.update({(chart, number): raw for chart, number, raw in executed.changes.events})
        self.head = header
        return executed, after.root


def test_the_chain_replays_from_its_genesis() -> None:
    vectors = load("chain")
    replay = Replay(decode(Genesis, bytes.fromhex(vectors["genesis"])))
    assert encode(replay.head).hex() == vectors["genesis_header"]
    seen: set[Reason | None] = set()
    for block in vectors["blocks"]:
        header = decode(Header, bytes.fromhex(block["header"]))
        executed, root = replay.apply(header, [bytes.fromhex(raw) for raw in block["transactions"]])
        assert root.hex() == block["state_root"] == header.state_root.hex()
        assert block_digest(header).hex() == block["digest"]
        for key, value in block["changed_leaves"].items():
            assert replay.leaves[bytes.fromhex(key)].hex() == value
        seen |= {one.reason for receipt in executed.receipts for one in receipt.operations}
    assert seen - {None} == set(Reason) - {Reason.REVIEWS_OWED}  # it takes 256 emergencies that nobody reviewed
    for case in vectors["refused"]:
        transaction = decode(Transaction, bytes.fromhex(case["transaction"]))
        view = replay.view(read_set([transaction.body], replay.head.child_epoch))
        execution = Execution(view, replay.head, vectors["refused_at"], verify)
        with pytest.raises(InvalidTransaction) as refused:
            execution.apply(transaction.body, signed_by(transaction))
        assert refused.value.code == case["error"]


def test_events_and_leaves_decode_to_their_bytes() -> None:
    for case in load("events"):
        raw = bytes.fromhex(case["bytes"])
        event: Any = decode(Event, raw)  # type: ignore[arg-type]  # a union is no type to mypy
        assert type(event).__name__ == case["event"]["type"]
        assert event_digest(case["chart"], case["number"], raw).hex() == case["digest"]
    kinds = set()
    for case in load("leaves"):
        key, raw = bytes.fromhex(case["key"]), bytes.fromhex(case["bytes"])
        assert type(decode(KINDS[key[0]], raw)).__name__ == case["kind"]
        assert len(key) == keys.KEY_BYTES[key[0]]
        assert tree.leaf_digest(key, raw).hex() == case["digest"]
        kinds.add(key[0])
    assert kinds == set(KINDS)
    assert {case["event"]["type"] for case in load("events")} == {one.__name__ for one in get_args(Event)}


def test_tree_paths_check() -> None:
    vectors = load("tree")
    root = bytes.fromhex(vectors["steps"][-1]["root"])
    for case in vectors["paths"]:
        value = None if case["value"] is None else bytes.fromhex(case["value"])
        tree.check_leaf(root, bytes.fromhex(case["key"]), value, [bytes.fromhex(raw) for raw in case["path"]])
    assert any(case["value"] is None for case in vectors["paths"])


def test_history_paths_check() -> None:
    for case in load("history"):
        peaks = [bytes.fromhex(peak) for peak in case["peaks"]]
        count = len(case["leaves"])
        assert history.root(count, peaks).hex() == case["root"]
        for index, path in enumerate(case["paths"]):
            leaf = bytes.fromhex(case["leaves"][index])
            history.check(peaks, count, index, leaf, [bytes.fromhex(step) for step in path])


def test_window_steps() -> None:
    window = windows.FRESH
    for case in load("windows"):
        assert windows.used(window, case["number"], 64) is (case["error"] == "replayed")
        if case["error"] is None:
            window = windows.use(window, case["number"], 64)
        assert (window.highest, window.bitmap.hex()) == (case["highest"], case["bitmap"])


def test_purposes() -> None:
    assert {code: case["above"] for code, case in load("purposes").items()} == purposes.PARENTS


def test_the_proof_file_checks() -> None:
    vectors = load("proof")
    genesis = decode(Genesis, bytes.fromhex(vectors["genesis"]))
    proof = bundle.read_inclusion(bytes.fromhex(vectors["file"]))
    claim = inclusion.check(proof, genesis, record=bytes.fromhex(vectors["record"]))
    assert claim.record_shown
    assert list(claim.final.signers) == vectors["signers"]
    assert explain(claim, genesis) == vectors["explanation"]
