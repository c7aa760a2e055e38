"""One node's ledger: states above and at the final head, by block digest, and what builds and executes blocks.

The rules are those of `protocol.ledger`, the tree too. A state is small here, so each block's is whole and immutable
instead of an overlay above a database; what a transition reads outside its read set is a bug, as in a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from node.mempool import Entry, Mempool, Slot, room_in
from node.sansio.asking import Obsolete
from node.sansio.proposals import applied, called_for
from node.simulation.misjudging import misjudged
from protocol.consensus.effects import Build
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import transaction_message_of
from protocol.errors import ChartledgerError, InvalidBlock, InvalidTransaction
from protocol.ledger import keys, tree
from protocol.ledger.blocks import (
    apply_block,
    build_block,
    check_cost,
    check_state_root,
    next_authorities_digest,
    next_timestamp,
)
from protocol.ledger.leaves import decode_leaf
from protocol.ledger.state import read_set
from protocol.ledger.transition import Execution, Receipt
from protocol.ledger.view import Changes, ReadSet
from protocol.params import Params
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.transaction import TransactionBody


class State(Struct, frozen=True, eq=False):
    """The state after one block, whole. Nobody changes the dictionaries."""

    header: Header
    digest: bytes
    leaves: dict[bytes, bytes]
    nodes: dict[bytes, bytes]
    events: dict[tuple[int, int], bytes]

    def params(self) -> Params:
        """The chain's parameters."""
        params = decode_leaf(keys.PARAMS, self.leaves[keys.PARAMS])
        assert isinstance(params, Params)
        return params

    def authorities(self, epoch: int) -> AuthoritySet | None:
        """The set of an epoch, None if this state does not know it."""
        key = keys.authorities(epoch)
        raw = self.leaves.get(key)
        if raw is None:
            return None
        authorities = decode_leaf(key, raw)
        assert isinstance(authorities, AuthoritySet)
        return authorities

    def after(self, header: Header, digest: bytes, changes: Changes, nodes: dict[bytes, bytes]) -> State:
        """The state that a block with these changes leads to."""
        events = {(chart, number): raw for chart, number, raw in changes.events}
        return State(
            header,
            digest,
            {**self.leaves, **changes.leaves} if changes.leaves else self.leaves,
            {**self.nodes, **nodes} if nodes else self.nodes,
            {**self.events, **events} if events else self.events,
        )


class Executed(Struct, frozen=True, eq=False):
    """An executed block: `ids` and `receipts` go with its transactions, `changed` are the keys of leaves it wrote."""

    block: Block
    digest: bytes
    state: State
    ids: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]
    slots: dict[Slot, bytes]
    changed: frozenset[bytes]

    @property
    def header(self) -> Header:
        return self.block.header

    @property
    def leaves(self) -> dict[bytes, bytes]:
        """The state's leaves that it changed."""
        return {key: self.state.leaves[key] for key in self.changed}


class Recall(Protocol):
    """See `node.simulation.memory.Memory`."""

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool: ...

    def entry(self, raw: bytes) -> Entry: ...

    def execute(self, parent: State, block: Block, digest: bytes) -> Executed: ...

    def keep(self, executed: Executed) -> None: ...


class View:
    """A `StateView` of one state that shows the read set and nothing else."""

    __slots__ = ("_read", "_state")

    def __init__(self, state: State, read: ReadSet) -> None:
        self._state = state
        self._read = read

    def leaf(self, key: bytes) -> bytes | None:
        """As `StateView.leaf`. `KeyError` outside the read set."""
        if key not in self._read.keys:
            raise KeyError(key)
        return self._state.leaves.get(key)

    def event(self, chart: int, number: int) -> bytes | None:
        """As `StateView.event`. `KeyError` outside the read set."""
        if (chart, number) not in self._read.events:
            raise KeyError(chart, number)
        return self._state.events.get((chart, number))


def signed_by(recall: Recall, entry: Entry) -> Callable[[bytes], bool]:
    """See `protocol.ledger.transition.SignedBy`."""
    return lambda public: recall.verify(public, transaction_message_of(entry.raw), entry.transaction.signature)


def view_for(state: State, bodies: Sequence[TransactionBody]) -> View:
    """What a block of these transactions on this state may look at."""
    return View(state, read_set(bodies, state.header.child_epoch))


def run_block(recall: Recall, parent: State, block: Block, digest: bytes) -> Executed:
    """Execute a block on its parent's state. Raises `InvalidBlock`."""
    entries = []
    for index, raw in enumerate(block.transactions):
        try:
            entries.append(recall.entry(raw))
        except ChartledgerError as error:
            raise InvalidBlock(f"transaction {index} is not valid ({error.code}): {error}") from error
    bodies = [entry.body for entry in entries]
    check_cost(bodies)
    signed = [(entry.body, signed_by(recall, entry)) for entry in entries]
    done = apply_block(view_for(parent, bodies), parent.header, block, signed, recall.verify)
    root, nodes = parent.header.state_root, {}
    if done.changes.leaves:
        updated = tree.update(parent.nodes, done.changes.leaves)
        root, nodes = updated.root, updated.nodes
    check_state_root(block.header, root)
    return _executed(
        block, digest, parent.after(block.header, digest, done.changes, nodes), entries, done.receipts, done.changes
    )


