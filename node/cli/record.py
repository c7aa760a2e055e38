"""`chartledger record`: submit, list, read, amend, dispute and erase records."""

from __future__ import annotations

import base64
import mimetypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli import access, bulk, erasure, export
from node.cli.bulk import Denied
from node.cli.choose import CustomOption
from node.cli.client import Document, Session, connect
from node.cli.delegate_reading import read_as_delegate
from node.cli.exits import BadArgument, ExitCode, advice_for, sentence
from node.cli.files import written_whole
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption
from node.cli.output import counted, emit, print_json, progress, say, table, warn, when
from node.cli.parts import read_as_owner
from node.keystore import find_passphrase
from node.records.fhir import FHIR_JSON, bundle_slices, described
from node.wallet import Wallet
from protocol.errors import ChartledgerError

app = typer.Typer(no_args_is_help=True)
ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]
RecordArgument = Annotated[int, typer.Argument(help="The record's event number.", min=0)]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; the patient is told it, nobody else.")]
MediaTypeOption = Annotated[
    str | None, typer.Option("--media-type", help="How the file is to be read. Default: told from its name.")
]
StatedCategory = Annotated[str | None, typer.Option("--category", help="Label, where FHIR does not tell it.")]
StatedYear = Annotated[str | None, typer.Option("--year", help="Label, where FHIR does not tell it.")]
StatedSensitivity = Annotated[
    list[str] | None, typer.Option("--sensitivity", help='Label; repeatable. "none": somebody judged it not to be.')
]
GrantToWriteOption = Annotated[
    int | None,
    typer.Option("--grant", help="Write under this grant, to a chart that another institution keeps.", min=0),
]

WHOLE_BYTES = 8 * 1024 * 1024
"""A larger file is sent, and written, piece by piece."""
BUNDLE_BYTES = 64 * 1024 * 1024
"""FHIR JSON up to this is looked at here, since it may be a Bundle: no larger one is taken apart."""
OF_THE_FILE = frozenset(
    (
        "bad-argument",
        "bad-bundle",
        "bad-record",
        "beyond-permit",
        "body-too-large",
        "not-fhir",
        "oversize",
        "sensitivities-unstated",
        "unsupported-media-type",
    )
)
"""Errors that are one file's own: the others of a folder can still be submitted."""


