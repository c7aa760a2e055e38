"""How `chartledger` ends: exit codes, and errors as one sentence and what to do next.

docs/cli.md documents the codes; a test holds the two together.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from enum import IntEnum
from pathlib import Path

from protocol.errors import ChartledgerError, InvalidTransaction


class ExitCode(IntEnum):
    """What a script can tell a command's end by."""

    DONE = 0
    REFUSED = 1  # it was refused, or a check failed: the sentence says which
    USAGE = 2  # the command line itself is wrong
    PARTLY = 3  # done, but some input was skipped; each is named
    UNREACHABLE = 4  # no node answers on the socket
    UNHEALTHY = 5  # `status` or `doctor` found something wrong
    STOPPED = 6  # a node that ran could not go on; started again it may
    UNSAFE = 10  # `simulate` saw a history in which something final was lost, doubled or forked
    STALLED = 11  # `simulate` saw one that did not go on
    CRASHED = 12  # `simulate` saw one that a defect ended
    INTERNAL = 70  # a defect of chartledger
    INTERRUPTED = 130


class BadArgument(ChartledgerError):
    """An argument is not usable."""

    advice = "Add --help to the command to see what it takes."


LEDGER = "`chartledger chart history` shows all that happened to a chart; what is still wanted, do anew."
VERSIONS = "The node may be of another version: compare `chartledger --version` with what `chartledger status` shows."
HERE = {
    "already-acknowledged": "Nothing is left to do: `chartledger record erasures` shows the receipts.",
    "already-erased": "Leave it out: `chartledger record erasures` shows who has answered.",
    "already-reviewed": "Nothing is left to do: `chartledger access emergencies` lists those that still wait.",
    "bad-request": "Look at the numbers and names that were given; --help says what the command takes.",
    "bad-proof": "Do not rely on it; docs/auditors.md says what a proof shows and what it does not.",
    "bad-terms": "docs/spec/operations.md says what is asked of grants, motions and keys, docs/spec/limits.md within "
    "which bounds parameters lie.",
    "change-pending": "`chartledger recovery status` shows what waits, `chartledger recovery cancel` stops it.",
    "contradicted": "`chartledger motion list --all` shows what was decided; what is still wanted, propose anew.",
    "custodian-refused": "`chartledger peers` says how the other node is; compare the versions of both.",
    "method-not-allowed": VERSIONS,
    "no-guardians": "The owner names some with `chartledger guardian set`, before anything is lost.",
    "no-such-place": "A number was given that is larger than any on a ledger, or the node is of another version.",
    "not-accredited": "Only the authorities change that: `chartledger motion list --all` shows what they decided.",
    "not-an-authority": "`chartledger status` lists the authorities; only they move and vote.",
    "already-reported": "Nothing is left to do: `chartledger motion list` shows the evidence.",
    "not-disclosed": "Ask anew with --grant, or name with --disclosure the asking that covered it.",
    "not-fresh": "Wait until the chain goes on: `chartledger status` says what is wrong.",
    "nothing-there": "Check the number: the ledger may not have come that far.",
    "not-waiting": "`chartledger access emergencies` lists those that wait.",
    "not-custodian": "Name the custodian's socket with --socket; `chartledger chart show` names the custodian.",
    "not-final-yet": "It is kept, and becomes final by itself once the chain goes on: `chartledger status` says what "
    "is wrong. Only `chart open` may be repeated meanwhile; anything else would be written twice.",
    "partly-final": "`chartledger record list` shows what stands; send the rest again.",
    "record-erased": "What it said is kept nowhere that the ledger knows of; `chartledger record erasures` shows who "
    "has answered.",
    "record-unknown-here": "`chartledger record list` lists a chart's records. Their custodian reads them as they "
    "are, another institution under a --grant.",
    "request-error": VERSIONS,
    "unsupported-media-type": VERSIONS,
    "sensitivities-unstated": "State --sensitivity CODE for each that it has, or --sensitivity none; FHIR of at most "
    "8 MiB, and a Bundle of at most 64 MiB, are looked into without.",
    "too-few-holders": "Try again later: the asking stays valid until its release deadline. `chartledger peers` says "
    "who is away.",
    "too-many-delegates": "A chart has so many for ever: `chartledger delegate list` shows them.",
    "too-many-grants": "A chart has so many for ever, and revoking frees none: `chartledger grants --all` shows them.",
    "too-many-holds": "Release what is not needed: `chartledger hold list` lists those in force.",
    "unauthorised": "It is for another institution, or another wallet, to do: name its socket with --socket, or the "
    "wallet with --wallet.",
    "unknown-chart": "Check the number; `chartledger wallet show` lists a wallet's charts.",
    "unknown-delegate": "`chartledger delegate list` lists a chart's delegates.",
    "unknown-emergency": "`chartledger access emergencies` lists what waits, `chartledger chart history` a chart's "
    "emergencies by event.",
    "unknown-erasure": "`chartledger record erasures` lists a chart's erasures by the event that ordered them.",
    "unknown-grant": "`chartledger grants --all` lists a chart's grants.",
    "unknown-hold": "`chartledger hold list` lists a chart's holds in force.",
    "unknown-institution": "`chartledger genesis show` and `chartledger motion list --all` tell who there is.",
    "unknown-key": "`chartledger keys show` lists the institution's keys by their index.",
    "unknown-purpose": "Purposes are codes of HL7's PurposeOfUse, such as TREAT, HPAYMT, HRESCH or PATRQT.",
    "unknown-record": "`chartledger record list` lists a chart's records, `chartledger chart history` all its events.",
}
"""What to do at the command line, where an error's own advice speaks to those who make requests."""


FILES = {
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path.",
    errno.EISDIR: "Name a file in it.",
    errno.EEXIST: "Choose another path.",
    errno.EACCES: "Run it as a user who may, or name another path.",
    errno.EPERM: "Run it as a user who may, or name another path.",
    errno.ENOSPC: "Make room on the disk, then run the command again.",
}
"""What to do about a file that the system refuses."""


def plain(text: str) -> str:
    """`text` with what would move the cursor, change colours or begin a line made visible: names that stand on the
    ledger are others' to choose, and one may hold a whole line that looks like ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def advice_for(error: ChartledgerError) -> str:
    """What to do next, said to somebody at a command line."""
    kept = vars(error)
    if "advice" in kept and "code" not in kept and error.advice != type(error).advice:
        return error.advice  # whoever raised it knew more than its kind does
    if error.code in HERE:
        return HERE[error.code]
    return LEDGER if error.advice == InvalidTransaction.advice else error.advice


def report(error: BaseException) -> ExitCode:
    """Say on standard error what went wrong, and return how to exit."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if isinstance(error, ChartledgerError):
        print(plain(f"error: {sentence(str(error))} {advice_for(error)} [{error.code}]"), file=sys.stderr)
        return ExitCode.UNREACHABLE if error.code == "unreachable" else ExitCode.REFUSED
    if isinstance(error, BrokenPipeError):
        # Who reads our output has seen enough; without this the interpreter complains while it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    if isinstance(error, OSError) and error.strerror:
        advice = FILES.get(error.errno or 0, "See to the file or the disk, then run the command again.")
        print(plain(f"error: {error.filename or 'system'}: {error.strerror}. {advice} [file-error]"), file=sys.stderr)
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


def sentence(text: str) -> str:
    """`text` with an end."""
    return text if text.endswith((".", "!", "?")) else text + "."
