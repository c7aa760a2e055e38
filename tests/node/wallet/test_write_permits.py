"""Letting an institution add records, at the command line: the grant, its permit, the record, and who reads it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from node.wallet.permits import write_permit
from node.write_permits import WritePermit
from protocol.codec.canonical import encode
from protocol.crypto.tags import NONE, tag
from tests.node.wallet.conftest import City, Person

TEXT = b"what the laboratory found"


@pytest.fixture
def patient(city: City, person: Callable[..., Person]) -> Person:
    """A patient whose chart 0 is at the first hospital, with a grant 0 to the second to add letters."""
    made = person()
    assert made.does("chart", "open")["chart"] == 0
    granted = made.says(
        "grant", 0, "--to", 1, "--category", "Letter", "--sensitivity", "MH", "--until", "30d", "--write"
    )
    assert "chartledger permit 0 0" in granted
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "letter.txt"
    made.write_bytes(TEXT)
    return made


def labels_of(permit: WritePermit) -> list[list[str]]:
    return [[name for name, _ in listed] for listed in permit.tags]


def made_by(city: City, patient: Person, grant: int) -> WritePermit:
    wallet = patient.reopen()
    control = city.sessions[0].control(0)
    return write_permit(wallet, wallet.chart(city.chain.id, 0), control, grant, 1)


def letter(patient: Person, file: Path, *words: object, at: int = 1, code: int = 0) -> object:
    labels = ("--category", "Letter", "--year", "2024", "--grant", 0)
    return patient.asks("record", "submit", 0, file, *labels, *words, at=at, code=code)


def test_handed_in_at_the_writers_socket(city: City, patient: Person, file: Path) -> None:
    missing = letter(patient, file, code=1)
    assert "[permit-missing]" in str(missing)
    wrong = patient.does("permit", 0, 0, at=2, code=1)
    assert "[bad-argument]" in wrong
    handed = patient.does("permit", 0, 0, at=1)
    assert (handed["grant"], handed["generation"], handed["file"]) == (0, 0, None)
    done = letter(patient, file)
    (record,) = done["files"][0]["records"]  # type: ignore[index]
    # The owner reads it at the writer's socket, and another hospital under a grant of its own.
    out = file.with_name("out")
    patient.does("record", "read", 0, record, "-o", out, at=1)
    assert out.read_bytes() == TEXT
    patient.does("grant", 0, "--to", 2, "--category", "Letter", "--until", "30d")
    patient.asks("record", "read", 0, record, "--grant", 1, "-o", out, at=2)
    assert out.read_bytes() == TEXT
    (held,) = patient.asks("record", "list", 0, "--held", at=1)
    assert (held["record"], held["category"]) == (record, "Letter")
    amended = patient.asks("record", "amend", 0, record, file, "--grant", 0, at=1, code=1)
    assert "[beyond-permit]" in amended, "a text without a category is a Binary, which was not granted"


def test_carried_to_the_desk_in_a_file(city: City, patient: Person, file: Path) -> None:
    carried = file.with_name("permit")
    assert patient.does("permit", 0, 0, "-o", carried, at=3)["file"] == str(carried)
    assert carried.stat().st_mode & 0o777 == 0o600
    raw = carried.read_bytes()
    assert patient.reopen().chart_secret(patient.reopen().chart(city.chain.id, 0)) not in raw
    assert patient.asks("access", "permit", carried, at=1)["grant"] == 0
    letter(patient, file)
    carried.write_bytes(raw[:-1])
    assert "[not-a-permit]" in patient.asks("access", "permit", carried, at=1, code=1)


def test_a_file_with_labels_outside_is_skipped_and_the_rest_goes_in(patient: Person, file: Path) -> None:
    patient.does("permit", 0, 0, at=1)
    other = file.with_name("other.json")
    other.write_text('{"resourceType": "Observation", "effectiveDateTime": "2024-01-01"}')
    done = patient.asks("record", "submit", 0, other, "--grant", 0, at=1, code=3)
    assert "Observation" not in str(done)


def test_it_lists_the_labels_of_the_grant_and_of_nothing_else(city: City, patient: Person) -> None:
    permit = made_by(city, patient, 0)
    assert labels_of(permit) == [["Letter"], sorted(YEARS), ["MH", NONE], ["MH", NONE]]
    secret = patient.reopen().chart_secret(patient.reopen().chart(city.chain.id, 0))
    assert permit.tags[0] == (("Letter", tag(secret, 0, 0, "Letter")),)
    assert secret not in encode(permit)
    # "Any" means what every wallet knows, and not the label that this one made up.
    patient.does("grant", 0, "--to", 1, "--until", "30d", "--write")
    assert labels_of(made_by(city, patient, 1)) == [sorted((*RESOURCE_TYPES, NONE)), sorted(YEARS), [NONE], [NONE]]
    assert set(SENSITIVITY_LABELS) > {NONE, "MH"}


def test_a_restored_wallet_or_a_reading_grant_says_what_it_cannot(
    city: City, patient: Person, person: Callable[..., Person]
) -> None:
    patient.does("grant", 0, "--to", 2, "--category", "Letter", "--until", "30d")
    assert "[no-write-grant]" in patient.does("permit", 0, 1, at=2, code=1)
    assert "[no-write-grant]" in patient.does("permit", 0, 9, at=2, code=1)
    restored = person("restored", patient.reopen().seed)
    restored.does("chart", "open")  # finds the one that is there
    assert "[nothing-permitted]" in restored.does("permit", 0, 0, at=1, code=1)


def test_a_revocation_of_another_grant_wants_a_new_permit(city: City, patient: Person, file: Path) -> None:
    patient.does("grant", 0, "--to", 2, "--until", "30d")
    patient.does("permit", 0, 0, at=1)
    patient.does("revoke", 0, 1)
    assert "[permit-outdated]" in str(letter(patient, file, code=1))
    assert patient.does("permit", 0, 0, at=1)["generation"] == 1
    letter(patient, file)
    patient.does("revoke", 0, 0)
    assert "[write-not-granted]" in str(letter(patient, file, code=1))


def test_a_delegate_reads_at_the_custodian_what_another_institution_wrote(
    city: City, patient: Person, person: Callable[..., Person], file: Path
) -> None:
    """No institution holds anything for another here, so that it can only come from its writer."""
    patient.does("permit", 0, 0, at=1)
    file.write_bytes(secrets.token_bytes(3_000_000))
    (record,) = letter(patient, file, "--sensitivity", "none")["files"][0]["records"]  # type: ignore[index]
    helper, card, out = person("helper"), file.with_name("card"), file.with_name("out")
    helper.does("delegate", "key", 0, "-o", card)
    patient.does("delegate", "add", 0, "--card", card, "--act", "read", "--until", "2031-01-01")
    helper.does("record", "read", 0, record, "--as-delegate", "-o", out)
    assert out.read_bytes() == file.read_bytes()
