"""`chartledger chart`: open a chart, show it, read its history, change its owner's keys."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from node.cli.client import Document, Session, connect
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, SuiteOption, WalletOption
from node.cli.output import counted, emit, facts, say, table, when
from node.cli.proven import proven_control
from node.cli.recovery import hand_in
from node.cli.signing import submit_owned
from node.keystore import find_passphrase
from node.wallet import Wallet, WalletChart
from node.wallet.proven import NodeContradicted
from node.wallet.recovery import rotation
from protocol.crypto.envelopes import MLKEM768_X25519
from protocol.errors import ChartExists
from protocol.types.operations import MoveChart

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
    key = wallet.keys(chart).signing_key().public
    document = _opened_before(session, key)
    if document is None:
        try:
            document = session.open_chart(wallet.opening(chart, session.ledger_now()).json())
        except ChartExists:  # another device with the same seed was faster
            document = _opened_before(session, key)
            if document is None:
                raise
    wallet.opened(chart, document["chart"])
    return document


def _opened_before(session: Session, key: bytes) -> Document | None:
    number = session.chart_of_owner(key)
    return None if number is None else {"chart": number, "height": session.chart(number)["opened_at"]}


@app.command("rotate-key")
def rotate_key(
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    suite: SuiteOption = MLKEM768_X25519,
    as_json: JsonOption = False,
) -> None:
    """Give the chart new owner keys, after the waiting time. The wallet's words bring those back as well."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        document = rotate_with(session, opened, opened.chart(session.chain(), chart), suite)

    def render() -> None:
        say(f"noted in block {document['height']}; the new keys are in force from {when(document['ready_at'])} UTC")
        if not document["key_handed_in"]:
            say(
                f"then, at the socket of institution {document['custodian']}, which keeps the chart: "
                f"`chartledger recovery complete {chart} --wallet FILE`"
            )

    emit(document, as_json, render)


def rotate_with(session: Session, wallet: Wallet, chart: WalletChart, suite: int = MLKEM768_X25519) -> Document:
    """Have the owner turn to its next keys, and hand the custodian the new envelope key if this is its node."""
    assert chart.number is not None, "a chart found by its number has one"
    document = submit_owned(session, wallet, chart, lambda current, control: rotation(wallet, current, control, suite))
    control = session.control(chart.number)
    here = session.institution() == control["custodian"]
    current = wallet.chart(chart.chain, chart.number)
    pending = control["pending"]
    if here and pending is not None:
        hand_in(session, wallet, current, suite, current.version + 1)
    ready_at = None if pending is None else pending["ready_at"]
    return document | {"ready_at": ready_at, "key_handed_in": here, "custodian": control["custodian"]}


@app.command("move")
def move(
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the institution whose socket this is keep a chart from now on, once its custodian was removed for good."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        document = move_with(session, opened, opened.chart(session.chain(), chart))
        name = session.institutions()[session.institution()]
    emit(document, as_json, lambda: say(f"{name} keeps chart {chart} from now on"))


def move_with(session: Session, wallet: Wallet, chart: WalletChart) -> Document:
    """Move a chart to the session's institution and hand over what it needs, once that is proven; moved before, only
    the latter. Raises `NoChartSecret` before anything is signed, and `NodeContradicted`."""
    assert chart.number is not None, "a chart found by its number has one"
    number, here = chart.number, session.institution()
    ledger = proven_control(session, chart.chain, number, whole=False)
    current = wallet.catch_up(chart, bytes.fromhex(ledger["owner_key"]))
    secret, suite = wallet.chart_secret(current), session.chart(number)["encryption_suite"]
    if ledger["custodian"] != here:
        submit_owned(session, wallet, current, lambda _chart, control: MoveChart(number, control["custodian"], here))
        ledger = proven_control(session, chart.chain, number, whole=False)
    if ledger["custodian"] != here:  # the secret is for who keeps the chart, and not for who says that it does
        raise NodeContradicted(f"state: institution {ledger['custodian']} keeps chart {number}, and not {here}")
    return session.take_over(number, suite, wallet.encryption_public(current, suite=suite), secret)


@app.command()
def show(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """A chart as the ledger has it, and its grants."""
    with connect(socket) as session:
        document = session.chart(chart)
        names = session.institutions()
        document["grants_listed"] = session.control(chart)["grants"]

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
        columns = ["grant", "state", "to", "purposes", "from", "until", "revoked at height"]
        rows = (
            [
                grant["grant"],
                grant["state"],
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
            details(e, names),
        ]
        for e in events
    )
    emit(events, as_json, lambda: table(columns, rows))


def details(event: dict[str, Any], names: dict[int, str]) -> str:
    """What is particular to one event, in words."""
    by = "" if event.get("delegate") is None else f", by delegate {event['delegate']}"
    match event["kind"]:
        case "record":
            amends, disputes = event.get("supersedes"), event.get("disputes")
            noted = "" if disputes is None else f"the owner's note on record {disputes}"
            return noted if amends is None else f"amends record {amends}"
        case "granted":
            purposes, until = ", ".join(event["purposes"]), when(event["not_after"])
            grantees = ", ".join(names.get(one, f"institution {one}") for one in event["grantees"])
            return f"grant {event['grant']} to {grantees} for {purposes} until {until}{by}"
        case "revoked":
            return f"grant {event['grant']}{by}"
        case "disclosure" | "emergency":
            under = f"under {'no grant' if event.get('grant') is None else 'grant ' + str(event['grant'])}"
            if event["kind"] == "emergency":
                under = "without permission"
            why = f": {event.get('sentence') or event.get('reason')}" if event["outcome"] == "denied" else ""
            asked = counted(len(event["records"]), "record")
            return f"{event['outcome']} for {event['purpose']} {under}{by}, {asked}{why}"
    return _in_names(event.get("sentence") or "", names)


def _in_names(sentence: str, names: dict[int, str]) -> str:
    """The ledger's own words about an event, with names and numerals as one says them."""
    named = re.sub(r"institution (\d+)", lambda found: names.get(int(found[1]), found[0]), sentence)
    return re.sub(r"(\d+) (\w+)\(s\)", lambda found: counted(int(found[1]), found[2]), named)
