"""How `chartledger` ends: exit codes, and errors as one sentence and what to do next.

docs/cli.md documents the codes; a test holds the two together.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum
from pathlib import Path

from protocol.errors import ChartledgerError


class ExitCode(IntEnum):
    """What a script can tell a command's end by."""

    DONE = 0
    REFUSED = 1  # it was refused, or a check failed: the sentence says which
    USAGE = 2  # the command line itself is wrong
    PARTLY = 3  # done, but some input was skipped; each is named
    UNREACHABLE = 4  # no node answers on the socket
    UNHEALTHY = 5  # `status` or `doctor` found something wrong
    INTERNAL = 70  # a defect of chartledger
    INTERRUPTED = 130


class BadArgument(ChartledgerError):
    """An argument is not usable."""

    advice = "Add --help to the command to see what it takes."


def report(error: BaseException) -> ExitCode:
    """Say on standard error what went wrong, and return how to exit."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if isinstance(error, ChartledgerError):
        print(f"error: {_sentence(str(error))} {error.advice} [{error.code}]", file=sys.stderr)
        return ExitCode.UNREACHABLE if error.code == "unreachable" else ExitCode.REFUSED
    if isinstance(error, BrokenPipeError):
        # Who reads our output has seen enough; without this the interpreter complains while it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    if isinstance(error, OSError) and error.strerror:
        print(f"error: {error.filename or 'system'}: {error.strerror}.", file=sys.stderr)
        return ExitCode.REFUSED
    if os.environ.get("CHARTLEDGER_TRACEBACK"):
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"error: chartledger itself failed: {type(error).__name__} in {Path(place.filename).name}:{place.lineno}. "
        "Please report it with the command; CHARTLEDGER_TRACEBACK=1 shows more.",
        file=sys.stderr,
    )
    return ExitCode.INTERNAL


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
