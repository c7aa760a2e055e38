"""`chartledger record export`: an owner's own copy of a whole chart, through whichever institution's node answers.

Goes on after a crash where it stopped, as all that is written into folders does (`node.cli.bulk`). A record that nobody
gives now is named and left out, and the rest are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli import bulk
from node.cli.choose import ChartArgument
from node.cli.client import Document, Session, connect
from node.cli.exits import ExitCode
from node.cli.files import written_whole
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, progress, say, warn
from node.cli.parts import read_as_owner
from node.keystore import find_passphrase
from node.wallet import Wallet
from protocol.errors import ChartledgerError


def export(
    chart: ChartArgument,
    *,
    into: Annotated[Path, typer.Option("--into", help="A folder; made if it is not there (mode 0700).")],
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Your own copy of every record of a chart that was not erased, each in a file, whoever wrote it.

    At any institution's node. What nobody gives now is named and left out, and the exit code is then 3: again later.
    """
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session, bulk.alone_in(into):
        document = _export(session, opened, chart, into, quiet=as_json)

    def render() -> None:
        had = f", of which {document['here_before']} were here before" if document["here_before"] else ""
        say(f"{counted(document['records'], 'record')} in {into}{had}")
        for one in document["missing"]:
            warn(f"left out record {one['record']}: {one['why']}")

    emit(document, as_json, render)
    if document["missing"]:
        raise typer.Exit(ExitCode.PARTLY)


def _export(session: Session, wallet: Wallet, chart: int, into: Path, *, quiet: bool) -> Document:
    gone = {record for one in session.client.get(f"/v1/charts/{chart}/erasures") for record in one["records"]}
    records = [one["number"] for one in session.events(chart, "records") if one["number"] not in gone]
    before = bulk.records_in(into)
    missing: list[Document] = []
    with progress("reading", len(records), quiet) as step:
        for record in records:
            if record not in before:
                try:
                    found = read_as_owner(session, wallet, chart, record)
                except ChartledgerError as error:
                    if error.code not in ELSEWHERE_TOO:
                        raise
                    missing.append({"record": record, "why": str(error)})
                else:
                    with written_whole(into / bulk.name_of(record, found.media_type)) as file:
                        file.write(found.data)
            step(1)
    count = len(records) - len(missing)
    here = len(before.intersection(records))
    return {"chart": chart, "folder": str(into), "records": count, "here_before": here, "missing": missing}


ELSEWHERE_TOO = frozenset(("nothing-opens", "record-erased", "request-failed", "seal-broken", "too-few-holders"))
"""What is one record's own: the others can still be read."""
