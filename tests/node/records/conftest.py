"""Three hospitals on one chain, without consensus or network, and a patient with a chart at the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.records.submit import ChartOpening
from node.services import Final, Prepared
from tests.node.records.fake_core import SUITE, Chain, FakeCore, Hospital, Network
from tests.node.records.patient import Patient


async def settle(core: FakeCore, prepared: list[Prepared]) -> list[Final]:
    """Submit and give the final transactions."""
    await core.submit(prepared)
    outcomes = await core.outcomes([one.id for one in prepared], 0)
    final = [one for one in outcomes if isinstance(one, Final)]
    assert len(final) == len(prepared), outcomes
    return final


def opening(patient: Patient) -> ChartOpening:
    cosignature = patient.open_chart().cosignatures[0]
    return ChartOpening(patient.key.public, SUITE, patient.public, patient.keys.chart_secret, cosignature)


@dataclass
class World:
    network: Network
    custodian: Hospital
    reader: Hospital
    other: Hospital
    patient: Patient
    chart: int

    @property
    def chain(self) -> Chain:
        return self.network.chain


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Three hospitals, and nobody holds anything for another."""
    async for made in make_world(tmp_path, 3, replicas=0):
        yield made


async def make_world(folder: Path, count: int, replicas: int) -> AsyncIterator[World]:
    network = Network(Chain(count), folder, replicas)
    try:
        hospitals = [await network.start(number) for number in range(count)]
        patient = Patient(network.chain, 0)
        prepared = await hospitals[0].records.submitter.open_chart(opening(patient))
        final = await settle(hospitals[0].core, prepared)
        yield World(network, *hospitals[:3], patient, final[0].receipt.operations[0].chart)
    finally:
        await network.close()
