"""Blocks: what makes one valid on its parent, all but its state root, and how one is put together.

The state root is the caller's to compare (`check_state_root`), since the tree's nodes come from storage in between.
Rules about a voter's clock are no part of a block's validity and live with the voter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.hashing import authorities_digest, block_digest, transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.crypto.signing import Verifier
from protocol.errors import InvalidBlock, InvalidTransaction
from protocol.ledger import keys
from protocol.ledger.leaves import decode_leaf
from protocol.ledger.transition import Execution, Family, Receipt, SignedBy, classify, cost
from protocol.ledger.view import Changes, StateView
from protocol.params import Params
from protocol.types.block import BLOCK_VERSION, Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.transaction import TransactionBody


@dataclass(frozen=True, slots=True)
class Executed:
    """What a block does: its changes, and a receipt for each of its transactions in order."""

    changes: Changes
    receipts: list[Receipt]


def transactions_root(raws: Iterable[bytes]) -> bytes:
    """32 bytes over the signed transactions of a block in their canonical bytes, in order."""
    return merkle_root([transaction_digest(raw) for raw in raws])


def apply_block(
    view: StateView,
    parent: Header,
    block: Block,
    transactions: Sequence[tuple[TransactionBody, SignedBy]],
    check_cosignature: Verifier,
) -> Executed:
    """Apply a whole block to its parent's state.

    `transactions` are `block.transactions`, decoded, each with what says whose signature it carries.
    Raises `InvalidBlock`, naming the transaction and the cause.
    """
    check_header(view, parent, block.header)
    _check_size(view, block)
    check_cost(body for body, _ in transactions)
    if transactions_root(block.transactions) != block.header.transactions_root:
        raise InvalidBlock("transactions_root is not that of the block's transactions")
    if len(transactions) != len(block.transactions):
        raise AssertionError("a body for each transaction")
    header = block.header
    execution = Execution(view, parent, header.timestamp, check_cosignature)
    receipts = []
    institutions_began = False
    for index, (body, signed_by) in enumerate(transactions):
        try:
            receipts.append(execution.apply(body, signed_by))
        except InvalidTransaction as error:
            raise InvalidBlock(f"transaction {index} is not valid ({error.code}): {error}") from error
        if classify(body) is Family.INSTITUTION:
            institutions_began = True
        elif institutions_began:
            raise InvalidBlock(f"transaction {index} is an owner's and comes after an institution's")
    expected = next_authorities_digest(execution)
    if header.next_authorities != expected:
        raise InvalidBlock(f"next_authorities is not what its transactions lead to ({_hex(expected)})")
    return Executed(execution.changes(), receipts)


def next_authorities_digest(execution: Execution) -> bytes | None:
    """What the header of a block with these transactions says of the next epoch's set: None within an epoch."""
    authorities = execution.next_authorities()
    return None if authorities is None else authorities_digest(authorities)


def check_header(view: StateView, parent: Header, header: Header) -> None:
    """Raise `InvalidBlock` unless `header` follows `parent`, and its proposer is an authority of its epoch."""
    checks = (
        (header.version == BLOCK_VERSION, f"version is {header.version}, not {BLOCK_VERSION}"),
        (header.chain == parent.chain, "chain is not the parent's"),
        (header.epoch == parent.child_epoch, f"epoch is {header.epoch}, not {parent.child_epoch}"),
        (header.height == parent.height + 1, f"height is {header.height}, not {parent.height + 1}"),
        (header.parent == block_digest(parent), "parent is not the parent's digest"),
        (header.timestamp > parent.timestamp, "timestamp is not after the parent's"),
    )
    for holds, sentence in checks:
        if not holds:
            raise InvalidBlock(sentence)
    if not _is_authority(view, header):  # only now: the view holds the parent's epoch alone
        raise InvalidBlock(f"institution {header.proposer} is no authority of epoch {header.epoch}")


def check_cost(bodies: Iterable[TransactionBody]) -> None:
    """Raise `InvalidBlock` if these transactions cost more than a block may: to be asked before their state is read."""
    total = sum(map(cost, bodies))
    if total > limits.BLOCK_COST:
        raise InvalidBlock(f"its operations cost {total} units, and a block's may cost {limits.BLOCK_COST}")


def check_state_root(header: Header, root: bytes) -> None:
    """Raise `InvalidBlock` unless the state tree after the block has the root that the header says."""
    if header.state_root != root:
        raise InvalidBlock(f"state_root is {header.state_root.hex()}, but the block leads to {root.hex()}")


def next_timestamp(parent: Header, now_ms: int) -> int:
    """The time of a block that a leader builds on `parent` at `now_ms` by its own clock: it always moves on."""
    return max(parent.timestamp + 1, now_ms)


def build_block(
    parent: Header,
    proposer: int,
    timestamp: int,
    raws: Sequence[bytes],
    state_root: bytes,
    next_authorities: bytes | None = None,
) -> Block:
    """The block of these signed transactions (canonical bytes) on `parent`, which lead to `state_root`."""
    header = Header(
        version=BLOCK_VERSION,
        chain=parent.chain,
        epoch=parent.child_epoch,
        height=parent.height + 1,
        parent=block_digest(parent),
        proposer=proposer,
        timestamp=timestamp,
        transactions_root=transactions_root(raws),
        state_root=state_root,
        next_authorities=next_authorities,
    )
    return Block(header, tuple(raws))


def _hex(value: bytes | None) -> str:
    return "none" if value is None else value.hex()


def _is_authority(view: StateView, header: Header) -> bool:
    key = keys.authorities(header.epoch)
    raw = view.leaf(key)
    if raw is None:
        return False
    authorities = decode_leaf(key, raw)
    assert isinstance(authorities, AuthoritySet)
    return any(member.institution == header.proposer for member in authorities.members)


def _check_size(view: StateView, block: Block) -> None:
    """A block's size is that of its transactions with their length prefixes, its header and the array around them."""
    raw = view.leaf(keys.PARAMS)
    params = decode_leaf(keys.PARAMS, raw) if raw is not None else None
    assert isinstance(params, Params)
    if len(block.transactions) > params.block_transactions:
        raise InvalidBlock(f"{len(block.transactions)} transactions are more than {params.block_transactions}")
    size = block_bytes(block)
    if size > params.block_bytes:
        raise InvalidBlock(f"{size} bytes are more than {params.block_bytes}")
    for index, transaction in enumerate(block.transactions):
        if len(transaction) > limits.TRANSACTION_BYTES:
            raise InvalidBlock(f"transaction {index} is larger than {limits.TRANSACTION_BYTES} bytes")


TRANSACTION_OVERHEAD_BYTES = 5  # MessagePack's longest prefix of a byte string
BLOCK_OVERHEAD_BYTES = 6  # the block's array and the longest prefix of the transactions' array


def block_bytes(block: Block) -> int:
    """What counts as the block's size: an upper bound of its canonical bytes that needs no encoding of it all."""
    body = sum(map(len, block.transactions)) + TRANSACTION_OVERHEAD_BYTES * len(block.transactions)
    return BLOCK_OVERHEAD_BYTES + len(encode(block.header)) + body
