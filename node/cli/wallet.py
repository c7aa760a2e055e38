"""`chartledger wallet`: make, back up, restore and show a wallet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.client import Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, new_passphrase
from node.cli.output import emit, facts, print_json, say, table, when
from node.keystore import KeyfileRefused, find_passphrase, read_private
from node.wallet import Wallet, WalletChart
from node.wallet.acting import NotADelegate, delegacy, guardian_public
from node.wallet.backup import TooFewShares, combine_shares, make_shares, threshold_of
from node.wallet.file import DELEGATE
from protocol.crypto.wallet import entropy_from_words, words_from_entropy

app = typer.Typer(no_args_is_help=True)
GAP = 5
"""How many unused derivations in a row end the search for a restored wallet's charts."""
WORDS_BYTES = 16 * 1024

FileArgument = Annotated[Path, typer.Argument(help="The wallet file.")]


@app.command()
def new(file: FileArgument, passphrase_file: PassphraseOption = None, as_json: JsonOption = False) -> None:
    """Make a wallet, and show once the 24 words that bring it back."""
    if file.exists():
        raise KeyfileRefused(f"{file} exists already", advice="Choose another path; a wallet is never overwritten.")
    wallet = Wallet.create(file, new_passphrase(passphrase_file))
    words = words_from_entropy(wallet.seed)

    def render() -> None:
        say(f"wallet made: {file}")
        _show_words(words)

    emit({"wallet": str(file), "words": words}, as_json, render)


