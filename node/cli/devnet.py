"""`chartledger devnet`: a network of real nodes on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.client import connect
from node.cli.options import JsonOption
from node.cli.output import emit, say, table
from node.client import Unreachable
from node.devnet import NODES, Devnet, DevnetFailed, read_wish, wish_for

app = typer.Typer(no_args_is_help=True)
FolderArgument = Annotated[Path, typer.Argument(help="The devnet's folder.")]
DEFAULT = Path("devnet")
MEET_SECONDS = 15.0
"""How long `up` waits for the nodes to connect to each other: a node that knocks too early tries again in seconds."""


@app.command()
def up(
    folder: FolderArgument = DEFAULT,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=NODES, help="How many, for a new devnet.")] = 4,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="What a new devnet is like: configs/devnet.toml is one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the devnet in a folder, and make it first if it is not there."""
    if (folder / "devnet.json").exists():
        devnet = Devnet.load(folder)
    else:
        devnet = Devnet.create(folder, wish_for(nodes) if plan is None else read_wish(plan))
    try:
        devnet.start()
    except DevnetFailed:
        devnet.stop(devnet.started)  # those that ran before have nothing to do with it
        raise
    document = _met(devnet)

    def render() -> None:
        _show(document)
        say(f"look around: export CHARTLEDGER_SOCKET={devnet.socket(0)} && chartledger status")
        say(f"stop it:     chartledger devnet down {folder}")

    emit(document, as_json, render)


@app.command()
def down(
    folder: FolderArgument = DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Stop the devnet. Its data stays."""
    devnet = Devnet.load(folder)
    devnet.stop()
    emit(_document(devnet), as_json, lambda: say(f"stopped; the data stays in {folder}"))


@app.command()
def status(folder: FolderArgument = DEFAULT, as_json: JsonOption = False) -> None:
    """The devnet's nodes."""
    document = _document(Devnet.load(folder))
    emit(document, as_json, lambda: _show(document))


def _met(devnet: Devnet) -> dict[str, Any]:
    """The document once every node sees all others, or as it is after `MEET_SECONDS`."""
    until = time.monotonic() + MEET_SECONDS
    while True:
        document = _document(devnet)
        others = len(document["nodes"]) - 1
        if all(node.get("connected") == others for node in document["nodes"]) or time.monotonic() > until:
            return document
        time.sleep(0.1)


def _document(devnet: Devnet) -> dict[str, Any]:
    return {
        "folder": str(devnet.folder),
        "chain": devnet.plan.chain,
        "genesis": str(devnet.genesis),
        "nodes": [_node(devnet, number) for number in devnet.numbers],
    }


def _node(devnet: Devnet, number: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "number": number,
        "name": devnet.plan.nodes[number].name,
        "pid": devnet.pid(number),
        "socket": str(devnet.socket(number)),
        "port": devnet.plan.nodes[number].port,
        "config": str(devnet.config(number)),
    }
    if document["pid"] is not None:
        try:
            with connect(devnet.socket(number)) as session:
                found = session.status()
            document |= {"height": found["height"], "healthy": found["healthy"], "summary": found["summary"]}
            document["connected"] = sum(peer["state"] == "connected" for peer in found["peers"])
        except Unreachable as error:
            document |= {"healthy": False, "summary": str(error)}
    return document


def _show(document: dict[str, Any]) -> None:
    columns = ["node", "institution", "pid", "height", "state", "socket"]
    rows = (
        [n["number"], n["name"], n["pid"], n.get("height"), n.get("summary", "stopped"), _near(n["socket"])]
        for n in document["nodes"]
    )
    table(columns, rows)


def _near(path: str) -> str:
    """The shorter of a path and the same from here."""
    return min(path, os.path.relpath(path), key=len)
