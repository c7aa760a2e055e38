"""Cost: what bytes do not bound, bounded before any state is read."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.signing import sign_transaction
from protocol.errors import InvalidBlock, TooCostly
from protocol.ledger import blocks
from protocol.ledger.transition import cost
from protocol.types.operations import (
    AppendRecords,
    BreakGlass,
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    Delegate,
    DelegateReissue,
    Disclose,
    EndDelegate,
    Erase,
    ErasureReceipt,
    Grant,
    Hold,
    MoveChart,
    Policy,
    Reissue,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    SetGuardians,
    SetPolicy,
)

EACH, GRANT, POLICY = limits.OPERATION_COST, limits.GRANT_COST, limits.POLICY_COST
ASKING = EACH + POLICY + GRANT


def test_what_each_operation_costs(world: Any, make_entry: Any, make_tags: Any) -> None:
    ann = world.patient()
    reissue = Reissue(1, make_tags(None, None, [1], [1]))
    bounds = DelegateReissue(1, make_tags(None, None, [1], [1]))
    key = world.fresh_key()
    delegate = limits.DELEGATE_COST
    change = EACH + limits.GUARDIANS_COST
    later = EACH + POLICY + limits.EMERGENCY_COST
    holds = EACH + limits.HOLDS_COST
    costs = {
        world.opening(ann): EACH,
        AppendRecords(0, (make_entry(),) * 7): EACH + 7,
        AppendRecords(0, (make_entry(),) * 7, (), 3): EACH + 7 + GRANT,
        Grant(0, world.terms()): EACH + GRANT + delegate + 1,
        Grant(0, world.terms(grantees=(1, 2, 3))): EACH + GRANT + delegate + 3,
        Revoke(0, 0): EACH + GRANT + delegate + POLICY,
        Revoke(0, 0, (reissue, reissue), (bounds,)): EACH + 3 * GRANT + 2 * delegate + POLICY,
        Disclose(0, None, (1, 2, 3), "TREAT"): ASKING + 3,
        Disclose(0, 5, (1, 2, 3), "TREAT"): ASKING + 3,
        SetPolicy(0, Policy()): EACH + POLICY,
        Delegate(0, world.delegate_terms(key)): EACH + delegate,
        EndDelegate(0, 1): EACH + delegate,
        SetGuardians(0, 0, None): change,
        CancelRecovery(0, 0): change,
        CompleteRecovery(0, 0): change,
        BreakGlass(0, (1, 2), "ETREAT", bytes(32)): later + 2,
        ConfirmBreakGlass(0, 1, 1, (1, 2)): later + 2,
        ReviewBreakGlass(0, 1, 1, True): later,
        Erase(0, (1, 2), (1, 2, 3)): holds + 5,
        ErasureReceipt(0, 1): EACH + limits.EMERGENCY_COST,
        Hold(0, (1, 2), bytes(32)): holds + 2,
        Hold(0, None, bytes(32)): holds,
        ReleaseHold(0, 1): holds,
        MoveChart(0, 1, 2): EACH,
    }
    for operation, expected in costs.items():
        assert cost(world.body(0, operation)) == expected, operation
    assert cost(world.body(0, *list(costs)[:2])) == 2 * EACH + 7


def asking(world: Any, records: int) -> Any:
    """A transaction of three disclosures of so many records together."""
    first = records // 2
    sizes = (first, records - first - 1, 1)
    return world.body(1, *(Disclose(0, None, tuple(range(1, size + 1)), "TREAT") for size in sizes))


def test_a_transaction_has_a_dearest(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    for _ in range(6):
        world.append(patient, *[make_entry()] * limits.ENTRIES_PER_OPERATION)
    most = limits.TRANSACTION_COST - 3 * ASKING
    world.refuses(TooCostly, asking(world, most + 1))
    world.block(asking(world, most))


def test_a_block_has_a_dearest_and_no_state_is_read_for_a_dearer_one(world: Any) -> None:
    """Each transaction is good by itself: only the block is too much."""
    each = limits.TRANSACTION_COST - 3 * ASKING
    bodies = [asking(world, each), asking(world, each), asking(world, 3)]
    blocks.check_cost(bodies[:2])
    with pytest.raises(InvalidBlock, match="24075 units"):
        blocks.check_cost(bodies)
    raws = [encode(sign_transaction(world.operation_keys[1][0], body)) for body in bodies]
    block = blocks.build_block(world.head, 0, world.head.timestamp + 1, raws, bytes(32))
    with pytest.raises(InvalidBlock, match="24075 units"):
        world.validate(block, *bodies)


def test_what_is_legitimate_fits() -> None:
    """The default of 4,000 transactions of one entry, and the largest disclosure twice."""
    assert 4_000 * (limits.OPERATION_COST + limits.ITEM_COST) <= limits.BLOCK_COST
    largest = ASKING + limits.RECORDS_PER_DISCLOSURE
    assert largest <= limits.TRANSACTION_COST
    assert 2 * limits.TRANSACTION_COST <= limits.BLOCK_COST
    for most in (limits.MOTION_COST, limits.OPERATION_COST + limits.GUARDIANS_COST):
        assert limits.OPERATIONS_PER_TRANSACTION * most <= limits.TRANSACTION_COST
