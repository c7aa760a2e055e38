"""`chartledger node`: make a node's keys and settings, and run it.

Loads no terminal library: a running node carries nothing that it does not need.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.exits import BadArgument, ExitCode, report
from node.cli.options import ConfigOption, JsonOption, NodePassphraseOption, check_name, new_passphrase
from node.config import load_config, parse_address
from node.genesis_file import read_genesis
from node.keystore import KeyfileRefused, find_passphrase, open_keystore, write_keystore
from node.logs import configure_logs, log_unhandled
from node.storage.journal import Journal, Owner
from protocol.crypto.hashing import chain_id
from protocol.errors import ChartledgerError

if TYPE_CHECKING:
    from node.app import Node

app = typer.Typer(no_args_is_help=True)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The node's folder; made if it is not there.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="The institution's name (first step).")] = None,
    genesis: Annotated[Path | None, typer.Option("--genesis", help="The chain's genesis file (second step).")] = None,
    listen: Annotated[str, typer.Option("--listen", help="host:port for the other nodes.")] = "127.0.0.1:7650",
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Where the local socket will be. Default: in the node's folder.")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--number", help="The institution's number, if it was accredited later.", min=0)
    ] = None,
    members: Annotated[
        Path | None,
        typer.Option("--members", help="members.json of a running node's data folder, if certificates have changed."),
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option("--peer", help="NUMBER=host:port of another institution's node; repeatable.")
    ] = None,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a node, in two steps.

    First, with --name: draws the keys and writes institution.json, the public card. Whoever makes the genesis
    collects the cards. Then, with --genesis: writes node.toml and the empty journal of votes, ready to run. An
    institution that was accredited later is not in the genesis: it gives --number.
    """
    keystore, card = folder / "keystore", folder / "institution.json"
    if genesis is None:
        if name is None:
            raise BadArgument("a new node needs a name", advice='Give it with --name "St. Anna Hospital".')
        check_name(name)
        _make_keys(folder, keystore, card, name, passphrase_file)
        _tell({"keystore": str(keystore), "card": str(card)}, as_json)
        return
    from node.institution_keys import read_card  # noqa: PLC0415 - `node run` needs none of it
    from node.membership import read_members  # noqa: PLC0415 - only here

    own = _own_number(keystore, card, genesis, number)
    config = folder / "node.toml"
    if config.exists():
        raise KeyfileRefused(f"{config} exists already", advice="Edit it, or move it away first.")
    origin = read_genesis(genesis)
    peers = _peers(peer or [], own)
    known = None if members is None else read_members(members)
    _write_config(config, own, genesis, listen, peers, socket)
    try:
        data = load_config(config).data
        Journal.create(data, Owner(chain_id(origin), read_card(card).vote_key))
        if known is not None:
            known.write(data)
    except ChartledgerError:
        config.unlink()  # so that the command can be given again, mended
        raise
    _tell({"institution": own, "config": str(config)}, as_json)


@app.command()
def run(config: ConfigOption, passphrase_file: NodePassphraseOption = None) -> None:
    """Run the node until it is told to stop (SIGTERM, or Ctrl-C)."""
    settings = load_config(config)
    keystore = open_keystore(settings.keystore, find_passphrase(settings, passphrase_file))
    configure_logs(settings.log_level, settings.log_format, settings.log_file)
    from node.app import Node  # noqa: PLC0415 - `node init` needs none of it

    asyncio.run(_run(Node(settings, keystore)))


@app.command()
def rebuild(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Drop this node's copy of the chain, so that it is fetched again from the other institutions.

    For a copy that `doctor` found damaged. The node must be stopped. What only this node has stays: its outbox, its
    journal, and the keys of its records.
    """
    settings = load_config(config)
    asyncio.run(_rebuild(settings.data))
    _tell({"rebuilt": str(settings.data), "next": "start the node: it catches up by itself"}, as_json)


async def _rebuild(data: Path) -> None:
    from node.storage.folder import DataFolder  # noqa: PLC0415 - only here
    from node.storage.ledger_store import LedgerStore  # noqa: PLC0415 - only here

    file = data / "ledger.db"
    if not file.exists():
        raise BadArgument(f"there is no ledger in {data}", advice="Start the node: it makes one.")
    folder = DataFolder.open(data)
    try:
        store = await LedgerStore.open(file)
        try:
            await store.forget_chain()
        finally:
            await store.close()
    finally:
        folder.close()


async def _run(node: Node) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await node.start()
    told = asyncio.ensure_future(stop.wait())
    failed = asyncio.ensure_future(node.failed())
    try:
        await asyncio.wait({told, failed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        await node.stop()
    if failed.done():
        error = failed.exception()
        if isinstance(error, ChartledgerError):  # a full disk for a minute is no reason to stay down
            report(error)
            raise typer.Exit(ExitCode.STOPPED)
        failed.result()
    failed.cancel()


def _make_keys(folder: Path, keystore: Path, card: Path, name: str, passphrase_file: Path | None) -> None:
    from node.institution_keys import new_institution, write_card  # noqa: PLC0415 - `node run` needs none of it

    if keystore.exists():
        raise KeyfileRefused(f"{keystore} exists already", advice="Choose another folder; keys are never overwritten.")
    made = new_institution(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_keystore(keystore, made.keystore, new_passphrase(passphrase_file))
    write_card(card, made.public)


def _own_number(keystore: Path, card: Path, genesis: Path, given: int | None) -> int:
    from node.institution_keys import read_card  # noqa: PLC0415 - `node run` needs none of it

    if not keystore.exists():
        raise KeyfileRefused(
            f"there is no keystore in {keystore.parent}", advice="Give --name first, without --genesis."
        )
    mine = read_card(card)
    for number, one in enumerate(read_genesis(genesis).institutions):
        if one == mine:
            if given not in (None, number):
                raise BadArgument(f"{genesis} has this institution as number {number}", advice="Leave --number away.")
            return number
    if given is not None:
        return given
    raise BadArgument(
        f"{genesis} does not hold this institution",
        advice=f"Send {card} to whoever makes the genesis, or, if it was accredited later, give its --number.",
    )


def _peers(given: list[str], own: int) -> dict[int, str]:
    found = {}
    for text in given:
        number, _, address = text.partition("=")
        if not number.isdecimal():
            raise BadArgument(f"{text!r} is not NUMBER=host:port")
        if int(number) == own:
            raise BadArgument(f"institution {number} is this one", advice="A node is no peer of its own.")
        parse_address(address)
        found[int(number)] = address
    return found


def _write_config(
    config: Path, number: int, genesis: Path, listen: str, peers: dict[int, str], socket: Path | None
) -> None:
    parse_address(listen)
    others = "".join(f'{n} = "{address}"\n' for n, address in sorted(peers.items()))
    at = "" if socket is None else f"socket = {_quoted(socket)}\n"
    config.write_text(
        "# Every setting is explained in configs/node.toml; what is not named here has its default.\n"
        f'institution = {number}\ngenesis = {_quoted(genesis)}\nlisten = "{listen}"\n{at}\n'
        f"# host:port of each other institution's node\n[peers]\n{others}"
    )


def _quoted(path: Path) -> str:
    """A path, absolute, as a string of TOML."""
    return '"' + str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tell(document: dict[str, object], as_json: bool) -> None:
    from msgspec import json  # noqa: PLC0415 - small, but only here

    if as_json:
        typer.echo(json.format(json.encode(document), indent=2).decode())
    else:
        for name, value in document.items():
            typer.echo(f"{name}: {value}")
