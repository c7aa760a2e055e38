"""What a patient may want kept apart is told by codes and words, and errs on the side of hiding."""

from __future__ import annotations

import base64
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.records.fhir import FHIR_JSON, Described, described
from node.records.sensitivity import built_in, found_in
from node.records.sensitivity_codes import CODES, SENSITIVITIES

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
    assert described(data).sensitivities == {"HIV", "MH"}
    plain = Described(sensitivities=("ETH",)).plain(data, FHIR_JSON)
    assert (plain.labels.sensitivity_1, plain.labels.sensitivity_2) == ("ETH", "several")


def test_only_codes_of_the_sensitivity_policy_are_given() -> None:
    given_out = {rule.label for rule in built_in()}
    assert given_out <= SENSITIVITIES
    assert {"MH", "SUD", "HIV", "STD", "SEX", "GDIS", "SDV"} <= given_out


def test_no_code_is_one_that_demographics_use() -> None:
    """CDC's codes of race and ethnicity look like LOINC's, and stand in every Patient."""
    assert not [code for code in CODES if re.fullmatch(r"[12]\d{3}-\d", code)]
    assert all(len(code) > 5 for code in CODES)


@pytest.mark.parametrize("written", ["compact", "indented", "blank before the colon", "escaped slashes", "all escaped"])
def test_no_layout_and_no_escape_hides_a_code_or_a_word(written: str) -> None:
    """Strings of one or two letters and long ones once put the reading of quotes out of step."""
    long = "a display of more than thirty-two letters that says nothing"
    for resource, label in (
        ({"id": "1", "to": "x", "text": long, "code": {"coding": [{"system": ICD, "code": "F32.1"}]}}, "MH"),
        ({"id": "1", "to": "x", "text": long, "code": {"coding": [{"system": SNOMED, "code": "370143000"}]}}, "MH"),
        ({"resourceType": "Basic", "text": f'{long}\nPregnancy\tnoted, "twins"'}, "SEX"),
        ({"resourceType": "Basic", "text": {"div": "<div>d&eacute;pression s&#233;v&egrave;re</div>"}}, "MH"),
        ({"resourceType": "Basic", "text": "Alko\u00adhol\u00adabusus"}, "SUD"),
        ({"resourceType": "Basic", "text": unicodedata.normalize("NFD", "häusliche Gewalt")}, "SDV"),
    ):
        text = json.dumps(resource, ensure_ascii=False, indent=2 if written == "indented" else None)
        if written == "blank before the colon":
            text = json.dumps(resource, ensure_ascii=False, indent=1, separators=(",", " : "))
        if written == "escaped slashes":
            text = json.dumps(resource).replace("/", "\\/")
        if written == "all escaped":
            text = re.sub(r"\\[nt\"]|[A-Za-z]", lambda m: m[0] if len(m[0]) > 1 else f"\\u{ord(m[0]):04x}", text)
            assert json.loads(text) == resource
        assert found_in(text) == {label}, text


@pytest.mark.parametrize(
    ("code", "system", "label"),
    [
        ("F10.2", "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "SUD"),
        ("6A70", "http://id.who.int/icd/release/11/mms", "MH"),
        ("6C40", "http://id.who.int/icd/release/11/mms", "SUD"),
        ("P76", "http://hl7.org/fhir/sid/icpc-2", "MH"),
        ("W11", "urn:oid:2.16.840.1.113883.2.4.4.31.1/icpc", "SEX"),
        ("N06AB06", "http://www.whocc.no/atc", "MH"),
        ("J05AR10", "http://fhir.de/CodeSystem/bfarm/atc", "HIV"),
        ("A10BA02", "http://www.whocc.no/atc", None),
        ("I10", "http://fhir.de/CodeSystem/bfarm/icd-10-gm", None),
        ("K86", "http://hl7.org/fhir/sid/icpc-2", None),
    ],
)
def test_blocks_of_other_classifications(code: str, system: str, label: str | None) -> None:
    assert found_in(coded(code, system=system)) == ({label} if label else set())


def test_an_attachment_is_read_in_its_encoding_and_no_chance_word_of_a_binary_counts() -> None:
    def attached(data: bytes) -> str:
        return json.dumps({"resourceType": "Binary", "data": base64.b64encode(data).decode()})

    for encoding in ("utf-8", "cp1252", "utf-16"):
        assert found_in(attached("Verdacht auf häusliche Gewalt.".encode(encoding))) == {"SDV"}
    assert found_in(attached(b"\x00\x01 hiv \xff\xfe gad rape")) == set()
    assert found_in('{"data": "' + "A" * 68 + "/hiv/" + "A" * 67 + '"}') == set()


@given(st.text() | st.builds(lambda s: json.dumps({"data": s}), st.text(alphabet="ABab+/=", min_size=16)))
def test_nothing_that_it_reads_stops_it(text: str) -> None:
    assert found_in(text) <= SENSITIVITIES
