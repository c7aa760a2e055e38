"""`chartledger access`: an institution's own side of reading: emergencies, reviews, and what looks like snooping."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from node.cli import bulk, permit
from node.cli.choose import ChartArgument
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, SocketOption
from node.cli.output import counted, emit, say, table, when
from protocol import limits
from protocol.ledger import purposes

app = typer.Typer(no_args_is_help=True)

EmergencyArgument = Annotated[int, typer.Argument(help="The emergency's event number.", min=0)]
StaffOption = Annotated[
    str | None,
    typer.Option("--practitioner", help="Who asks: the id that this institution has for the person."),
]
FamilyOption = Annotated[str | None, typer.Option("--family", help="Their family name, for the patient alone.")]
GivenOption = Annotated[str | None, typer.Option("--given", help="Their given name, for the patient alone.")]
RoleOption = Annotated[str | None, typer.Option("--role", help="What they are, e.g. registrar; for the patient alone.")]
ReferenceOption = Annotated[
    str | None, typer.Option("--reference", help="This institution's own reference, for the patient alone.")
]
REVIEW_BYTES = 4 * limits.DETAIL_REASON_CHARACTERS


def details_of(**said: str | None) -> dict[str, str] | None:
    """What is said in confidence, in the shape of the socket; None if nothing is."""
    return {name: text for name, text in said.items() if text} or None


app.command("permit")(permit.take)


@app.command("break-glass")
def break_glass(
    chart: ChartArgument,
    records: Annotated[list[int], typer.Argument(help="The records' event numbers.", min=0)],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why. The patient is told it, nobody else.")],
    purpose: Annotated[str, typer.Option("--purpose", help="ETREAT, BTG or ERTREAT.")] = "ETREAT",
    practitioner: StaffOption = None,
    family: FamilyOption = None,
    given: GivenOption = None,
    role: RoleOption = None,
    reference: ReferenceOption = None,
    output: Annotated[
        Path | None, typer.Option("--into", help="Read them into this folder (mode 0700), if it is allowed.")
    ] = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Read in an emergency, without the patient's permission, and answer for it. Another institution must review it."""
    if purpose not in purposes.PARENTS or not purposes.is_emergency(purpose):
        raise BadArgument(f"{purpose!r} is no emergency", advice="Write ETREAT, BTG or ERTREAT.")
    details = details_of(staff=practitioner, family=family, given=given, role=role, reason=reason, reference=reference)
    body = {"chart": chart, "purpose": purpose, "records": sorted(set(records)), "details": details}
    with connect(socket) as session:
        answer = session.break_glass(body)
        names = _read_into(session, answer, output) if output is not None else []
    document = answer | {"files": names}

    def render() -> None:
        event = answer["disclosure"]
        if answer["outcome"] == "denied":
            say(f"denied, and recorded as event {event}: {answer['sentence']}", "bold red")
        elif answer["outcome"] == "pending":
            say(f"recorded as event {event}; another institution must vouch for it first:")
            say(f"chartledger access confirm {chart} {event}")
        else:
            say(f"recorded as event {event}; another institution must review it until {when(answer['review_by'])} UTC")
            for name in names:
                say(name)
            if output is None:
                say(f"chartledger record read {chart} {answer['records'][0]} --disclosure {event}")

    emit(document, as_json, render)
    if answer["outcome"] == "denied":
        raise typer.Exit(1)


def _read_into(session: Session, answer: Document, folder: Path) -> list[str]:
    if answer["outcome"] != "disclosed":
        return []
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    for record in answer["records"]:
        path = folder / f"record-{record}"
        place = f"/v1/disclosures/{answer['chart']}/{answer['disclosure']}/records/{record}"
        bulk.download(session, place, path, quiet=True)
        names.append(str(path))
    return names


@app.command()
def confirm(
    chart: ChartArgument, emergency: EmergencyArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False
) -> None:
    """Vouch for another institution's emergency, on a chart whose owner wants two for that."""
    with connect(socket) as session:
        document = session.confirm_emergency(chart, emergency)
    emit(document, as_json, lambda: say(f"emergency {emergency} is vouched for since block {document['height']}"))


@app.command()
def review(
    chart: ChartArgument,
    emergency: EmergencyArgument,
    finding: Annotated[Literal["justified", "unjustified"], typer.Argument(help="What the review found.")],
    *,
    findings: Annotated[
        Path | None,
        typer.Option("--findings", help="A text file with the findings, for the patient alone; 2,000 characters."),
    ] = None,
    practitioner: StaffOption = None,
    role: RoleOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """State whether another institution's emergency was justified."""
    said = details_of(staff=practitioner, role=role, reason=None if findings is None else _text(findings))
    with connect(socket) as session:
        document = session.review_emergency(chart, emergency, finding == "justified", said)
    emit(document, as_json, lambda: say(f"emergency {emergency} is {finding}, since block {document['height']}"))


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadArgument(f"{path} is not text in UTF-8") from None
    if len(raw) > REVIEW_BYTES or len(text) > limits.DETAIL_REASON_CHARACTERS:
        raise BadArgument(
            f"{path} has more than {limits.DETAIL_REASON_CHARACTERS} characters",
            advice="Summarise it; keep the whole report, and name it with its reference.",
        )
    return text


@app.command()
def emergencies(socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """Emergencies that wait for a second institution or a review, the overdue first, and what each institution owes."""
    with connect(socket) as session:
        document = session.client.get("/v1/emergencies")
        names = session.institutions()
    listed = sorted(document["emergencies"], key=lambda one: (one["state"] != "overdue", one["asked_at"]))
    columns = ["chart", "event", "asked (UTC)", "by", "purpose", "records", "state", "review by (UTC)"]
    rows = [
        [
            one["chart"],
            one["emergency"],
            when(one["asked_at"]),
            names.get(one["institution"], one["institution"]) + (" (us)" if one["own"] else ""),
            one["purpose"],
            one["records"],
            one["state"].upper() if one["state"] == "overdue" else one["state"],
            when(one["review_by"]),
        ]
        for one in listed
    ]

    def render() -> None:
        table(columns, rows, "no emergency waits for anything")
        for one in document["counts"]:
            if one["overdue"]:
                name = names.get(one["institution"], one["institution"])
                say(f"{name} owes {counted(one['overdue'], 'overdue review')}", "bold red")

    emit(document, as_json, render)


@app.command()
def alerts(
    *,
    days: Annotated[int, typer.Option("--days", help="How many days to look back.", min=1, max=366)] = 30,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """What looks like snooping: for the privacy officer to look into. An alert accuses nobody."""
    with connect(socket) as session:
        document: list[dict[str, Any]] = session.client.get("/v1/alerts", days=days)
        names = session.institutions()
    columns = ["time (UTC)", "what", "chart", "event", "institution", "who", "why"]
    rows = [
        [
            when(one["time_ms"]),
            one["kind"],
            one["chart"],
            one["event"],
            names.get(one["institution"], one["institution"]),
            one["practitioner"],
            one["sentence"],
        ]
        for one in document
    ]
    emit(document, as_json, lambda: table(columns, rows, "nothing out of the ordinary"))


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
