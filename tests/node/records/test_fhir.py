"""FHIR as it arrives: exact slices, honest refusals, labels that hide rather than open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.records.errors import BadBundle, BadRecord, NotFhir, SensitivitiesUnstated
from node.records.fhir import FHIR_JSON, Described, bundle_slices, described
from protocol.crypto.tags import NONE, SEVERAL

SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ODD = '{ "resourceType" : "Observation",\n\t"id":"a\\/\\u00e9", "n": 1.50, "name":"Zo\u00eb O\'Hara" }'.encode()


def bundle(*resources: bytes, gap: bytes = b"\n  ") -> bytes:
    entries = b",".join(gap + b'{"fullUrl":"urn:x", "resource": ' + r + b" }" for r in resources)
    return b'{"resourceType":"Bundle","type":"transaction","entry":[' + entries + b"]}"


def security(*codes: str, system: str | None = SYSTEM) -> bytes:
    codings = [{"system": system, "code": code} if system else {"code": code} for code in codes]
    return json.dumps({"resourceType": "Condition", "meta": {"security": codings}}).encode()


def test_a_slice_is_the_exact_source() -> None:
    other = b'{"resourceType":"Patient"}'
    assert bundle_slices(bundle(ODD, other)) == [ODD, other]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.recursive(st.none() | st.text() | FLOATS | st.integers(), st.lists), max_size=4))
def test_any_resource_comes_back_as_it_was_written(values: list[object]) -> None:
    for indent in (None, 3):
        written = [json.dumps({"resourceType": "Basic", "v": v}, indent=indent).encode() for v in [None, *values]]
        assert bundle_slices(bundle(*written)) == written


def test_entries_without_a_resource_are_passed_over() -> None:
    data = b'{"resourceType":"Bundle","entry":[{"request":{"method":"DELETE"}},{"resource":{"resourceType":"Basic"}}]}'
    assert bundle_slices(data) == [b'{"resourceType":"Basic"}']


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"Bundle"',
        b'{"resourceType":"Patient"}',
        b'{"resourceType":["Bundle"]}',
        b'{"resourceType":"Bundle"}',
        b'{"resourceType":"Bundle","entry":[]}',
        b'{"resourceType":"Bundle","entry":{}}',
        b'{"resourceType":"Bundle","entry":[1]}',
        b"\xef\xbb\xbf" + bundle(ODD),
        bundle(b'{"name":"\xff"}'),
        bundle(ODD)[:-1],
        bundle(ODD) + b"x",
        bundle(b"[" * 100_000 + b"]" * 100_000),
        bundle(ODD).decode().encode("utf-16"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(BadBundle):
        bundle_slices(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"resourceType":"Bundle","entry":[{"resource":{"id":"lost"}}],"entry":[{"resource":{"id":"kept"}}]}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"id":"lost"},"resource":{"id":"kept"}}]}',
        b'{"resourceType":"Bundle","entry" : [ {"resource":{"id":"lost"}, "re\\u0073ource":{"id":"kept"}}]}',
    ],
)
def test_a_repeated_name_is_refused_rather_than_lose_a_record(data: bytes) -> None:
    with pytest.raises(BadBundle):
        bundle_slices(data)


def test_labels_come_from_type_date_and_codes() -> None:
    resource = json.dumps(
        {
            "resourceType": "Observation",
            "effectiveDateTime": "2019-03-01T10:00:00Z",
            "issued": "2020-01-01T00:00:00Z",
            "meta": {"security": [{"system": SYSTEM, "code": "MH"}]},
        }
    ).encode()
    labels = Described().plain(resource, FHIR_JSON).labels
    assert (labels.category, labels.year, labels.sensitivity_1, labels.sensitivity_2) == (
        "Observation", "2019", "MH", NONE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "year"),
    [
        ({"performedPeriod": {"start": "2011-05-05", "end": "2012-01-01"}}, "2011"),
        ({"period": {"end": "2013-02"}}, "2013"),
        ({"authoredOn": "1999"}, "1999"),
        ({"birthDate": "1950-01-01"}, NONE),
        ({"date": "about 1999"}, NONE),
        ({"date": 1999}, NONE),
        ({"period": [{"start": "2011"}]}, NONE),
        ({}, NONE),
    ],
)
def test_the_clinical_year(members: dict[str, object], year: str) -> None:
    data = json.dumps({"resourceType": "Basic", **members}).encode()
    assert Described().plain(data, FHIR_JSON).labels.year == year


@pytest.mark.parametrize(
    ("resource", "first", "second"),
    [
        (security(), NONE, NONE),
        (security("SUD", "ETH"), "ETH", "SUD"),
        (security("ETH", "ETH"), "ETH", NONE),
        (security("SUD", "ETH", "MH"), "ETH", SEVERAL),
        (security("ETH", system="http://terminology.hl7.org/CodeSystem/v3-Confidentiality"), NONE, NONE),
        (security("ETH", system=None), "ETH", NONE),
        (security("NOSUCH"), NONE, NONE),
        (b'{"resourceType":"Basic","meta":{"security":["ETH",{"code":5},{"code":["ETH"]}]}}', NONE, NONE),
        (b'{"resourceType":"Basic","meta":[]}', NONE, NONE),
        (bundle(security("ETH"), security("SUD")), "ETH", "SUD"),
        (b'{"resourceType":"Parameters","parameter":[{"resource":%s}]}' % security("MH"), "MH", NONE),
        (security("ETH")[:-1] + b',"meta":{}}', "ETH", NONE),
        (b'{"resourceType":"Basic","meta":{"security":[{"code":"ETH"}],"security":[]}}', "ETH", NONE),
        (b'{"resourceType":"Basic","meta":{"security":[{"code":"ETH","code":"x"}]}}', "ETH", NONE),
        (b'{"resourceType":"Basic","m\\u0065ta":{"s\\u0065curity":[{"code":"ETH"}]}}', "ETH", NONE),
        (b'{"resourceType":"Basic","n":%s,"meta":{"security":[{"code":"ETH"}]}}' % (b"9" * 5_000), "ETH", NONE),
    ],
)
def test_sensitivities(resource: bytes, first: str, second: str) -> None:
    labels = Described().plain(resource, FHIR_JSON).labels
    assert (labels.sensitivity_1, labels.sensitivity_2) == (first, second)


def test_what_the_sender_says_adds_sensitivities_and_never_takes_one_away() -> None:
    labels = Described(category="Note", sensitivities=("SUD",), custom=True).plain(security("HIV"), FHIR_JSON).labels
    assert (labels.category, labels.sensitivity_1, labels.sensitivity_2) == ("Note", "HIV", "SUD")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"resourceType":5}', b'{"resourceType":"a b"}', b'{"a":"\xff"}'])
def test_what_is_sent_as_fhir_and_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(NotFhir):
        described(data)
    with pytest.raises(NotFhir):
        Described().plain(data, FHIR_JSON + "; charset=utf-8")


def test_other_bytes_are_binary() -> None:
    assert Described().plain(b"%PDF", "application/pdf").labels.category == "Binary"
    assert Described().plain(b"[1]", "application/json").labels.category == "Binary"
    assert Described().plain(b'{"resourceType":"Basic"}', "application/json").labels.category == "Basic"


@pytest.mark.parametrize(
    "media_type", ["application/fhir+xml", "application/FHIR+XML; charset=utf-8", "text/fhir+ndjson"]
)
def test_fhir_that_is_not_looked_into_must_say_how_sensitive_it_is(media_type: str) -> None:
    with pytest.raises(SensitivitiesUnstated):
        Described(category="Note", custom=True).plain(b"<Observation/>", media_type)
    for stated, first in (((), NONE), (("none",), NONE), (("HIV",), "HIV")):
        assert Described(sensitivities=stated).plain(b"<Observation/>", media_type).labels.sensitivity_1 == first


def test_what_cannot_be_looked_into_is_refused() -> None:
    deep = b'{"resourceType":"Basic","security":' + b"[" * 90_000 + b"]" * 90_000 + b"}"
    with pytest.raises((BadRecord, NotFhir)):
        Described().plain(deep, FHIR_JSON)
