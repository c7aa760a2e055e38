"""The naive second ledger against the vectors: it follows the chain that holds every operation, and refuses by itself
what the ledger refuses of it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from node.simulation.oracles.naive import costs
from node.simulation.oracles.naive.account import disagreement
from node.simulation.oracles.naive.ledger import GOVERNING, HANDLERS, Invalid, NaiveLedger
from node.simulation.oracles.naive.purposes import ABOVE, below
from node.simulation.oracles.records import Scene
from node.simulation.oracles.validity import Replay
from protocol.codec.canonical import decode
from protocol.crypto.signing import verify
from protocol.ledger.purposes import LINEAGE, PARENTS
from protocol.ledger.registry import RULES
from protocol.ledger.rules import Family
from protocol.types.block import Block, Header
from protocol.types.institutions import Genesis
from protocol.types.operations import Operation
from protocol.types.transaction import Transaction

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


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
    assert not taken, taken


def test_whether_it_would_refuse_is_asked_without_a_trace(chain: Any, followed: NaiveLedger) -> None:
    before = deepcopy(followed.state)
    for case in chain["refused"]:
        assert followed.refusal(bytes.fromhex(case["transaction"]), chain["refused_at"]) is not None, case["error"]
    ledger, asked = NaiveLedger(decode(Genesis, bytes.fromhex(chain["genesis"])), before.chain, verify), 0
    for document in chain["blocks"]:
        block = Block(
            decode(Header, bytes.fromhex(document["header"])),
            tuple(bytes.fromhex(raw) for raw in document["transactions"]),
        )
        for raw in block.transactions[:1]:
            first = decode(Transaction, raw).body.operations[0].operation
            if type(first) not in GOVERNING:
                before = deepcopy(ledger.state)
                assert ledger.refusal(raw, block.header.timestamp) is None, block.header.height
                assert ledger.state == before, block.header.height
                asked += 1
        ledger.apply(block)
    assert asked > 10


def test_the_ledger_records_what_it_says(chain: Any) -> None:
    scene = Scene(0, decode(Genesis, bytes.fromhex(chain["genesis"])), bytes(32), frozenset(), {})
    replay, ledger = Replay(scene), None
    kinds = set()
    for document in chain["blocks"]:
        header = decode(Header, bytes.fromhex(document["header"]))
        ledger = NaiveLedger(scene.genesis, header.chain, verify) if ledger is None else ledger
        block = Block(header, tuple(bytes.fromhex(raw) for raw in document["transactions"]))
        ledger.apply(block)
        assert replay.apply(block) is None
        assert disagreement(ledger, header, replay.recorded, replay.leaves) is None, header.height
        kinds |= {said.kind for said in ledger.said[header.height]}
        _spoilt(ledger, header, replay)
    assert len(kinds) == 19


def _spoilt(ledger: NaiveLedger, header: Header, replay: Replay) -> None:
    """Whatever is recorded otherwise, left out or invented is noticed."""
    recorded = replay.recorded
    if recorded:
        chart, number, raw = recorded[-1]
        assert disagreement(ledger, header, recorded[:-1], replay.leaves) is not None
        assert disagreement(ledger, header, [*recorded, (chart, number + 1, raw)], replay.leaves) is not None
        other = recorded[0][2] if recorded[0][2] != raw else bytes(replay.events[0, 0])
        assert disagreement(ledger, header, [*recorded[:-1], (chart, number, other)], replay.leaves) is not None


def test_its_purposes_are_those_of_the_ledger() -> None:
    assert {code: above or None for code, above in ABOVE.items()} == PARENTS
    for code in PARENTS:
        assert {bound for bound in PARENTS if below(code, bound)} == LINEAGE[code]


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
