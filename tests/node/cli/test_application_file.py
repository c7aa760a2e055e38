"""The application file: read back as written, and refused when it was altered or is for another chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.application_file import ApplicationUnreadable, read_application, write_application
from node.institution_keys import new_institution
from protocol.crypto.signing import SigningKey, apply_as
from protocol.errors import ForeignChain
from protocol.types.governance import Application

CHAIN = bytes(range(32))


@pytest.fixture
def application() -> Application:
    made = new_institution("Northern Clinic")
    signing = [SigningKey(seed) for seed in made.keystore.operations]
    return apply_as(CHAIN, made.public, signing, SigningKey(made.keystore.votes[0]))


@pytest.fixture
def file(tmp_path: Path, application: Application) -> Path:
    path = tmp_path / "application.json"
    write_application(path, application, CHAIN)
    return path


def test_it_reads_back(file: Path, application: Application) -> None:
    assert read_application(file, CHAIN) == application
    assert json.loads(file.read_text())["institution"]["name"] == "Northern Clinic"


def test_one_for_another_chain_is_refused(file: Path) -> None:
    with pytest.raises(ForeignChain, match="made for chain 00010203"):
        read_application(file, bytes(32))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("Northern Clinic", "Northern Clinick", "altered"),
        ('"application": "', '"application": "zz', "not an application"),
        ('"application": "', '"application": "00', "not an application"),
        ("chartledger-application-1", "chartledger-genesis-1", "not an application"),
        ("{", "", "not an application"),
    ],
)
def test_an_altered_one_is_refused(file: Path, old: str, new: str, word: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ApplicationUnreadable, match=word):
        read_application(file, CHAIN)


def test_none_and_a_huge_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ApplicationUnreadable, match="cannot read"):
        read_application(tmp_path / "none", CHAIN)
    (tmp_path / "huge").write_bytes(b" " * (2 << 20))
    with pytest.raises(ApplicationUnreadable, match="larger"):
        read_application(tmp_path / "huge", CHAIN)