@app.command()
def backup(
    file: FileArgument,
    *,
    shares: Annotated[int | None, typer.Option("--shares", help="Make so many shares instead of 24 words.")] = None,
    threshold: Annotated[int | None, typer.Option("--threshold", help="How many shares bring it back.")] = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what brings the wallet back: its 24 words, or shares (SLIP-39) of which some are enough and fewer useless.

    Each backup by shares makes a set of its own; shares of two sets do not go together.
    """
    if (shares is None) != (threshold is None):
        raise BadArgument("--shares and --threshold go together", advice="For instance --shares 3 --threshold 2.")
    wallet = Wallet.open(file, find_passphrase(None, passphrase_file))
    if shares is None or threshold is None:
        words = words_from_entropy(wallet.seed)
        emit({"wallet": str(file), "words": words}, as_json, lambda: _show_words(words))
        return
    made = make_shares(wallet.seed, shares, threshold)

    def render() -> None:
        say(f"Write each of these {shares} shares on a paper of its own, and keep them at different places.")
        say(f"Any {threshold} of them bring the wallet back; fewer tell nothing.")
        for number, share in enumerate(made, 1):
            say(f"share {number}", "bold")
            _show_columns(share.split())

    emit({"wallet": str(file), "shares": made, "threshold": threshold}, as_json, render)


@app.command()
def restore(
    file: FileArgument,
    *,
    by_shares: Annotated[bool, typer.Option("--shares", help="From shares, one a line, instead of 24 words.")] = False,
    words_file: Annotated[
        Path | None,
        typer.Option("--words-file", help="A file, mode 0600, with the words or shares. Without it you are asked."),
    ] = None,
    custodian: Annotated[
        list[int] | None, typer.Option("--custodian", help="Look for charts at this institution; repeatable.")
    ] = None,
    socket: SocketOption = SOCKET,
    offline: Annotated[bool, typer.Option("--offline", help="Do not look for charts on the ledger.")] = False,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a wallet again from its words or shares, and find its charts on the ledger."""
    seed = combine_shares(_shares(words_file)) if by_shares else entropy_from_words(_words(words_file))
    wallet = Wallet.create(file, new_passphrase(passphrase_file), seed)
    if not offline:
        try:
            with connect(socket) as session:
                find_charts(session, wallet, custodian)
        except BaseException:  # Ctrl-C among them: half of the charts would look like all of them
            file.unlink()  # the words are at hand, and the command can be given again
            raise
    document = {"wallet": str(file), "charts": _charts(wallet)}

    def render() -> None:
        say(f"wallet restored: {file}, {len(wallet.content.charts)} charts found")
        for chart in wallet.content.charts:
            if chart.recovered and chart.secret is None:
                say(f"chart {chart.number} was recovered: run `chartledger recovery complete {chart.number}` at its "
                    "custodian's socket")  # fmt: skip

    emit(document, as_json, render)


@app.command()
def show(
    file: FileArgument,
    words: Annotated[bool, typer.Option("--words", help="Show the 24 words too.")] = False,
    ask: Annotated[
        bool, typer.Option("--ledger", help="Ask the node how each of them stands; it learns which you ask about.")
    ] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """All charts of the wallet, at whatever institution, and whom it may act for."""
    wallet = Wallet.open(file, find_passphrase(None, passphrase_file))
    acting = [
        {"chart": one.chart, "chain": one.chain.hex(), "as": "delegate" if one.role == DELEGATE else "guardian"}
        for one in wallet.content.acting
    ]
    if ask:
        with connect(socket) as session:
            acting = [one | {"stands": _standing(session, wallet, one)} for one in acting]
    document: dict[str, Any] = {"wallet": str(file), "charts": _charts(wallet), "acts_for": acting}
    if words:
        document["words"] = words_from_entropy(wallet.seed)
    if as_json:
        print_json(document)
        return
    columns = ["chart", "custodian", "chain", "owner key", "keys rotated", "recovered"]
    table(
        columns,
        (
            [c["chart"], c["custodian"], c["chain"][:16], c["owner_key"][:16], c["version"], c["recovered"]]
            for c in document["charts"]
        ),
        "no charts yet",
    )
    if acting:
        say("keys to act for others" + (":" if ask else "; --ledger asks whether they named this wallet:"))
        columns = ["chart", "chain", "as", *(["stands"] if ask else [])]
        rows = ([one["chart"], str(one["chain"])[:16], one["as"], one.get("stands")] for one in acting)
        table(columns, (row[: len(columns)] for row in rows))
    if words:
        facts([("words", document["words"])])


def _standing(session: Session, wallet: Wallet, one: dict[str, Any]) -> str:
    """How what a wallet has a key for stands on the ledger, in words."""
    chain = session.chain()
    if one["chain"] != chain.hex():
        return "on another chain"
    control = session.control(one["chart"])
    if one["as"] == "delegate":
        try:
            mine = delegacy(wallet, chain, control)
        except NotADelegate:
            return "not named"
        return f"{mine['state']}: may {', '.join(mine['acts'])} until {when(mine['not_after'])} UTC"
    guardians = control["guardians"]
    if guardians is None or guardian_public(wallet, chain, one["chart"]).hex() not in guardians["keys"]:
        return "not named"
    return f"one of {len(guardians['keys'])}, of whom {guardians['threshold']} must agree"


def find_charts(session: Session, wallet: Wallet, custodians: list[int] | None) -> None:
    """Ask the node for each key that this seed would have used; it learns those keys, as docs/threat-model.md says."""
    chain = session.chain()
    for custodian in custodians if custodians is not None else session.institutions():
        index = unused = 0
        while unused < GAP:
            unused = 0 if _find_chart(session, wallet, WalletChart(chain, custodian, index)) else unused + 1
            index += 1


def _find_chart(session: Session, wallet: Wallet, place: WalletChart) -> bool:
    """Whether this derivation was ever used; noted if the chart is the wallet's now, at whatever version."""
    first = wallet.owner_keys(place)
    ledger = session.chart_named_for(first.owner_key)
    if ledger is None:
        return False
    version = wallet.version_of(place, bytes.fromhex(ledger["owner_key"]))
    if version is not None:
        opening = next(session.events(ledger["chart"]))
        recovered = opening["encryption_key"] != first.encryption_key.hex()
        wallet.found(place.chain, place.custodian, place.index, ledger["chart"], version=version, recovered=recovered)
    return True


def _words(file: Path | None) -> str:
    if file is not None:
        return read_private(file, WORDS_BYTES).decode(errors="replace")
    if sys.stdin.isatty():
        typed: str = typer.prompt("The 24 words", hide_input=True)
        return typed
    return sys.stdin.readline()


def _shares(file: Path | None) -> list[str]:
    """One share a line: from the file, from standard input, or asked for until there are enough."""
    if file is not None or not sys.stdin.isatty():
        text = sys.stdin.read(WORDS_BYTES) if file is None else read_private(file, WORDS_BYTES).decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]
    shares: list[str] = []
    while not shares or len(shares) < threshold_of(shares[0]):
        line: str = typer.prompt(f"Share {len(shares) + 1}", hide_input=True, default="", show_default=False)
        if not line.strip():
            raise TooFewShares("the shares ended before there were enough")
        shares.append(line)
    return shares


def _show_words(words: str) -> None:
    say("Write these 24 words on paper, in this order. Whoever has them is you:")
    _show_columns(words.split())


def _show_columns(words: list[str]) -> None:
    cells = [f"{number:2} {word}" for number, word in enumerate(words, 1)]
    cells += [""] * (-len(cells) % 4)
    table(["", "", "", ""], (cells[row : row + 4] for row in range(0, len(cells), 4)))


def _charts(wallet: Wallet) -> list[dict[str, Any]]:
    return [
        {
            "chart": chart.number,
            "custodian": chart.custodian,
            "chain": chart.chain.hex(),
            "owner_key": wallet.keys(chart).signing_key().public.hex(),
            "version": chart.version,
            "recovered": chart.recovered,
        }
        for chart in wallet.content.charts
    ]
