"""Dates on the command line, new passphrases, and text that must not reach the terminal as it is."""

import pytest

from node.cli.exits import BadArgument, plain
from node.cli.options import new_passphrase, parse_time
from node.cli.output import numbers, size, when
from node.cli.status import ago
from node.keystore import NoPassphrase

NOW = 1_700_000_000_000
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0m", NOW),
        ("90m", NOW + 90 * 60_000),
        ("2h", NOW + 2 * HOUR),
        ("30d", NOW + 30 * 24 * HOUR),
        ("1w", NOW + 7 * 24 * HOUR),
        ("2027-01-31", 1_801_353_600_000),
        ("2027-01-31T12:00", 1_801_353_600_000 + 12 * HOUR),
        ("2027-01-31T12:00+02:00", 1_801_353_600_000 + 10 * HOUR),
    ],
)
def test_times(text, expected):
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "d", "soon", "30", "30y", "-3d", "2027-13-01", "٣d", "99999999d", "1969-12-31"])
def test_what_is_no_time(text):
    with pytest.raises(BadArgument):
        parse_time(text, NOW)


def test_a_new_passphrase_is_asked_for_twice(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter(["first", "first", "first", "second"])
    assert new_passphrase(None, lambda _: next(answers)) == b"first"
    with pytest.raises(NoPassphrase, match="differ"):
        new_passphrase(None, lambda _: next(answers))


def test_a_name_cannot_repaint_the_terminal():
    assert plain("St. Anna\x1b[2J") == "St. Anna\\x1b[2J"
    assert plain("a\u202eb") == "a\\u202eb"
    assert plain("X\nhealthy: 4 of 4") == "X\\nhealthy: 4 of 4"
    assert plain("Zoë O'Hara") == "Zoë O'Hara"


def test_sizes_and_times_for_people():
    assert size(999) == "999 B"
    assert size(17_000_000) == "17.0 MB"
    assert when(0) == "1970-01-01 00:00:00"
    assert when(None) == "-"
    assert ago(3.21) == "3.2 s"
    assert ago(7200) == "2 h"


@pytest.mark.parametrize(
    ("listed", "said"),
    [([], ""), ([7], "7"), ([1, 2], "1-2"), ([1, 2, 3, 5, 8, 9], "1-3, 5, 8-9"), (list(range(1, 401)), "1-400")],
)
def test_numbers_in_a_row_are_said_as_such(listed, said):
    assert numbers(listed) == said
