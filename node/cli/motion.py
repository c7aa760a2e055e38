"""`chartledger motion`: move changes of the consortium, vote on them, and see what was moved.

Every command asks the node; the ledger alone decides what is refused. Before a change of the authorities that could
stop the chain, the operator is told and asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from node.application_file import read_application
from node.cli.choose import find_institution
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, SocketOption, parse_time
from node.cli.outlook import warnings
from node.cli.output import emit, facts, prose, say, table, warn, when
from protocol.codec.canonical import encode
from protocol.errors import ChartledgerError

app = typer.Typer(no_args_is_help=True)
propose = typer.Typer(no_args_is_help=True, help="Move a change, and thereby vote for it.")
app.add_typer(propose, name="propose")

MotionArgument = Annotated[int, typer.Argument(metavar="MOTION", help="The motion's number.", min=0)]
WhoArgument = Annotated[str, typer.Argument(metavar="WHO", help="The institution: its number or name.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The application that its operators made.")]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", help='Until when it can be voted on: a date, or "3d" from now. Default: seven days.'),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking, whatever speaks against it.")]

ABOUT = {
    "suspend": "Nothing of an institution counts until it is reinstated.",
    "reinstate": "A suspended institution is accredited again, without authority.",
    "remove": "An institution leaves for good.",
    "give-authority": "An institution votes from the next epoch on.",
    "take-authority": "An institution votes no more from the next epoch on.",
}


class Unconfirmed(ChartledgerError):
    """The change needs a confirmation."""

    advice = "Nothing was submitted. If it is wanted all the same, give the command again with --yes."


class Way(Enum):
    """How to vote."""

    YES = "yes"
    NO = "no"


def _about(kind: str) -> Callable[..., None]:
    def command(
        who: WhoArgument,
        until: UntilOption = None,
        yes: YesOption = False,
        socket: SocketOption = SOCKET,
        as_json: JsonOption = False,
    ) -> None:
        with connect(socket) as session:
            change = {"kind": kind, "institution": find_institution(session, who)}
            _propose(session, change, until, yes, as_json)

    return command


for _kind, _help in ABOUT.items():
    propose.command(_kind, help=_help)(_about(_kind))


@propose.command()
def accredit(
    file: FileArgument,
    until: UntilOption = None,
    yes: YesOption = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """A new institution may submit. Compare its keys with its people first, by another way than the file came."""
    with connect(socket) as session:
        change = {"kind": "accredit", "application": _application(session, file)}
        _propose(session, change, until, yes, as_json)


@propose.command("replace-keys")
def replace_keys(
    who: WhoArgument,
    file: FileArgument,
    until: UntilOption = None,
    yes: YesOption = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """New keys for an institution that lost its own."""
    with connect(socket) as session:
        number = find_institution(session, who)
        change = {"kind": "replace-keys", "institution": number, "application": _application(session, file)}
        _propose(session, change, until, yes, as_json)


@propose.command("set")
def set_parameters(
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Parameters of the chain.")],
    until: UntilOption = None,
    yes: YesOption = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """New values of the chain's parameters, which docs/spec/limits.md lists; those not named stay."""
    parameters: dict[str, int] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (equals and name and value.isascii() and value.isdecimal() and len(value) <= 16) or name in parameters:
            raise BadArgument(f"{text!r} is not NAME=VALUE", advice="Write each parameter once, as delta_ms=500.")
        parameters[name] = int(value)
    with connect(socket) as session:
        _propose(session, {"kind": "set", "parameters": parameters}, until, yes, as_json)