@app.command()
def submit(
    chart: ChartArgument,
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    *,
    whole: Annotated[bool, typer.Option("--whole", help="Keep a FHIR Bundle as one record.")] = False,
    media_type: MediaTypeOption = None,
    category: StatedCategory = None,
    year: StatedYear = None,
    sensitivity: StatedSensitivity = None,
    custom: CustomOption = False,
    grant: GrantToWriteOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Submit files to a chart that this institution keeps, or may add to. A FHIR Bundle becomes a record a resource.

    A file that is empty or broken is named and skipped, and the exit code is then 3.
    """
    files = list(_files(paths))
    labels = _stated(category, year, sensitivity)
    done: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    with connect(socket) as session, progress("submitting", len(files), quiet=as_json) as step:
        for path in files:
            try:
                kind = media_type or guess_type(path)
                if path.stat().st_size > (WHOLE_BYTES if whole or kind != FHIR_JSON else BUNDLE_BYTES):
                    answer = bulk.upload(session, chart, path, kind, grant, custom=custom, quiet=as_json, **labels)
                else:
                    answer = _submit(
                        session, chart, path, grant, media_type=kind, whole=whole, custom=custom, labels=labels
                    )
                done.append({"file": str(path), "records": answer["records"], "height": answer["height"]})
            except OSError as error:
                skipped.append({"file": str(path), "why": error.strerror or "unreadable"})
            except ChartledgerError as error:
                if error.code not in OF_THE_FILE:
                    _stopped_at(path, done, len(files))
                    raise
                skipped.append({"file": str(path), "why": f"{sentence(str(error))} {advice_for(error)}"})
            step(1)

    def render() -> None:
        for one in done:
            say(f"{one['file']}: {counted(len(one['records']), 'record')}, final in block {one['height']}")
        for one in skipped:
            warn(f"skipped {one['file']}: {one['why']}")

    emit({"chart": chart, "files": done, "skipped": skipped}, as_json, render)
    if skipped:
        raise typer.Exit(ExitCode.PARTLY)


def _stated(category: str | None, year: str | None, sensitivity: list[str] | None) -> dict[str, str | None]:
    """Labels as headers of a request."""
    return {"category": category, "year": year, "sensitivities": ",".join(sensitivity) if sensitivity else None}


def _stopped_at(path: Path, done: list[dict[str, Any]], files: int) -> None:
    """Say how far it went before what ends all of it: whoever starts again must not submit the same twice."""
    for one in done:
        warn(f"{one['file']}: {counted(len(one['records']), 'record')}, final in block {one['height']}")
    if files > 1:
        warn(f"stopped at {path}; what is named above is submitted, the rest is not")


def _submit(
    session: Session,
    chart: int,
    path: Path,
    grant: int | None,
    *,
    media_type: str,
    whole: bool,
    custom: bool,
    labels: dict[str, str | None],
) -> Document:
    data = path.read_bytes()
    if not data:
        raise BadArgument("the file is empty", advice="Look at what wrote it.")
    if media_type == FHIR_JSON:
        if not whole and is_bundle(data):
            if any(labels.values()):
                raise BadArgument(
                    "labels of a Bundle's records come from its resources",
                    advice="Leave --category, --year and --sensitivity out, or keep it as one record with --whole.",
                )
            # Broken bundles are told here, before anything is sent; the node checks again.
            bundle_slices(data)
            return session.submit_bundle(chart, data, grant)
        described(data)
    return session.submit_record(chart, data, media_type, grant, custom=custom, **labels)


@app.command("list")
def list_records(
    chart: ChartArgument,
    socket: SocketOption = SOCKET,
    held: Annotated[
        bool, typer.Option("--held", help="Those that this institution wrote, with what is stored.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The records of a chart."""
    with connect(socket) as session:
        records = list(session.events(chart, "records"))
        gone = {record for one in session.client.get(f"/v1/charts/{chart}/erasures") for record in one["records"]}
        if held:
            here = session.institution()
            mine = [one["number"] for one in records if one["institution"] == here and one["number"] not in gone]
            records = [session.client.get(f"/v1/charts/{chart}/records/{number}") for number in mine]
    if not held:
        records = [one | {"erased": one["number"] in gone} for one in records]
        columns = ["record", "time (UTC)", "height", "amends", "erased", "commitment"]
        rows = (
            [
                one["number"],
                when(one["time_ms"]),
                one["height"],
                one.get("supersedes"),
                "yes" if one["erased"] else None,
                one["commitment"][:16],
            ]
            for one in records
        )
    else:
        columns = ["record", "category", "year", "sensitivities", "media type", "bytes", "blob"]
        rows = (
            [
                one["record"],
                one["category"],
                one["year"],
                one["sensitivities"],
                one["media_type"],
                one["length"],
                one["blob_state"],
            ]
            for one in records
        )
    emit(records, as_json, lambda: table(columns, rows, "no records"))


@app.command()
def read(
    chart: ChartArgument,
    record: RecordArgument,
    *,
    grant: Annotated[int | None, typer.Option("--grant", help="Ask under this grant, as another institution.")] = None,
    purpose: Annotated[str, typer.Option("--purpose", help="The purpose of use to ask for.")] = "TREAT",
    disclosure: Annotated[
        int | None, typer.Option("--disclosure", help="Read under this disclosure, which was made before.")
    ] = None,
    practitioner: access.StaffOption = None,
    family: access.FamilyOption = None,
    role: access.RoleOption = None,
    reason: ReasonOption = None,
    wallet: Annotated[Path | None, typer.Option("--wallet", help="Read as the owner, with this wallet.")] = None,
    as_delegate: Annotated[bool, typer.Option("--as-delegate", help="The wallet is a delegate's.")] = False,
    passphrase_file: PassphraseOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file (mode 0600).")] = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Read one record's exact bytes: as its writer, under a grant, as its owner, or as the owner's delegate.

    Under a grant or as a delegate this asks for a disclosure first, which the patient sees, also when it is denied.
    """
    document: dict[str, Any] = {"chart": chart, "record": record}
    with connect(socket) as session:
        if wallet is not None:
            opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
            if as_delegate:
                document["disclosure"], data = read_as_delegate(session, opened, chart, record, purpose, disclosure)
            else:
                data = read_as_owner(session, opened, chart, record).data
        else:
            place = f"/v1/charts/{chart}/records/{record}/content"
            if grant is not None or disclosure is not None:
                if disclosure is None:
                    said = access.details_of(staff=practitioner, family=family, role=role, reason=reason)
                    answer = session.disclose(chart, grant, purpose, [record], said)
                    document["disclosure"] = disclosure = answer["disclosure"]
                    if answer["outcome"] != "disclosed":
                        raise Denied.of(answer)
                place = f"/v1/disclosures/{chart}/{disclosure}/records/{record}"
            if output is not None:
                _tell_standing(session, chart, record)
                _written(bulk.download(session, place, output, quiet=as_json), document, output, as_json)
                return
            data = session.client.read(place)
        _tell_standing(session, chart, record)
    _give_out(data, document, output, as_json)


@app.command("read-all")
def read_all(
    chart: ChartArgument,
    *,
    into: Annotated[Path, typer.Option("--into", help="A folder; made if it is not there (mode 0700).")],
    grant: Annotated[int | None, typer.Option("--grant", help="Ask for all that this grant covers.")] = None,
    purpose: Annotated[str, typer.Option("--purpose", help="The purpose of use to ask for.")] = "TREAT",
    disclosure: Annotated[
        int | None, typer.Option("--disclosure", help="Read under this disclosure, which was made before.")
    ] = None,
    practitioner: access.StaffOption = None,
    family: access.FamilyOption = None,
    role: access.RoleOption = None,
    reason: ReasonOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Read all records of one disclosure, each into a file. After a crash the same command goes on where it stopped."""
    said = access.details_of(staff=practitioner, family=family, role=role, reason=reason)
    with connect(socket) as session, bulk.alone_in(into):
        under = bulk.begin(session, chart, into, grant, purpose, disclosure, said)
        count, before = bulk.read_all(session, chart, under, into, quiet=as_json)
    document = {"chart": chart, "disclosure": under, "records": count, "here_before": before, "folder": str(into)}

    def render() -> None:
        had = f", of which {before} were here before" if before else ""
        say(f"{counted(count, 'record')} in {into}{had}, under disclosure {under}")

    emit(document, as_json, render)


def _tell_standing(session: Session, chart: int, record: int) -> None:
    """An old version, or one that its patient disputes, is not read without that word."""
    for said in erasure.standing_of(session, chart, record)["sentences"]:
        warn(said)


def _give_out(data: bytes, document: dict[str, Any], output: Path | None, as_json: bool) -> None:
    if output is not None:
        with written_whole(output) as file:
            file.write(data)
        _written(len(data), document, output, as_json)
    elif as_json:
        content = base64.b64encode(data).decode()
        print_json(document | {"bytes": len(data), "file": None, "data": content})
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


def _written(count: int, document: dict[str, Any], output: Path, as_json: bool) -> None:
    emit(
        document | {"bytes": count, "file": str(output)},
        as_json,
        lambda: say(f"{counted(count, 'byte')} written to {output}"),
    )


@app.command()
def amend(
    chart: ChartArgument,
    record: RecordArgument,
    file: Annotated[Path, typer.Argument(help="The new version.")],
    *,
    media_type: MediaTypeOption = None,
    category: StatedCategory = None,
    year: StatedYear = None,
    sensitivity: StatedSensitivity = None,
    custom: CustomOption = False,
    grant: GrantToWriteOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Submit a new version of a record, which is labelled anew. The old one stays, and says so."""
    labels = _stated(category, year, sensitivity) | {"supersedes": str(record)}
    with connect(socket) as session:
        kind = media_type or guess_type(file)
        if file.stat().st_size > WHOLE_BYTES:
            answer = bulk.upload(session, chart, file, kind, grant, custom=custom, quiet=as_json, **labels)
        else:
            answer = session.submit_record(chart, file.read_bytes(), kind, grant, custom=custom, **labels)
    emit(
        answer,
        as_json,
        lambda: say(f"record {answer['records'][0]} amends {record}, final in block {answer['height']}"),
    )


app.command("export")(export.export)
app.command("erase")(erasure.erase)
app.command("erasures")(erasure.erasures)
app.command("dispute")(erasure.dispute)
app.command("show")(erasure.show)


def guess_type(path: Path) -> str:
    """The media type by a file's name; JSON is taken for FHIR."""
    if path.suffix == ".json":
        return FHIR_JSON
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def is_bundle(data: bytes) -> bool:
    """Whether FHIR JSON is a Bundle. Raises `NotFhir` for what is not FHIR JSON."""
    return described(data).category == "Bundle"


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.is_file())
        elif path.is_file():
            yield path
        else:
            raise BadArgument(f"there is no file {path}")
