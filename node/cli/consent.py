"""`chartledger disclosures`: the patient sees who looked, when, why, and what was refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from node.cli.choose import ChartArgument
from node.cli.client import connect
from node.cli.options import SOCKET, JsonOption, SocketOption
from node.cli.output import emit, table, when


def disclosures(
    chart: ChartArgument,
    socket: SocketOption = SOCKET,
    as_csv: Annotated[Path | None, typer.Option("--csv", help="Write them to a CSV file too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Who asked to read records of a chart, when, why, under which grant, and what was refused."""
    with connect(socket) as session:
        events = list(session.events(chart, "disclosures"))
        names = session.institutions()
    for event in events:
        event["institution_name"] = names.get(event["institution"], "")
    columns = ["event", "time (UTC)", "who", "purpose", "grant", "records", "outcome", "why"]
    rows = [
        [
            event["number"],
            when(event["time_ms"]),
            event["institution_name"] or event["institution"],
            event["purpose"],
            event.get("grant"),
            len(event["records"]),
            event["outcome"],
            "" if event["outcome"] == "disclosed" else event.get("sentence", event.get("reason")),
        ]
        for event in events
    ]
    if as_csv is not None:
        with as_csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
    emit(events, as_json, lambda: table(columns, rows, "nobody has asked to read this chart"))
