"""Logs: JSON lines, and exceptions without the values that they quote."""

import asyncio
import gc
import json
from pathlib import Path

import pytest
import structlog
import typer

from node.cli.exits import ExitCode
from node.cli.node import _run
from node.logs import configure_logs, get_logger, log_unhandled
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


async def test_what_fails_unheard_keeps_its_place_and_loses_its_values(lines):
    """asyncio's own words hold the exception's, values and all: a decoding error quotes all that it was given."""
    patient = "Zoë O'Canary"
    asyncio.get_running_loop().set_exception_handler(log_unhandled)

    async def fails():
        patient.encode().decode("ascii")

    task = asyncio.create_task(fails(), name="sweep")
    await asyncio.wait([task])
    del task
    gc.collect()
    (line,) = lines()
    assert "Canary" not in json.dumps(line, ensure_ascii=False)
    assert (line["task"], line["error"], line["level"]) == ("sweep", "UnicodeDecodeError", "error")
    assert "test_logs.py" in line["trace"][-1]


def test_a_full_disk_takes_lines_and_not_their_writer():
    configure_logs("info", "json", Path("/dev/full"))
    try:
        get_logger("driver").info("final", height=7)
        get_logger("driver").info("final", height=8)
    finally:
        structlog.reset_defaults()


def test_a_node_that_runs_has_what_fails_unheard_logged_so():
    class Idle:
        async def start(self):
            assert asyncio.get_running_loop().get_exception_handler() is log_unhandled
            raise BadWords("as far as this")

    with pytest.raises(BadWords):
        asyncio.run(_run(Idle()))


def test_a_node_that_could_not_go_on_says_why_and_may_be_started_again(capsys):
    """Unlike one that is refused at its start, which stays down until somebody mends what is wrong."""

    class Fails:
        async def start(self):
            pass

        async def failed(self):
            raise BadWords("the disk is full")

        async def stop(self):
            pass

    with pytest.raises(typer.Exit) as ended:
        asyncio.run(_run(Fails()))
    assert ended.value.exit_code == ExitCode.STOPPED
    assert "error: the disk is full." in capsys.readouterr().err
