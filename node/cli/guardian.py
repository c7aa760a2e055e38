"""`chartledger guardian`: people who together can bring a patient's chart back when the wallet is lost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli.choose import ChartArgument
from node.cli.client import Document, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import emit, facts, say, warn, when
from node.cli.signing import submit_owned
from node.keystore import find_passphrase
from node.wallet import Wallet, WalletChart
from node.wallet.acting import guardian_public
from node.wallet.recovery import guardians_set
from protocol import limits
from protocol.types.operations import SetGuardians

app = typer.Typer(no_args_is_help=True)
KEY_BYTES = 32


@app.command()
def key(
    chart: ChartArgument,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """As who is to be a guardian: your key for that chart, to give to its owner."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        public = guardian_public(opened, session.chain(), chart).hex()
    emit({"chart": chart, "key": public}, as_json, lambda: say(public))


@app.command("set")
def set_guardians(
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    keys: Annotated[list[str] | None, typer.Option("--key", help="A guardian's key; repeatable.")] = None,
    threshold: Annotated[int | None, typer.Option("--threshold", help="How many must agree.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Have no guardians any more.")] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the guardians. The first are there at once; whoever takes their place, after the waiting time."""
    public = _keys(keys or [], threshold, none)
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:

        def build(_current: WalletChart, control: Document) -> SetGuardians:
            return guardians_set(chart, control, threshold or 0, public)

        document = submit_owned(session, opened, opened.chart(session.chain(), chart), build)
        document |= _standing(session.control(chart))

    def render() -> None:
        say(f"noted in block {document['height']}")
        _say_standing(document)
        if public and threshold is not None and 2 * threshold <= len(public):
            warn("as many guardians again could undo what these do, and so on for ever: let more than half be needed")

    emit(document, as_json, render)


@app.command()
def show(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """The guardians of a chart, by their keys, and what waits."""
    with connect(socket) as session:
        document = {"chart": chart} | _standing(session.control(chart))
    emit(document, as_json, lambda: _say_standing(document))


def _keys(texts: list[str], threshold: int | None, none: bool) -> list[bytes]:
    if none:
        if texts or threshold is not None:
            raise BadArgument("--none goes with no --key and no --threshold", advice="Give either.")
        return []
    found = set()
    for text in texts:
        try:
            one = bytes.fromhex(text)
        except ValueError:
            one = b""
        if len(one) != KEY_BYTES:
            raise BadArgument("a guardian's key is 64 hex digits", advice="`chartledger guardian key` shows it.")
        found.add(one)
    if len(found) != len(texts):
        raise BadArgument("a guardian's key is named twice", advice="Each guardian has a key of its own.")
    if not texts or threshold is None or not 1 <= threshold <= len(texts) <= limits.GUARDIANS_PER_CHART:
        raise BadArgument(
            f"give 1 to {limits.GUARDIANS_PER_CHART} keys, and a threshold that they can reach",
            advice="For instance --threshold 2 with three --key.",
        )
    return sorted(found)


def _standing(control: Document) -> dict[str, Any]:
    return {"guardians": control["guardians"], "pending": control["pending"]}


def _say_standing(document: Document) -> None:
    guardians, pending = document["guardians"], document["pending"]
    if guardians is None:
        say("no guardians")
    else:
        say(f"{guardians['threshold']} of {len(guardians['keys'])} guardians can move the chart to a new wallet:")
        facts((f"guardian {number}", one) for number, one in enumerate(guardians["keys"]))
    if pending is not None:
        say(f"a change ({pending['kind']}) waits until {when(pending['ready_at'])} UTC")
