"""Family names that people would call the same, and those that they would not."""

from __future__ import annotations

import json

import pytest

from node.alerts.names import family_names, parts, same_family


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("O'Neill", "oneill"),
        ("O\u2019Neill", "O'NEILL"),
        ("Müller", "MULLER"),
        ("Groß", "GROSS"),
        ("Łukasz", "Lukasz"),
        ("Sørensen", "Sorensen"),
        ("García Márquez", "Garcia"),
        ("Smith-Jones", "jones"),
        ("van der Berg", "Berg"),
        ("de la Cruz", "Cruz"),
        ("Zoë", "Zoe\u0308"),
        ("王", "王"),
        ("Иванов", "ИВАНОВ"),
        ("St. John", "St John"),
        ("Nguyễn", "nguyen"),
        ("Van", "van"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert same_family(one, other)
    assert same_family(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Smith", "Smithe"), ("van Dijk", "van Berg"), ("", ""), ("-", "'"), ("Li", "Lie"), ("12", "12"), ("王", "李")],
)
def test_not_the_same(one: str, other: str) -> None:
    assert not same_family(one, other)


def test_a_name_of_particles_alone_keeps_them() -> None:
    assert parts("Van Den") == {"van", "den"}


@pytest.mark.parametrize(
    ("resource", "found"),
    [
        ({"resourceType": "Patient", "name": [{"family": "O'Neill"}, {"family": "Byrne", "use": "maiden"}]}, 2),
        ({"resourceType": "Patient", "name": [{"given": ["Zoë"]}]}, 0),
        ({"resourceType": "Patient", "name": {"family": "x"}}, 0),
        ({"resourceType": "Patient", "name": ["x", None, {"family": 7}, {"family": " "}]}, 0),
        ({"resourceType": "Patient"}, 0),
        ({"resourceType": "Practitioner", "name": [{"family": "O'Neill"}]}, 0),
        (["Patient"], 0),
    ],
)
def test_names_of_a_patient_and_of_nothing_else(resource: object, found: int) -> None:
    assert len(family_names(json.dumps(resource).encode())) == found


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_json_has_no_names(raw: bytes) -> None:
    assert family_names(raw) == []
