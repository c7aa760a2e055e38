"""`chartledger genesis`: the file that a chain starts from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node.cli.exits import BadArgument
from node.cli.options import JsonOption, check_name
from node.cli.output import counted, emit, facts, say, table, when
from node.genesis_file import GenesisFile, read_genesis, write_genesis
from node.institution_keys import read_card
from protocol.consensus.quorum import faults
from protocol.crypto.hashing import chain_id
from protocol.ledger.genesis import check_genesis
from protocol.params import Params
from protocol.types.institutions import Genesis

app = typer.Typer(no_args_is_help=True)


@app.command()
def new(
    cards: Annotated[list[Path], typer.Argument(help="Each institution's institution.json, in order of number.")],
    *,
    name: Annotated[str, typer.Option("--name", help="The network's name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path("genesis.json"),
    follower: Annotated[
        list[int] | None, typer.Option("--follower", help="The number of an institution without a vote; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a genesis from the cards that `node init` wrote. Every institution gets the same file."""
    if output.exists():
        raise BadArgument(f"{output} exists already", advice="Choose another path; a genesis is never overwritten.")
    check_name(name)
    institutions = tuple(read_card(card) for card in cards)
    followers = set(follower or [])
    if not followers <= set(range(len(cards))):
        raise BadArgument(f"--follower names a number that is not between 0 and {len(cards) - 1}")
    authorities = tuple(number for number in range(len(cards)) if number not in followers)
    genesis = Genesis(name, time.time_ns() // 1_000_000, Params(), institutions, authorities)
    check_genesis(genesis)
    write_genesis(output, genesis)
    document = {"genesis": str(output), "chain": chain_id(genesis).hex(), "authorities": list(authorities)}

    def render() -> None:
        say(f"genesis written to {output}; chain {document['chain']}")
        spare = faults(len(authorities))
        limit = f"at most {spare} of them {'fails' if spare == 1 else 'fail'}" if spare else "all of them are up"
        say(f"{counted(len(authorities), 'voting institution')}: the chain goes on while {limit}")

    emit(document, as_json, render)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="The genesis file.")],
    as_json: JsonOption = False,
) -> None:
    """Check a genesis file, and show what it says."""
    genesis = read_genesis(file)
    document = GenesisFile.of(genesis)

    def render() -> None:
        facts([("network", genesis.name), ("chain", document.chain), ("made (UTC)", when(genesis.created_at))])
        rows = (
            [n, one.name, n in genesis.authorities, one.vote_key.hex()[:16]]
            for n, one in enumerate(genesis.institutions)
        )
        table(["number", "institution", "authority", "vote key"], rows)

    emit(document, as_json, render)
