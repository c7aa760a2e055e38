"""By which clock a wallet signs: a node's word about the time is not enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node.cli import client
from tests.node.wallet.conftest import DAY_MS, City, Person
from tests.node.wallet.test_grants import submit


@pytest.fixture
def patient(city: City, person: Callable[..., Person]) -> Person:
    made = person()
    made.does("chart", "open")
    submit(city, "Observation", "2020")
    return made


def test_a_node_that_says_that_it_is_years_later_gets_nothing_signed(
    city: City, patient: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would keep what was signed until the ledger takes it."""
    clock = city.chain.clock.ms
    monkeypatch.setattr(client, "own_clock_ms", lambda: clock)
    used = patient.reopen().chart(city.chain.id, 0).used
    city.chain.clock.ms += 50 * 60_000
    patient.does("policy", "bar", 0, 1, "--category", "Condition")
    city.chain.clock.ms += 4 * 365 * DAY_MS
    said = patient.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    assert "[clocks-apart]" in said
    assert patient.reopen().chart(city.chain.id, 0).used == used + 1
