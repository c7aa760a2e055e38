"""`chartledger group`: names in a wallet for several institutions, so that one permission can be given to all of them.

A group is a list that the patient saw. The ledger gets the list and not the name, and nobody else can make it longer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.choose import NoSuchGroup, find_institution
from node.cli.client import connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import emit, say, table
from node.keystore import find_passphrase
from node.wallet import Wallet
from protocol import limits

app = typer.Typer(no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The group's name in this wallet.")]


@app.command()
def add(
    name: NameArgument,
    institution: Annotated[list[str], typer.Argument(help="Institutions: numbers or names.")],
    *,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a group, or add institutions to one. Permissions that were given before stay as they are."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    if not 1 <= len(name.strip()) <= limits.NAME_BYTES or not name.isprintable():
        raise BadArgument(f"a group's name has 1 to {limits.NAME_BYTES} printable characters", advice="Take another.")
    with connect(socket) as session:
        chain = session.chain()
        known = next((one for one in opened.content.groups if (one.name, one.chain) == (name, chain)), None)
        numbers = {*(known.institutions if known else ()), *(find_institution(session, one) for one in institution)}
        names = session.institutions()
    if len(numbers) > limits.GRANTEES_PER_GRANT:
        raise BadArgument(f"a group has at most {limits.GRANTEES_PER_GRANT} institutions", advice="Make two groups.")
    opened.set_group(name, chain, numbers)
    document = {"group": name, "institutions": sorted(numbers)}
    emit(document, as_json, lambda: say(f"{name}: {', '.join(names[one] for one in sorted(numbers))}"))


@app.command("list")
def list_groups(
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """The groups of the wallet on this chain."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        chain, names = session.chain(), session.institutions()
    found = [one for one in opened.content.groups if one.chain == chain]
    document = [{"group": one.name, "institutions": list(one.institutions)} for one in found]
    rows = [[one.name, ", ".join(names.get(number, str(number)) for number in one.institutions)] for one in found]
    emit(document, as_json, lambda: table(["group", "institutions"], rows, "no groups"))


@app.command()
def remove(
    name: NameArgument,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a group's name. Permissions that were given to its institutions stay."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        chain = session.chain()
    if not any((one.name, one.chain) == (name, chain) for one in opened.content.groups):
        raise NoSuchGroup(f"the wallet has no group called {name!r} on this chain")
    opened.set_group(name, chain, ())
    emit({"group": name}, as_json, lambda: say(f"{name} is no group any more; permissions stay as they were"))
