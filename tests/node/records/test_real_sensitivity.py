"""Real FHIR R4 bundles: what each resource is about is told from its codes, and a grant opens exactly what it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from node.records.fhir import FHIR_JSON, Described, bundle_slices
from node.wallet import tags_through
from protocol.crypto.tags import GrantLabels, Labels, tags_of
from protocol.ledger.decisions import covered
from tests.real_records import bundles

SECRET = bytes(range(32))
EXPECTED = {
    "MH": r"depress|anxiety|\bpanic|suicid|psych|bipolar|schizo",
    "SUD": r"alcohol|drug abuse|substance use|opioid|overdose|addict",
    "HIV": r"\bHIV\b|immunodeficiency virus",
    "STD": r"gonorrh|chlamydia|syphilis",
    "SEX": r"pregnan|contracep|miscarriage|childbirth|intrauterine|prenatal|antenatal|obstetric|fetal",
    "SDV": r"partner abuse|domestic abuse",
    "VIO": r"violence",
}
"""Another way to tell, by displays alone: what it finds must be found."""


def displays(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("display", "text") and isinstance(inner, str):
                yield inner
            yield from displays(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from displays(inner)


@pytest.fixture(scope="module")
def labelled() -> list[tuple[Any, Labels]]:
    """Every real resource, parsed, and the labels that it gets."""
    slices = [one for path in bundles() for one in bundle_slices(path.read_bytes())]
    return [(msgspec.json.decode(one), Described().plain(one, FHIR_JSON).labels) for one in slices]


def sensitive(labels: Labels) -> set[str]:
    return {labels.sensitivity_1, labels.sensitivity_2} - {"none"}


@pytest.mark.real_records
def test_each_gets_its_category_and_what_its_displays_say(labelled: list[tuple[Any, Labels]]) -> None:
    seen: set[str] = set()
    for resource, labels in labelled:
        assert labels.category == resource["resourceType"]
        said = " ".join(displays(resource))
        found = sensitive(labels)
        for label, pattern in EXPECTED.items():
            if re.search(pattern, said, re.IGNORECASE):
                assert label in found or "several" in found, f"a {labels.category} shows {label} and is not marked so"
                seen.add(label)
    assert seen == set(EXPECTED)


@pytest.mark.real_records
def test_demographics_and_measurements_are_not_marked(labelled: list[tuple[Any, Labels]]) -> None:
    plain = {"Patient", "Organization", "Practitioner", "Immunization", "Observation", "AllergyIntolerance", "Goal"}
    assert not [labels.category for _, labels in labelled if labels.category in plain and sensitive(labels)]


@pytest.mark.real_records
def test_a_grant_opens_what_is_not_sensitive_and_what_it_names_and_no_more(
    labelled: list[tuple[Any, Labels]],
) -> None:
    everything = tags_through(SECRET, 0, GrantLabels())
    with_mental = tags_through(SECRET, 0, GrantLabels(sensitivities=("MH",)))
    opened = more = closed = 0
    for _, labels in labelled:
        tags = [tags_of(SECRET, 0, labels)]
        marks = sensitive(labels)
        assert covered(everything, tags) is (not marks)
        assert covered(with_mental, tags) is (marks <= {"MH"})
        opened += not marks
        more += marks == {"MH"}
        closed += not marks <= {"MH"}
    assert opened > 1_000
    assert more > 100
    assert closed > 100
