"""`chartledger disclosures`: who looked at a chart, when and why, what was refused; and the accounting the law asks."""

from __future__ import annotations

import csv
import io
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from node.accounting.account import account, six_years_before
from node.accounting.looks import Look, Meaning, in_order, looks, outcome_words, purpose_words, who_words
from node.accounting.render import as_csv, as_html, as_json, harmless
from node.cli.choose import ChartArgument
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.files import write_whole
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, parse_time
from node.cli.output import emit, say, table, tell, when
from node.cli.parts import said_elsewhere
from node.keystore import find_passphrase
from node.owner_details import NOT_OPENED, commitment_text, open_said
from node.wallet import Wallet, WalletChart
from node.wallet.wallet import NoChartSecret
from protocol.crypto.details import Details
from protocol.crypto.tags import CATEGORY
from protocol.errors import ChartledgerError


class Format(StrEnum):
    """How an accounting is written."""

    CSV = "csv"
    JSON = "json"
    HTML = "html"


WRITERS = {Format.CSV: as_csv, Format.JSON: as_json, Format.HTML: as_html}
COLUMNS = ["event", "time (UTC)", "who", "person", "purpose", "grant", "records", "outcome", "why"]


class Read(NamedTuple):
    """All that is known of a chart here: its events, its looks, and what the wallet makes of them."""

    events: list[Document]
    found: list[Look]
    names: dict[int, str]
    custodian: str
    now_ms: int
    meaning: Meaning | None


