"""Whether the model of who may read what has holes: rules of the ledger are broken on purpose, and it must notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.ledger.access_history import plainly, small_limits
from tests.protocol.ledger.access_mutants import MUTANTS, QUICK, Mutant, broken, hunt


@pytest.fixture(scope="module", autouse=True)
def limits_within_reach() -> Iterator[None]:
    with small_limits():
        yield


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_a_broken_ledger_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


def test_every_mutant_still_breaks_a_line_that_there_is() -> None:
    """And leaves it as it was."""
    for mutant in MUTANTS:
        sound = mutant.function.__code__
        with broken(mutant):
            assert mutant.function.__code__ is not sound
        assert mutant.function.__code__ is sound
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_sound_ledger_is_not() -> None:
    for seed in range(10):
        plainly(seed, 120)
