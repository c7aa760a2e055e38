"""Generators of what is drawn: each place in a history has its own, so that none depends on how often others draw."""

from __future__ import annotations

from random import Random


def dice(seed: int, *place: object) -> Random:
    """The generator of one place (a link, a disk, a part of a plan) in the history of this seed."""
    return Random("/".join(map(str, (seed, *place))))  # noqa: S311  a history must come again from its seed
