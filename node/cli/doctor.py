"""`chartledger doctor`: is everything on this node's disk what it must be?"""

from __future__ import annotations

from typing import Any

import typer
from msgspec import to_builtins

from node.cli.client import connect
from node.cli.exits import ExitCode
from node.cli.options import ConfigOption, JsonOption, NodePassphraseOption
from node.cli.output import counted, emit, say, spinner
from node.client import Unreachable
from node.config import Config, load_config
from node.doctor import Finding, examine
from node.keystore import find_passphrase

STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}


def doctor(config: ConfigOption, passphrase_file: NodePassphraseOption = None, as_json: JsonOption = False) -> None:
    """Check this node's settings, keys, chain and records, byte by byte, and how the running node is doing.

    Reads only, and may run beside the node. Exits 5 if something is wrong.
    """
    settings = load_config(config)
    secret = None if passphrase_file is None else find_passphrase(settings, passphrase_file)
    with spinner("examining", quiet=as_json) as progress:
        findings = examine(settings, progress, secret)
    findings.append(_running(settings))
    wrong = sum(finding.wrong for finding in findings)
    document: dict[str, Any] = {"healthy": wrong == 0, "findings": to_builtins(findings)}

    def render() -> None:
        for finding in findings:
            say(f"{finding.state:<8} {finding.check}: {finding.sentence}", STYLES[finding.state])
            if finding.advice and finding.state in ("warning", "wrong"):
                say(f"{'':<8} {finding.advice}")
        doubts = sum(finding.state == "warning" for finding in findings)
        well = f"nothing is wrong, and {counted(doubts, 'warning')} to look at" if doubts else "all is well"
        say(well if wrong == 0 else f"{counted(wrong, 'finding')} must be mended", "bold")

    emit(document, as_json, render)
    if wrong:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _running(settings: Config) -> Finding:
    try:
        with connect(settings.socket) as session:
            status = session.status()
    except Unreachable:
        advice = "Start it with `chartledger node run`."
        return Finding("node", "warning", f"no node answers on {settings.socket}", advice)
    if status["healthy"]:
        return Finding("node", "ok", status["summary"])
    return Finding("node", "wrong", status["summary"], "See `chartledger status`.")
