"""`chartledger proof`: writes the files that `chartledger verify` checks, one for each kind of claim."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace
from typer.core import TyperGroup

from node.cli.client import Session, connect
from node.cli.exits import BadArgument
from node.cli.files import write_whole
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption
from node.cli.output import emit, say
from node.cli.parts import read_as_owner
from node.cli.proof import read_checkpoint
from node.cli.qr import TERMINAL, write_qr
from node.keystore import find_passphrase
from node.wallet import Wallet
from protocol.errors import ChartledgerError
from protocol.proofs import bundle, field
from protocol.proofs.history import HistoryProof


class _Kinds(TyperGroup):
    """`chartledger proof 3 1` means `chartledger proof record 3 1`, which it was before there were other kinds."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["record", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(no_args_is_help=True, cls=_Kinds)
ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the proof.")]
QrOption = Annotated[
    str | None,
    typer.Option("--qr", help="Write it as QR code(s) to a .svg or .png, as its text to a .txt; - prints it."),
]
CheckpointOption = Annotated[
    Path | None, typer.Option("--checkpoint", help="Leave out the epochs before this: its holder knows them.")
]
OwnerOption = Annotated[Path | None, typer.Option("--wallet", help="As the owner: open the record with this wallet.")]


@app.command()
def record(
    chart: ChartArgument,
    event: Annotated[int, typer.Argument(help="The event's number, which is also a record's.", min=0)],
    output: OutputOption = None,
    *,
    qr: QrOption = None,
    checkpoint: CheckpointOption = None,
    wallet: OwnerOption = None,
    as_custodian: Annotated[
        bool, typer.Option("--as-custodian", help="As who stores the record: also let it prove the record's bytes.")
    ] = False,
    passphrase_file: PassphraseOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """That an event, a record's above all, stands on the ledger since a time. The record itself is not in it.

    With --wallet or --as-custodian it also shows to who holds the record's bytes that they are those.
    """
    epoch = _epoch(checkpoint)
    with connect(socket) as session:
        if as_custodian:
            data = _ask(session, chart, f"records/{event}", epoch=epoch)
        else:
            data = session.proof(chart, event, epoch)
        if wallet is not None:
            opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
            shown = read_as_owner(session, opened, chart, event).proof
            data = bundle.write(replace(bundle.read_inclusion(data), record=shown))
    _give_out(data, {"chart": chart, "event": event}, output, qr, as_json)


@app.command("field")
def one_field(
    chart: ChartArgument,
    event: Annotated[int, typer.Argument(metavar="RECORD", help="The record's event number.", min=0)],
    pointer: Annotated[str, typer.Argument(help="The field, as a JSON pointer: /occurrenceDateTime.")],
    output: OutputOption = None,
    *,
    qr: QrOption = None,
    checkpoint: CheckpointOption = None,
    wallet: OwnerOption = None,
    passphrase_file: PassphraseOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """That a record has a value at one place, without the rest of it: a vaccination's date, and nothing else.

    As the owner with --wallet; else as the institution that stores the record.
    """
    epoch = _epoch(checkpoint)
    with connect(socket) as session:
        if wallet is None:
            data = _ask(session, chart, f"records/{event}/field", epoch=epoch, pointer=pointer)
        else:
            opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
            own = read_as_owner(session, opened, chart, event)
            shown = field.open_field(own.data, own.opening, pointer)
            data = bundle.write(field.prove(bundle.read_inclusion(session.proof(chart, event, epoch)), shown))
    document = {"chart": chart, "record": event, "pointer": pointer}
    _give_out(data, document, output, qr, as_json, private=True)


@app.command()
def history(
    chart: ChartArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the proof.")],
    *,
    first: Annotated[int, typer.Option("--first", help="The number of the event to begin with.", min=0)] = 0,
    checkpoint: CheckpointOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """That this is all that ever happened to a chart: nothing left out, moved or put in.

    A very long history comes in parts, FILE, FILE.2 and so on. Each is checked by itself and says what it shows.
    """
    epoch = _epoch(checkpoint)
    files: list[dict[str, Any]] = []
    with connect(socket) as session:
        while True:
            data = _ask(session, chart, "history", epoch=epoch, first=first)
            part = bundle.read_as(HistoryProof, data)
            path = output if not files else output.with_name(f"{output.name}.{len(files) + 1}")
            write_whole(path, data, private=False)
            end = first + len(part.events)
            files.append({"file": str(path), "bytes": len(data), "first": first, "events": len(part.events)})
            if not part.after:
                break
            first = end

    def render() -> None:
        for one in files:
            last = one["first"] + one["events"] - 1
            say(f"proof of events {one['first']} to {last} written to {one['file']}, {one['bytes']} bytes")

    emit({"chart": chart, "files": files}, as_json, render)


@app.command()
def grant(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="GRANT", help="The grant's number.", min=0)],
    output: OutputOption = None,
    *,
    institution: Annotated[
        int | None, typer.Option("--institution", help="For whom. Default: whom it is given to, if only to one.", min=0)
    ] = None,
    record: Annotated[
        int | None, typer.Option("--record", help="As to reading this record, by all the rules.", min=0)
    ] = None,
    height: Annotated[int | None, typer.Option("--height", help="At this block, instead of now.", min=1)] = None,
    qr: QrOption = None,
    checkpoint: CheckpointOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """That a grant was in force or was not, now or at an earlier block, and if not why not.

    At an earlier block the proof carries the chart's history up to then, since nothing else remembers it.
    """
    if record is not None and height is not None:
        raise BadArgument("a proof at an earlier block is of the grant as a whole", advice="Leave out --record.")
    epoch = _epoch(checkpoint)
    asked = {"record": record, "height": height}
    with connect(socket) as session:
        if institution is None:
            institution = _only_grantee(session, chart, number)
        asked["institution"] = institution
        named = {name: value for name, value in asked.items() if value is not None}
        data = _ask(session, chart, f"grants/{number}", epoch=epoch, **named)
    _give_out(data, {"chart": chart, "grant": number, **asked}, output, qr, as_json)


@app.command()
def erasure(
    chart: ChartArgument,
    event: Annotated[int, typer.Argument(metavar="ERASURE", help="The erasure's event number.", min=0)],
    output: OutputOption = None,
    *,
    qr: QrOption = None,
    checkpoint: CheckpointOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Who acknowledged an erasure, who did not, and who never will."""
    with connect(socket) as session:
        data = _ask(session, chart, f"erasures/{event}", epoch=_epoch(checkpoint))
    _give_out(data, {"chart": chart, "erasure": event}, output, qr, as_json)


@app.command()
def block(
    height: Annotated[int | None, typer.Argument(help="Its height. Default: the last final block.", min=1)] = None,
    output: OutputOption = None,
    *,
    qr: QrOption = None,
    checkpoint: CheckpointOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """That a block is final."""
    with connect(socket) as session:
        data = session.final_proof(_epoch(checkpoint), height)
    _give_out(data, {"height": height}, output, qr, as_json)


def _ask(session: Session, chart: int, what: str, **query: Any) -> bytes:
    return session.client.read(f"/v1/proofs/charts/{chart}/{what}", **query)


def _epoch(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else read_checkpoint(checkpoint).header.epoch


def _only_grantee(session: Session, chart: int, number: int) -> int | None:
    try:
        found = session.client.get(f"/v1/charts/{chart}/grants/{number}")
    except ChartledgerError as error:
        if error.code in {"unknown-grant", "unknown-chart"}:
            return None  # that there is no such grant is for nobody in particular
        raise
    grantees = found["grantees"]
    if len(grantees) != 1:
        listed = ", ".join(map(str, grantees))
        raise BadArgument(f"the grant is given to institutions {listed}", advice="Name one with --institution.")
    return int(grantees[0])


def _give_out(
    data: bytes,
    document: dict[str, Any],
    output: Path | None,
    qr: str | None,
    as_json: bool,
    *,
    private: bool = False,
) -> None:
    """Write what was asked for and say how large it is. `private`: it holds something of a record."""
    if output is None and qr is None:
        raise BadArgument("nothing says where the proof is to go", advice="Give --output FILE, or --qr FILE.")
    if as_json and qr == TERMINAL:
        raise BadArgument("a QR code on the terminal and JSON do not go together", advice="Give --qr a file's name.")
    if output is not None:
        write_whole(output, data, private=private)
    codes = [] if qr is None else write_qr(data, qr, private=private)
    document |= {"file": None if output is None else str(output), "bytes": len(data), "qr": codes}

    def render() -> None:
        if output is not None:
            say(f"proof written to {output}, {len(data)} bytes")
        if qr is not None:
            what = "a QR code" if len(codes) == 1 else f"{len(codes)} QR codes, to be scanned one by one in any order"
            say(f"proof of {len(data)} bytes as {what}{'' if qr == TERMINAL else ': ' + ', '.join(codes)}")

    emit(document, as_json, render)
