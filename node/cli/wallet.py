"""`chartledger wallet`: make, restore and show a wallet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.client import connect
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, new_passphrase
from node.cli.output import emit, facts, print_json, say, table
from node.keystore import KeyfileRefused, find_passphrase, read_private
from node.wallet import Wallet
from protocol.crypto.wallet import chart_keys, entropy_from_words, words_from_entropy
from protocol.errors import ChartledgerError

app = typer.Typer(no_args_is_help=True)
GAP = 5
"""How many unused derivations in a row end the search for a restored wallet's charts."""

FileArgument = Annotated[Path, typer.Argument(help="The wallet file.")]


@app.command()
def new(file: FileArgument, passphrase_file: PassphraseOption = None, as_json: JsonOption = False) -> None:
    """Make a wallet, and show once the 24 words that bring it back."""
    if file.exists():
        raise KeyfileRefused(f"{file} exists already", advice="Choose another path; a wallet is never overwritten.")
    wallet = Wallet.create(file, new_passphrase(passphrase_file))
    words = words_from_entropy(wallet.content.seed)

    def render() -> None:
        say(f"wallet made: {file}")
        say("Write these 24 words on paper, in this order. Whoever has them is you:")
        listed = words.split()
        table(["", "", "", ""], ([f"{i + n + 1:2} {listed[i + n]}" for n in range(4)] for i in range(0, 24, 4)))

    emit({"wallet": str(file), "words": words}, as_json, render)


@app.command()
def restore(
    file: FileArgument,
    *,
    words_file: Annotated[
        Path | None,
        typer.Option("--words-file", help="A file, mode 0600, with the 24 words. Without it you are asked."),
    ] = None,
    custodian: Annotated[
        list[int] | None, typer.Option("--custodian", help="Look for charts at this institution; repeatable.")
    ] = None,
    socket: SocketOption = SOCKET,
    offline: Annotated[bool, typer.Option("--offline", help="Do not look for charts on the ledger.")] = False,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the wallet of 24 words again, and find its charts on the ledger."""
    if words_file is not None:
        words = read_private(words_file, 4096).decode(errors="replace")
    else:
        words = typer.prompt("The 24 words", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    seed = entropy_from_words(words)
    wallet = Wallet.create(file, new_passphrase(passphrase_file), seed)
    if not offline:
        try:
            _find_charts(wallet, socket, custodian)
        except ChartledgerError:
            file.unlink()  # the words are at hand, and the command can be given again
            raise
    document = {"wallet": str(file), "charts": _charts(wallet)}
    emit(document, as_json, lambda: say(f"wallet restored: {file}, {len(wallet.content.charts)} charts found"))


@app.command()
def show(
    file: FileArgument,
    words: Annotated[bool, typer.Option("--words", help="Show the 24 words too.")] = False,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """The wallet's charts."""
    wallet = Wallet.open(file, find_passphrase(None, passphrase_file))
    document: dict[str, Any] = {"wallet": str(file), "charts": _charts(wallet)}
    if words:
        document["words"] = words_from_entropy(wallet.content.seed)
    if as_json:
        print_json(document)
        return
    columns = ["chart", "custodian", "chain", "owner key"]
    table(
        columns,
        ([c["chart"], c["custodian"], c["chain"][:16], c["owner_key"][:16]] for c in document["charts"]),
        "no charts yet",
    )
    if words:
        facts([("words", document["words"])])


def _charts(wallet: Wallet) -> list[dict[str, Any]]:
    return [
        {
            "chart": chart.number,
            "custodian": chart.custodian,
            "chain": chart.chain.hex(),
            "owner_key": wallet.keys(chart).signing_key().public.hex(),
        }
        for chart in wallet.content.charts
    ]


def _find_charts(wallet: Wallet, socket: Path, custodians: list[int] | None) -> None:
    """Ask the node for each key that this seed would have used; it learns those keys, as docs/threat-model.md says."""
    with connect(socket) as client:
        chain = client.chain()
        for custodian in custodians if custodians is not None else client.institutions():
            index, unused = 0, 0
            while unused < GAP:
                key = chart_keys(wallet.content.seed, chain, custodian, index).signing_key().public
                number = client.chart_of_owner(key)
                if number is None:
                    unused += 1
                else:
                    unused = 0
                    wallet.found(chain, custodian, index, number)
                index += 1
