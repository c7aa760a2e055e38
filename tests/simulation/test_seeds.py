"""Fresh histories in every run: nobody picked them, and their base seed is printed so that they can be played again.

`CHARTLEDGER_SEED` sets the base seed, `CHARTLEDGER_SEEDS` how many follow it.
"""

import os
import secrets
import time

import pytest

from node.simulation.report import Tally
from node.simulation.runner import Order, cores, play_all

SEEDS = int(os.environ.get("CHARTLEDGER_SEEDS", "300"))
BASE_BITS = 40
FIXED = (
    0,
    50,
    100,
    417594078814,
    417594078766,
    145548778159,
    145548782464,
    145548782549,
    145548782709,
    145548783008,
    834271389381,
    834271394997,
    834271395402,
    834271398792,
    302974690393,
    302974690993,
    303287379278,
    593634194687,
)
"""Played in every run as well: multiples of fifty share nothing between their nodes, the others once failed."""


def base_seed():
    told = os.environ.get("CHARTLEDGER_SEED")
    return int(told) if told is not None else secrets.randbits(BASE_BITS)


def told_of(failed):
    return f"seed {failed.seed}: {failed.failure.kind}, {failed.failure.oracle}: {failed.failure.sentence}"


def test_no_fresh_history_breaks_a_promise(say_at_the_end):
    base, tally, begun = base_seed(), Tally(), time.monotonic()
    say_at_the_end(f"base seed {base}: CHARTLEDGER_SEED={base} plays the same {SEEDS} histories again")
    for outcome in play_all(iter(range(base, base + SEEDS)), Order(), cores()):
        tally.add(outcome)
    totals = tally.totals(base, cores(), time.monotonic() - begun)
    say_at_the_end(
        f"{totals.seeds} histories, {totals.with_traitors} with traitors, {totals.blocks} blocks, "
        f"{totals.epochs} epochs; {totals.simulated_s:,.0f} simulated seconds in {totals.wall_s:.0f}, "
        f"{totals.speed:.0f} a second and core"
    )
    assert totals.seeds == SEEDS
    assert not tally.failures, "\n".join(told_of(failed) for failed in tally.failures)


@pytest.mark.parametrize("patients", [False, True], ids=["no patients", "patients"])
def test_no_fixed_history_breaks_a_promise(patients):
    """Most failed before histories had patients: without them they are what they were."""
    played = play_all(FIXED, Order(patients=patients), 1)
    failures = [outcome.failure for outcome in played if outcome.failure is not None]
    assert not failures
