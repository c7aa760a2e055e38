"""What cannot be looked into is marked unless somebody who knows has judged it, and slips in labels are refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from node.labels import SENSITIVITY_LABELS
from node.records.errors import UnknownCategory, UnknownSensitivity
from node.records.fhir import FHIR_JSON, Described, is_text
from node.records.labelling import Labelling, labelling
from node.records.sensitivity_codes import UNEXAMINED
from node.records.sensitivity_table import SensitivityTableInvalid, Table, parse_table
from protocol.crypto.tags import NONE, Labels

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
MARKING = Labelling()
PLAIN = Labelling(unexamined="plain")


def labels(data: bytes, media_type: str, by: Labelling = MARKING, **stated: Any) -> list[str]:
    made: Labels = Described(**stated).plain(data, media_type, by).labels
    return [one for one in (made.sensitivity_1, made.sensitivity_2) if one != NONE]


def document(data: bytes, content_type: str = "application/pdf", **members: Any) -> bytes:
    attachment = {"contentType": content_type, "data": base64.b64encode(data).decode()}
    content = [{"attachment": attachment}]
    return json.dumps({"resourceType": "DocumentReference", "content": content} | members).encode()


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PDF, "application/pdf"),
        (b"\x89PNG\r\n", "image/png"),
        (b"\x00" * 128 + b"DICM", "application/dicom"),
        (rb"{\rtf1 hello}", "application/rtf"),
        (rb"{\rtf1 hello}", "text/plain"),
        (b"\x00\x01", "text/plain"),
        (b"hello", "text/plain; charset=klingon"),
        (b"hello", "application/octet-stream"),
        ("η ασθενής εισήχθη με πόνους και εξετάστηκε από τον ιατρό".encode(), "text/plain"),
    ],
)
def test_a_document_that_cannot_be_looked_into_is_marked(data: bytes, media_type: str) -> None:
    assert labels(data, media_type) == [UNEXAMINED]
    assert labels(data, media_type, PLAIN) == []
    assert labels(data, media_type, sensitivities=("none",)) == [], "the sender judged it"
    assert labels(data, media_type, sensitivities=("MH",)) == ["MH"]


@pytest.mark.parametrize(
    ("data", "media_type", "found"),
    [
        (b"All well.", "text/plain", []),
        (b"All well.", "TEXT/PLAIN; charset=utf-8", []),
        ("Verdacht auf häusliche Gewalt".encode("latin-1"), "text/plain; charset=ISO-8859-1", ["SDV"]),
        ("Verdacht auf häusliche Gewalt".encode("cp1252"), "text/plain", ["SDV"]),
        (b"Diagnose (ICD-10-GM): F32.1 G", "text/plain", ["MH"]),
        (b"SNOMED 370143000, Tel. 044 123", "text/plain", ["MH"]),
        (b'<code code="B20" codeSystem="2.16.840.1.113883.6.90"/>', "application/cda+xml", ["HIV"]),
        (b"<html><p>d&eacute;pression</p></html>", "text/html", ["MH"]),
        (b'{"a": "preg\\u006eant"}', "application/json", ["SEX"]),
        (b"OBX|1|TX|||HIV negative", "x-application/hl7-v2+er7", ["HIV"]),
    ],
)
def test_text_that_is_no_fhir_is_looked_into(data: bytes, media_type: str, found: list[str]) -> None:
    assert is_text(media_type)
    assert labels(data, media_type) == found
    assert labels(data, media_type, sensitivities=("none",)) == found, "a statement takes nothing away"


def test_an_attachment_that_cannot_be_looked_into_marks_its_resource() -> None:
    assert labels(document(PDF), FHIR_JSON) == [UNEXAMINED]
    assert labels(document(PDF), FHIR_JSON, PLAIN) == []
    assert labels(document(PDF), FHIR_JSON, sensitivities=("none",)) == []
    assert labels(document(b"All well.", "text/plain"), FHIR_JSON) == []
    assert labels(document(b"x" * (1024 * 1024 + 99), "text/plain"), FHIR_JSON) == [UNEXAMINED]
    ehr = {"security": [{"code": "PSY"}]}
    assert labels(document(PDF, meta=ehr), FHIR_JSON) == ["PSY"], "the EHR judged it"
    assert labels(document(PDF, description="depression"), FHIR_JSON) == ["MH", UNEXAMINED]
    elsewhere = json.dumps({"resourceType": "Media", "content": {"contentType": "image/png", "url": "Binary/1"}})
    assert labels(elsewhere.encode(), FHIR_JSON) == [], "what is not in the record is not released with it"


def in_lines(data: bytes) -> str:
    """Base64 as mail programs break it."""
    return base64.encodebytes(data).decode()


LONG_PDF = PDF + bytes(range(256))
CDA = '<nonXMLBody><text mediaType="application/pdf" representation="B64">{}</text></nonXMLBody>'


@pytest.mark.parametrize("data", [in_lines(LONG_PDF), f" {base64.b64encode(LONG_PDF).decode()} "])
def test_base64_in_lines_is_an_attachment_as_well(data: str) -> None:
    resource = {"resourceType": "Binary", "contentType": "application/pdf", "data": data}
    assert labels(json.dumps(resource).encode(), FHIR_JSON) == [UNEXAMINED]
    assert labels(json.dumps(resource).encode(), FHIR_JSON, sensitivities=("none",)) == []
    note = {"resourceType": "Binary", "data": in_lines(b"She was seen on the ward, and uses heroin every day. " * 3)}
    assert labels(json.dumps(note).encode(), FHIR_JSON) == ["SUD"]


def test_numbers_in_a_row_are_no_attachment() -> None:
    sampled = {"origin": {"value": 0}, "period": 10, "dimensions": 1, "data": " ".join(["104", "98", "E", "-12"] * 99)}
    resource = {"resourceType": "Observation", "valueSampledData": sampled}
    assert labels(json.dumps(resource).encode(), FHIR_JSON) == []


def test_base64_is_found_wherever_it_stands() -> None:
    pdf = base64.b64encode(LONG_PDF).decode()
    extension = {"resourceType": "Observation", "extension": [{"url": "x", "valueBase64Binary": pdf}]}
    assert labels(json.dumps(extension).encode(), FHIR_JSON) == [UNEXAMINED]
    picture = {"resourceType": "Composition", "text": {"div": f"<img src='data:image/png;base64,{pdf}'/>"}}
    assert labels(json.dumps(picture).encode(), FHIR_JSON) == [UNEXAMINED]
    assert labels(CDA.format(pdf).encode(), "application/xml") == [UNEXAMINED]
    assert labels(CDA.format(in_lines(LONG_PDF)).encode(), "application/xml") == [UNEXAMINED]
    assert labels(document(CDA.format(pdf).encode(), "text/xml"), FHIR_JSON) == [UNEXAMINED], "one in another"
    assert labels(f"OBX|1|ED|PDF||^application^pdf^Base64^{pdf}".encode(), "application/hl7-v2") == [UNEXAMINED]
    digests = {"resourceType": "Basic", "id": "a" * 64, "note": [{"text": f"{'F' * 128} {'_' * 400} {'-' * 400}"}]}
    assert labels(json.dumps(digests).encode(), FHIR_JSON) == [], "what is short, and lines that are drawn, are not it"


def test_codes_in_an_attachment_are_looked_at() -> None:
    assert labels(document(b'<code code="86406008"/>', "text/xml"), FHIR_JSON) == ["HIV"]
    assert labels(document(b'<code code="B20" codeSystem="2.16.840.1.113883.6.90"/>', "text/xml"), FHIR_JSON) == ["HIV"]


def test_another_script_is_known_in_entities_too() -> None:
    said = "".join(f"&#{ord(letter)};" for letter in "η ασθενής εισήχθη με πόνους και εξετάστηκε από τον ιατρό")
    resource = {"resourceType": "Composition", "text": {"div": f"<div>{said}</div>"}}
    assert labels(json.dumps(resource).encode(), FHIR_JSON) == [UNEXAMINED]
    assert labels(f"<p>{said}</p>".encode(), "text/html") == [UNEXAMINED]


def test_a_label_on_one_part_of_a_bundle_does_not_judge_the_others() -> None:
    security = {"security": [{"code": "PSY"}]}
    entries = [{"resource": {"resourceType": "Patient", "meta": security}}, {"resource": json.loads(document(PDF))}]
    bundle = {"resourceType": "Bundle", "type": "document", "entry": entries}
    assert labels(json.dumps(bundle).encode(), FHIR_JSON) == ["PSY", UNEXAMINED]
    assert labels(json.dumps(bundle | {"meta": security}).encode(), FHIR_JSON) == ["PSY"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        *[(code, ["SUD"]) for code in ("T40.1X1A", "T401X1A", "F10.20", "F1020", "F10", "Z7141")],
        *[(code, ["MH"]) for code in ("F3210", "F32.1", "R45851")],
        *[(code, []) for code in ("F10204715", "F1X", "T4112", "E8412345", "K0512")],
        ("O987", ["HIV", "SEX"]),
        ("A549", ["STD"]),
    ],
)
def test_codes_of_icd_10_are_found_with_their_dot_and_without(code: str, found: list[str]) -> None:
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}
    assert labels(json.dumps({"resourceType": "Condition", "code": coding}).encode(), FHIR_JSON) == found


def test_codes_of_a_table_are_found_in_text_whatever_signs_they_have() -> None:
    lines = b"mark PSY code urn:st-anna:local|PSY_017/a\nmark MH prefix urn:oid:1.2.40.0.99|P_\n"
    table, wrong = parse_table(lines)
    assert wrong == []
    by = Labelling(table.marker(), table=table)
    assert labels(b'<code code="PSY_017/a" codeSystem="urn:st-anna:local"/>', "application/cda+xml", by) == ["PSY"]
    assert labels(b'<code code="P_22" codeSystem="1.2.40.0.99"/>', "application/cda+xml", by) == ["MH"]
    assert labels(b'<code code="PSY_018/a" codeSystem="urn:st-anna:local"/>', "application/cda+xml", by) == []
    assert labels(b'<code code="PSY_017/a" codeSystem="urn:elsewhere"/>', "application/cda+xml", by) == []


def test_a_signature_is_no_document() -> None:
    data = base64.b64encode(b"\x00\x01 signed").decode()
    signature = {"type": [], "when": "2020-01-01", "who": {}, "sigFormat": "application/jose", "data": data}
    assert labels(json.dumps({"resourceType": "Provenance", "signature": [signature]}).encode(), FHIR_JSON) == []
    both = {"resourceType": "Bundle", "signature": signature, "entry": [{"resource": json.loads(document(PDF))}]}
    assert labels(json.dumps(both).encode(), FHIR_JSON) == [UNEXAMINED]
    same = {"resourceType": "Binary", "contentType": "application/pdf", "data": data}
    both = {"resourceType": "Bundle", "signature": signature, "entry": [{"resource": same}]}
    assert labels(json.dumps(both).encode(), FHIR_JSON) == [UNEXAMINED]


def test_a_language_of_which_no_word_is_known() -> None:
    def text(language: str, said: str) -> bytes:
        return json.dumps({"resourceType": "Observation", "language": language, "note": [{"text": said}]}).encode()

    for language in ("en", "de-AT", "pt-BR", "NL"):
        assert labels(text(language, "ok"), FHIR_JSON) == []
    assert labels(text("pl", "ok"), FHIR_JSON) == [UNEXAMINED]
    assert labels(text("pl", "ok"), FHIR_JSON, PLAIN) == []
    name = {"resourceType": "Patient", "name": [{"text": "Παπαδόπουλος Γεώργιος"}], "note": "5 µmol/l"}
    assert labels(json.dumps(name).encode(), FHIR_JSON) == [], "a name in its own script is no text"


def test_a_table_s_words_make_their_own_script_known_and_no_other() -> None:
    greek = "η ασθενής εισήχθη με πόνους και εξετάστηκε από τον ιατρό".encode()
    cyrillic = "пациент жалуется на боли в груди и животе уже много месяцев".encode()
    table, wrong = parse_table("mark PSY word el ψυχιατρ*\n".encode())
    assert wrong == []
    by = Labelling(table.marker(), table=table)
    assert labels(greek, "text/plain", by) == []
    assert labels(cyrillic, "text/plain", by) == [UNEXAMINED]


def test_every_wallet_knows_the_mark() -> None:
    assert UNEXAMINED in SENSITIVITY_LABELS


def test_stated_labels_that_are_not_known_are_refused_by_name_and_never_said_back() -> None:
    with pytest.raises(UnknownSensitivity) as caught:
        labels(b"x", "text/plain", sensitivities=("MHH",))
    assert "MHH" not in f"{caught.value} {caught.value.advice}"
    assert "HIV, " in caught.value.advice
    assert "custom=true" in caught.value.advice
    with pytest.raises(UnknownSensitivity):
        labels(b"x", "text/plain", sensitivities=("several",))
    with pytest.raises(UnknownCategory) as refused:
        labels(b"x", "text/plain", category="Leter")
    assert "Leter" not in f"{refused.value} {refused.value.advice}"
    assert labels(b"x", "text/plain", sensitivities=("MHH",), category="Leter", custom=True) == ["MHH"]


def test_a_table_makes_labels_known() -> None:
    by = Labelling(table=Table(sensitivities={"ONC": "cancer"}, categories={"Letter": "letters"}))
    assert labels(b"x", "text/plain", by, sensitivities=("ONC", UNEXAMINED), category="Letter") == ["ONC", UNEXAMINED]
    with pytest.raises(UnknownCategory) as caught:
        labels(b"x", "text/plain", by, category="Leter")
    assert "table: Letter" in caught.value.advice


def test_a_resource_of_a_type_that_is_not_known_says_so_itself() -> None:
    """Of FHIR R5, for one: nobody made a slip."""
    made = Described().plain(b'{"resourceType": "BodyStructureNew"}', FHIR_JSON)
    assert made.labels.category == "BodyStructureNew"


def test_made_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "own.table"
    file.write_text("mark MH word en sadness\nunmark SEX word fetal\n")
    by = labelling(file, "plain")
    assert (by.unexamined, len(by.table.rules), len(by.table.taken_away)) == ("plain", 1, 1)
    assert labels(b"sadness, fetal", "text/plain", by) == ["MH"]
    file.write_text("frob")
    with pytest.raises(SensitivityTableInvalid):
        labelling(file, "mark")
    assert labelling(None, "mark") == Labelling()
