"""Labels at the socket: which are known, which are refused, and what the institution's own table does to records."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node.labels import SENSITIVITY_LABELS
from node.records.labelling import Labelling
from node.records.sensitivity_codes import DISPLAYS
from node.records.sensitivity_table import parse_table
from protocol.crypto.tags import NONE, SEVERAL
from tests.node.api.conftest import Desk, Town
from tests.node.api.test_requests import FHIR, code
from tests.node.records.fake_core import Chain, Network
from tests.node.records.patient import Patient

TABLE, WRONG = parse_table(
    b"define ONC what concerns a cancer\ncategory Letter our letters\n"
    b"mark ONC code urn:anna:wards|4711\nmark PSY word en sadness\nunmark SEX word fetal\n"
)
TEXT = {"content-type": "text/plain"}
PDF = {"content-type": "application/pdf"}


@pytest.fixture(params=["mark", "plain"])
async def anna(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """A hospital with a table of its own."""
    folder = tmp_path / "anna"
    folder.mkdir()
    network = Network(Chain(2), folder)
    try:
        by = Labelling(TABLE.marker(), request.param, TABLE)
        desk = Desk(await network.start(0), labelling=by)
        made = Town(network, desk, Desk(await network.start(1)), Patient(network.chain, 0))
        made.chart = (await desk.post("/v1/charts?wait=final", json=made.chart_in(made.patient))).json()["chart"]
        yield made
    finally:
        await network.close()


async def marks(town: Town, content: bytes, headers: dict[str, str], query: str = "") -> list[str]:
    place = f"/v1/charts/{town.chart}/records"
    answer = await town.custodian.post(f"{place}?wait=final{query}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    (record,) = answer.json()["records"]
    return list((await town.custodian.get(f"{place}/{record}")).json()["sensitivities"])


async def test_the_labels_that_are_known(town: Town, anna: Town) -> None:
    assert WRONG == []
    found = (await town.custodian.get("/v1/labels")).json()
    codes = [one["code"] for one in found["sensitivities"]]
    assert set(codes) == {*DISPLAYS, "unexamined"} == set(SENSITIVITY_LABELS) - {NONE, SEVERAL}
    assert (found["own_rules"], found["taken_away"], found["unexamined"]) == (0, 0, "mark")
    found = (await anna.custodian.get("/v1/labels")).json()
    assert {"code": "ONC", "meaning": "what concerns a cancer", "own": True} in found["sensitivities"]
    assert found["categories"] == [{"code": "Letter", "meaning": "our letters", "own": True}]
    assert (found["own_rules"], found["taken_away"]) == (2, 1)


async def test_the_table_marks_what_comes_in_by_every_way(anna: Town) -> None:
    coded: dict[str, Any] = {"resourceType": "Basic", "code": {"system": "urn:anna:wards", "code": "4711"}}
    data = json.dumps(coded).encode()
    assert await marks(anna, data, FHIR) == ["ONC"]
    assert await marks(anna, b'{"resourceType":"Bundle","entry":[{"resource":%s}]}' % data, FHIR, "&split=true") == [
        "ONC"
    ]
    listed = json.dumps({"records": [{"media_type": FHIR["content-type"], "data": b64encode(data).decode()}]}).encode()
    assert await marks(anna, listed, {"content-type": "application/json"}) == ["ONC"]
    assert await marks(anna, b"Sadness since May.", TEXT) == ["PSY"]
    assert await marks(anna, b"fetal heart beat", TEXT) == []
    assert await marks(anna, b"x", {**TEXT, "category": "Letter", "sensitivities": "ONC"}) == ["ONC"]


async def test_what_cannot_be_looked_into_is_as_configured(anna: Town) -> None:
    expected = ["unexamined"] if anna.custodian.settings.labelling.unexamined == "mark" else []
    large = b"%PDF" + bytes(9 * 1024 * 1024)
    for content in (b"%PDF-1.7", large):
        assert await marks(anna, content, PDF) == expected
        assert await marks(anna, content, {**PDF, "sensitivities": "none"}) == []
        assert await marks(anna, content, {**PDF, "sensitivities": "unexamined"}) == ["unexamined"]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"sensitivities": "MH, HIVCANARY"}, "unknown-sensitivity"),
        ({"sensitivities": "several"}, "unknown-sensitivity"),
        ({"category": "CanaryCategory"}, "unknown-category"),
    ],
)
async def test_labels_that_are_not_known_are_refused_unless_they_are_meant(
    town: Town, headers: dict[str, str], problem: str
) -> None:
    place = f"/v1/charts/{town.chart}/records"
    listed = {
        "media_type": "text/plain",
        "data": b64encode(b"x").decode(),
        "category": headers.get("category"),
        "sensitivities": headers["sensitivities"].split(", ") if "sensitivities" in headers else None,
    }
    large = b"x" * (9 * 1024 * 1024)
    for body in ({"content": b"x", "headers": {**TEXT, **headers}}, {"json": {"records": [listed]}},
                 {"content": large, "headers": {**PDF, **headers}}):  # fmt: skip
        answer = await town.custodian.post(f"{place}?wait=final", **body)
        assert (answer.status_code, code(answer)) == (422, problem)
        assert "Known are" in answer.json()["advice"]
        assert "canary" not in answer.text.lower()
    assert (await town.custodian.get(f"/v1/charts/{town.chart}")).json()["events"] == 1
    for body in ({"content": b"x", "headers": {**TEXT, **headers}}, {"json": {"records": [listed]}}):
        assert (await town.custodian.post(f"{place}?custom=true&wait=final", **body)).status_code == 200
