"""What a patient may want kept apart is told by codes and words, and errs on the side of hiding."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.records import sensitivity
from node.records.fhir import FHIR_JSON, SENSITIVITIES, Described, described
from node.records.sensitivity import found_in

SNOMED = "http://snomed.info/sct"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def coded(code: str, display: str = "", system: str = SNOMED) -> str:
    coding = {"system": system, "code": code, "display": display}
    return json.dumps({"resourceType": "Condition", "code": {"coding": [coding]}})


@pytest.mark.parametrize(
    ("code", "system", "label"),
    [
        ("370143000", SNOMED, "MH"),
        ("44261-6", "http://loinc.org", "MH"),
        ("F32.1", ICD, "MH"),
        ("296.20", "http://hl7.org/fhir/sid/icd-9-cm", "MH"),
        ("66590003", SNOMED, "SUD"),
        ("F10.20", ICD, "SUD"),
        ("86406008", SNOMED, "HIV"),
        ("B20", ICD, "HIV"),
        ("Z21", ICD, "HIV"),
        ("76272004", SNOMED, "STD"),
        ("A51.0", ICD, "STD"),
        ("72892002", SNOMED, "SEX"),
        ("O80", ICD, "SEX"),
        ("Z30.9", ICD, "SEX"),
        ("706893006", SNOMED, "SDV"),
        ("T74.11", ICD, "SDV"),
        ("190905008", SNOMED, "GDIS"),
        ("E84.0", ICD, "GDIS"),
        ("F03", ICD, "COGN"),
    ],
)
def test_a_code_alone_is_enough(code: str, system: str, label: str) -> None:
    assert found_in(coded(code, system=system)) == {label}


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("Major Depressive disorder, recurrent", {"MH"}),
        ("Human immunodeficiency virus antigen test", {"HIV"}),
        ("Victim of domestic abuse", {"SDV"}),
        ("Assessment of substance use", {"SUD"}),
        ("Fluoxetine 20 MG Oral Capsule", {"MH"}),
        ("Sexual assault by a stranger", {"SDV", "SEX"}),
        ("Fracture of forearm", set()),
        ("Domestic chores", set()),
        ("Partner present at the visit", set()),
    ],
)
def test_words_of_a_display_count_whatever_the_code(words: str, labels: set[str]) -> None:
    assert found_in(coded("1", words)) == labels
    assert found_in(coded("1", words.upper())) == labels


@pytest.mark.parametrize("code", ["F32.1", "B20", "O80"])
def test_short_codes_count_only_where_their_system_is_named(code: str) -> None:
    assert found_in(coded(code, system="urn:rooms")) == set()


def test_notes_are_read_inside_base64() -> None:
    note = base64.b64encode(b"Patient reports heavy use of heroin.\n").decode()
    attachment = {"contentType": "text/plain; charset=utf-8", "data": note}
    document = {"resourceType": "DocumentReference", "content": [{"attachment": attachment}]}
    assert found_in(json.dumps(document)) == {"SUD"}
    document["content"][0]["attachment"]["data"] = base64.b64encode(b"Nothing to report today.\n").decode()
    assert found_in(json.dumps(document)) == set()


def test_found_ones_add_to_those_that_are_labelled_and_stated() -> None:
    security = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]
    resource = json.loads(coded("370143000")) | {"meta": {"security": security}}
    data = json.dumps(resource).encode()
    assert described(data).sensitivities == ("HIV", "MH")
    plain = Described(sensitivities=("ETH",)).plain(data, FHIR_JSON)
    assert (plain.labels.sensitivity_1, plain.labels.sensitivity_2) == ("ETH", "several")


def test_only_codes_of_the_sensitivity_policy_are_given() -> None:
    given_out = {*sensitivity._CODES.values(), *sensitivity._WORDS.values()}
    given_out |= {label for _, label in (*sensitivity._TOGETHER, *sensitivity._ICD)}
    assert given_out <= SENSITIVITIES
    assert {"MH", "SUD", "HIV", "STD", "SEX", "GDIS", "SDV"} <= given_out


def test_no_code_is_one_that_demographics_use() -> None:
    """CDC's codes of race and ethnicity look like LOINC's, and stand in every Patient."""
    assert not [code for code in sensitivity._CODES if re.fullmatch(r"[12]\d{3}-\d", code)]
    assert all(len(code) > 5 for code in sensitivity._CODES)


@given(st.text() | st.builds(lambda s: json.dumps({"data": s}), st.text(alphabet="ABab+/=", min_size=16)))
def test_nothing_that_it_reads_stops_it(text: str) -> None:
    assert found_in(text) <= SENSITIVITIES
