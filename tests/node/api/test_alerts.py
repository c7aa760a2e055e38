"""Alerts at both ends: the custodian sees strangers, the asker its own people, and names are compared and forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.crypto.tags import GrantLabels
from tests.node.api.city import SAID, City
from tests.node.api.conftest import LOOKER
from tests.node.records.fake_core import HOUR_MS
from tests.node.records.patient import Patient

DAY_MS = 24 * HOUR_MS


def kinds(alerts: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in alerts]


async def alerts(city: City, number: int) -> list[dict[str, Any]]:
    answer = await city.desk(number).get("/v1/alerts")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def test_the_custodian_is_told_of_strangers_and_not_of_who_was_asked_in(city: City) -> None:
    grant = await city.granted(GrantLabels())
    body = {"chart": city.chart, "grant": grant, "purpose": "TREAT", "records": [1]}
    assert (await city.reader.post("/v1/disclosures?wait=final", json=body)).status_code == 200
    assert await alerts(city, 0) == []
    emergency = await city.emergency(2)
    (one,) = await alerts(city, 0)
    assert (one["kind"], one["institution"], one["event"]) == ("stranger", 2, emergency["disclosure"])
    assert not one["own"]
    assert await alerts(city, 3) == [], "an alert is for those whom it concerns"
    looker = await city.custodian.get("/v1/alerts", uid=LOOKER)
    assert looker.status_code == 403, "staff ids stand in alerts"


async def test_the_institution_finds_its_own_snooper_across_charts(city: City) -> None:
    """The custodians see another pseudonym at each chart; the asker's node knows whom they stand for."""
    charts = [city.chart]
    for number in range(13):
        patient = Patient(city.network.chain, 0, f"patient {number}")
        answer = await city.custodian.post("/v1/charts?wait=final", json=city.chart_in(patient))
        charts.append(answer.json()["chart"])
        path = f"/v1/charts/{charts[-1]}/records?wait=final"
        record = {"media_type": "text/plain", "data": "aGVsbG8=", "category": "Letter", "year": "2024"}
        await city.custodian.post(path, json={"records": [record]})
    for chart in charts:
        for staff in ("curious", "careful"):
            if staff == "careful" and chart > 3:
                continue
            body = {"chart": chart, "purpose": "TREAT", "records": [1], "details": {"staff": staff}}
            assert (await city.reader.post("/v1/disclosures?wait=final", json=body)).status_code == 200
    (one,) = await alerts(city, 1)
    assert (one["kind"], one["practitioner"], one["charts"], one["own"]) == ("burst", "curious", 13, True)
    assert "burst" not in kinds(await alerts(city, 0))
    pseudonyms = {one["practitioner"] for one in await alerts(city, 0)}
    assert len(pseudonyms) == len(charts), "a stranger to each chart, and another pseudonym at each"
    city.network.chain.clock.ms += 31 * DAY_MS
    assert await alerts(city, 1) == []
    assert len((await city.reader.get("/v1/alerts?days=60")).json()) == 1


async def patient_record(city: City, family: str) -> int:
    resource = {"resourceType": "Patient", "name": [{"family": family}], "birthDate": "1970-01-01"}
    headers = {"content-type": "application/fhir+json", "sensitivities": "none"}
    path = f"/v1/charts/{city.chart}/records?wait=final"
    answer = await city.custodian.post(path, content=json.dumps(resource).encode(), headers=headers)
    record: int = answer.json()["records"][0]
    return record


@pytest.mark.parametrize(("family", "noticed"), [("ONEILL", True), ("Müller", False)])
@pytest.mark.parametrize("many", [False, True])
async def test_a_namesake_is_noticed_where_both_names_are_known(
    city: City, family: str, noticed: bool, many: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    record = await patient_record(city, family)
    answer = await city.emergency(records=[1, record])
    place = f"/v1/disclosures/{city.chart}/{answer['disclosure']}/records"
    read = await city.reader.get(place if many else f"{place}/{record}")
    assert read.status_code == 200
    if not many:
        assert json.loads(read.content)["name"][0]["family"] == family, "nothing of the record is lost on the way"
    found = [one for one in await alerts(city, 1) if one["kind"] == "same-name"]
    assert len(found) == int(noticed)
    assert "same-name" not in kinds(await alerts(city, 0))
    printed = capfd.readouterr()
    said = json.dumps(found) + printed.out + printed.err
    assert family not in said
    assert SAID["family"] not in said
