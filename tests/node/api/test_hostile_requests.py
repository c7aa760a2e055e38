"""Requests that are cut short, repeated, lied about or made to be echoed: refused by name, with nothing half-done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.node.api.conftest import Town
from tests.node.api.test_requests import FHIR, code

MARKED = b'{"resourceType":"Observation","meta":{"security":[{"code":"HIV"}]},"note":"%s"}'
TEXT = {"content-type": "text/plain"}


async def events(town: Town) -> int:
    return int((await town.custodian.get(f"/v1/charts/{town.chart}")).json()["events"])


async def pieces(data: bytes, size: int = 1_000_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def sensitivities(town: Town, record: int) -> list[str]:
    found = (await town.custodian.get(f"/v1/charts/{town.chart}/records/{record}")).json()["sensitivities"]
    return list(found)


async def test_a_wrong_wish_is_refused_before_anything_is_written(town: Town) -> None:
    for path in (f"/v1/charts/{town.chart}/records", "/v1/transactions"):
        body: dict[str, Any] = {"content": b"x", "headers": TEXT}
        if path == "/v1/transactions":
            body = {"content": b"\x90", "headers": {"content-type": "application/octet-stream"}}
        answer = await town.custodian.post(f"{path}?wait=soon", **body)
        assert (answer.status_code, code(answer)) == (400, "bad-request")
    assert await events(town) == 1
    assert (await town.custodian.hospital.blobs.totals()).count == 0


async def test_large_fhir_is_refused_unless_its_sensitivities_are_stated(town: Town) -> None:
    path = f"/v1/charts/{town.chart}/records?wait=final"
    large = MARKED % (b"n" * 9_000_000)
    for content in (large, pieces(large)):
        answer = await town.custodian.post(path, content=content, headers=FHIR)
        assert (answer.status_code, code(answer)) == (422, "sensitivities-unstated")
        assert "split=true" in answer.json()["advice"]
    assert await events(town) == 1
    for number, stated in ((1, "HIV"), (2, "none")):
        answer = await town.custodian.post(path, content=large, headers={**FHIR, "sensitivities": stated})
        assert answer.json()["records"] == [number]
    assert (await sensitivities(town, 1), await sensitivities(town, 2)) == (["HIV"], [])


async def test_fhir_that_comes_in_chunks_is_looked_into(town: Town) -> None:
    path = f"/v1/charts/{town.chart}/records?wait=final"
    answer = await town.custodian.post(path, content=pieces(MARKED % b"small", 10), headers=FHIR)
    assert answer.json()["records"] == [1]
    assert await sensitivities(town, 1) == ["HIV"]


async def test_a_large_upload_may_be_repeated_when_nothing_of_it_left(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row stands, the transaction never left: the repeat's body must not have been eaten by the comparison."""
    content = bytes(9 * 1024 * 1024)
    path = f"/v1/charts/{town.chart}/records?wait=final"

    async def crash(prepared: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as broken:
        broken.setattr(town.custodian.hospital.core, "submit", crash)
        assert (await town.custodian.post(path, key="key", content=content, headers=TEXT)).status_code == 500
    for _ in range(2):
        answer = await town.custodian.post(path, key="key", content=content, headers=TEXT)
        assert (answer.status_code, answer.json()["records"]) == (200, [1])


@pytest.mark.parametrize("name", [" - at `Canary", " - at `$Canary", " - at `$.Canary", "x"])
async def test_names_in_a_body_are_never_said_back(town: Town, name: str) -> None:
    answer = await town.custodian.post("/v1/disclosures", json={"chart": 0, "purpose": "TREAT", name: 1})
    assert (answer.status_code, code(answer)) == (400, "bad-request")
    assert "Canary" not in answer.text


async def test_the_place_of_a_fault_is_told(town: Town) -> None:
    sent = {"records": [{"media_type": "a/b", "data": "", "year": "soon"}]}
    answer = await town.custodian.post(f"/v1/charts/{town.chart}/records", json=sent)
    assert "see $.records[0].year" in answer.json()["detail"]


@pytest.mark.parametrize("path", [f"/v1/charts/{'9' * 5_000}", f"/v1/blocks/{'1' * 20_000}"])
async def test_numbers_without_end_are_refused(town: Town, path: str) -> None:
    answer = await town.custodian.get(path)
    assert (answer.status_code, code(answer)) == (404, "no-such-place")
