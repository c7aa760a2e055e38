"""Logs: JSON lines, and exceptions without the values that they quote."""

import json

import pytest
import structlog

from node.logs import configure_logs, get_logger
from protocol.errors import BadWords


@pytest.fixture
def lines(tmp_path):
    file = tmp_path / "log"
    configure_logs("info", "json", file)
    yield lambda: [json.loads(line) for line in file.read_text().splitlines()]
    structlog.reset_defaults()


def test_a_line_is_json_with_its_part(lines):
    get_logger("driver").info("final", height=7)
    (line,) = lines()
    assert (line["event"], line["part"], line["height"], line["level"]) == ("final", "driver", 7, "info")


def test_below_the_level_nothing_is_written(lines):
    get_logger("driver").debug("chatter")
    assert lines() == []


def test_an_exception_keeps_its_place_and_loses_its_values(lines):
    patient = "Zoë O'Canary"
    try:
        {}[patient]
    except KeyError:
        get_logger("records").exception("failed")
    (line,) = lines()
    assert "Canary" not in json.dumps(line, ensure_ascii=False)
    assert line["error"] == "KeyError"
    assert "test_logs.py" in line["trace"][-1]


def test_our_own_errors_keep_their_sentence(lines):
    get_logger("wallet").error("failed", exc_info=BadWords("word 3 is not in the list"))
    assert lines()[0]["sentence"] == "word 3 is not in the list"


def test_the_file_is_closed_to_others(tmp_path, lines):
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
