"""Blocks: each way in which a leader could cheat, and the name that it gets."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol.codec.canonical import encode
from protocol.crypto.signing import sign_transaction, verify
from protocol.errors import InvalidBlock
from protocol.ledger import blocks, tree
from protocol.params import Params
from protocol.types.block import Block
from protocol.types.operations import AppendRecords, Disclose, Grant, Revoke


def built(world: Any, *bodies: Any) -> tuple[Block, tuple[Any, ...]]:
    execution = world.execution(*bodies)
    for body in bodies:
        world.apply(execution, body)
    root = tree.update(world.nodes, execution.changes().leaves).root
    raws = [encode(sign_transaction(world.operation_keys[body.institution][body.key], body)) for body in bodies]
    return blocks.build_block(world.head, 0, world.now, raws, root), bodies


def apply(world: Any, block: Block, bodies: Any) -> Any:
    listed = [(body, world.signed_by(body)) for body in bodies]
    return blocks.apply_block(world.view(*bodies), world.head, block, listed, verify)


@pytest.fixture
def good(world: Any, make_entry: Any) -> Any:
    """A world and a block on its head with three transactions."""
    patient = world.open_chart()
    bodies = [world.body(0, AppendRecords(patient.chart, (make_entry(commitment=n),))) for n in range(3)]
    return (world, *built(world, *bodies))


def test_a_good_block(good: Any) -> None:
    world, block, bodies = good
    executed = apply(world, block, bodies)
    assert [receipt.operations[0].first_event for receipt in executed.receipts] == [1, 2, 3]
    blocks.check_state_root(block.header, tree.update(world.nodes, executed.changes.leaves).root)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "version"),
        ({"chain": b"x" * 32}, "chain"),
        ({"epoch": 1}, "epoch"),
        ({"height": 5}, "height"),
        ({"parent": b"x" * 32}, "parent"),
        ({"proposer": 4}, "institution 4 is no authority"),
        ({"timestamp": 0}, "timestamp"),
        ({"transactions_root": b"x" * 32}, "transactions_root"),
    ],
)
def test_a_wrong_header(good: Any, change: dict[str, Any], sentence: str) -> None:
    world, block, bodies = good
    with pytest.raises(InvalidBlock, match=sentence):
        apply(world, Block(replace(block.header, **change), block.transactions), bodies)


def test_time_moves_on(good: Any) -> None:
    world, block, bodies = good
    same = replace(block.header, timestamp=world.head.timestamp)
    with pytest.raises(InvalidBlock, match="timestamp"):
        apply(world, Block(same, block.transactions), bodies)
    assert blocks.next_timestamp(world.head, 5) == world.head.timestamp + 1
    assert blocks.next_timestamp(world.head, world.head.timestamp + 9) == world.head.timestamp + 9


def test_a_wrong_state_root(good: Any) -> None:
    world, block, bodies = good
    executed = apply(world, block, bodies)
    with pytest.raises(InvalidBlock, match="state_root"):
        blocks.check_state_root(block.header, tree.update(world.nodes, {}).root)
    assert executed.receipts


def test_transactions_that_the_header_does_not_name(good: Any) -> None:
    world, block, bodies = good
    with pytest.raises(InvalidBlock, match="transactions_root"):
        apply(world, Block(block.header, block.transactions[:2]), bodies[:2])
    with pytest.raises(InvalidBlock, match="transactions_root"):
        apply(world, Block(block.header, block.transactions[::-1]), bodies[::-1])


def with_transactions(world: Any, bodies: Any) -> Block:
    """A block of these, whether they are valid or not."""
    raws = [encode(sign_transaction(world.operation_keys[body.institution][body.key], body)) for body in bodies]
    time_ms = blocks.next_timestamp(world.head, world.now)
    return blocks.build_block(world.head, 0, time_ms, raws, bytes(32))


def test_an_invalid_transaction_makes_the_block_invalid_and_is_named(good: Any, make_entry: Any) -> None:
    world, _, bodies = good
    foreign = world.body(1, AppendRecords(0, (make_entry(),)))
    listed = (bodies[0], foreign, bodies[1])
    with pytest.raises(InvalidBlock, match=r"transaction 1 is not valid \(unauthorised\)"):
        apply(world, with_transactions(world, listed), listed)


def test_the_same_transaction_twice(good: Any) -> None:
    world, _, bodies = good
    twice = (bodies[0], bodies[0])
    with pytest.raises(InvalidBlock, match=r"transaction 1 is not valid \(replayed\)"):
        apply(world, with_transactions(world, twice), twice)


def test_owners_come_first(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.grant(patient)
    asking = world.body(1, Disclose(patient.chart, 0, (1,), "TREAT"))
    revoking = world.body(2, world.owned(patient, Revoke(patient.chart, 0)))
    granting = world.body(2, world.owned(patient, Grant(patient.chart, world.terms())))
    for late in ((asking, revoking), (revoking, asking, granting)):
        with pytest.raises(InvalidBlock, match="comes after an institution's"):
            apply(world, with_transactions(world, late), late)
    apply(world, *built(world, revoking, granting, asking))


@pytest.mark.parametrize(
    ("params", "sentence"),
    [(Params(block_transactions=2), "3 transactions"), (Params(block_bytes=1_100), "bytes are more than 1100")],
)
def test_a_block_beyond_the_parameters(new_world: Any, make_entry: Any, params: Params, sentence: str) -> None:
    world = new_world(params)
    patient = world.open_chart()
    bodies = tuple(world.body(0, AppendRecords(patient.chart, (make_entry(), make_entry()))) for _ in range(3))
    with pytest.raises(InvalidBlock, match=sentence):
        apply(world, with_transactions(world, bodies), bodies)


def test_the_counted_size_bounds_the_encoded_one(good: Any) -> None:
    _, block, _ = good
    assert len(encode(block)) <= blocks.block_bytes(block) <= len(encode(block)) + 5 * len(block.transactions) + 6


def test_an_empty_block_is_valid(world: Any) -> None:
    root = world.head.state_root
    block, _ = built(world)
    apply(world, block, ())
    assert block.header.state_root == root
