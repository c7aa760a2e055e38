"""Every refusal has a code, and every reason and release error was held against the exceptions of 45 CFR part 171."""

from __future__ import annotations

from pathlib import Path

from node.api.refusals import OF_ERRORS, OF_REASONS, of_error, of_reason
from node.network.interface import RequestTimedOut
from node.records import errors as records
from node.records.read import REFUSALS
from protocol.errors import ChartledgerError
from protocol.ledger.events import Reason
from tests.node.api.conftest import Town

AT_RELEASE = (
    records.ReleaseDenied,
    records.NotDisclosed,
    records.GrantEnded,
    records.ReleaseOverdue,
    records.NotFresh,
    records.CustodianUnreachable,
    records.CustodianRefused,
    records.TooFewHolders,
    records.RecordErased,
    records.NotCustodian,
    records.NotWriter,
    records.NotHeld,
    records.RecordUnknownHere,
)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "integrators.md"


def test_every_reason_of_the_ledger_is_mapped() -> None:
    assert set(OF_REASONS) == set(Reason)
    assert of_reason(Reason.NONE) is None
    denials = {reason for reason in Reason if of_reason(reason) is None}
    assert denials == {Reason.NONE, Reason.ERASED}, "a denial rests on an exception, or there is nothing to give"


def test_every_release_error_is_mapped_by_its_own_name() -> None:
    for kind in {*AT_RELEASE, *REFUSALS.values()}:
        assert kind in OF_ERRORS, kind


def test_what_is_not_named_falls_to_its_family() -> None:
    assert of_error(RequestTimedOut) is OF_ERRORS[RequestTimedOut.__mro__[1]]
    assert of_error(ChartledgerError) is None


def test_the_page_for_integrators_has_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = {reason.name.lower().replace("_", "-"): of_reason(reason) for reason in Reason if reason is not Reason.NONE}
    rows |= {kind.code: of_error(kind) for kind in AT_RELEASE}
    for name, rests_on in rows.items():
        section = "none" if rests_on is None else f"{rests_on.section} {rests_on.title}"
        assert f"| `{name}` | {section} |" in page, name


async def test_a_denial_and_a_refusal_say_what_they_rest_on(town: Town) -> None:
    record = {"media_type": "text/plain", "data": "aGVsbG8=", "category": "Letter", "year": "2024"}
    await town.custodian.post(f"/v1/charts/{town.chart}/records?wait=final", json={"records": [record]})
    body = {"chart": town.chart, "purpose": "TREAT", "records": [1]}
    denied = (await town.reader.post("/v1/disclosures?wait=final", json=body)).json()
    assert (denied["outcome"], denied["reason"]) == ("denied", "no-grant")
    assert denied["exception"] == {
        "section": "171.202(b)",
        "title": "Privacy",
        "condition": "a precondition of law or consent for giving access is not satisfied",
    }
    refused = await town.reader.get(f"/v1/disclosures/{town.chart}/{denied['disclosure']}/records/1")
    assert refused.status_code == 403
    assert refused.json()["reason"] == "release-denied"
    assert refused.json()["exception"]["section"] == "171.202(b)"
    town.reader.hospital.core.unreachable.add(0)
    granted = (await town.reader.post("/v1/disclosures?wait=final", json=body | {"grant": await town.granted()})).json()
    away = await town.reader.get(f"/v1/disclosures/{town.chart}/{granted['disclosure']}/records/1")
    assert (away.status_code, away.json()["reason"]) == (504, "custodian-unreachable")
    assert away.json()["exception"]["section"] == "171.204(a)(1)"
    unknown = await town.reader.get("/v1/charts/99")
    assert unknown.json()["reason"] == "unknown-chart"
    assert "exception" not in unknown.json()
