"""Replaying a real node's blocks from the genesis file alone gives the roots that its headers say, epoch by epoch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from node.genesis_file import read_genesis
from node.storage.ledger_store import LedgerStore
from protocol.codec.canonical import decode
from protocol.consensus.quorum import check_certificate
from protocol.crypto.hashing import block_digest, chain_id
from protocol.crypto.signing import transaction_message, verify
from protocol.ledger import blocks, keys, tree
from protocol.ledger.genesis import genesis_block
from protocol.ledger.overlay import LayeredView
from protocol.ledger.state import read_set
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet
from protocol.types.transaction import Transaction

pytestmark = pytest.mark.processes


def signs(transaction: Transaction, key: bytes) -> bool:
    """Whether the transaction is signed with this key, which the state names."""
    return verify(key, transaction_message(transaction.body), transaction.signature)


async def replay(data: Path, genesis_file: Path) -> tuple[Header, int]:
    """(last header, transactions) after applying every stored block to the genesis state, checking all."""
    genesis = read_genesis(genesis_file)
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
                signed = [(each.body, partial(signs, each)) for each in transactions]
                read = read_set([each.body for each in transactions], head.child_epoch)
                view = LayeredView(None, read, leaves, events)
                done = blocks.apply_block(view, head, block, signed, verify)
                changed = tree.update(nodes, done.changes.leaves)
                blocks.check_state_root(block.header, changed.root)
                leaves.update(done.changes.leaves)
                nodes.update(changed.nodes)
                events.update({(chart, number): raw for chart, number, raw in done.changes.events})
                head = block.header
                count += len(transactions)
                if one.certificate is not None:
                    assert one.certificate.subject.block == block_digest(head)
                    members = decode(AuthoritySet, leaves[keys.authorities(head.epoch)]).members
                    vote_keys = [member.vote_key for member in members]
                    check_certificate(one.certificate, chain_id(genesis), head.epoch, vote_keys, verify)
                else:
                    assert not head.ends_epoch
            if not stored:
                return head, count
    finally:
        await store.close()


async def test_replay_from_genesis_gives_every_nodes_root(network) -> None:
    """Nine transactions about charts, then two epochs' ends: a parameter is set, and institution 3 loses authority."""
    charts = [network.open_chart(custodian) for custodian in (0, 1)]
    for round_ in range(3):
        for custodian, chart in enumerate(charts):
            network.session(custodian).submit_record(chart, f"note {round_}".encode(), "text/plain")
    network.same_height()
    network.session(2).disclose(charts[0], None, "TREAT", [1])  # denied, and on the ledger
    network.pass_change({"kind": "set", "parameters": {"heartbeat_ms": 600_000}})
    network.pass_change({"kind": "take-authority", "institution": 3})
    network.session(1).submit_record(charts[1], b"finalized by three of three", "text/plain")
    height = network.same_height()
    roots = {network.session(n).client.get(f"/v1/blocks/{height}")["state_root"] for n in network.devnet.numbers}
    network.devnet.stop()
    assert len(roots) == 1
    for number in network.devnet.numbers:
        head, transactions = await replay(network.devnet.data(number), network.devnet.genesis)
        assert (head.height, head.child_epoch, transactions) == (height, 2, 16)
        assert head.state_root.hex() == roots.copy().pop()
