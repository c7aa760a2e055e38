"""An explanation gives the labels that a node would write, a reason for each, and never a patient's words."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.records.explaining import Explained, explain, summary
from node.records.fhir import FHIR_JSON, Described
from node.records.labelling import Labelling
from node.records.sensitivity_codes import UNEXAMINED
from node.records.sensitivity_table import parse_table
from protocol.crypto.tags import record_labels
from tests.real_records import bundles

GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
TABLE, _ = parse_table(
    b"define ONC cancer\nmark ONC range http://fhir.de/CodeSystem/bfarm/icd-10-gm|C00-C97\nmark SDV word pl przemoc*"
)
BY = Labelling(TABLE.marker(), "mark", TABLE)
CANARY = "Zoe Canary of Canaryville"

CONDITION: dict[str, Any] = {
    "resourceType": "Condition",
    "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]},
    "recordedDate": "2021-01-01",
    "code": {
        "coding": [{"system": GM, "code": "C50.1"}, {"system": GM, "code": "F32.1", "display": "depressive Episode"}],
        "text": CANARY,
    },
    "note": [{"text": f"{CANARY} spricht von przemocy."}, {"text": "nichts"}],
}
PDF = {
    "resourceType": "DocumentReference",
    CANARY: "pregnant",
    "content": [{"attachment": {"data": base64.b64encode(b"%PDF " + CANARY.encode()).decode()}}],
}
NOTE = {
    "resourceType": "DocumentReference",
    "content": [{"attachment": {"data": base64.b64encode(f"{CANARY}: HIV negativ".encode()).decode()}}],
}


def one(resource: Any, media_type: str = FHIR_JSON) -> Explained:
    data = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    (found,) = explain(data, media_type, BY)
    return found


def places(found: Explained) -> dict[tuple[str, str], list[str]]:
    return {(reason.sensitivity, reason.rule): reason.places for reason in found.reasons}


def test_each_sensitivity_is_explained_by_element_and_rule() -> None:
    found = one(CONDITION)
    assert (found.category, found.year, found.labels) == ("Condition", "2021", ["MH", "several"])
    assert found.sensitivities == ["MH", "ONC", "PSY", "SDV"]
    shown = places(found)
    assert shown["PSY", "v3-ActCode|PSY"] == ["Condition.meta.security[0]"]
    assert shown["ONC", f"{GM}|C50"] == ["Condition.code.coding[0]"]
    assert shown["MH", "ICD F32"] == ["Condition.code.coding[1].code"]
    assert shown["MH", "depressi*"] == ["Condition.code.coding[1].display"]
    assert shown["SDV", "przemoc*"] == ["Condition.note[0].text"]
    assert {reason.source for reason in found.reasons} == {"the sender", "built in", "line 2", "line 3"}


def test_attachments_and_what_cannot_be_read() -> None:
    assert places(one(NOTE)) == {("HIV", "hiv"): ["DocumentReference.content[0].attachment.data"]}
    found = one(PDF)
    assert found.sensitivities == ["SEX", UNEXAMINED]
    assert found.unread == ["an attachment that is no text"]
    assert one(b"%PDF", "application/pdf").sensitivities == [UNEXAMINED]


def test_codes_in_attachments_have_a_place() -> None:
    data = base64.b64encode(b'<code code="86406008"/>').decode()
    resource = {"resourceType": "DocumentReference", "content": [{"attachment": {"data": data}}]}
    assert places(one(resource)) == {("HIV", "86406008"): ["DocumentReference.content[0].attachment.data"]}


def test_lines_of_text() -> None:
    found = one(b"First line.\nShe is pregnant.\nICD-10: F32.1\n", "text/plain")
    assert places(found) == {("MH", "ICD F32"): ["line 3"], ("SEX", "pregnant"): ["line 2"]}


def test_a_bundle_is_explained_by_its_entries_or_whole() -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": CONDITION}, {"response": {}}, {"resource": NOTE}]}
    data = json.dumps(bundle).encode()
    assert [(each.entry, each.category) for each in explain(data, FHIR_JSON, BY)] == [
        (0, "Condition"),
        (1, "DocumentReference"),
    ]
    (whole,) = explain(data, FHIR_JSON, BY, split=False)
    assert (whole.entry, whole.category) == (None, "Bundle")
    assert "Bundle.entry[0].resource.note[0].text" in [p for reason in whole.reasons for p in reason.places]


def test_what_a_node_would_refuse_is_told() -> None:
    found = one(b"<x/>", FHIR_JSON)
    assert found.refused is not None
    assert "[not-fhir]" in found.refused
    assert "[sensitivities-unstated]" in str(one(b"<x/>", "application/fhir+xml").refused)


def test_no_word_of_a_record_is_said() -> None:
    text = f"{CANARY}\npregnant {CANARY}".encode()
    odd = json.dumps({"resourceType": "Basic", "a b Canary": {"HIV Canary": "hiv"}}).encode()
    resources = [json.dumps(one).encode() for one in (CONDITION, PDF, NOTE)]
    tried = [(data, FHIR_JSON) for data in (*resources, odd)] + [(text, "text/plain"), (odd, "application/json")]
    for data, media_type in tried:
        for found in explain(data, media_type, BY):
            assert found.sensitivities
            assert "Canary" not in msgspec.json.encode(found).decode()


def test_many_places_are_counted() -> None:
    (reason,) = one({"resourceType": "Basic", "note": [{"text": "hiv"} for _ in range(9)]}).reasons
    assert (len(reason.places), reason.more) == (3, 6)


def test_a_summary_counts() -> None:
    each = [one(CONDITION), one(NOTE), one(PDF), one({"resourceType": "Basic"}), one(b"{", FHIR_JSON)]
    total = summary(each)
    assert (total.records, total.marked, total.unexamined, total.refused) == (5, 3, 1, 1)
    assert total.by_category == {"DocumentReference": 2, "Condition": 1, "Basic": 1}
    assert total.by_both["Basic"] == {"none": 1}
    assert total.by_sensitivity["HIV"] == 1
    assert total.by_rule["HIV word hiv"] == 1


_WORDS = st.sampled_from(
    [
        *("depression", "ST depression", "HIV", "hearing aids", "substance", "use", "F32.1", "C50", "370143000"),
        *("przemoc", "häusliche", "Gewalt", "PSY", "0", ""),
    ]
)
_VALUES = st.recursive(
    _WORDS | st.just(GM) | st.integers() | st.lists(_WORDS, max_size=3).map(" ".join),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["code", "system", "security", "coding", "data", "text", "a b"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(_VALUES, st.sampled_from([None, (), ("HIV",)]))
def test_reasons_and_labels_are_those_of_the_node(value: Any, stated: tuple[str, ...] | None) -> None:
    data = json.dumps({"resourceType": "Basic", "x": value}, ensure_ascii=False).encode()
    (found,) = explain(data, FHIR_JSON, BY, Described(sensitivities=stated))
    written = Described(sensitivities=stated).plain(data, FHIR_JSON, BY).labels
    assert record_labels("Basic", "none", found.sensitivities) == written
    assert {reason.sensitivity for reason in found.reasons} == set(found.sensitivities)


@pytest.mark.real_records
def test_real_records_have_a_place_for_every_reason() -> None:
    seen = 0
    for path in bundles()[:3]:
        for found in explain(path.read_bytes(), FHIR_JSON, Labelling()):
            assert found.refused is None
            for reason in found.reasons:
                assert reason.places, (found.category, reason.rule)
                seen += 1
    assert seen > 100
