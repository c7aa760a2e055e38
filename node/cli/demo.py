"""`chartledger demo`: the whole story, with four real nodes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.exits import ExitCode
from node.cli.options import JsonOption
from node.cli.output import facts, print_json, say, size
from node.demo.play import play
from node.demo.report import Report


def demo(
    fhir: Annotated[
        Path | None, typer.Option("--fhir", help="Play it with the FHIR R4 Bundles (*.json) of this folder.")
    ] = None,
    *,
    seed: Annotated[int, typer.Option("--seed", help="Which made-up patients.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the network running afterwards.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play the whole story with four real nodes: charts, records, grants, refusals, revocation, a killed node, a
    changed byte.

    Exits 0 if every step showed what it should, 1 if one did not, 3 if input files were skipped.
    """
    if not as_json:
        after = "stays up afterwards" if keep else "is removed afterwards"
        say(f"four hospitals, one ledger; everything runs on this machine and {after}", "bold")
    report = play(fhir, seed=seed, keep=keep, quiet=as_json)
    if as_json:
        print_json(report)
    else:
        _summary(report, keep)
    if not report.ok:
        raise typer.Exit(ExitCode.REFUSED)
    if report.skipped:
        raise typer.Exit(ExitCode.PARTLY)


def _summary(report: Report, keep: bool) -> None:
    done = sum(step.done for step in report.steps)
    say("")
    facts(
        [
            ("steps", f"{done} of {len(report.steps)} showed what they should"),
            ("patients", report.patients),
            ("records", f"{report.records}, {size(report.bytes)}"),
            ("final on every node", report.final),
            ("read back identical", report.read_back_identical),
            ("records per second", report.records_per_second),
            ("files skipped", len(report.skipped)),
        ]
    )
    if report.failed:
        say(f"failed: {report.failed}", "bold red")
    if keep and report.folder:
        say("")
        say(f"The network is up, in {report.folder}. Look around:")
        say(f"  export CHARTLEDGER_SOCKET={report.folder}/0/s")
        say("  chartledger status; chartledger chart show 0; chartledger chart history 0; chartledger disclosures 0")
        say("Stop it, then remove it:")
        say(f"  chartledger devnet down {report.folder} && rm -r {report.folder}")
