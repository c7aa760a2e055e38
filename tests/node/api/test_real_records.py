"""Real FHIR R4 bundles through the socket: every resource one record, and back byte for byte at another hospital."""

from __future__ import annotations

from base64 import b64decode

import msgspec
import pytest

from node.labels import SENSITIVITY_LABELS
from node.records.fhir import bundle_slices
from protocol.crypto.tags import GrantLabels
from tests.node.api.conftest import Town
from tests.real_records import bundles

FHIR = {"content-type": "application/fhir+json"}


@pytest.mark.real_records
def test_slices_are_source_slices() -> None:
    """Found again in the file, one after the other, and the same to an independent parser."""
    for path in bundles():
        data = path.read_bytes()
        slices = bundle_slices(data)
        at = 0
        for one in slices:
            at = data.index(one, at) + len(one)
        parsed = [entry["resource"] for entry in msgspec.json.decode(data)["entry"] if "resource" in entry]
        assert [msgspec.json.decode(one) for one in slices] == parsed


@pytest.mark.real_records
async def test_real_records_are_read_back_byte_identical(town: Town) -> None:
    data = max(bundles(), key=lambda path: path.stat().st_size).read_bytes()
    slices = bundle_slices(data)
    path = f"/v1/charts/{town.chart}/records?split=true&wait=final"
    stored = (await town.custodian.post(path, content=data, headers=FHIR)).json()
    assert len(stored["records"]) == len(slices)
    grant = await town.granted(GrantLabels(sensitivities=SENSITIVITY_LABELS[1:]))
    asked = {"chart": town.chart, "grant": grant, "purpose": "TREAT"}
    decided = (await town.reader.post("/v1/disclosures?wait=final", json=asked)).json()
    assert decided["records"] == stored["records"]
    read: list[bytes] = []
    following: int | None = 0
    while following is not None:
        page = await town.reader.get(
            f"/v1/disclosures/{town.chart}/{decided['disclosure']}/records", params={"first": following}
        )
        document = page.json()
        read += [b64decode(one["data"]) for one in document["records"]]
        following = document["next"]
    assert read == slices
