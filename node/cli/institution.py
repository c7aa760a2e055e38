"""`chartledger institution`: ask a consortium to be accredited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.application_file import write_application
from node.cli.exits import BadArgument
from node.cli.options import JsonOption, NodePassphraseOption, check_name, new_passphrase
from node.cli.output import emit, facts, prose, say
from node.genesis_file import read_genesis
from node.institution_keys import new_institution, read_card, write_card
from node.keystore import KeyfileRefused, find_passphrase, open_keystore, write_keystore
from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import SigningKey, apply_as

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _institution() -> None:
    """Makes `apply` a command of its own, where more may follow."""


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(help="The node's folder; made if it is not there.")],
    *,
    genesis: Annotated[Path, typer.Option("--genesis", help="The chain's genesis file.")],
    out: Annotated[Path, typer.Option("--out", help="The application, to be given to an authority.")],
    name: Annotated[str | None, typer.Option("--name", help="The institution's name, for new keys.")] = None,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an application for a running chain, with keys made here (--name) or by `chartledger node init --name`.

    An authority moves it with `chartledger motion propose accredit`. When that has passed, it knows the number to give
    to `chartledger node init FOLDER --genesis FILE --number NUMBER`.
    """
    keystore, card = folder / "keystore", folder / "institution.json"
    chain = chain_id(read_genesis(genesis))
    if out.exists():
        raise BadArgument(f"{out} exists already", advice="Name another file with --out.")
    if not keystore.exists():
        if name is None:
            raise BadArgument(f"there are no keys in {folder} yet", advice='Make them with --name "St. Anna Hospital".')
        check_name(name)
        passphrase = new_passphrase(passphrase_file)
        made = new_institution(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_keystore(keystore, made.keystore, passphrase)
        write_card(card, made.public)
        held, public = made.keystore, made.public
    else:
        public = read_card(card)
        if name not in (None, public.name):
            raise BadArgument(f"the keys in {folder} were made for {public.name}", advice="Leave --name away.")
        held = open_keystore(keystore, find_passphrase(None, passphrase_file)).keystore
    signing = [SigningKey(seed) for seed in held.operations]
    if not held.votes or tuple(key.public for key in signing) != public.operation_keys:
        raise KeyfileRefused(
            f"{keystore} does not hold the keys of {card}", advice="Apply from a new folder, with new keys."
        )
    application = apply_as(chain, public, signing, SigningKey(held.votes[-1]))
    write_application(out, application, chain)
    document = {
        "application": str(out),
        "name": public.name,
        "chain": chain.hex(),
        "operation_keys": [key.hex() for key in public.operation_keys],
        "vote_key": public.vote_key.hex(),
        "encryption_key": public.encryption_key.hex(),
    }

    def render() -> None:
        say(f"application written: {out}")
        facts(
            [
                *((f"operations key {n}", key) for n, key in enumerate(document["operation_keys"])),
                ("vote key", document["vote_key"]),
                ("encryption key", document["encryption_key"]),
            ]
        )
        prose(
            "Give it to the operators of an authority. Read them these keys over the telephone, too: whoever swaps the "
            "file on its way would be accredited in your name."
        )

    emit(document, as_json, render)
