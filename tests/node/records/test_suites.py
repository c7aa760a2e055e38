"""Two envelope suites in use at once: institutions move one by one, and nobody has to wait for the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.crypto.envelopes import MLKEM768_X25519, X25519
from tests.node.records import fake_core, fake_ground
from tests.node.records.conftest import World, make_world
from tests.node.records.held import TEXT, Held, held

__all__ = ["held"]


@pytest.fixture
async def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Five hospitals whose keys are of suite 2; the patient's are of suite 1."""
    monkeypatch.setattr(fake_core, "SUITE", X25519)
    monkeypatch.setattr(fake_ground, "SUITE", X25519)
    async for made in make_world(tmp_path, 5, replicas=3):
        for number in range(3, 5):
            await made.network.start(number)
        yield made


async def test_what_is_sealed_to_each_is_of_its_own_suite(held: Held) -> None:
    leaf = await held.reader.core.chart(held.world.chart)
    institution = await held.reader.core.institution_leaf(held.reader.core.institution)
    assert leaf is not None
    assert institution is not None
    assert (leaf.encryption_suite, institution.encryption_suite) == (MLKEM768_X25519, X25519)
    assert await held.read() == TEXT.encode()


async def test_shares_cross_between_suites_too(held: Held) -> None:
    held.down(0)
    assert await held.read() == TEXT.encode()
