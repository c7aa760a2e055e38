"""Every mutant is noticed by an oracle, in few histories; and the same histories of a sound network break nothing.

The histories are fixed: this tests the net, and whether it has holes must not depend on luck.
"""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, SEEDS, SHAPES, SOUND, Catch, Mutant, hunt

HUNTED: dict[str, Catch] = {}
CONTROLS = {"drawn": 40, "copied": 20, "misled": 20, "forged": 20}
"""Histories of each shape in which the sound network is looked at, too."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_network_is_noticed(mutant: Mutant) -> None:
    catch = hunt(mutant, mutant.shape)
    assert catch is not None, f"{mutant.name} survived {SEEDS} seeds"
    HUNTED[mutant.name] = catch


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sound_network_is_not(shape: str) -> None:
    """Also without what the machine asserts of itself, or mutants would be caught for what they did not do."""
    catch = hunt(SOUND, shape, CONTROLS[shape])
    assert catch is None, f"seed {catch.seed}: {catch.failure}"


def test_there_are_enough_of_them_and_the_run_says_how_many_histories_they_took(say_at_the_end) -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    slowest = max(HUNTED.items(), key=lambda item: item[1].seeds, default=None)
    if slowest is not None:
        took = sum(catch.seeds for catch in HUNTED.values())
        say_at_the_end(f"{len(HUNTED)} mutants noticed in {took} histories, {slowest[0]} last ({slowest[1].seeds})")
