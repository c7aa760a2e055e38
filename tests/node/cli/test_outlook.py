"""Which changes of the authorities an operator is warned of: no quorum within reach, or no fault to spare."""

from __future__ import annotations

from typing import Any

import pytest

from node.cli.outlook import warnings

NAMES = {number: f"Hospital {number}" for number in range(8)}


def status(authorities: int, away: set[int], others: int = 0) -> dict[str, Any]:
    """What institution 0's node says: `authorities` first institutions vote, `others` more follow."""
    return {
        "institution": {"number": 0},
        "authorities": [{"institution": number} for number in range(authorities)],
        "peers": [
            {"institution": number, "state": "waiting" if number in away else "connected"}
            for number in range(1, authorities + others)
        ],
    }


def warned(kind: str, institution: int, authorities: int, away: set[int], others: int = 0) -> str:
    found = warnings({"kind": kind, "institution": institution}, status(authorities, away, others), NAMES)
    assert len(found) <= 1
    return found[0] if found else ""


@pytest.mark.parametrize("kind", ["suspend", "remove", "take-authority"])
def test_from_four_to_three_there_is_no_fault_to_spare(kind: str) -> None:
    said = warned(kind, 3, 4, set())
    assert said.startswith("this would leave no fault to spare: all 3 of the 3 authorities")


def test_without_a_quorum_within_reach_the_chain_would_stop() -> None:
    said = warned("take-authority", 3, 4, {2})
    assert said.startswith("this would stop the chain: 3 of 3 authorities would have to vote, and 2 can be reached")
    assert "(not Hospital 2)" in said
    assert "this would stop the chain: 4 of 5" in warned("give-authority", 4, 4, {2, 4}, others=1)


def test_a_newcomer_whose_node_is_not_connected_uses_up_the_spare_one() -> None:
    said = warned("give-authority", 4, 4, {4}, others=1)
    assert said.startswith("this would leave no fault to spare: all 4 of the 5 authorities that can be reached")
    assert "(Hospital 4 cannot be reached)" in said
    # a newcomer that no peer list knows yet is not connected either
    assert "cannot be reached" in warned("give-authority", 4, 4, set())


def test_nothing_is_said_of_changes_that_leave_one_to_spare() -> None:
    assert warned("give-authority", 4, 4, set(), others=1) == ""
    assert warned("take-authority", 4, 5, set()) == ""
    assert warned("suspend", 3, 4, set(), others=1).startswith("this would leave no fault")
    assert warned("take-authority", 3, 4, {3}).startswith("this would leave no fault")


def test_nothing_is_said_of_changes_of_no_authority() -> None:
    assert warned("suspend", 4, 4, {1, 2, 3}, others=1) == ""
    assert warned("reinstate", 3, 4, {1, 2, 3}) == ""
    assert warnings({"kind": "set", "parameters": {"delta_ms": 1}}, status(4, {1, 2, 3}), NAMES) == []
    assert warned("take-authority", 0, 1, set()) == "", "the ledger refuses to remove the last"
