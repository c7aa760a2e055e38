"""Every mutant is noticed, by an oracle, in few histories; and the same histories of a sound network break nothing."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, SEEDS, Mutant, hunt


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_network_is_noticed(mutant: Mutant, say_at_the_end) -> None:
    catch = hunt(mutant, mutant.shape)
    assert catch is not None, f"{mutant.name} survived {SEEDS} seeds"
    print(f"{mutant.name}: {catch.seeds} seeds, {catch.failure.kind}, {catch.failure.oracle}")


def test_there_are_enough_of_them() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
