"""`chartledger grant`, `revoke` and `disclosures`: the patient decides, and sees who looked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from node.cli.client import Document, Session, connect, tags_of_grant
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption, parse_time
from node.cli.output import counted, emit, say, table, warn, when
from node.keystore import find_passphrase
from node.labels import YEARS
from node.wallet import Wallet, WalletChart, label_list
from protocol.crypto.tags import GrantLabels

ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]


def grant(
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    to: Annotated[str, typer.Option("--to", help="The institution that may read: its number or name.")],
    until: Annotated[str, typer.Option("--until", help='When it ends: a date, or "30d" from now.')],
    category: Annotated[
        list[str] | None,
        typer.Option("--category", help="A kind of record, e.g. Observation; repeatable. Default: any."),
    ] = None,
    year: Annotated[
        list[str] | None, typer.Option("--year", help='A clinical year, or "none"; repeatable. Default: any.')
    ] = None,
    sensitivity: Annotated[
        list[str] | None,
        typer.Option(
            "--sensitivity",
            help='Also records marked sensitive so, e.g. MH; repeatable. "several" besides for records marked more '
            "than twice. Without it, no sensitive record.",
        ),
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", help="An HL7 purpose of use; repeatable. Default: TREAT.")
    ] = None,
    begin: Annotated[str, typer.Option("--from", help="When it begins. Default: now.")] = "0m",
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an institution read some records of a chart, until a date."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    labels = GrantLabels(label_list(category or []), label_list(year or []), label_list(sensitivity or []) or ())
    unknown = sorted(set(year or []) - set(YEARS))
    if unknown:
        raise BadArgument(f"{unknown[0]!r} is not a year", advice='Write four digits, or "none" for records without.')
    with connect(socket) as session:
        now = session.ledger_now()
        begins, ends = parse_time(begin, now), parse_time(until, now)
        grantee = find_institution(session, to)
        who = session.institutions()[grantee]
        document = grant_with(
            session,
            opened,
            opened.chart(session.chain(), chart),
            grantees=[grantee],
            labels=labels,
            purposes=purpose or ["TREAT"],
            not_before=begins,
            not_after=ends,
        )

    def render() -> None:
        say(f"grant {document['grant']} stands since block {document['height']}")
        kinds = " or ".join(category) if category else "all"
        dated = f" of {' or '.join(year)}" if year else ""
        also = f", also those marked {' or '.join(sensitivity)}" if sensitivity else ", none marked sensitive"
        say(f"{who} may read {kinds} records{dated}{also}")
        say(f"for {', '.join(purpose or ['TREAT'])}, from {when(begins)} until {when(ends)} UTC")

    emit(document, as_json, render)


def grant_with(
    session: Session,
    wallet: Wallet,
    chart: WalletChart,
    *,
    grantees: list[int],
    labels: GrantLabels,
    purposes: list[str],
    not_before: int,
    not_after: int,
) -> Document:
    """Sign a grant, submit it and wait until it is final; times in ms of ledger time."""
    assert chart.number is not None, "a chart found by its number has one"
    ledger = session.chart(chart.number)
    operation = wallet.grant(
        chart,
        ledger["generation"],
        grantees,
        labels,
        purposes=purposes,
        not_before=not_before,
        not_after=not_after,
    )
    signed = wallet.sign(chart, operation, session.ledger_now(), ledger["owner_number"])
    return session.submit_operation(chart.number, signed)


def revoke(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="GRANT", help="The grant's number.", min=0)],
    *,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a grant. Nothing more is handed out under it; what was read before was read."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        document = revoke_with(session, opened, opened.chart(session.chain(), chart), number)
        read = sum(
            len(e["records"])
            for e in session.events(chart, "disclosures")
            if e.get("grant") == number and e["outcome"] == "disclosed"
        )
    document["records_disclosed_before"] = read

    def render() -> None:
        say(
            f"grant {number} is revoked since block {document['height']}; "
            f"disclosed under it before: {counted(read, 'record')}"
        )
        for other in document["not_reissued"]:
            warn(f"grant {other} names labels that this wallet does not know: it covers no record written from now on")

    emit(document, as_json, render)


def revoke_with(session: Session, wallet: Wallet, chart: WalletChart, number: int) -> Document:
    """Sign a revocation with fresh tags for the other live grants, submit it and wait until it is final."""
    assert chart.number is not None, "a chart found by its number has one"
    ledger = session.chart(chart.number)
    now = session.ledger_now()
    live = {
        one["grant"]: tags_of_grant(one)
        for one in session.grants(ledger)
        if one["grant"] != number and one["revoked_at"] is None and one["not_after"] > now
    }
    operation, unknown = wallet.revocation(chart, ledger["generation"], number, live)
    signed = wallet.sign(chart, operation, now, ledger["owner_number"])
    return session.submit_operation(chart.number, signed) | {"not_reissued": unknown}


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


def find_institution(session: Session, text: str) -> int:
    """The number of the institution that `text` names, by number or exact name. Raises `BadArgument`."""
    names = session.institutions()
    if text.isascii() and text.isdecimal() and int(text) in names:
        return int(text)
    found = [number for number, name in names.items() if name == text]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} ({name})" for number, name in names.items())
    raise BadArgument(f"no institution is called {text!r}", advice=f"There are: {listed}.")
