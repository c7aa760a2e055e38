"""The options that many commands share, and how a date or a wallet is read from them."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from node.cli.exits import BadArgument
from node.keystore import NoPassphrase, find_passphrase
from protocol import limits

SOCKET = Path("/run/chartledger/chartledger.sock")

SocketOption = Annotated[
    Path, typer.Option("--socket", envvar="CHARTLEDGER_SOCKET", help="The node's local socket.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WalletOption = Annotated[Path, typer.Option("--wallet", envvar="CHARTLEDGER_WALLET", help="The wallet file.")]
FIRST_LINE_HELP = "A file, mode 0600, whose first line is the passphrase. Without it you are asked."
# Two variables: a patient's and a node's passphrase are never the same, also where one shell acts for both.
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", envvar="CHARTLEDGER_WALLET_PASSPHRASE_FILE", help=FIRST_LINE_HELP),
]
NodePassphraseOption = Annotated[
    Path | None, typer.Option("--passphrase-file", envvar="CHARTLEDGER_PASSPHRASE_FILE", help=FIRST_LINE_HELP)
]
SuiteOption = Annotated[
    int, typer.Option("--suite", help="1: ML-KEM-768 with X25519, post-quantum; 2: X25519 alone.", min=1, max=2)
]
ConfigOption = Annotated[Path, typer.Option("--config", envvar="CHARTLEDGER_CONFIG", help="The node's settings.")]

DIGITS = 6
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now_ms: int) -> int:
    """Milliseconds of ledger time for a date (its first instant), a date and time, or "30d" from `now_ms`.

    Times without an offset are UTC, as all times on the ledger. Raises `BadArgument`.
    """
    if text.isascii() and text[:-1].isdecimal() and text[-1:] in _UNITS:
        if len(text) > DIGITS + 1:
            raise BadArgument(f"{text!r} is further away than any date", advice="Write fewer digits, or a date.")
        return now_ms + int(timedelta(**{_UNITS[text[-1]]: int(text[:-1])}).total_seconds() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadArgument(
            f"{text!r} is not a time", advice='Write "2027-01-31", "2027-01-31T12:00", or "30d" for 30 days from now.'
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.timestamp() < 0:
        raise BadArgument(f"{text!r} is before 1970, where ledger time begins", advice="Write a later date.")
    return int(moment.timestamp() * 1000)


def check_name(name: str) -> None:
    """Whether a name may stand on the ledger. Raises `BadArgument`."""
    if not 1 <= len(name) <= limits.NAME_BYTES or not name.strip() or not name.isprintable():
        raise BadArgument(f"a name has 1 to {limits.NAME_BYTES} printable characters", advice="Give it with --name.")


def new_passphrase(file: Path | None, ask: Callable[[str], str] = getpass.getpass) -> bytes:
    """A passphrase to seal something new with: from the file, or asked for twice."""
    first = find_passphrase(None, file, prompt="New passphrase: ", ask=ask)
    if file is None and ask("Repeat it: ").encode() != first:
        raise NoPassphrase("the two passphrases differ", advice="Run the command again.")
    return first
