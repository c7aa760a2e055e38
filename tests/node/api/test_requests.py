"""The socket's promises, place by place: what goes in comes out, and what is wrong is refused by its name."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path

import pytest

from node.api.peercred import Role
from node.api.places import PLACES
from node.api.problems import PROBLEM_JSON, STATUS, TYPE_PREFIX, status_of
from protocol.codec.canonical import encode
from protocol.crypto.signing import sign_transaction
from protocol.crypto.tags import GrantLabels
from protocol.types.operations import AppendRecords, RecordEntry, SignedOperation
from protocol.types.transaction import TransactionBody
from tests.node.api.conftest import LOOKER, OTHER, Desk, Town
from tests.node.records.fake_core import HOUR_MS
from tests.node.records.patient import Patient

OBSERVATION = b'{ "resourceType":"Observation", "effectiveDateTime":"2020-01-02", "note":"Zo\xc3\xab" }'
FHIR = {"content-type": "application/fhir+json"}


def bundle(count: int) -> bytes:
    entries = b",\n".join(b'{"resource": %s}' % OBSERVATION.replace(b"Zo", b"Zo%d" % n) for n in range(count))
    return b'{"resourceType":"Bundle","entry":[' + entries + b"]}"


def code(answer: object) -> str:
    response = answer
    assert response.headers["content-type"] == PROBLEM_JSON, response.text  # type: ignore[attr-defined]
    document = response.json()  # type: ignore[attr-defined]
    assert document["status"] == response.status_code  # type: ignore[attr-defined]
    assert document["detail"]
    assert document["advice"]
    return str(document["type"].removeprefix(TYPE_PREFIX))


async def test_a_record_goes_in_and_comes_out_at_another_hospital(town: Town) -> None:
    path = f"/v1/charts/{town.chart}/records"
    stored = await town.custodian.post(f"{path}?wait=final", content=OBSERVATION, headers=FHIR)
    assert stored.json()["records"] == [1]
    grant = await town.granted(GrantLabels(categories=("Observation",)))
    asked = {"chart": town.chart, "grant": grant, "purpose": "TREAT"}
    decided = (await town.reader.post("/v1/disclosures?wait=final", json=asked)).json()
    assert (decided["outcome"], decided["records"]) == ("disclosed", [1])
    base = f"/v1/disclosures/{town.chart}/{decided['disclosure']}/records"
    read = await town.reader.get(f"{base}/1")
    assert (read.content, read.headers["content-type"]) == (OBSERVATION, "application/fhir+json")
    many = (await town.reader.get(base)).json()
    assert [b64encode(OBSERVATION).decode()] == [one["data"] for one in many["records"]]
    assert many["next"] is None
    own = (await town.custodian.get(f"{path}/1")).json()
    assert (own["category"], own["year"], own["blob_state"]) == ("Observation", "2020", "ok")
    looked = (await town.custodian.get(f"/v1/charts/{town.chart}/disclosures")).json()["events"]
    assert [(one["institution"], one["purpose"], one["outcome"]) for one in looked] == [(1, "TREAT", "disclosed")]


async def test_a_bundle_becomes_one_record_for_each_resource(town: Town) -> None:
    answer = await town.custodian.post(
        f"/v1/charts/{town.chart}/records?split=true&wait=final", content=bundle(1_203), headers=FHIR
    )
    document = answer.json()
    assert document["records"] == list(range(1, 1_204))
    assert len(document["transactions"]) == 3
    for number in (1, 600, 1_203):
        content = await town.custodian.get(f"/v1/charts/{town.chart}/records/{number}/content")
        assert content.content == OBSERVATION.replace(b"Zo", b"Zo%d" % (number - 1))


async def test_a_list_and_an_amendment(town: Town) -> None:
    path = f"/v1/charts/{town.chart}/records?wait=final"
    first = {"media_type": "application/pdf", "data": b64encode(b"%PDF").decode(), "category": "Letter", "year": "1999"}
    await town.custodian.post(path, json={"records": [first]})
    amended = await town.custodian.post(
        path, content=b"%PDF 2", headers={"content-type": "application/pdf", "supersedes": "1", "sensitivities": "MH"}
    )
    assert amended.json()["records"] == [2]
    own = (await town.custodian.get(f"/v1/charts/{town.chart}/records/2")).json()
    assert (own["supersedes"], own["sensitivities"], own["category"]) == (1, ["MH"], "Binary")


async def test_a_denial_is_an_answer_and_stands_on_the_ledger(town: Town) -> None:
    await town.custodian.post(f"/v1/charts/{town.chart}/records?wait=final", content=OBSERVATION, headers=FHIR)
    asked = {"chart": town.chart, "purpose": "TREAT", "records": [1]}
    decided = (await town.reader.post("/v1/disclosures?wait=final", json=asked)).json()
    assert (decided["outcome"], decided["reason"]) == ("denied", "no-grant")
    answer = await town.reader.get(f"/v1/disclosures/{town.chart}/{decided['disclosure']}/records/1")
    assert (answer.status_code, code(answer)) == (403, "release-denied")


async def test_signed_transactions_stand_each_for_itself(town: Town) -> None:
    core = town.custodian.hospital.core
    chain = town.network.chain

    def signed(number: int, chart: int) -> bytes:
        entry = RecordEntry(bytes(32), (bytes(16),) * 4)  # type: ignore[arg-type]  # four of them
        operations = (SignedOperation(AppendRecords(chart, (entry,))),)
        body = TransactionBody(chain.id, 0, 0, number, chain.clock.ms + HOUR_MS, operations)
        return encode(sign_transaction(core.key, body))

    raws = [signed(500, town.chart), b"garbage", signed(501, 77)]
    sent = {"transactions": [b64encode(raw).decode() for raw in raws]}
    answer = await town.custodian.post("/v1/transactions?wait=final", key="batch", json=sent)
    standing = answer.json()["transactions"]
    assert [one["status"] for one in standing] == ["final", "refused", "refused"]
    assert [one.get("problem") for one in standing] == [None, "decode-error", "unknown-chart"]
    again = await town.custodian.post("/v1/transactions?wait=final", key="batch", json=sent)
    assert again.json() == answer.json()
    import msgspec

    packed = await town.custodian.post(
        "/v1/transactions?wait=final",
        content=msgspec.msgpack.encode([raws[0]]),
        headers={"content-type": "application/octet-stream"},
    )
    assert packed.json()["transactions"][0]["status"] == "final"


async def test_what_anybody_may_see(town: Town) -> None:
    for path in (
        "/v1/status", "/v1/health", "/v1/peers", "/v1/institutions", "/v1/blocks", "/v1/blocks/1", "/metrics",
        "/openapi.json", "/v1/motions", "/v1/motions?all=true", "/v1/evidence",
        "/v1/charts", f"/v1/charts?owner_key={town.patient.key.public.hex()}",
        f"/v1/charts/{town.chart}", f"/v1/charts/{town.chart}/events", f"/v1/proofs/charts/{town.chart}/events/0",
    ):  # fmt: skip
        answer = await town.custodian.get(path, uid=LOOKER)
        assert answer.status_code == 200, (path, answer.text)
    town.custodian.hospital.core.healthy = False
    assert (await town.custodian.get("/v1/health")).status_code == 503


async def test_each_role_does_no_more_than_it_may(town: Town) -> None:
    await town.custodian.post(f"/v1/charts/{town.chart}/records?wait=final", content=OBSERVATION, headers=FHIR)
    guarded = [place for place in PLACES if place.role > Role.LOOK]
    assert sum(place.role is Role.SUBMIT for place in guarded) >= 10
    assert sum(place.role is Role.GOVERN for place in guarded) >= 3
    for place in guarded:
        path = re.sub(r"\{\w+:int\}", "0", place.path)
        for uid in (LOOKER, OTHER) if place.role is Role.GOVERN else (LOOKER,):
            answer = await town.custodian.ask(place.method, path, uid=uid)
            assert (answer.status_code, code(answer)) == (403, "not-allowed"), place.path


def raw(content: bytes, media_type: str, **headers: str) -> dict[str, object]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"content": content, "headers": {"content-type": media_type, **named}}


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "name"),
    [
        ("GET", "/v1/nothing", {}, 404, "no-such-place"),
        ("GET", "/v1/charts/x", {}, 404, "no-such-place"),
        ("DELETE", "/v1/charts", {}, 405, "method-not-allowed"),
        ("GET", "/v1/charts/99", {}, 404, "unknown-chart"),
        ("GET", f"/v1/charts/{1 << 60}", {}, 400, "bad-request"),
        ("GET", "/v1/charts/0/events?first=-1", {}, 400, "bad-request"),
        ("GET", "/v1/charts/0/grants/0", {}, 404, "unknown-grant"),
        ("GET", "/v1/charts/0/records/9", {}, 404, "record-unknown-here"),
        ("GET", f"/v1/charts/0/records/{1 << 40}/content", {}, 400, "bad-request"),
        ("GET", "/v1/blocks/99", {}, 404, "nothing-there"),
        ("GET", "/v1/charts?owner_key=zz", {}, 404, "unknown-chart"),
        ("POST", "/v1/charts", raw(b"{}", "text/plain"), 415, "unsupported-media-type"),
        ("POST", "/v1/charts", raw(b"{", "application/json"), 400, "bad-request"),
        ("POST", "/v1/charts", {"json": {"owner_key": "nn"}}, 400, "bad-request"),
        ("POST", "/v1/charts?wait=soon", {"json": {}}, 400, "bad-request"),
        ("POST", "/v1/charts/0/records", {"content": b"x"}, 415, "unsupported-media-type"),
        ("POST", "/v1/charts/0/records", {"content": b"{}", "headers": FHIR}, 422, "not-fhir"),
        ("POST", "/v1/charts/0/records?split=true", {"content": OBSERVATION, "headers": FHIR}, 422, "bad-bundle"),
        ("POST", "/v1/charts/0/records", raw(b"x", "a/b", year="99"), 400, "bad-request"),
        ("POST", "/v1/charts/9/records", raw(b"x", "a/b"), 404, "unknown-chart"),
        ("POST", "/v1/charts/0/records", raw(b"x", "a/b", supersedes="5"), 404, "unknown-record"),
        ("POST", "/v1/charts/0/records", raw(b"x", "a/b", idempotency_key="k" * 300), 400, "bad-request"),
        ("POST", "/v1/operations", {"json": {"chart": 0, "operation": "AAAA"}}, 400, "decode-error"),
        ("POST", "/v1/disclosures", {"json": {"chart": 0, "purpose": "NO", "records": [0]}}, 422, "unknown-purpose"),
        ("POST", "/v1/disclosures", {"json": {"chart": 0, "purpose": "TREAT"}}, 404, "unknown-grant"),
        ("GET", "/v1/disclosures/0/0/records/1", {}, 403, "not-disclosed"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_refused_by_name(
    town: Town, method: str, path: str, options: dict[str, object], status: int, name: str
) -> None:
    answer = await town.custodian.ask(method, path, **options)
    assert (answer.status_code, code(answer)) == (status, name)


async def test_replayed_and_foreign_owner_operations_are_refused(town: Town) -> None:
    signed = town.patient.grant(town.chart, 1, GrantLabels())
    body = {"chart": town.chart, "operation": b64encode(encode(signed)).decode()}
    assert (await town.custodian.post("/v1/operations?wait=final", json=body)).status_code == 200
    again = await town.custodian.post("/v1/operations?wait=final", json=body)
    assert (again.status_code, code(again)) == (409, "replayed")
    stranger = Patient(town.network.chain, 0, "stranger")
    stranger.number = 40
    forged = {
        "chart": town.chart,
        "operation": b64encode(encode(stranger.grant(town.chart, 1, GrantLabels()))).decode(),
    }
    assert code(await town.custodian.post("/v1/operations", json=forged)) == "bad-cosignature"
    append = SignedOperation(AppendRecords(town.chart, (RecordEntry(bytes(32), (bytes(16),) * 4),)))  # type: ignore[arg-type]
    sneaky = {"chart": town.chart, "operation": b64encode(encode(append)).decode()}
    assert code(await town.custodian.post("/v1/operations", json=sneaky)) == "unauthorised"


async def test_a_body_over_the_limit_is_refused_before_it_is_kept(town: Town) -> None:
    desk = Desk(town.custodian.hospital, request_bytes=1_000, record_bytes=2_000)
    path = f"/v1/charts/{town.chart}/records"
    for content in (b"x" * 1_001, _pieces(30)):
        answer = await desk.post(path, content=content, headers={"content-type": "text/plain"})
        assert (answer.status_code, code(answer)) == (413, "body-too-large")
    assert (await town.custodian.hospital.blobs.totals()).count == 0


async def _pieces(count: int):  # type: ignore[no-untyped-def]
    for _ in range(count):
        yield b"x" * 100


async def test_too_much_in_flight_is_refused_and_room_is_given_back(town: Town) -> None:
    desk = Desk(town.custodian.hospital, in_flight_bytes=1_000)
    path = f"/v1/charts/{town.chart}/records?wait=final"
    refused = await desk.post(path, content=b"x" * 1_001, headers={"content-type": "text/plain"})
    assert (refused.status_code, code(refused)) == (503, "still-sending")
    assert refused.headers["retry-after"]
    for _ in range(3):
        kept = await desk.post(path, content=b"x" * 900, headers={"content-type": "text/plain"})
        assert kept.status_code == 200


async def test_an_unnamed_failure_says_nothing_of_the_request(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> object:
        raise ValueError("Canary Smith, 1950")

    town.custodian.hospital.core.status = broken  # type: ignore[method-assign,assignment]
    answer = await town.custodian.get("/v1/status")
    assert (answer.status_code, code(answer)) == (500, "internal-error")
    printed = capsys.readouterr()
    assert "Canary" not in answer.text + printed.out + printed.err


async def test_the_description_names_every_place(town: Town) -> None:
    document = (await town.custodian.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(place.method, place.path.replace(":int", "")) for place in PLACES}
    names = json.dumps(document)
    for reference in {part.split('"')[0] for part in names.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]


def test_every_named_error_of_requests_has_a_status() -> None:
    from node.api import errors as api
    from node.records import errors as records

    for module in (api, records):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, api.ChartledgerError) and kind.__module__ == module.__name__:
                known = [ancestor for ancestor in kind.__mro__ if ancestor in STATUS]
                assert STATUS[known[0]] < 500 or kind in STATUS or kind is api.SocketUnusable, kind


def test_the_page_for_integrators_has_every_place_and_every_problem() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "integrators.md").read_text(encoding="utf-8")
    for place in PLACES:
        row = f"| {place.method} | `{place.path.replace(':int', '')}` | {place.role.name.lower()} |"
        assert page.count(row) == 1, row
    for kind in STATUS:
        family = any(kind in other.__mro__[1:] for other in STATUS)
        assert family or f"| `{kind.code}` | {status_of(kind)} |" in page, kind