@app.command()
def vote(
    motion: MotionArgument,
    way: Annotated[Way, typer.Argument(help="How to vote.")],
    yes: YesOption = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Vote on a motion for this institution. A vote cannot be taken back."""
    with connect(socket) as session:
        found = session.motion(motion)
        if way is Way.YES and found["state"] == "open":
            _confirm(warnings(found["change"], session.status(), session.institutions()), yes)
        document = session.vote(motion, way is Way.YES)
        document |= {"change": found["change"]}
        emit(document, as_json, lambda: _said(session, document))


@app.command("list")
def list_motions(
    every: Annotated[bool, typer.Option("--all", help="Also those that passed, were lost or expired.")] = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Motions that can be voted on, and authorities that convicted themselves."""
    with connect(socket) as session:
        found = list(session.motions(every=every))
        convicted = session.evidence()
        names = session.institutions()

    def render() -> None:
        columns = ["motion", "what", "moved by", "votes", "state", "until (UTC)"]
        rows = [
            [one["motion"], one["change"]["sentence"], named(one["proposer"], names), votes(one), state(one),
             when(one["expires_at"])]
            for one in found
        ]  # fmt: skip
        table(columns, rows, "no motions" if every else "no open motions")
        for one in convicted:
            prose(convicted_in_words(one, names), style="yellow")

    emit({"motions": found, "evidence": convicted}, as_json, render)


@app.command()
def show(motion: MotionArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """One motion: what it would do, and who has voted how."""
    with connect(socket) as session:
        found = session.motion(motion)
        names = session.institutions()
    emit(found, as_json, lambda: _show(found, names))


def _application(session: Session, file: Path) -> str:
    return encode(read_application(file, session.chain())).hex()


def _propose(session: Session, change: Document, until: str | None, yes: bool, as_json: bool) -> None:
    expires_at = None if until is None else parse_time(until, session.ledger_now())
    _confirm(warnings(change, session.status(), session.institutions()), yes)
    done = session.propose(change, expires_at)
    document = done | {"change": session.motion(done["motion"])["change"]}
    emit(document, as_json, lambda: _said(session, document))


def _confirm(reasons: list[str], yes: bool) -> None:
    """Let the operator read what speaks against it. Raises `Unconfirmed` unless it is wanted all the same."""
    if reasons and not yes and not sys.stdin.isatty():
        raise Unconfirmed("; ".join(reasons))
    for reason in reasons:
        warn(f"warning: {reason}")
    if not reasons or yes:
        return
    if not typer.confirm("Do it all the same?", err=True):
        raise Unconfirmed("it was not confirmed", advice="Nothing was submitted.")


def _said(session: Session, document: Document) -> None:
    number, what = document["motion"], document["change"]["sentence"]
    found = session.motion(number)
    say(f"motion {number} ({what}): {document['state']} as of block {document['height']}")
    if document["state"] == "open":
        say(f"{votes(found)}; it can be voted on until {when(found['expires_at'])} UTC")
        say(f"others vote with `chartledger motion vote {number} yes` (or no), each on its own node")
    elif found["assigned"] is not None:
        say(f"it is institution {found['assigned']}")


def _show(found: Document, names: dict[int, str]) -> None:
    facts(
        [
            ("motion", found["motion"]),
            ("what", found["change"]["sentence"]),
            ("moved by", named(found["proposer"], names)),
            ("state", state(found)),
            ("votes", votes(found)),
            ("in favour", [named(one, names) for one in found["favour"]]),
            ("against", [named(one, names) for one in found["against"]] or "-"),
            ("until", f"{when(found['expires_at'])} UTC"),
        ]
    )
    applicant = found["change"].get("applicant")
    if applicant is not None:
        say("")
        facts(
            [
                ("name", applicant["name"]),
                *((f"operations key {n}", key) for n, key in enumerate(applicant["operation_keys"])),
                ("vote key", applicant["vote_key"]),
                ("encryption key", f"{applicant['encryption_key']}, suite {applicant['encryption_suite']}"),
            ]
        )
        if found["state"] == "open":
            prose("Compare these with the institution's people, by another way than the application came.")
    if found["awaits"]:
        say(f"it awaits your vote: `chartledger motion vote {found['motion']} yes` (or no)", "bold")


def named(number: int, names: dict[int, str]) -> str:
    """An institution for people."""
    return f"{number}, {names.get(number, 'unknown')}"


def votes(found: dict[str, Any]) -> str:
    """How the votes stand; of what is decided, how they were cast, since others may be authorities by now."""
    against = f", {len(found['against'])} against" if found["against"] else ""
    if found["state"] != "open":
        return f"{len(found['favour'])} in favour{against}"
    return f"{found['counted']} of {found['needed']} in favour{against}"


def state(found: dict[str, Any]) -> str:
    """Where a motion stands, in words."""
    match found["state"]:
        case "open":
            return "open, awaits your vote" if found["awaits"] else "open"
        case "expired":
            return "expired"
    number = f", institution {found['assigned']}" if found["assigned"] is not None else ""
    return f"{found['state']} in block {found['decided_at']}{number}"


def convicted_in_words(one: dict[str, Any], names: dict[int, str]) -> str:
    """A conviction as a sentence."""
    who, by = named(one["institution"], names), named(one["reporter"], names)
    return (
        f"{who} signed contradicting votes in view {one['view']} of epoch {one['epoch']}; "
        f"the evidence stands in block {one['height']}, reported by {by}"
    )
