"""`chartledger`: finds the command that was asked for and loads only that.

Loading every command would cost half a second at each start, most of it for libraries that `node run` never needs. So
the table below knows names and one line of help; a command's module is imported when its name is on the command line.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final, NamedTuple

import typer

from node.cli.exits import report


class Entry(NamedTuple):
    """Where a command lives: `attribute` of `module` is a function, or a Typer with commands of its own."""

    module: str
    attribute: str
    panel: str
    help: str


PATIENT: Final = "For patients"
RECORDS: Final = "For institutions"
OPERATOR: Final = "For operators"
ANYONE: Final = "To try and to check"

COMMANDS: Final[dict[str, Entry]] = {
    "wallet": Entry("wallet", "app", PATIENT, "Make, back up, restore and show a wallet."),
    "chart": Entry("chart", "app", PATIENT, "Open a chart, show it and its history."),
    "grant": Entry("grant", "grant", PATIENT, "Let institutions read some records, until a date."),
    "grants": Entry("grant", "grants", PATIENT, "The grants of a chart, and how each stands."),
    "revoke": Entry("grant", "revoke", PATIENT, "End a grant."),
    "permit": Entry("permit", "permit", PATIENT, "Give an institution what it needs to add records."),
    "group": Entry("group", "app", PATIENT, "Names for several institutions, to grant to all of them."),
    "policy": Entry("policy", "app", PATIENT, "What is forbidden whatever is granted, and what emergencies may."),
    "delegate": Entry("delegate", "app", PATIENT, "Who may act for a patient, within bounds."),
    "guardian": Entry("guardian", "app", PATIENT, "Who together can bring a chart back when a wallet is lost."),
    "recovery": Entry("recovery", "app", PATIENT, "Move the chart of a lost wallet to a new one, or stop that."),
    "disclosures": Entry("disclosures", "disclosures", PATIENT, "Who asked to read, when, why, and what was refused."),
    "access": Entry("access", "app", RECORDS, "Emergencies, their reviews, and what looks like snooping."),
    "record": Entry("record", "app", RECORDS, "Submit, list, read, amend, dispute and erase records."),
    "labels": Entry("labels", "app", RECORDS, "Why records are marked sensitive, and the table that says so."),
    "hold": Entry("erasure", "hold", RECORDS, "Legal holds, which keep records from being erased."),
    "node": Entry("node", "app", OPERATOR, "Make a node's keys and settings, and run it."),
    "genesis": Entry("genesis", "app", OPERATOR, "Make and show the file that a chain starts from."),
    "institution": Entry("institution", "app", OPERATOR, "Ask a running consortium to be accredited."),
    "keys": Entry("keys", "app", OPERATOR, "Change this institution's keys without stopping the node."),
    "motion": Entry("motion", "app", OPERATOR, "Move changes of the consortium, vote on them, see them."),
    "status": Entry("status", "status", OPERATOR, "How this node and the chain are doing."),
    "peers": Entry("status", "peers", OPERATOR, "The connections to the other institutions."),
    "doctor": Entry("doctor", "doctor", OPERATOR, "Check this node's files, keys, chain and records."),
    "demo": Entry("demo", "demo", ANYONE, "Play the whole story with four real nodes."),
    "devnet": Entry("devnet", "app", ANYONE, "Four nodes on this machine, to try things out."),
    "bench": Entry("bench", "bench", ANYONE, "Measure throughput, latency and cost."),
    "simulate": Entry("simulate", "simulate", ANYONE, "Play hostile histories of whole networks from seeds."),
    "proof": Entry("prove", "app", ANYONE, "Write proofs: of a record, a field, a history, a grant, an erasure."),
    "checkpoint": Entry("proof", "checkpoint", ANYONE, "Keep a final block, to check later proofs by."),
    "verify": Entry("proof", "verify", ANYONE, "Check a proof, offline."),
}


def main() -> None:
    """The console script."""
    _take_any_text()
    try:
        build(sys.argv[1:])()
    except (Exception, KeyboardInterrupt) as error:  # the last resort: every error ends as one sentence
        sys.exit(report(error))


def _take_any_text() -> None:
    """What a terminal's alphabet lacks is shown as an escape, and what nobody takes goes nowhere: either would end a
    command as a defect, after it had done its work."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build(arguments: list[str]) -> typer.Typer:
    """The application, with the command that `arguments` name loaded and the others as names."""
    app = typer.Typer(
        name="chartledger",
        help="One tamper-proof ledger of medical records, kept by hospitals together; patients decide who reads.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    everything = any(name.endswith("_CHARTLEDGER_COMPLETE") for name in os.environ)
    for name, entry in COMMANDS.items():
        target = _load(entry) if everything or name == wanted else _not_loaded
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=entry.help, rich_help_panel=entry.panel)
        elif target is _not_loaded:
            app.command(name, help=entry.help, rich_help_panel=entry.panel)(target)
        else:
            app.command(name, rich_help_panel=entry.panel)(target)
    return app


def _load(entry: Entry) -> Any:
    return getattr(import_module(f"node.cli.{entry.module}"), entry.attribute)


def _not_loaded() -> None:
    """Never called: `build` loads what the command line names."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chartledger {version('chartledger')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of the command itself; --version does its work in its callback."""


if __name__ == "__main__":
    main()
