"""`chartledger permit` and `chartledger access permit`: what an institution needs in order to write under a grant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.choose import ChartArgument
from node.cli.client import Document, connect
from node.cli.exits import BadArgument
from node.cli.files import written_whole
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, say
from node.cli.proven import proven_control
from node.keystore import find_passphrase
from node.wallet import Wallet
from node.wallet.permits import write_permit
from node.write_permits import PERMIT_BYTES, WritePermit
from protocol.codec.canonical import decode, encode
from protocol.errors import ChartledgerError, DecodeError


class NotAPermit(ChartledgerError):
    """The file is no write permit."""

    advice = "Ask the patient for the file that `chartledger permit CHART GRANT -o FILE` wrote."


def permit(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="GRANT", help="The grant's number.", min=0)],
    *,
    wallet: WalletOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a file (mode 0600) for the institution, and hand in nothing."),
    ] = None,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an institution that may add records what it needs for it, at its own socket or in a file.

    Make a new one after each revocation, and when your keys changed: the old one ends with that.
    """
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        own, ledger = opened.chart(session.chain(), chart), session.chart(chart)
        # Proven: a node that told of a wider grant than there is would learn what tags mean that it must not know.
        control = proven_control(session, own.chain, chart, whole=True)
        mine = opened.catch_up(own, bytes.fromhex(control["owner_key"]))
        made = write_permit(opened, mine, control, number, ledger["encryption_suite"])
        grantees = next(one["grantees"] for one in control["grants"] if one["grant"] == number)
        if output is None:
            if session.institution() not in grantees:
                raise BadArgument(
                    f"grant {number} is not for the institution at this socket",
                    advice="Use the socket of the institution that is to write, or write a file for it with -o.",
                )
            document = session.hand_in_permit(chart, encode(made))
        else:
            with written_whole(output) as file:
                file.write(encode(made))
            labels = sum(len(listed) for listed in made.tags)
            document = {"chart": chart, "grant": number, "generation": made.generation, "labels": labels}
    document |= {"file": None if output is None else str(output)}

    def render() -> None:
        if output is None:
            _say_taken(document)
        else:
            say(f"written to {output}: the institution takes it in with `chartledger access permit {output}`")

    emit(document, as_json, render)


def take(
    file: Annotated[Path, typer.Argument(help="What `chartledger permit -o` wrote.", exists=True, dir_okay=False)],
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Take in what a patient gave this institution to write with."""
    with file.open("rb") as opened:
        raw = opened.read(PERMIT_BYTES + 1)
    try:
        made = decode(WritePermit, raw, PERMIT_BYTES)
    except DecodeError:
        raise NotAPermit("the file is not a write permit") from None
    with connect(socket) as session:
        document = session.hand_in_permit(made.chart, raw)
    emit(document, as_json, lambda: _say_taken(document))


def _say_taken(document: Document) -> None:
    chart, grant = document["chart"], document["grant"]
    say(f"this institution can write to chart {chart} under grant {grant}, with {counted(document['labels'], 'label')}")
    say(f"`chartledger record submit {chart} FILE --grant {grant}` does")
