"""Who stands behind a node: an EHR that submits records, an operator who moves, votes and changes keys.

Everything is an ordinary transaction, signed with the institution's key and numbered once for good. An operator votes
on whatever was moved, after a while: in favour, or as often as the plan's `dissent` says against. A node that convicts
an authority reports it by itself, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from node.mempool import Entry
from node.simulation import keyring
from node.simulation.chainstate import ChainState, Executed, State
from node.simulation.disk import Disk
from node.simulation.schedule import Move
from protocol.codec.canonical import encode
from protocol.crypto.signing import cosign, prove_possession, transaction_message
from protocol.ledger import keys
from protocol.ledger.leaves import MotionLeaf, MotionState, OpenMotions, decode_leaf
from protocol.types.governance import (
    USE_VOTE,
    Accredit,
    Ballot,
    Change,
    GiveAuthority,
    Motion,
    Parameter,
    Reinstate,
    Remove,
    ReplaceKeys,
    ReportEquivocation,
    RotateInstitutionKey,
    SetParameters,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.operations import ROLE_OWNER, AppendRecords, OpenChart, Operation, RecordEntry, SignedOperation
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import Vote

VALID_MS: Final = 3_600_000
MOTION_MS: Final = 3_600_000
VOTES_AFTER_MS: Final = (20, 1_500)
ENTRIES_MOST: Final = 1_000
_TAG = bytes(16)


class Principal(Protocol):
    """The node."""

    number: int
    node: int
    institution: int | None
    disk: Disk
    chain: ChainState

    def wall_ms(self) -> int: ...

    def sign(self, node: int, message: bytes) -> bytes: ...

    def entry(self, raw: bytes) -> Entry: ...

    def put(self, entries: Sequence[Entry], owed: bool, watched: bool = False) -> None: ...

    def after(self, delay_ms: int, operation: Operation) -> None: ...


class Client:
    """One life's. What must outlive it stands on the disk."""

    def __init__(self, principal: Principal, rng: Random, dissent: float) -> None:
        self._node = principal
        self._rng = rng
        self._dissent = dissent
        self._voted: set[tuple[int, int]] = set()  # (motion, epoch)
        self._reported: set[tuple[int, int]] = set()

    # --- records -------------------------------------------------------------------------------------------------

    def records(self, count: int, size: int, owed: bool) -> None:
        """`count` transactions of `size` entries each; before there is a chart, each opens one."""
        node = self._node
        if node.institution is None:
            return
        operations: list[SignedOperation] = []
        for index in range(count):
            number = node.disk.next_number + index
            if node.disk.chart is None:
                operations.append(self._open(node.institution, number))
            else:
                entry = RecordEntry(number.to_bytes(32, "big"), (_TAG, _TAG, _TAG, _TAG))
                entries = (entry,) * min(size, ENTRIES_MOST)
                operations.append(SignedOperation(AppendRecords(node.disk.chart, entries), ()))
        self._put(operations, owed)

    def _open(self, institution: int, number: int) -> SignedOperation:
        node = self._node
        owner = keyring.owner_key(node.number, number)
        operation = OpenChart(institution, owner.public, 1, bytes(32))
        chain = node.chain.head.header.chain
        return SignedOperation(operation, (cosign(owner, chain, operation, ROLE_OWNER, 1, self._until()),))

    def _until(self) -> int:
        return max(self._node.wall_ms(), self._node.chain.head.header.timestamp) + VALID_MS

    def _put(self, operations: Sequence[SignedOperation], owed: bool) -> None:
        node = self._node
        if node.institution is None or not operations:
            return
        chain, until = node.chain.head.header.chain, self._until()
        entries = []
        for operation in operations:
            number = node.disk.next_number
            node.disk.next_number += 1
            body = TransactionBody(chain, node.institution, 0, number, until, (operation,))
            signature = node.sign(node.node, transaction_message(body))
            entries.append(node.entry(encode(Transaction(body, signature))))
        node.put(entries, owed)

    def submit(self, operations: Sequence[Operation]) -> None:
        """One transaction of these operations, for which nobody promises that it is valid."""
        if operations:
            self.carry([SignedOperation(operation, ()) for operation in operations], self._until())

    def carry(
        self, operations: Sequence[SignedOperation], until_ms: int, *, owed: bool = False, watched: bool = False
    ) -> None:
        """One transaction of what others may have signed. See `Submitted` for `owed` and `watched`."""
        node = self._node
        if node.institution is None:
            return
        body = TransactionBody(
            node.chain.head.header.chain,
            node.institution,
            0,
            node.disk.next_number,
            until_ms,
            tuple(operations),
        )
        node.disk.next_number += 1
        signature = node.sign(node.node, transaction_message(body))
        node.put([node.entry(encode(Transaction(body, signature)))], owed, watched)

    # --- governance ----------------------------------------------------------------------------------------------

    def move(self, move: Move, target: int | None, vote_key: int = 0) -> None:
        """Move a change. `target`: the number of the institution that it is about, None if it has none. `vote_key`:
        which one it is to have, if that is the change."""
        change = self._change(move, target, vote_key)
        if change is not None:
            expires = max(self._node.wall_ms(), self._node.chain.head.header.timestamp) + MOTION_MS
            self.submit([Motion(change, expires)])

    def _change(self, move: Move, target: int | None, vote_key: int) -> Change | None:
        chain = self._node.chain.head.header.chain
        if move.change == "accredit":
            return Accredit(keyring.application(move.target, chain))
        if move.change == "replace" and target is not None:
            return ReplaceKeys(target, keyring.replacement(move.target, vote_key, chain))
        if move.change == "set":
            return SetParameters((Parameter(move.name, move.value),))
        about: dict[str, Callable[[int], Change]] = {
            "suspend": Suspend,
            "reinstate": Reinstate,
            "remove": Remove,
            "give": GiveAuthority,
            "take": TakeAuthority,
        }
        return about[move.change](target) if target is not None and move.change in about else None

    def rotate(self) -> None:
        """A new vote key, and a journal for it, before anybody else hears of it."""
        key = keyring.vote_key(self._node.node, self._node.disk.make_vote_key(self._node.node))
        name = keyring.name_of(self._node.node)
        possession = prove_possession(key, self._node.chain.head.header.chain, name, USE_VOTE)
        self.submit([RotateInstitutionKey(SetVoteKey(key.public, possession))])

    def report(self, epoch: int, index: int, first: Vote, second: Vote) -> None:
        """Evidence, unless it stands on the ledger or was reported from here."""
        if (epoch, index) in self._reported or keys.evidence(epoch, index) in self._node.chain.head.leaves:
            return
        self._reported.add((epoch, index))
        ordered = sorted((first, second), key=encode)
        self.submit([ReportEquivocation(ordered[0], ordered[1])])

    def look_at_motions(self, state: State, changed: frozenset[bytes] | None) -> None:
        """Vote on what is open: on what a block changed, or on all there is if None."""
        numbers = _open_motions(state) if changed is None else _motions_in(changed)
        for number in numbers:
            raw = state.leaves.get(keys.motion(number))
            epoch = state.header.child_epoch
            if raw is None or (number, epoch) in self._voted:
                continue
            motion = decode_leaf(keys.motion(number), raw)
            assert isinstance(motion, MotionLeaf)
            own = self._node.institution
            authorities = state.authorities(epoch)
            assert authorities is not None
            if motion.state is not MotionState.OPEN or any(
                cast.institution == own for cast in (*motion.favour, *motion.against)
            ):
                continue
            if any(member.institution == own for member in authorities.members):
                self._voted.add((number, epoch))
                favour = not (self._dissent and self._rng.random() < self._dissent)
                self._node.after(self._rng.randint(*VOTES_AFTER_MS), Ballot(number, motion.change, favour))

    def told(self, id_: bytes, executed: Executed) -> None:
        """An own transaction is final and stored: learn the chart that it opened, if that is the EHR's own patient."""
        node = self._node
        if node.disk.chart is not None:
            return
        place = executed.ids.index(id_)
        body = node.entry(executed.block.transactions[place]).body
        first = body.operations[0].operation
        if isinstance(first, OpenChart) and first.owner_key == keyring.owner_key(node.number, body.number).public:
            node.disk.chart = executed.receipts[place].operations[0].chart


def _motions_in(changed: frozenset[bytes]) -> list[int]:
    return sorted(int.from_bytes(key[1:], "big") for key in changed if key[0] == keys.KIND_MOTION)


def _open_motions(state: State) -> list[int]:
    raw = state.leaves.get(keys.OPEN_MOTIONS)
    if raw is None:
        return []
    leaf = decode_leaf(keys.OPEN_MOTIONS, raw)
    assert isinstance(leaf, OpenMotions)
    return [number for number, _, _ in leaf.motions]
