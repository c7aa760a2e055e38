"""The command itself: what it loads, how it ends, and that its manual tells the truth."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from node.api.problems import STATUS
from node.cli import main as module
from node.cli.exits import BadArgument, ExitCode, advice_for, report
from node.cli.main import COMMANDS, build
from node.client import Unreachable
from protocol.errors import BadProof

ROOT = Path(__file__).parents[3]


def run(*arguments, env=None, stdin=""):
    command = [sys.executable, "-m", "node.cli.main", *arguments]
    environment = {**os.environ, "COLUMNS": "200", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, input=stdin, check=False)


def loaded_by(*arguments):
    """The modules that a command has loaded when it ends."""
    code = (
        "import sys, json; sys.argv = ['chartledger', *sys.argv[1:]]\n"
        "from node.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_no_command():
    loaded = loaded_by("--version")
    assert not {m for m in loaded if m.startswith(("node.cli.", "rich", "httpx", "nacl"))} - {
        "node.cli.main",
        "node.cli.exits",
    }


def test_a_running_node_carries_nothing_of_other_commands():
    loaded = loaded_by("node", "run", "--config", "/nonexistent")
    assert "node.cli.node" in loaded
    assert not loaded & {"httpx", "mnemonic", "node.cli.output", "node.demo", "node.bench", "node.devnet"}


def test_what_a_terminal_cannot_show_ends_no_command(tmp_path):
    """It ended as a defect, after it had done its work."""
    alphabet = {"PYTHONIOENCODING": "ascii"}
    told = run("genesis", "show", tmp_path / "Zoë 医", env=alphabet)
    assert told.returncode == ExitCode.REFUSED
    assert r"\u533b" in told.stderr
    code = "import sys; from node.cli.main import _take_any_text; _take_any_text(); print('Zoë 医')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, **alphabet}, check=True)
    assert done.stdout.endswith(b" \\u533b\n")


def test_a_command_that_nobody_listens_to_does_its_work():
    command = f"{sys.executable} -m node.cli.main --version >&- 2>&-"
    assert subprocess.run(command, shell=True, check=False).returncode == ExitCode.DONE


def test_help_names_every_command():
    told = run("--help")
    assert told.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", told.stdout), name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name):
    told = run(name, "--help")
    assert told.returncode == 0, told.stderr
    assert "Usage" in told.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_that_prints_data_has_json(name):
    app = build([name])
    group = next((g.typer_instance for g in app.registered_groups if g.name == name), None)
    callbacks = [c.callback for c in (app.registered_commands if group is None else group.registered_commands)]
    callbacks = [c for c in callbacks if c is not None and c is not module._not_loaded]
    assert callbacks
    for callback in callbacks:
        if callback.__name__ != "run":  # a node's output is its log, which is JSON
            assert "as_json" in callback.__annotations__, callback.__name__


def test_a_wrong_command_line_exits_with_2():
    assert run("nonsense").returncode == ExitCode.USAGE
    assert run("chart", "show", "minus-one").returncode == ExitCode.USAGE


def test_no_node_on_the_socket_exits_with_4_and_says_what_to_do(tmp_path):
    told = run("status", "--socket", str(tmp_path / "none"))
    assert told.returncode == ExitCode.UNREACHABLE
    assert "chartledger node run" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_wrong_file_exits_with_1_in_one_sentence(tmp_path):
    told = run("verify", str(tmp_path / "none"), "--genesis", str(tmp_path / "none"))
    assert told.returncode == ExitCode.REFUSED
    assert told.stderr.count("\n") == 1


def test_a_reader_that_left_is_no_error():
    command = f"{sys.executable} -m node.cli.main wallet --help | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "Traceback" not in done.stderr


def test_errors_end_as_one_sentence_what_to_do_and_a_code(capsys):
    assert report(BadArgument("that is no number")) is ExitCode.REFUSED
    told = capsys.readouterr().err
    assert told.startswith("error: that is no number. Add --help")
    assert "[bad-argument]" in told
    evil = "no institution is called 'x'. There are: 0 (\x1b[2J\x1b[31mAll is well\u202e)."
    assert report(BadArgument(evil)) is ExitCode.REFUSED
    assert report(FileNotFoundError(2, "No such file or directory", "x\x1b[2J")) is ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "\x1b" not in told, "a name on the ledger, or of a file, is somebody else's to choose"
    assert "\u202e" not in told
    assert r"\x1b[31mAll is well" in told
    assert report(Unreachable()) is ExitCode.UNREACHABLE
    assert report(KeyboardInterrupt()) is ExitCode.INTERRUPTED
    assert report(FileNotFoundError(2, "No such file or directory", "x")) is ExitCode.REFUSED
    assert "x: No such file or directory. Check the path. [file-error]" in capsys.readouterr().err


@pytest.mark.parametrize("kind", sorted(STATUS, key=lambda kind: kind.code), ids=lambda kind: kind.code)
def test_what_to_do_is_said_to_somebody_at_a_command_line(kind):
    """What a node answers carries advice for those who make requests; a command gives its own."""
    told = advice_for(kind("a sentence", advice=kind.advice))
    assert not re.search(r"sign it anew and submit it again|(GET|POST) /v1|GET /openapi", told), told


def test_what_to_do_is_said_by_who_knew_more_than_the_error_s_kind():
    assert advice_for(BadProof("too old", advice="Give an older checkpoint.")) == "Give an older checkpoint."
    assert "Do not rely on it" in advice_for(BadProof("wrong"))


def test_a_defect_is_named_by_place_and_quotes_nothing(capsys, monkeypatch):
    monkeypatch.delenv("CHARTLEDGER_TRACEBACK", raising=False)
    with pytest.raises(KeyError) as caught:
        {}["Zoë O'Canary"]
    assert report(caught.value) is ExitCode.INTERNAL
    told = capsys.readouterr().err
    assert "KeyError in test_main.py" in told
    assert "Canary" not in told


def test_the_manual_lists_every_exit_code_and_command():
    text = (ROOT / "docs" / "cli.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", text, re.MULTILINE), code
    for name in COMMANDS:
        assert f"`chartledger {name}" in text, name
