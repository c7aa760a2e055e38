"""A small real chain to store: four institutions, charts, records, grants, signed and executed by the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from node.storage.ledger_store import LedgerStore
from node.storage.outbox import Outgoing
from node.storage.types import CommittedBlock, Place, Settled
from protocol.codec.canonical import decode, encode
from protocol.consensus.quorum import quorum
from protocol.crypto.hashing import block_digest, transaction_id
from protocol.crypto.signing import SigningKey, cosign, sign_transaction, sign_vote, verify
from protocol.ledger import keys, tree
from protocol.ledger.blocks import build_block, next_authorities_digest
from protocol.ledger.genesis import genesis_block
from protocol.ledger.overlay import LayeredView
from protocol.ledger.state import read_set
from protocol.ledger.transition import Execution
from protocol.params import Params
from protocol.types.base import ZERO_DIGEST
from protocol.types.governance import Ballot, Change, Motion
from protocol.types.institutions import STATUS_ACCREDITED, AuthoritySet, Genesis, Institution
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    Grant,
    GrantTerms,
    OpenChart,
    Operation,
    RecordEntry,
    SignedOperation,
)
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import FINALIZE, NULLIFY, Certificate, VoteSubject

START_MS = 1_750_000_000_000
HOUR_MS = 3_600_000


class Chain:
    """Makes blocks as authorities would, for storage to keep."""

    def __init__(self) -> None:
        self.operation_keys = [SigningKey(bytes([1, n]) * 16) for n in range(4)]
        self.vote_keys = [SigningKey(bytes([2, n]) * 16) for n in range(4)]
        self.owners = [SigningKey(bytes([3, n]) * 16) for n in range(64)]
        institutions = tuple(
            Institution(
                f"Hospital {n}",
                STATUS_ACCREDITED,
                (self.operation_keys[n].public,),
                self.vote_keys[n].public,
                (b"certificate %d" % n,),
                1,
                bytes([n]) * 32,
            )
            for n in range(4)
        )
        self.genesis = Genesis("storage tests", START_MS, Params(), institutions, (0, 1, 2, 3))
        self.genesis_raw = encode(self.genesis)
        start = genesis_block(self.genesis)
        self.head = start.header
        self.leaves = dict(start.changes.leaves)
        self.nodes = dict(start.tree.nodes)
        self.events: dict[tuple[int, int], bytes] = {}
        self.numbers = [0] * 4
        self.cosigned = 0
        self.motions = 0
        self.first = CommittedBlock(start.header, (), None, (), start.changes.leaves, start.tree.nodes, ())

    @property
    def id(self) -> bytes:
        return self.head.chain

    def transaction(self, institution: int, *operations: SignedOperation) -> Transaction:
        number = self.numbers[institution]
        self.numbers[institution] += 1
        until = self.head.timestamp + HOUR_MS
        body = TransactionBody(self.id, institution, 0, number, until, operations)
        return sign_transaction(self.operation_keys[institution], body)

    def owned(self, owner: int, operation: Operation) -> SignedOperation:
        self.cosigned += 1
        until = self.head.timestamp + HOUR_MS
        return SignedOperation(
            operation, (cosign(self.owners[owner], self.id, operation, ROLE_OWNER, self.cosigned, until),)
        )

    def open_charts(self, institution: int, *owners: int) -> Transaction:
        """One transaction that opens a chart for each owner."""
        opening = (OpenChart(institution, self.owners[owner].public, 1, bytes(32)) for owner in owners)
        return self.transaction(
            institution, *(self.owned(owner, one) for owner, one in zip(owners, opening, strict=True))
        )

    def append(self, institution: int, chart: int, count: int = 1) -> Transaction:
        """One transaction with one operation of `count` entries, all different."""
        stamp = self.numbers[institution]
        entries = tuple(
            RecordEntry(
                bytes([institution, chart, n]) + stamp.to_bytes(29, "big"),
                (bytes([n]) * 16, bytes([1]) * 16, bytes([2]) * 16, bytes([3]) * 16),
            )
            for n in range(count)
        )
        return self.transaction(institution, SignedOperation(AppendRecords(chart, entries)))

    def grant(self, owner: int, chart: int, grantee: int) -> Transaction:
        tags = (None, None, (bytes([2]) * 16,), (bytes([3]) * 16,))
        terms = GrantTerms((grantee,), tags, ("TREAT",), START_MS, START_MS + 1000 * HOUR_MS)
        return self.transaction(0, self.owned(owner, Grant(chart, terms)))

    def pass_change(self, change: Change) -> list[Transaction]:
        """A motion and its ballots, by the first of a quorum."""
        members = [member.institution for member in self.authorities(self.head.child_epoch).members]
        first, *others = members[: quorum(len(members))]
        motion = Motion(change, self.head.timestamp + HOUR_MS)
        ballots = [Ballot(self.motions, change, True) for _ in others]
        self.motions += 1
        return [
            self.transaction(voter, SignedOperation(one))
            for voter, one in zip((first, *others), (motion, *ballots), strict=True)
        ]

    def authorities(self, epoch: int) -> AuthoritySet:
        return decode(AuthoritySet, self.leaves[keys.authorities(epoch)])

    def block(
        self, *transactions: Transaction, settled: Sequence[Settled] = (), certified: bool = True
    ) -> CommittedBlock:
        """Execute the transactions in the next block and finalize it."""
        bodies = [one.body for one in transactions]
        read = read_set(bodies, self.head.child_epoch)
        view = LayeredView(
            None,
            read,
            {key: self.leaves[key] for key in read.keys if key in self.leaves},
            {ref: self.events[ref] for ref in read.events if ref in self.events},
        )
        time = self.head.timestamp + 1_000
        execution = Execution(view, self.head, time, verify)
        for one in transactions:
            execution.apply(one.body, self.operation_keys[one.body.institution].public.__eq__)
        changes = execution.changes()
        grown = tree.update(self.nodes, changes.leaves)
        raws = [encode(one) for one in transactions]
        block = build_block(self.head, 0, time, raws, grown.root, next_authorities_digest(execution))
        self.head = block.header
        self.leaves.update(changes.leaves)
        self.nodes.update(grown.nodes)
        self.events.update({(chart, number): raw for chart, number, raw in changes.events})
        return CommittedBlock(
            block.header,
            block.transactions,
            self.certificate(FINALIZE, block_digest(block.header)) if certified else None,
            (self.certificate(NULLIFY, ZERO_DIGEST),) if certified else (),
            changes.leaves,
            grown.nodes,
            tuple(changes.events),
            tuple(settled),
        )

    def certificate(self, kind: int, block: bytes) -> Certificate:
        epoch = self.head.epoch
        subject = VoteSubject(kind, self.id, epoch, self.head.height + 1, 0, block)
        members = self.authorities(epoch).members
        votes = [
            sign_vote(self.vote_keys[members[index].institution], subject, index)
            for index in range(quorum(len(members)))
        ]
        return Certificate(subject, tuple((vote.index, vote.signature) for vote in votes))

    @staticmethod
    def outgoing(transaction: Transaction) -> Outgoing:
        body = transaction.body
        return Outgoing(
            transaction_id(body), body.institution, body.key, body.number, body.valid_until, encode(transaction)
        )

    @staticmethod
    def settled(transaction: Transaction, *places: Place) -> Settled:
        return Settled(transaction_id(transaction.body), b"receipt", places)


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
async def store(tmp_path: Path, chain: Chain) -> AsyncIterator[LedgerStore]:
    """A ledger database at genesis, in `ledger.db` of `tmp_path`."""
    store = await LedgerStore.open(tmp_path / "ledger.db")
    await store.init_genesis(chain.genesis_raw, chain.first)
    yield store
    await store.close()
