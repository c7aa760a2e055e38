"""Sample patients: the same for the same seed, and as awkward as real files."""

import json
from collections import Counter

from node.demo.generator import generate

BUNDLES = generate(patients=12, seed=7)
DOCUMENTS = [json.loads(bundle.raw) for bundle in BUNDLES]
RESOURCES = [entry["resource"] for document in DOCUMENTS for entry in document["entry"]]


def test_a_seed_always_gives_the_same_bytes():
    assert generate(patients=12, seed=7) == BUNDLES
    assert generate(patients=12, seed=8) != BUNDLES


def test_more_patients_leave_the_first_ones_as_they_were():
    assert generate(patients=3, seed=7) == BUNDLES[:3]


def test_many_kinds_of_resources():
    kinds = Counter(one["resourceType"] for one in RESOURCES)
    assert set(kinds) == {
        "Patient", "Encounter", "Condition", "Observation", "MedicationRequest", "Immunization", "Procedure",
        "DiagnosticReport", "AllergyIntolerance", "DocumentReference",
    }  # fmt: skip
    assert kinds["Patient"] == 12


def test_references_stay_within_the_bundle():
    for document in DOCUMENTS:
        known = {entry["fullUrl"] for entry in document["entry"]}
        text = json.dumps(document)
        named = {part.split('"')[0] for part in text.split('"reference": "')[1:]}
        assert named <= known


def test_names_are_awkward_and_some_resources_sensitive():
    names = " ".join(one["name"][0]["family"] + one["name"][0]["given"][0] for one in RESOURCES if "name" in one)
    assert "'" in names
    assert not names.isascii()
    codes = {s["code"] for one in RESOURCES for s in one.get("meta", {}).get("security", ())}
    assert {"MH"} <= codes <= {"MH", "HIV", "ETHUD"}


def test_formatting_differs_between_files():
    assert any(b"\n" not in bundle.raw for bundle in BUNDLES)
    assert any(b"\n  " in bundle.raw for bundle in BUNDLES)
    assert any(b"\\u00" in bundle.raw for bundle in BUNDLES)
    assert any(not bundle.raw.isascii() for bundle in BUNDLES)
