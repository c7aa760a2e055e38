"""`chartledger chart`: open a chart, show it, and read its history."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli.client import Document, Session, connect
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, facts, say, table, when
from node.keystore import find_passphrase
from node.wallet import Wallet

app = typer.Typer(no_args_is_help=True)
ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]


@app.command("open")
def open_chart(
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a chart with the institution whose socket this is; it becomes the custodian."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        document = open_with(session, opened)
    emit(document, as_json, lambda: say(f"chart {document['chart']} is open since block {document['height']}"))


def open_with(session: Session, wallet: Wallet) -> Document:
    """Open a chart of this wallet at the session's institution; one that was opened before the answer got lost is
    found again instead."""
    chart = wallet.reserve_chart(session.chain(), session.institution())
    number = session.chart_of_owner(wallet.keys(chart).signing_key().public)
    if number is None:
        document = session.open_chart(wallet.opening(chart, session.ledger_now()).json())
    else:
        document = {"chart": number, "height": session.chart(number)["opened_at"]}
    wallet.opened(chart, document["chart"])
    return document


@app.command()
def show(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """A chart as the ledger has it, and its grants."""
    with connect(socket) as session:
        document = session.chart(chart)
        names = session.institutions()
        document["grants_listed"] = list(session.grants(document))

    def render() -> None:
        custodian = document["custodian"]
        facts(
            [
                ("chart", chart),
                ("custodian", f"{custodian}, {names.get(custodian, 'unknown')}"),
                ("opened at height", document["opened_at"]),
                ("generation", document["generation"]),
                ("events", document["events"]),
                ("history root", document["history_root"]),
            ]
        )
        columns = ["grant", "to", "purposes", "from", "until", "revoked at height"]
        rows = (
            [
                grant["grant"],
                ", ".join(str(names.get(number, number)) for number in grant["grantees"]),
                grant["purposes"],
                when(grant["not_before"]),
                when(grant["not_after"]),
                grant["revoked_at"],
            ]
            for grant in document["grants_listed"]
        )
        table(columns, rows, "no grants")

    emit(document, as_json, render)


@app.command()
def history(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """Everything that ever happened to a chart, in order."""
    with connect(socket) as session:
        events = list(session.events(chart))
        names = session.institutions()
    columns = ["event", "time (UTC)", "height", "what", "institution", "details"]
    rows = (
        [
            e["number"],
            when(e["time_ms"]),
            e["height"],
            e["kind"],
            names.get(e["institution"], e["institution"]),
            details(e),
        ]
        for e in events
    )
    emit(events, as_json, lambda: table(columns, rows))


def details(event: dict[str, Any]) -> str:
    """What is particular to one event, in words."""
    match event["kind"]:
        case "record":
            amends = event.get("supersedes")
            return f"amends record {amends}" if amends is not None else ""
        case "granted":
            purposes, until = ", ".join(event["purposes"]), when(event["not_after"])
            grantees = ", ".join(map(str, event["grantees"]))
            return f"grant {event['grant']} to institution {grantees} for {purposes} until {until}"
        case "revoked":
            return f"grant {event['grant']}"
        case "disclosure":
            under = "no grant" if event.get("grant") is None else f"grant {event['grant']}"
            why = "" if event["outcome"] == "disclosed" else f": {event.get('sentence') or event.get('reason')}"
            asked = counted(len(event["records"]), "record")
            return f"{event['outcome']} for {event['purpose']} under {under}, {asked}{why}"
    return ""
