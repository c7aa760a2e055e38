"""A ledger in memory: institutions with keys, patients, and blocks that go through the same steps as in a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from protocol.codec.canonical import decode, encode
from protocol.consensus.quorum import finalize, quorum
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import (
    SigningKey,
    apply_as,
    cosign,
    sign_transaction,
    sign_vote,
    transaction_message,
    verify,
)
from protocol.errors import InvalidTransaction
from protocol.ledger import blocks, keys, tree
from protocol.ledger.events import Event, decode_event
from protocol.ledger.genesis import genesis_block
from protocol.ledger.leaves import Chart, GrantLeaf, Leaf, MotionLeaf, MotionState, decode_leaf
from protocol.ledger.overlay import LayeredView
from protocol.ledger.state import Changes, read_set
from protocol.ledger.transition import Execution, Family, OperationReceipt, Receipt, SignedBy, classify
from protocol.params import Params
from protocol.types.block import Block
from protocol.types.governance import Accredit, Application, Ballot, Change, Motion
from protocol.types.institutions import STATUS_ACCREDITED, AuthoritySet, Genesis, Institution
from protocol.types.operations import (
    ROLE_OWNER,
    AppendRecords,
    Disclose,
    Grant,
    GrantTags,
    GrantTerms,
    OpenChart,
    Operation,
    RecordEntry,
    Revoke,
    SignedOperation,
    Tags4,
)
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import Certificate, Vote, VoteSubject
from tests.protocol.charts import ChartHelpers

START_MS = 1_750_000_000_000
HOUR_MS = 3_600_000
NAMES = ("Rivermouth Hospital", "Oakfield Clinic", "St. Anne's Laboratory", "Harbour Hospital")


def seed(kind: int, number: int) -> bytes:
    return bytes([kind]) * 16 + number.to_bytes(16, "big")


def one_tag(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entry(*tags: int, supersedes: int | None = None, commitment: int = 7) -> RecordEntry:
    """An entry with these four small numbers as tags."""
    four: Tags4 = tuple(one_tag(tag) for tag in tags or (1, 2, 3, 4))  # type: ignore[assignment]
    return RecordEntry(commitment.to_bytes(32, "big"), four, supersedes)


def tag_lists(*positions: list[int] | None) -> GrantTags:
    """Lists of small numbers, by position; None is any."""
    return tuple(None if one is None else tuple(map(one_tag, one)) for one in positions)  # type: ignore[return-value]


class Patient:
    """An owner of one chart, with its key and the numbers that it has used."""

    def __init__(self, number: int) -> None:
        self.key = SigningKey(seed(9, number))
        self.next_number = 0
        self.chart = -1
        self.guardians: list[SigningKey] = []


class Keys:
    """All keys of one institution. `number` tells one set of keys from another, and is no institution's number."""

    def __init__(self, number: int, name: str | None = None) -> None:
        self.name = name or (NAMES[number] if number < len(NAMES) else f"Institution {number}")
        self.operations = [SigningKey(seed(1, number)), SigningKey(seed(2, number))]
        self.vote = SigningKey(seed(3, number))
        self.certificate = b"certificate %d" % number
        self.encryption = number.to_bytes(32, "big")

    def institution(self, **changes: Any) -> Institution:
        """As its application or the genesis lists it."""
        fields: dict[str, Any] = {
            "name": self.name,
            "status": STATUS_ACCREDITED,
            "operation_keys": tuple(key.public for key in self.operations),
            "vote_key": self.vote.public,
            "network_certificates": (self.certificate,),
            "encryption_suite": 1,
            "encryption_key": self.encryption,
        }
        return Institution(**{**fields, **changes})

    def application(self, chain: bytes, **changes: Any) -> Application:
        return apply_as(chain, self.institution(**changes), self.operations, self.vote)


