"""Who may submit, until when, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import (
    Expired,
    ForeignChain,
    MixedTransaction,
    NotAccredited,
    NumberTooFar,
    Replayed,
    UnknownInstitution,
    UnknownKey,
    ValidTooLong,
)
from protocol.ledger import keys
from protocol.ledger.transition import Family, classify
from protocol.types.institutions import STATUS_REMOVED, STATUS_SUSPENDED, Institution
from protocol.types.operations import AppendRecords, Grant, SignedOperation


@pytest.fixture
def ready(world: Any, make_entry: Any) -> Any:
    """A world with a chart at institution 0, and an operation that is valid for it."""
    world.owner = world.open_chart()
    world.operation = AppendRecords(world.owner.chart, (make_entry(),))
    return world


def test_foreign_chain(ready: Any) -> None:
    ready.refuses(ForeignChain, ready.body(0, ready.operation, chain=b"x" * 32))


def test_expiry_is_the_last_moment_that_counts(ready: Any) -> None:
    ready.wait(10)
    ready.refuses(Expired, ready.body(0, ready.operation, valid_until=ready.now - 1))
    ready.block(ready.body(0, ready.operation, valid_until=ready.now))


def test_valid_too_long(ready: Any) -> None:
    ready.wait(10)
    longest = ready.now + ready.genesis.params.valid_until_max_ms
    ready.refuses(ValidTooLong, ready.body(0, ready.operation, valid_until=longest + 1))
    ready.block(ready.body(0, ready.operation, valid_until=longest))


@pytest.mark.parametrize("number", [4, 1 << 24, limits.U53])
def test_unknown_institution(ready: Any, number: int) -> None:
    ready.refuses(UnknownInstitution, ready.body(number, ready.operation))


@pytest.mark.parametrize("status", [STATUS_SUSPENDED, STATUS_REMOVED])
def test_only_the_accredited_submit(ready: Any, status: int) -> None:
    leaf = ready.leaf(keys.institution(0))
    fallen = Institution(leaf.name, status, *[getattr(leaf, name) for name in leaf.__struct_fields__[2:]])
    ready.leaves[keys.institution(0)] = encode(fallen)
    ready.refuses(NotAccredited, ready.body(0, ready.operation))


def test_unknown_key(ready: Any) -> None:
    ready.refuses(UnknownKey, ready.body(0, ready.operation, key=2))


def test_replay_in_a_block_and_after_it(ready: Any) -> None:
    body = ready.body(0, ready.operation)
    execution = ready.execution(body)
    ready.apply(execution, body)
    with pytest.raises(Replayed):
        ready.apply(execution, body)
    ready.block(body)
    ready.refuses(Replayed, body)


def test_keys_of_an_institution_have_windows_of_their_own(ready: Any) -> None:
    ready.block(ready.body(0, ready.operation, number=50), ready.body(0, ready.operation, number=50, key=1))
    ready.refuses(Replayed, ready.body(0, ready.operation, number=50, key=1))


def test_any_order_within_the_window_never_below_and_not_too_far(ready: Any) -> None:
    far = limits.NUMBER_JUMP
    ready.block(ready.body(0, ready.operation, number=far))
    lowest = far - limits.WINDOW_BITS_INSTITUTION + 1
    ready.block(ready.body(0, ready.operation, number=lowest))
    ready.refuses(Replayed, ready.body(0, ready.operation, number=lowest - 1))
    ready.refuses(NumberTooFar, ready.body(0, ready.operation, number=2 * far + 1))


def test_an_invalid_transaction_uses_up_no_number(ready: Any) -> None:
    ready.refuses(Expired, ready.body(0, ready.operation, number=77, valid_until=0))
    ready.block(ready.body(0, ready.operation, number=77))


def test_owners_and_institutions_do_not_mix(ready: Any) -> None:
    granting = ready.owned(ready.owner, Grant(ready.owner.chart, ready.terms()))
    ready.refuses(MixedTransaction, ready.body(0, ready.operation, granting))
    ready.refuses(MixedTransaction, ready.body(0, granting, SignedOperation(ready.operation)))
    assert classify(ready.body(0, granting)) is Family.OWNERS
    assert classify(ready.body(0, ready.operation)) is Family.INSTITUTION