def disclosures(
    chart: ChartArgument,
    *,
    wallet: Annotated[
        Path | None,
        typer.Option("--wallet", envvar="CHARTLEDGER_WALLET", help="Read what was said to you in confidence with it."),
    ] = None,
    passphrase_file: PassphraseOption = None,
    accounting: Annotated[
        bool, typer.Option("--accounting", help="The accounting of disclosures: grouped, six years back.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="Of the accounting.")] = Format.HTML,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the accounting to this file (mode 0600), not to the terminal.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="A date. Default: six years back.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="A date. Default: now.")] = None,
    addresses: Annotated[
        Path | None,
        typer.Option("--addresses", help='A JSON file with postal addresses by institution: {"1": "…"}.'),
    ] = None,
    socket: SocketOption = SOCKET,
    as_csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the list to a CSV file (mode 0600) too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Who asked to read records of a chart, when, why, under which grant, and what was refused; emergencies first."""
    opened = None if wallet is None else Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        read = read_chart(session, chart, opened)
    if accounting:
        postal = {} if addresses is None else _addresses(addresses)
        from_ms = six_years_before(read.now_ms) if begin is None else parse_time(begin, read.now_ms)
        until_ms = read.now_ms + 1 if until is None else parse_time(until, read.now_ms)
        if until_ms <= from_ms:
            raise BadArgument("the accounting ends before it begins", advice="Give a later --until.")
        made = account(
            chart,
            read.custodian,
            read.found,
            read.events,
            read.names,
            now_ms=read.now_ms,
            from_ms=from_ms,
            until_ms=until_ms,
            addresses=postal,
            meaning=read.meaning,
        )
        _give_out(as_json_document(as_json, form)(made), out)
        return
    listed = in_order(read.found)
    rows = [_row(one) for one in listed]
    if as_csv_file is not None:
        text = io.StringIO()
        csv.writer(text).writerows([COLUMNS, *([_in_csv(cell) for cell in row] for row in rows)])
        write_whole(as_csv_file, text.getvalue().encode(), private=True)
    emit([_document(one) for one in read.found], as_json, lambda: _show(listed, rows))


def as_json_document(as_json: bool, form: Format) -> Any:
    """`--json` is the same as `--format json`, as everywhere."""
    return WRITERS[Format.JSON if as_json else form]


def read_chart(session: Session, chart: int, wallet: Wallet | None) -> Read:
    """A chart's history, and what a wallet of its owner's can read of it. Without the wallet, what was said in
    confidence stays sealed, and kinds of records are not known."""
    ledger = session.chart(chart)
    events = list(session.events(chart))
    names = session.institutions()
    meaning: Meaning | None = None
    opened: dict[int, Details | str] = {}
    if wallet is not None:
        mine = wallet.catch_up(wallet.chart(session.chain(), chart), bytes.fromhex(ledger["owner_key"]))
        meaning = _meaning(wallet, mine, ledger["generation"])
        opened = _said(session, wallet, mine, ledger, events)
    now_ms = session.ledger_now()
    found = looks(events, names, now_ms=now_ms, release_ms=session.release_ms(), meaning=meaning, opened=opened)
    custodian = names.get(ledger["custodian"], f"institution {ledger['custodian']}")
    return Read(events, found, names, custodian, now_ms, meaning)


def _said(
    session: Session, wallet: Wallet, mine: WalletChart, ledger: Document, events: list[Document]
) -> dict[int, Details | str]:
    """What was said in confidence: as the custodian has it if this is its node, the rest from who said it."""
    chart, suite = ledger["chart"], ledger["encryption_suite"]
    versions = [wallet.keys(mine, version) for version in range(mine.version, -1, -1)]
    sealed = {number: [one] for number, one in session.sealed_details(chart).items()} if ledger["held_here"] else {}
    opened = open_said(versions, suite, session.chain(), chart, events, sealed)
    missing = [
        one["number"]
        for one in events
        if commitment_text(one) is not None and opened.get(one["number"], NOT_OPENED) == NOT_OPENED
    ]
    if not missing:
        return opened
    try:
        sealed = said_elsewhere(session, wallet, mine, ledger, missing)
    except ChartledgerError as error:
        tell(f"what was said to you in confidence could not be asked for: {error}")
        return opened
    return opened | open_said(versions, suite, session.chain(), chart, events, sealed)


def _meaning(wallet: Wallet, chart: WalletChart, generation: int) -> Meaning | None:
    try:
        meanings = wallet.meanings(chart, generation)
    except NoChartSecret:  # it came back by guardians, and its secret was not fetched yet
        return None
    return lambda tags: meanings.label(CATEGORY, bytes.fromhex(tags[CATEGORY]))


def _row(look: Look) -> list[object]:
    return [
        look.event,
        when(look.time_ms),
        look.name,
        who_words(look),
        f"{purpose_words(look.purpose)} ({look.purpose})",
        look.grant,
        len(look.records),
        outcome_words(look),
        _why(look),
    ]


def _in_csv(cell: object) -> object:
    """Who asks chooses its own name and words: none of it is run on the patient's machine."""
    return harmless(cell) if isinstance(cell, str) else cell


def _why(look: Look) -> str:
    """The reason given, if it is known; what spoke against it, if it was denied."""
    if look.outcome == "denied":
        return look.sentence
    if look.findings is not None and look.findings.reason:
        return f'{_given(look)}; {look.reviewer} found: "{look.findings.reason}"'
    return _given(look)


def _given(look: Look) -> str:
    if look.said is not None and look.said.reason:
        return f'"{look.said.reason}"'
    return {"none": "", "opened": "", "not delivered": "said in confidence, not here yet"}.get(
        look.details, f"said in confidence, {look.details}"
    )


def _document(look: Look) -> Document:
    found = msgspec.to_builtins(look)
    return found | {
        "said": None if look.said is None else msgspec.structs.asdict(look.said),
        "findings": None if look.findings is None else msgspec.structs.asdict(look.findings),
        "number": look.event,
        "institution_name": look.name,
        "outcome_words": outcome_words(look),
        "purpose_words": purpose_words(look.purpose),
        "who": who_words(look),
    }


def _show(listed: list[Look], rows: list[list[object]]) -> None:
    urgent = [one for one in listed if one.emergency]
    for one in urgent:
        style = "bold red" if one.state in ("overdue", "unjustified") else "bold"
        did = "asked" if one.state in ("denied", "pending", "lapsed") else "read without your permission"
        say(f"Emergency: {one.name} {did} on {when(one.time_ms)} UTC: {outcome_words(one)}.", style)
    table(COLUMNS, rows, "nobody has asked to read this chart")


def _addresses(path: Path) -> dict[int, str]:
    try:
        return {int(number): str(text) for number, text in json.loads(path.read_bytes()).items()}
    except (ValueError, AttributeError):
        raise BadArgument(f"{path} is not a JSON object from institution numbers to addresses") from None


def _give_out(content: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    write_whole(out, content, private=True)
    say(f"{len(content)} bytes written to {out}")
