"""The naive ledger itself: final blocks in order, each held against the rules of docs/spec/ledger.md."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

from node.simulation.oracles.naive import asking, care, charts, control, costs, governance
from node.simulation.oracles.naive.state import Invalid, Numbers, Said, State, Verify, beginning, require
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import authorities_digest, block_digest, transaction_digest, transaction_id
from protocol.crypto.merkle import merkle_root
from protocol.crypto.signing import transaction_message
from protocol.errors import DecodeError
from protocol.types.block import Block, Header
from protocol.types.governance import Ballot, Motion, ReportEquivocation, RotateInstitutionKey
from protocol.types.institutions import RETIRED_KEY, STATUS_ACCREDITED, AuthoritySet, Genesis
from protocol.types.operations import SignedOperation
from protocol.types.transaction import Transaction

__all__ = ["Invalid", "NaiveLedger"]

BLOCK_COST = 24_000
HANDLERS: Final[dict[type, Any]] = {
    **charts.HANDLERS,
    **asking.HANDLERS,
    **control.HANDLERS,
    **care.HANDLERS,
}
GOVERNING: Final[dict[type, Any]] = {
    Motion: governance.move,
    Ballot: governance.ballot,
    RotateInstitutionKey: governance.rotate,
    ReportEquivocation: governance.report,
}


class NaiveLedger:
    """One chain. `sets` by epoch, `heights` of transactions by id; `epochs` of heights; `said`: charts' events by
    height."""

    def __init__(self, genesis: Genesis, chain: bytes, verify: Verify) -> None:
        self.state: State = beginning(genesis, chain, verify)
        self.digest: bytes | None = None  # of the head; None until block 1 says what the genesis header's is
        self.ended = False
        self.heights: dict[bytes, int] = {}
        self.epochs: dict[int, int] = {0: 0}
        self.said: dict[int, tuple[Said, ...]] = {}

    @property
    def height(self) -> int:
        """Of the head."""
        return self.state.height

    @property
    def sets(self) -> dict[int, AuthoritySet]:
        """Authorities by epoch, as far as the chain has come."""
        return self.state.sets

    def apply(self, block: Block) -> list[bytes]:
        """Make `block` the head; the ids of its transactions, in order. Raises `Invalid`; the ledger is then of no
        use any more."""
        state, header = self.state, block.header
        if self.ended:
            state.epoch += 1
        state.params = state.params_next or state.params
        state.next_set = state.params_next = None
        self._header(header)
        self._form(block)
        state.height, state.timestamp = header.height, header.timestamp
        state.said.clear()
        ids = []
        owners_over = False
        spent = 0
        for position, raw in enumerate(block.transactions):
            try:
                transaction = _decoded(raw)
                ids.append(transaction_id(transaction.body))
                owners = self._transaction(transaction, ids[-1])
                require(not (owners and owners_over), "an owner's transaction comes after an institution's")
                owners_over = owners_over or not owners
            except Invalid as error:
                raise Invalid(f"height {header.height}, transaction {position}: {error}") from None
            spent += sum(costs.cost(signed.operation) for signed in transaction.body.operations)
            self.heights[ids[-1]] = header.height
        require(spent <= BLOCK_COST, f"height {header.height} costs more than a block may")
        self._end(header)
        self.digest = block_digest(header)
        self.epochs[header.height] = header.epoch
        self.said[header.height] = tuple(state.said)
        return ids

    def refusal(self, raw: bytes, at_ms: int) -> str | None:
        """Why the next block could not hold this transaction alone if its time were `at_ms`, or None. Changes nothing.

        Of what a transaction changes, the parts that patients' operations touch are copied; a motion's must not come.
        """
        trial = NaiveLedger.__new__(NaiveLedger)
        try:
            transaction = _decoded(raw)
            trial.state = _copied(self.state, transaction)
            trial.state.timestamp = at_ms
            trial._transaction(transaction, transaction_id(transaction.body))
        except Invalid as error:
            return str(error)
        return None

    def _header(self, header: Header) -> None:
        state = self.state
        here = f"height {header.height}"
        require(header.version == 1 and header.chain == state.chain, f"{here}: another version or chain")
        require(header.height == state.height + 1, f"{here} follows {state.height}")
        require(header.epoch == state.epoch, f"{here} is of epoch {header.epoch}, not {state.epoch}")
        require(self.digest in (None, header.parent), f"{here} has another parent than the block before")
        require(header.timestamp > state.timestamp, f"{here} is not later than its parent")
        require(state.votes(header.proposer), f"{here} is proposed by institution {header.proposer}, no authority")

    def _form(self, block: Block) -> None:
        params, here = self.state.params, f"height {block.header.height}"
        root = merkle_root([transaction_digest(raw) for raw in block.transactions])
        require(root == block.header.transactions_root, f"{here}: transactions are not those of the header")
        require(len(block.transactions) <= params.block_transactions, f"{here} has too many transactions")
        size = len(encode(block.header)) + 6 + sum(len(raw) + 5 for raw in block.transactions)
        require(size <= params.block_bytes, f"{here} has {size} bytes")

    def _end(self, header: Header) -> None:
        """What the header says of the next set is what came of the transactions."""
        following = self.state.next_set
        expected = None if following is None else authorities_digest(following)
        sentence = f"height {header.height} says something else of the next set than its transactions"
        require(header.next_authorities == expected, sentence)
        self.ended = following is not None
        if following is not None:
            self.state.sets[following.epoch] = following

    def _transaction(self, transaction: Transaction, identity: bytes) -> bool:
        """Apply one; whether it is an owner's."""
        state, body = self.state, transaction.body
        require(identity not in state.executed, "it is executed for the second time")
        state.executed.add(identity)
        require(body.chain == state.chain, "it is of another chain")
        ahead = body.valid_until - state.timestamp
        require(0 <= ahead <= state.params.valid_until_max_ms, "its valid_until has passed or lies too far ahead")
        signer = state.institution(body.institution)
        require(signer.status == STATUS_ACCREDITED, f"institution {body.institution} is not accredited")
        require(body.key < len(signer.operation_keys), "its operations key does not exist")
        key = signer.operation_keys[body.key]
        signed = key != RETIRED_KEY and state.verify(key, transaction_message(body), transaction.signature)
        require(signed, "its signature does not verify under the key in force")
        state.numbers.setdefault((body.institution, body.key), Numbers(4_096)).use(body.number)
        families = {costs.owners(operation.operation) for operation in body.operations}
        require(len(families) == 1, "it mixes owners' operations with others")
        for operation in body.operations:
            self._operation(operation, body.institution)
        return families == {True}

    def _operation(self, signed: SignedOperation, carrier: int) -> None:
        operation = signed.operation
        handler = HANDLERS.get(type(operation))
        if handler is not None:
            handler(self.state, operation, signed, carrier)
            return
        governing = GOVERNING.get(type(operation))
        if governing is None:
            raise Invalid(f"an operation that the naive ledger does not know: {type(operation).__name__}")
        _alone(signed)
        governing(self.state, operation, carrier)


def _copied(state: State, transaction: Transaction) -> State:
    """The state as far as this transaction can change it; the rest is shared."""
    body = transaction.body
    slot = (body.institution, body.key)
    numbers = {slot: deepcopy(state.numbers[slot])} if slot in state.numbers else {}
    charts = list(state.charts)
    said: list[Said] = []
    for signed in body.operations:
        number = getattr(signed.operation, "chart", None)
        if number is not None and number < len(charts) and charts[number] is state.charts[number]:
            charts[number] = deepcopy(charts[number], {id(charts[number].said): said})
    return replace(
        state,
        params=state.params_next or state.params,
        numbers=numbers,
        charts=charts,
        owners=dict(state.owners),
        spent=set(state.spent),
        answers=deepcopy(state.answers),
        unanswered=dict(state.unanswered),
        executed=set(state.executed),
        said=said,
    )


def _alone(signed: SignedOperation) -> None:
    require(not signed.cosignatures, "the operation takes no co-signature")


def _decoded(raw: bytes) -> Transaction:
    try:
        return decode(Transaction, raw)
    except DecodeError as error:
        raise Invalid(f"it is not canonical: {error}") from None
