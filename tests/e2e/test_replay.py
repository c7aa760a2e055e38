"""Replaying a real node's blocks from the genesis file alone gives the roots that its headers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.genesis_file import read_genesis
from node.storage.ledger_store import LedgerStore
from protocol.codec.canonical import decode
from protocol.consensus.quorum import check_certificate
from protocol.crypto.hashing import block_digest, chain_id
from protocol.crypto.signing import transaction_message, verify
from protocol.ledger import blocks, tree
from protocol.ledger.genesis import genesis_block
from protocol.ledger.overlay import LayeredView
from protocol.ledger.state import read_set
from protocol.types.transaction import Transaction

pytestmark = pytest.mark.processes


async def replay(data: Path, genesis_file: Path) -> tuple[int, int, bytes]:
    """(height, transactions, state root) after applying every stored block to the genesis state, checking all."""
    genesis = read_genesis(genesis_file)
    keys = [genesis.institutions[n].vote_key for n in genesis.authorities]
    start = genesis_block(genesis)
    head, leaves, nodes = start.header, dict(start.changes.leaves), dict(start.tree.nodes)
    events: dict[tuple[int, int], bytes] = {}
    count = 0
    store = await LedgerStore.open(data / "ledger.db", read_only=True)
    try:
        while True:
            stored = await store.blocks(head.height + 1, 64, 1 << 24)
            for one in stored:
                block = one.block
                transactions = [decode(Transaction, raw) for raw in block.transactions]
                for transaction in transactions:
                    body = transaction.body
                    key = genesis.institutions[body.institution].operation_keys[body.key]
                    assert verify(key, transaction_message(body), transaction.signature)
                bodies = [transaction.body for transaction in transactions]
                read = read_set(bodies)
                done = blocks.apply_block(LayeredView(None, read, leaves, events), head, block, bodies, verify)
                changed = tree.update(nodes, done.changes.leaves)
                blocks.check_state_root(block.header, changed.root)
                leaves.update(done.changes.leaves)
                nodes.update(changed.nodes)
                events.update({(chart, number): raw for chart, number, raw in done.changes.events})
                head = block.header
                count += len(bodies)
                if one.certificate is not None:
                    assert one.certificate.subject.block == block_digest(head)
                    check_certificate(one.certificate, chain_id(genesis), 0, keys, verify)
            if not stored:
                return head.height, count, head.state_root
    finally:
        await store.close()


async def test_replay_from_genesis_gives_every_nodes_root(network) -> None:
    charts = [network.open_chart(custodian) for custodian in (0, 1)]
    for round_ in range(3):
        for custodian, chart in enumerate(charts):
            network.session(custodian).submit_record(chart, f"note {round_}".encode(), "text/plain")
    network.session(2).disclose(charts[0], None, "TREAT", [1])  # denied, and on the ledger
    height = network.same_height()
    roots = {network.session(n).client.get(f"/v1/blocks/{height}")["state_root"] for n in network.devnet.numbers}
    network.devnet.stop()
    assert len(roots) == 1
    for number in network.devnet.numbers:
        replayed = await replay(network.devnet.data(number), network.devnet.genesis)
        assert replayed[0] == height
        assert replayed[1] == 9
        assert replayed[2].hex() == roots.copy().pop()
