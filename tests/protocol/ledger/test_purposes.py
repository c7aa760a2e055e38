"""The hierarchy of purposes of use."""

from __future__ import annotations

import pytest

from protocol.ledger.purposes import PARENTS, covers, is_emergency


def test_all_codes_of_the_value_set_are_known() -> None:
    assert len(PARENTS) == 59
    assert [code for code, parent in PARENTS.items() if parent is None] == [
        "HMARKT", "HOPERAT", "HPAYMT", "HRESCH", "PATRQT", "PUBHLTH", "TREAT",
    ]  # fmt: skip
    assert all(parent is None or parent in PARENTS for parent in PARENTS.values())


@pytest.mark.parametrize(
    ("granted", "asked", "answer"),
    [
        ("TREAT", "TREAT", True),
        ("TREAT", "COC", True),
        ("COC", "TREAT", False),
        ("HOPERAT", "HTEST", True),
        ("HPAYMT", "ENROLLM", True),
        ("HRESCH", "PRECLINTRCH", True),
        ("TREAT", "HRESCH", False),
        ("TREAT", "ETREAT", False),
        ("TREAT", "BTG", False),
        ("ETREAT", "ETREAT", False),
        ("ERTREAT", "ERTREAT", False),
    ],
)
def test_covers(granted: str, asked: str, answer: bool) -> None:
    assert covers(granted, asked) is answer


def test_emergencies() -> None:
    assert [code for code in PARENTS if is_emergency(code)] == ["ETREAT", "BTG", "ERTREAT"]
