"""Histories made by hand, for oracles to judge: a chain of four with keys, and the records of what its hosts do."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from node.simulation import keyring
from node.simulation.oracles import Watch
from node.simulation.oracles.base import Failure, Oracle
from node.simulation.oracles.records import BlockFinal, BlockStored, Record, Scene
from node.simulation.oracles.validity import Replay
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest, transaction_id
from protocol.crypto.signing import cosign, sign_transaction, sign_vote, verify
from protocol.ledger import tree
from protocol.ledger.blocks import build_block, next_authorities_digest
from protocol.ledger.transition import Execution
from protocol.params import Params
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block
from protocol.types.governance import Ballot, Motion, TakeAuthority
from protocol.types.operations import ROLE_OWNER, OpenChart, Operation, SignedOperation
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Vote, VoteSubject

GENESIS = keyring.genesis(4, 0, Params(motion_ms=3_600_000, rotation_rest_ms=1_000))
CHAIN, FIRST = keyring.first_block(GENESIS)
HOUR = 3_600_000


@dataclass
class Story:
    """A scene with host 3 as its traitor, a valid chain that grows, and a watch of one oracle."""

    kind: type[Oracle]
    scene: Scene = field(
        default_factory=lambda: Scene(1, GENESIS, CHAIN, frozenset({0, 1, 2}), dict(enumerate(range(4))))
    )

    def __post_init__(self) -> None:
        self.watch = Watch(self.scene, (self.kind,))
        self.replay = Replay(self.scene)
        self.number = 0
        self.motions = 0
        self.at_ms = 0

    @property
    def oracle(self) -> Oracle:
        return self.watch.oracles[0]

    # --- what the hosts do ---------------------------------------------------------------------------------------

    def tell(self, *records: Record) -> Failure | None:
        for record in records:
            self.watch.event(record)
        return self.watch.failure

    def ended(self, at_ms: int = 10_000) -> Failure | None:
        self.watch.end(at_ms)
        return self.watch.failure

    def final(
        self, block: Block, hosts: tuple[int, ...] = (0, 1, 2), certificate: Certificate | None = None
    ) -> Failure | None:
        certificate = certificate or self.finalization(block)
        return self.tell(*(BlockFinal(self.at_ms, host, block, certificate) for host in hosts))

    # --- the chain -----------------------------------------------------------------------------------------------

    def transaction(self, *operations: Operation | SignedOperation, node: int = 0, number: int | None = None) -> bytes:
        self.number += 1
        signed = tuple(o if isinstance(o, SignedOperation) else SignedOperation(o, ()) for o in operations)
        body = TransactionBody(
            CHAIN, node, 0, self.number if number is None else number, keyring.EPOCH_MS + HOUR, signed
        )
        return encode(sign_transaction(keyring.operations_key(node), body))

    def opening(self, node: int = 0, patient: int = 1) -> SignedOperation:
        owner = keyring.owner_key(node, patient)
        operation = OpenChart(node, owner.public, 1, bytes(32))
        return SignedOperation(operation, (cosign(owner, CHAIN, operation, ROLE_OWNER, 1, keyring.EPOCH_MS + HOUR),))

    def block(self, *raws: bytes, proposer: int = 0) -> Block:
        """The next block of these transactions, if they are valid; else with a state root that is anyone's guess."""
        head = self.replay.head
        execution = Execution(self.replay, head, head.timestamp + 1, verify)
        for raw in raws:
            execution.apply(decode(Transaction, raw).body, lambda public: True)
        changes = execution.changes()
        root = tree.update(self.replay.nodes, changes.leaves).root if changes.leaves else head.state_root
        ends = next_authorities_digest(execution)
        return build_block(head, proposer, head.timestamp + 1, raws, root, ends)

    def grow(self, *raws: bytes) -> Block:
        """The same, and it is the head from then on."""
        block = self.block(*raws)
        fault = self.replay.apply(block)
        assert fault is None, fault
        return block

    # --- votes ---------------------------------------------------------------------------------------------------

    def subject(
        self, kind: int, view: int, block: Block | bytes | None = None, parent: int = 0, epoch: int = 0
    ) -> VoteSubject:
        digest = ZERO_DIGEST if block is None else block if isinstance(block, bytes) else block_digest(block.header)
        return VoteSubject(kind, CHAIN, epoch, view, parent, digest)

    def vote(self, index: int, subject: VoteSubject) -> Vote:
        return sign_vote(keyring.vote_key(index, 0), subject, index)

    def certificate(self, subject: VoteSubject, signers: tuple[int, ...] = (0, 1, 2)) -> Certificate:
        return Certificate(subject, tuple((index, self.vote(index, subject).signature) for index in signers))

    def notarization(self, view: int, block: Block, parent: int = 0) -> Certificate:
        return self.certificate(self.subject(NOTARIZE, view, block, parent))

    def nullification(self, view: int) -> Certificate:
        return self.certificate(self.subject(NULLIFY, view))

    def finalization(self, block: Block, view: int | None = None) -> Certificate:
        at = block.header.height if view is None else view
        return self.certificate(self.subject(FINALIZE, at, block, epoch=block.header.epoch))


def altered(block: Block, **fields: object) -> Block:
    return Block(replace(block.header, **fields), block.transactions)


def noticed(failure: Failure | None, *words: str, kind: str = "safety") -> None:
    assert failure is not None
    assert failure.kind == kind
    assert all(word in failure.sentence for word in words), failure.sentence


def entry_id(raw: bytes) -> bytes:
    return transaction_id(decode(Transaction, raw).body)


def last_block(story: Story) -> Block:
    """A block with which authority 2 loses its seat: moved by 0, then voted for by 1 and 3."""
    change = TakeAuthority(2)
    story.final(story.grow(story.transaction(Motion(change, keyring.EPOCH_MS + HOUR))))
    ballot = Ballot(story.motions, change, True)
    story.motions += 1
    return story.grow(story.transaction(ballot, node=1), story.transaction(ballot, node=3))


def stored(story: Story, host: int, block: Block) -> BlockStored:
    return BlockStored(1, host, block.header.height, block_digest(block.header))