def _executed(
    block: Block, digest: bytes, state: State, entries: Sequence[Entry], receipts: Sequence[Receipt], changes: Changes
) -> Executed:
    return Executed(
        block,
        digest,
        state,
        tuple(entry.id for entry in entries),
        tuple(receipts),
        {entry.slot: entry.id for entry in entries},
        frozenset(changes.leaves),
    )


class ChainState:
    """The states that one node has. `head` is the final one, whether or not its block is stored yet."""

    def __init__(self, recall: Recall, head: State) -> None:
        self.head = head
        self._recall = recall
        self._states: dict[bytes, State] = {head.digest: head}
        self._executed: dict[bytes, Executed] = {}

    def known(self, digest: bytes) -> Executed | None:
        """The executed block of this digest, unless something above it is final."""
        return self._executed.get(digest)

    def execute(self, block: Block, digest: bytes) -> Executed:
        """Execute the block unless that was done. Raises `InvalidBlock` or `Obsolete`."""
        found = self._executed.get(digest)
        if found is not None:
            return found
        parent = self._states.get(block.header.parent)
        if parent is None:
            raise Obsolete
        executed = self._recall.execute(parent, block, digest)
        if executed.block is not block:  # remembered from another node: the body is the one that this node was sent
            executed = msgspec.structs.replace(executed, block=block)
        return self._take(executed)

    def build(
        self, wanted: Build, institution: int, pool: Mempool, wall_ms: int, params: Params
    ) -> tuple[Block | None, list[tuple[Entry, InvalidTransaction]]]:
        """A block as `wanted`, None if nothing goes in, and what was found to be invalid. Raises `Obsolete`."""
        parent = self._states.get(wanted.parent)
        if parent is None:
            raise Obsolete
        entries = pool.select(room_in(wanted.size_limit), params.block_transactions, self._carried(wanted.parent))
        timestamp = next_timestamp(parent.header, wall_ms)
        view = view_for(parent, [entry.body for entry in entries])
        execution = Execution(view, parent.header, timestamp, self._recall.verify)
        good: list[Entry] = []
        receipts: list[Receipt] = []
        bad: list[tuple[Entry, InvalidTransaction]] = []
        for entry, result in applied(execution, entries, self._signed_by):
            if isinstance(result, InvalidTransaction):
                bad.append((entry, result))
            else:
                good.append(entry)
                receipts.append(result)
        if not called_for(wanted, parent.header, timestamp, params, len(good)):
            return None, bad
        changes = execution.changes()
        root, nodes = parent.header.state_root, {}
        if changes.leaves:
            updated = tree.update(parent.nodes, changes.leaves)
            root, nodes = updated.root, updated.nodes
        ended = next_authorities_digest(execution)
        block = build_block(parent.header, institution, timestamp, [entry.raw for entry in good], root, ended)
        digest = block_digest(block.header)
        executed = _executed(block, digest, parent.after(block.header, digest, changes, nodes), good, receipts, changes)
        self._recall.keep(executed)
        self._take(executed)
        return block, bad

    def _signed_by(self, entry: Entry) -> Callable[[bytes], bool]:
        return signed_by(self._recall, entry)

    def disguise(self, block: Block, as_built: Block) -> None:
        """A traitor proposes this in place of what it built, and goes on as if it were the same."""
        built = self._executed[block_digest(as_built.header)]
        digest = block_digest(block.header)
        state = built.state
        self._states[digest] = State(block.header, digest, state.leaves, state.nodes, state.events)

    def misjudged(self, block: Block) -> Block | None:
        """The block, which was executed here, with every asking in it decided the other way; None if nobody asked."""
        executed, parent = self._executed.get(block_digest(block.header)), self._states.get(block.header.parent)
        return None if executed is None or parent is None else misjudged(parent, executed)

    def try_all(self, entries: Sequence[Entry], timestamp: int) -> list[Receipt | InvalidTransaction]:
        """What each, one after the other, would do in a block of this time on the final head; changes nothing."""
        head = self.head
        view = view_for(head, [entry.body for entry in entries])
        execution = Execution(view, head.header, timestamp, self._recall.verify)
        return [result for _, result in applied(execution, entries, self._signed_by)]

    def finalized(self, executed: Executed) -> None:
        """The block, whose parent is the head, is final: what does not descend from it is let go."""
        assert executed.header.parent == self.head.digest
        self.head = executed.state
        height = executed.header.height
        kept = {executed.digest: executed.state}
        descending: dict[bytes, Executed] = {}
        for digest, one in sorted(self._executed.items(), key=lambda item: item[1].header.height):
            if one.header.height > height and one.header.parent in kept:
                kept[digest] = one.state
                descending[digest] = one
        self._states, self._executed = kept, descending

    def _take(self, executed: Executed) -> Executed:
        self._executed[executed.digest] = executed
        self._states[executed.digest] = executed.state
        return executed

    def _carried(self, digest: bytes) -> set[bytes]:
        """Ids in the block of this digest and the unfinalized ones below it."""
        ids: set[bytes] = set()
        while digest != self.head.digest and (found := self._executed.get(digest)) is not None:
            ids.update(found.ids)
            digest = found.header.parent
        return ids
