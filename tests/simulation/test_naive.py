"""The naive second ledger against the vectors: it follows the chain that holds every operation, and refuses by itself
what the ledger refuses of it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from node.simulation.oracles.naive import costs
from node.simulation.oracles.naive.ledger import GOVERNING, HANDLERS, Invalid, NaiveLedger
from protocol.codec.canonical import decode
from protocol.crypto.signing import verify
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Family
from protocol.types.block import Block, Header
from protocol.types.institutions import Genesis
from protocol.types.operations import Operation
from protocol.types.transaction import Transaction

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
LEFT_TO_THE_REPLAY = {"unknown-purpose", "bad-terms"}
"""What the naive ledger does not know: codes of purposes, and a few of the terms."""


@pytest.fixture(scope="module")
def chain() -> Any:
    return json.loads((VECTORS / "ledger" / "chain.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def followed(chain: Any) -> NaiveLedger:
    genesis = decode(Genesis, bytes.fromhex(chain["genesis"]))
    first = decode(Header, bytes.fromhex(chain["blocks"][0]["header"]))
    ledger = NaiveLedger(genesis, first.chain, verify)
    for block in chain["blocks"]:
        raws = tuple(bytes.fromhex(raw) for raw in block["transactions"])
        ledger.apply(Block(decode(Header, bytes.fromhex(block["header"])), raws))
    return ledger


def test_it_follows_the_chain_of_the_vectors(chain: Any, followed: NaiveLedger) -> None:
    assert followed.height == len(chain["blocks"])


def test_its_charts_have_as_many_events_as_the_ledgers(chain: Any, followed: NaiveLedger) -> None:
    leaves = json.loads((VECTORS / "ledger" / "leaves.json").read_text(encoding="utf-8"))
    charts = {int(one["key"][2:], 16): one["leaf"] for one in leaves if one["kind"] == "Chart"}
    assert len(charts) == len(followed.state.charts)
    for number, leaf in charts.items():
        naive = followed.state.charts[number]
        assert (naive.events, naive.generation, naive.owner_key.hex()) == (
            leaf["events"],
            leaf["generation"],
            leaf["owner_key"],
        )


def test_it_refuses_what_the_ledger_refuses(chain: Any, followed: NaiveLedger) -> None:
    taken = []
    for case in chain["refused"]:
        ledger = deepcopy(followed)
        ledger.state.timestamp = chain["refused_at"]
        transaction = decode(Transaction, bytes.fromhex(case["transaction"]))
        try:
            ledger._transaction(transaction, b"t" * 32)
        except Invalid:
            continue
        taken.append(case["error"])
    assert set(taken) <= LEFT_TO_THE_REPLAY, taken


def test_costs_and_families_are_those_of_the_ledger() -> None:
    seen = set()
    for path in sorted((VECTORS / "wire").glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            if "operation_digest" not in case:
                continue
            operation: Any = decode(Operation, bytes.fromhex(case["bytes"]))  # type: ignore[arg-type]
            rule = RULES[type(operation)]
            assert costs.cost(operation) == rule.cost(operation), operation
            assert costs.owners(operation) is (rule.family is Family.OWNERS), operation
            seen.add(type(operation))
    assert seen == set(RULES) == {*HANDLERS, *GOVERNING}
