"""`chartledger access`: an institution's own side of reading."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.choose import ChartArgument
from node.cli.client import connect
from node.cli.options import SOCKET, JsonOption, SocketOption
from node.cli.output import emit, say

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """An institution's own side of reading."""


@app.command()
def pseudonym(
    chart: ChartArgument,
    staff: Annotated[str, typer.Option("--staff", help="The id that this institution has for the person.")],
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """What this institution calls one of its staff towards a chart's owner; always the same, unlike at every chart."""
    with connect(socket) as session:
        document = session.pseudonym(chart, staff)
    emit(document, as_json, lambda: say(document["practitioner"]))
