"""`chartledger delegate`: a parent, partner or carer who may act for the patient, within bounds and until a day."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from node.cli.choose import (
    CategoryOption,
    ChartArgument,
    CustomOption,
    FromOption,
    PurposeOption,
    SensitivityOption,
    YearOption,
    known_labels,
    read_end,
    read_labels,
    read_purposes,
    with_those_below,
)
from node.cli.client import Document, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption, parse_time
from node.cli.output import emit, say, table, when
from node.cli.signing import submit_delegated, submit_owned
from node.keystore import find_passphrase
from node.wallet import Wallet, WalletChart
from node.wallet import consent as making
from node.wallet.acting import delegate_card, read_card
from node.wallet.consent import ACTS, DelegateWish
from protocol.types.operations import Delegate, EndDelegate

app = typer.Typer(no_args_is_help=True)


@app.command()
def key(
    chart: ChartArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the card.")],
    *,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """As who is to act for somebody else: make a card with your key for that chart, and give it to the owner."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        card = delegate_card(opened, session.chain(), chart)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    document = {"chart": chart, "key": card.key, "file": str(output)}
    emit(document, as_json, lambda: say(f"card written to {output}; its key begins with {card.key[:16]}"))


@app.command()
def add(
    chart: ChartArgument,
    card: Annotated[Path, typer.Option("--card", help="The card that the delegate made.")],
    act: Annotated[
        list[str], typer.Option("--act", help="What the delegate may do: grant, revoke or read; repeatable.")
    ],
    *,
    wallet: WalletOption,
    until: Annotated[str | None, typer.Option("--until", help="When it ends: a date, or 30d from now.")] = None,
    until_age: Annotated[int | None, typer.Option("--until-age", help="It ends when the patient is so old.")] = None,
    born: Annotated[str | None, typer.Option("--born", help="The patient's birthday, for --until-age.")] = None,
    category: CategoryOption = None,
    year: YearOption = None,
    sensitivity: SensitivityOption = None,
    custom: CustomOption = False,
    purpose: PurposeOption = None,
    begin: FromOption = "0m",
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let somebody act for you, within bounds: kinds of records, years, sensitivities, purposes, and an end."""
    unknown = sorted(set(act) - set(ACTS))
    if unknown:
        raise BadArgument(f"{unknown[0]!r} is nothing that a delegate can do", advice=f"There are: {', '.join(ACTS)}.")
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    purposes = read_purposes(purpose)
    with connect(socket) as session:
        labels = read_labels(category, year, sensitivity, None if custom else known_labels(session, opened))
        now = session.ledger_now()
        begins, ends = parse_time(begin, now), read_end(until, until_age, born, now)
        who = read_card(card.read_bytes(), session.chain(), chart)
        wish = DelegateWish(
            bytes.fromhex(who.key),
            who.encryption_suite,
            who.encryption_key,
            sum(ACTS[one] for one in set(act)),
            labels,
            purposes,
            begins,
            ends,
        )

        def build(current: WalletChart, control: Document) -> Delegate:
            return making.delegation(opened, current, control["generation"], wish)

        document = submit_owned(session, opened, opened.chart(session.chain(), chart), build)
    document["until_ms"] = ends

    def render() -> None:
        say(f"delegate {document['delegate']} is named since block {document['height']}, until {when(ends)} UTC")
        say(f"may {', '.join(sorted(set(act)))}, for {with_those_below(purposes)}")

    emit(document, as_json, render)


@app.command("list")
def list_delegates(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """Who may act for the owner of a chart, and who might."""
    with connect(socket) as session:
        found = session.control(chart)["delegates"]
    columns = ["delegate", "state", "may", "purposes", "from", "until", "key"]
    rows = (
        [
            one["delegate"],
            one["state"],
            one["acts"],
            one["purposes"],
            when(one["not_before"]),
            when(one["not_after"]),
            one["key"][:16],
        ]
        for one in found
    )
    emit(found, as_json, lambda: table(columns, rows, "no delegates"))


@app.command()
def end(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="DELEGATE", help="The delegate's number.", min=0)],
    *,
    wallet: WalletOption,
    as_delegate: Annotated[bool, typer.Option("--as-delegate", help="You are that delegate, and resign.")] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a delegate. Permissions that it gave stay until they are revoked."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        if as_delegate:
            document = submit_delegated(session, opened, chart, lambda _mine, _control: EndDelegate(chart, number))
        else:
            own = opened.chart(session.chain(), chart)
            document = submit_owned(session, opened, own, lambda _chart, _control: EndDelegate(chart, number))

    def render() -> None:
        say(f"delegate {number} has ended, as of block {document['height']}")
        say("permissions that it gave stay: `chartledger grants` lists them")

    emit(document, as_json, render)
