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
    UNSAFE = 10  # `simulate` saw a history in which something final was lost, doubled or forked
    STALLED = 11  # `simulate` saw one that did not go on
    CRASHED = 12  # `simulate` saw one that a defect ended
    INTERNAL = 70  # a defect of chartledger
    INTERRUPTED = 130


class BadArgument(ChartledgerError):
    """An argument is not usable."""

    advice = "Add --help to the command to see what it takes."


HERE = {
    "bad-proof": "Do not rely on it; docs/auditors.md says what a proof shows and what it does not.",
    "bad-terms": "docs/spec/operations.md says what is asked of grants, motions and keys, docs/spec/limits.md within "
    "which bounds parameters lie.",
    "change-pending": "`chartledger recovery status` shows what waits, `chartledger recovery cancel` stops it.",
    "contradicted": "`chartledger motion list --all` shows what was decided; what is still wanted, propose anew.",
    "no-guardians": "The owner names some with `chartledger guardian set`, before anything is lost.",
    "no-such-place": "A number was given that is larger than any on a ledger, or the node is of another version.",
    "not-accredited": "Only the authorities change that: `chartledger motion list --all` shows what they decided.",
    "not-an-authority": "`chartledger status` lists the authorities; only they move and vote.",
    "already-reported": "Nothing is left to do: `chartledger motion list` shows the evidence.",
    "not-custodian": "Name the custodian's socket with --socket; `chartledger chart show` names the custodian.",
    "not-final-yet": "It is kept, and becomes final by itself once the chain goes on: `chartledger status` says what "
    "is wrong. Only `chart open` may be repeated meanwhile; anything else would be written twice.",
    "record-unknown-here": "`chartledger record list` lists a chart's records. Their custodian reads them as they "
    "are, another institution under a --grant.",
    "unknown-chart": "Check the number; `chartledger wallet show` lists a wallet's charts.",
    "unknown-delegate": "`chartledger delegate list` lists a chart's delegates.",
    "unknown-grant": "`chartledger grants --all` lists a chart's grants.",
    "unknown-key": "`chartledger keys show` lists the institution's keys by their index.",
    "unknown-purpose": "Purposes are codes of HL7's PurposeOfUse, such as TREAT, HPAYMT, HRESCH or PATRQT.",
    "unknown-record": "`chartledger record list` lists a chart's records, `chartledger chart history` all its events.",
}
"""What to do at the command line, where an error's own advice speaks to those who make requests."""


def report(error: BaseException) -> ExitCode:
    """Say on standard error what went wrong, and return how to exit."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if isinstance(error, ChartledgerError):
        print(f"error: {_sentence(str(error))} {HERE.get(error.code, error.advice)} [{error.code}]", file=sys.stderr)
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
