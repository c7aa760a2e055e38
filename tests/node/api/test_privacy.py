"""Nothing that a record says stands anywhere in clear: not in databases, blobs, write-ahead logs, logs or metrics."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from node.api.records import STREAM_ABOVE_BYTES
from tests.node.api.conftest import Town

CANARIES = ["Zo\u00eb Canary", "O'Canary", "canaryville", "9418-canary", "CanaryCategory", "canary/media", "HIVCANARY"]


def record(number: int) -> bytes:
    return json.dumps(
        {
            "resourceType": "CanaryCategory",
            "id": f"9418-canary-{number}",
            "effectiveDateTime": "1987-06-05",
            "meta": {"security": [{"code": "SDV"}]},
            "name": "Zo\u00eb Canary",
            "family": "O'Canary",
            "city": "canaryville",
        },
        ensure_ascii=False,
    ).encode()


def forms(text: str) -> list[bytes]:
    import base64

    raw = text.encode()
    return [raw, raw.hex().encode(), json.dumps(text).encode(), base64.b64encode(raw)[:-4], text.encode("utf-16-le")]


async def test_no_canary_is_found_anywhere(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    records = [record(number) for number in range(40)]
    bundle = b'{"resourceType":"Bundle","entry":[' + b",".join(b'{"resource":%s}' % one for one in records) + b"]}"
    path = f"/v1/charts/{town.chart}/records"
    fhir = {"content-type": "application/fhir+json"}
    assert (
        await town.custodian.post(f"{path}?split=true&wait=final", key="k", content=bundle, headers=fhir)
    ).status_code == 200
    labelled = {"content-type": "canary/media", "category": "CanaryCategory", "sensitivities": "HIVCANARY"}
    noise = random.Random(1)  # incompressible: large enough for the object store, and to stream
    large = b"".join(" ".join(CANARIES).encode() + noise.randbytes(100_000) for _ in range(90))
    assert len(large) > STREAM_ABOVE_BYTES
    for content in (" ".join(CANARIES).encode(), large):
        answer = await town.custodian.post(f"{path}?custom=true&wait=final", content=content, headers=labelled)
        assert answer.status_code == 200, answer.text
    grant = await town.granted()
    asked = {"chart": town.chart, "grant": grant, "purpose": "TREAT", "records": [42]}
    denied = (await town.reader.post("/v1/disclosures?wait=final", json=asked)).json()
    assert denied["outcome"] == "denied"  # sensitive, and the grant does not name it
    for broken in (b"{" + records[0], records[0][:-1]):
        await town.custodian.post(f"{path}?split=true", content=broken, headers=fhir)
        await town.custodian.post("/v1/charts", content=broken, headers={"content-type": "application/json"})
    seen = [await desk.get(one) for desk in (town.custodian, town.reader) for one in public(town)]
    printed = capsys.readouterr()
    hay = {"logs": (printed.out + printed.err).encode(), **{str(one.url): one.content for one in seen}}
    hay |= {str(file): file.read_bytes() for file in files(town.network.folder)}
    assert sum(len(data) for data in hay.values()) > 100_000
    strings = {*CANARIES, *(text for one in records for text in re.findall(r'"([^"]{6,})"', one.decode()))}
    strings -= {"resourceType", "effectiveDateTime", "security"}  # names of FHIR's own, in our SQL and JSON as words
    for name, data in hay.items():
        for canary in strings:
            for form in forms(canary):
                assert form not in data, (name, canary)


def public(town: Town) -> list[str]:
    chart = f"/v1/charts/{town.chart}"
    return [
        "/metrics",
        "/v1/status",
        "/v1/blocks",
        chart,
        f"{chart}/events",
        f"{chart}/records",
        f"{chart}/disclosures",
    ]


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]