class World(ChartHelpers):
    """A chain of `count` institutions, of which the first `authorities` (all, by default) have authority.

    Each block is built as a leader does and then validated whole.
    """

    def __init__(self, params: Params | None = None, count: int = 4, authorities: int | None = None) -> None:
        made = [Keys(n) for n in range(count)]
        self.operation_keys = [one.operations for one in made]
        self.vote_keys = [one.vote for one in made]
        seats = tuple(range(count if authorities is None else authorities))
        institutions = tuple(one.institution() for one in made)
        self.genesis = Genesis("testing", START_MS, params or Params(), institutions, seats)
        start = genesis_block(self.genesis)
        self.head = start.header
        self.leaves = dict(start.changes.leaves)
        self.events: dict[tuple[int, int], bytes] = {}
        self.nodes = dict(start.tree.nodes)
        self.numbers: dict[int, int] = {}
        self.patients = 0
        self.helpers = 0
        self.now = START_MS

    # --- making transactions

    def patient(self) -> Patient:
        self.patients += 1
        return Patient(self.patients)

    def body(
        self,
        institution: int,
        *operations: Operation | SignedOperation,
        number: int | None = None,
        key: int = 0,
        valid_until: int | None = None,
        chain: bytes | None = None,
    ) -> TransactionBody:
        if number is None:
            number = self.numbers.get(institution, 0)
            self.numbers[institution] = number + 1
        signed = tuple(one if isinstance(one, SignedOperation) else SignedOperation(one) for one in operations)
        until = self.now + HOUR_MS if valid_until is None else valid_until
        return TransactionBody(chain or self.head.chain, institution, key, number, until, signed)

    def owned(
        self, patient: Patient, operation: Operation, number: int | None = None, expires_at: int | None = None
    ) -> SignedOperation:
        if number is None:
            number = patient.next_number
            patient.next_number += 1
        until = self.now + HOUR_MS if expires_at is None else expires_at
        return SignedOperation(operation, (cosign(patient.key, self.head.chain, operation, ROLE_OWNER, number, until),))

    def opening(self, patient: Patient, custodian: int = 0) -> SignedOperation:
        return self.owned(patient, OpenChart(custodian, patient.key.public, 1, b"e" * 32))

    def signed(self, body: TransactionBody) -> Transaction:
        """Signed by whom it names, or by somebody if there is nobody of that name."""
        own = self.operation_keys[min(body.institution, len(self.operation_keys) - 1)]
        return sign_transaction(own[min(body.key, len(own) - 1)], body)

    def signed_by(self, body: TransactionBody) -> SignedBy:
        signature = self.signed(body).signature
        return lambda public: verify(public, transaction_message(body), signature)

    # --- applying them

    def execution(self, *bodies: TransactionBody) -> Execution:
        """An execution of the next block that may read what these transactions name, and nothing else."""
        self.now = max(self.now, self.head.timestamp + 1)
        return Execution(self.view(*bodies), self.head, self.now, verify)

    def apply(self, execution: Execution, body: TransactionBody) -> Receipt:
        return execution.apply(body, self.signed_by(body))

    def view(self, *bodies: TransactionBody) -> LayeredView:
        read = read_set(bodies, self.head.child_epoch)
        leaves = {key: self.leaves[key] for key in read.keys if key in self.leaves}
        events = {place: self.events[place] for place in read.events if place in self.events}
        return LayeredView(None, read, leaves, events)

    def build(self, *ordered: TransactionBody) -> Block:
        """The next block of these, in this order."""
        execution = self.execution(*ordered)
        for body in ordered:
            self.apply(execution, body)
        built = tree.update(self.nodes, execution.changes().leaves)
        raws = [encode(self.signed(body)) for body in ordered]
        proposer = self.authorities().members[0].institution
        following = blocks.next_authorities_digest(execution)
        return blocks.build_block(self.head, proposer, self.now, raws, built.root, following)

    def validate(self, block: Block, *bodies: TransactionBody) -> blocks.Executed:
        """All that an authority checks of the next block, whose transactions these are."""
        listed = [(body, self.signed_by(body)) for body in bodies]
        executed = blocks.apply_block(self.view(*bodies), self.head, block, listed, verify)
        blocks.check_state_root(block.header, tree.update(self.nodes, executed.changes.leaves).root)
        return executed

    def block(self, *bodies: TransactionBody) -> list[Receipt]:
        """Build a block of these, owners' first, validate it as an authority does, and make it the head."""
        ordered = sorted(bodies, key=lambda body: classify(body) is Family.INSTITUTION)
        block = self.build(*ordered)
        executed = self.validate(block, *ordered)
        self.store(executed.changes)
        self.head = block.header
        by_body = {id(body): receipt for body, receipt in zip(ordered, executed.receipts, strict=True)}
        return [by_body[id(body)] for body in bodies]

    def store(self, changes: Changes) -> None:
        self.nodes.update(tree.update(self.nodes, changes.leaves).nodes)
        self.leaves.update(changes.leaves)
        for chart, number, raw in changes.events:
            assert (chart, number) not in self.events
            self.events[(chart, number)] = raw

    def run(self, institution: int, *operations: Operation | SignedOperation) -> OperationReceipt:
        """One block with one transaction; the receipt of its last operation."""
        return self.block(self.body(institution, *operations))[0].operations[-1]

    def refuses(self, error: type[InvalidTransaction], body: TransactionBody) -> None:
        """The transaction is refused by this name, and leaves no trace."""
        execution = self.execution(body)
        with pytest.raises(InvalidTransaction) as raised:
            execution.apply(body, self.signed_by(body))
        assert type(raised.value) is error, raised.value
        changes = execution.changes()
        assert not changes.leaves
        assert not changes.events
        assert execution.next_authorities() is None

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds

    # --- common operations

    def open_chart(self, custodian: int = 0) -> Patient:
        patient = self.patient()
        patient.chart = self.run(custodian, self.opening(patient, custodian)).on_chart
        return patient

    def append(self, patient: Patient, *entries: RecordEntry, custodian: int = 0) -> list[int]:
        receipt = self.run(custodian, AppendRecords(patient.chart, entries or (entry(),)))
        return list(range(receipt.first_event, receipt.first_event + receipt.events))

    def terms(self, grantee: int = 1, tags: GrantTags | None = None, **changes: object) -> GrantTerms:
        fields: dict[str, object] = {
            "grantees": (grantee,),
            "tags": tags or tag_lists(None, None, [3], [4]),
            "purposes": ("TREAT",),
            "not_before": self.now,
            "not_after": self.now + 30 * 24 * HOUR_MS,
        }
        return GrantTerms(**{**fields, **changes})  # type: ignore[arg-type]

    def grant(self, patient: Patient, terms: GrantTerms | None = None) -> int:
        receipt = self.run(2, self.owned(patient, Grant(patient.chart, terms or self.terms())))
        assert receipt.grant is not None
        return receipt.grant

    def revoke(self, patient: Patient, grant: int, *reissues: object) -> OperationReceipt:
        return self.run(2, self.owned(patient, Revoke(patient.chart, grant, reissues)))  # type: ignore[arg-type]

    def disclose(
        self, patient: Patient, grant: int | None, *records: int, reader: int = 1, purpose: str = "TREAT"
    ) -> OperationReceipt:
        return self.run(reader, Disclose(patient.chart, grant, records, purpose))

    # --- looking

    def leaf(self, key: bytes) -> Leaf | None:
        raw = self.leaves.get(key)
        return None if raw is None else decode_leaf(key, raw)

    def chart(self, patient: Patient) -> Chart:
        leaf = self.leaf(keys.chart(patient.chart))
        assert isinstance(leaf, Chart)
        return leaf

    def grant_leaf(self, patient: Patient, grant: int) -> GrantLeaf:
        leaf = self.leaf(keys.grant(patient.chart, grant))
        assert isinstance(leaf, GrantLeaf)
        return leaf

    def history(self, patient: Patient) -> list[Event]:
        return [decode_event(raw) for raw in self.history_raw(patient)]

    def history_raw(self, patient: Patient) -> list[bytes]:
        return [self.events[(patient.chart, number)] for number in range(self.chart(patient).events)]

    # --- authorities

    def authorities(self, epoch: int | None = None) -> AuthoritySet:
        """The set of an epoch; without one, of the next block's."""
        leaf = self.leaf(keys.authorities(self.head.child_epoch if epoch is None else epoch))
        assert isinstance(leaf, AuthoritySet)
        return leaf

    def institution(self, number: int) -> Institution:
        leaf = self.leaf(keys.institution(number))
        assert isinstance(leaf, Institution)
        return leaf

    def motion(self, number: int) -> MotionLeaf:
        leaf = self.leaf(keys.motion(number))
        assert isinstance(leaf, MotionLeaf)
        return leaf

    def move(self, institution: int, change: Change, lasts_ms: int = HOUR_MS) -> int:
        """One block with one motion; its number."""
        number = self.run(institution, Motion(change, self.now + lasts_ms)).motion
        assert number is not None
        return number

    def vote(self, institution: int, motion: int, favour: bool = True) -> OperationReceipt:
        """One block with one ballot."""
        return self.run(institution, Ballot(motion, self.motion(motion).change, favour))

    def decide(self, change: Change, *voters: int) -> MotionLeaf:
        """Move it and pass it, with one block for the motion and each ballot, by these or by the first of a quorum."""
        members = [member.institution for member in self.authorities().members]
        first, *others = voters or members[: quorum(len(members))]
        number = self.move(first, change)
        for voter in others:
            self.vote(voter, number)
        motion = self.motion(number)
        assert motion.state is MotionState.PASSED
        return motion

    def accredit(self, made: Keys) -> int:
        """A new institution by motion; its number."""
        assigned = self.decide(Accredit(made.application(self.head.chain))).assigned
        assert assigned == len(self.operation_keys)
        self.operation_keys.append(made.operations)
        self.vote_keys.append(made.vote)
        return assigned

    def consensus_vote(self, epoch: int, index: int, subject: VoteSubject) -> Vote:
        """A vote in consensus by the authority with this index in this epoch."""
        public = self.authorities(epoch).members[index].vote_key
        return sign_vote(next(key for key in self.vote_keys if key.public == public), subject, index)

    def certificate(self, signers: Iterable[int] | None = None, view: int = 5) -> Certificate:
        """A finalization of the head by these authorities (indexes) of its epoch, or by a quorum."""
        epoch = self.head.epoch
        subject = finalize(self.head.chain, epoch, view, block_digest(self.head))
        who = range(quorum(len(self.authorities(epoch).members))) if signers is None else signers
        return Certificate(subject, tuple((n, self.consensus_vote(epoch, n, subject).signature) for n in who))


@pytest.fixture(scope="session")
def new_world() -> Callable[..., World]:
    """Makes worlds; for tests that need many."""
    return World


@pytest.fixture(scope="session")
def new_keys() -> Callable[..., Keys]:
    """Makes an institution's keys, by a number that tells one set from another."""
    return Keys


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., RecordEntry]:
    return entry


@pytest.fixture(scope="session")
def make_tags() -> Callable[..., GrantTags]:
    return tag_lists


@pytest.fixture(scope="session")
def recode() -> Callable[[type, object], object]:
    """A value through its wire form and back."""
    return lambda kind, value: decode(kind, encode(value))
