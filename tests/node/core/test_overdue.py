"""Overdue reviews are loud: at whose they are the node is unhealthy, at others they are told; and both are metrics."""

from __future__ import annotations

from typing import Any

import pytest

from node.cli.output import console
from node.cli.status import _picture
from node.emergencies import Count, counts, owed, state_of
from node.metrics import metrics_text
from protocol.codec.canonical import encode
from protocol.ledger import keys
from protocol.ledger.events import GlassBroken, Outcome, Reason
from protocol.ledger.leaves import Emergencies, Emergency
from tests.node.core.test_stalls import Devnet, eventually, quick

__all__ = ["quick"]


def broken(outcome: Outcome) -> GlassBroken:
    return GlassBroken(1, 1_000, 1, (1,), "BTG", outcome, Reason.NONE, None, None, bytes(32))


@pytest.mark.parametrize(
    ("outcome", "leaf", "now", "state"),
    [
        (Outcome.DENIED, None, 2_000, "denied"),
        (Outcome.PENDING, Emergency(1, 1_000, bytes(32), None, None), 1_100, "pending"),
        (Outcome.PENDING, Emergency(1, 1_000, bytes(32), None, None), 1_101, "lapsed"),
        (Outcome.PENDING, Emergency(1, 1_000, bytes(32), 1_200, 5_000, 2), 5_000, "unreviewed"),
        (Outcome.DISCLOSED, Emergency(1, 1_000, bytes(32), 1_100, 5_000), 5_000, "unreviewed"),
        (Outcome.DISCLOSED, Emergency(1, 1_000, bytes(32), 1_100, 5_000), 5_001, "overdue"),
        (Outcome.DISCLOSED, Emergency(1, 1_000, bytes(32), 1_100, 5_000, None, 2, True), 9_000, "justified"),
        (Outcome.DISCLOSED, Emergency(1, 1_000, bytes(32), 1_100, 5_000, None, 2, False), 9_000, "unjustified"),
    ],
)
def test_where_an_emergency_stands(outcome: Outcome, leaf: Emergency | None, now: int, state: str) -> None:
    assert state_of(broken(outcome), leaf, now, release_ms=100) == state


def test_counts_are_by_institution_and_time() -> None:
    leaf = Emergencies(5, 1, 2, ((10, 0, 1), (20, 0, 2), (30, 1, 1)))
    assert counts({3: leaf}, 20) == [Count(3, 5, 3, 1, 1, 2)]
    assert owed(Count(3, 5, 3, 0, 1, 2), "Hospital", own=True) is None
    assert "1 emergency of Hospital's" in str(owed(Count(3, 5, 3, 1, 1, 2), "Hospital", own=False))
    assert "2 emergencies of this institution's" in str(owed(Count(3, 5, 3, 2, 1, 2), "Hospital", own=True))


async def test_overdue_reviews_are_loud(quick: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    await quick.start(0, 1, 2, 3)
    await eventually(quick, 0, lambda status: status["healthy"])
    core: Any = quick.services(0)
    late = encode(Emergencies(3, 0, 1, ((1, 7, 2), (2, 7, 3))))
    core.standing.update({keys.emergencies(1): late})
    status = await eventually(quick, 0, lambda status: bool(status["emergencies"]))
    assert status["healthy"], "others' neglect is told, and no reason to wake anybody here"
    assert "2 emergencies of Hospital 1's nobody has reviewed in time" in status["summary"]
    assert 'chartledger_emergencies_overdue{institution="1"} 2' in metrics_text(core)
    assert 'chartledger_emergencies_opened_total{institution="1"} 3' in metrics_text(core)
    console.print(_picture(dict(status)))
    assert "institution 1 owes 2 overdue reviews" in capsys.readouterr().out
    core.standing.update({keys.emergencies(0): late})
    status = await eventually(quick, 0, lambda status: len(status["emergencies"]) == 2)
    assert not status["healthy"]
    assert status["summary"].startswith("reviews overdue: nobody has reviewed 2 emergencies of this institution's")
