"""`chartledger keys`: change the keys of the institution whose node runs here, without stopping it.

Each new key goes into the node's keystore first, then onto the ledger; the node takes it up when that is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from node import rotations
from node.cli.client import Session, connect
from node.cli.exits import BadArgument
from node.cli.options import ConfigOption, JsonOption, NodePassphraseOption, SuiteOption
from node.cli.output import emit, prose, say, table
from node.config import load_config
from node.institution_keys import encryption_digest
from node.keystore import KeystoreFile, find_passphrase, open_keystore
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import MLKEM768_X25519
from protocol.crypto.signing import SigningKey
from protocol.errors import Claimed
from protocol.types.governance import KeyChange, RetireNetworkCertificate, RetireOperationsKey
from protocol.types.institutions import RETIRED_KEY

app = typer.Typer(no_args_is_help=True)
rotate = typer.Typer(no_args_is_help=True, help="Make a new key and put it in force.")
retire = typer.Typer(no_args_is_help=True, help="Take an old key out of force.")
app.add_typer(rotate, name="rotate")
app.add_typer(retire, name="retire")

IndexArgument = Annotated[int, typer.Argument(metavar="INDEX", help="As `chartledger keys show` lists it.", min=0)]


class Own(Struct, frozen=True):
    """This institution's name and keys on the ledger."""

    name: str
    operations: list[bytes]
    vote: bytes
    certificates: list[bytes]
    encryption: bytes


class Here(Struct, frozen=True):
    """The node, its keystore and its data folder."""

    session: Session
    keys: KeystoreFile
    data: Path

    def own(self) -> Own:
        """What the ledger has now. Raises `BadArgument`."""
        number = self.session.institution()
        for one in self.session.client.get("/v1/institutions"):
            if one["number"] == number:
                return Own(
                    name=one["name"],
                    operations=[bytes.fromhex(key) for key in one["operation_keys"]],
                    vote=bytes.fromhex(one["vote_key"]),
                    certificates=[bytes.fromhex(der) for der in one["network_certificates"]],
                    encryption=bytes.fromhex(one["encryption_key"]),
                )
        raise BadArgument(
            f"institution {number} is not on the ledger at this node's height",
            advice="Wait until it has caught up; `chartledger institution apply` is how to be accredited.",
        )


@rotate.command("vote")
def rotate_vote(
    config: ConfigOption, passphrase_file: NodePassphraseOption = None, as_json: JsonOption = False
) -> None:
    """A new vote key, with a new journal. An authority's ends the epoch for all, and counts from the next one on.

    Also the cure for a node that lost its journal: it votes again with the new key.
    """

    def make(here: Here, own: Own, fresh: bool) -> KeyChange:
        return rotations.new_vote_key(here.keys, here.data, here.session.chain(), own.name, own.vote, fresh=fresh)

    then = "The node votes with it from the next epoch on, and then destroys the old one and its journal."
    _tell(_rotate(make, config, passphrase_file), "vote key", then, as_json)


@rotate.command("operations")
def rotate_operations(
    config: ConfigOption, passphrase_file: NodePassphraseOption = None, as_json: JsonOption = False
) -> None:
    """A new operations key, which the node signs with from now on. The old one counts until it is retired."""

    def make(here: Here, own: Own, fresh: bool) -> KeyChange:
        return rotations.new_operations_key(here.keys, here.session.chain(), own.name, own.operations, fresh=fresh)

    then = (
        "Once `chartledger status` shows an empty outbox: `chartledger keys retire operations INDEX` with the old one."
    )
    _tell(_rotate(make, config, passphrase_file), "operations key", then, as_json)


@rotate.command("network")
def rotate_network(
    config: ConfigOption, passphrase_file: NodePassphraseOption = None, as_json: JsonOption = False
) -> None:
    """A new network key and certificate. Peers accept both until the old one is retired."""

    def make(here: Here, own: Own, fresh: bool) -> KeyChange:
        return rotations.new_certificate(here.keys, own.name, own.certificates, fresh=fresh)

    then = "Once `chartledger peers` shows that all peers have this height: `chartledger keys retire network INDEX`."
    _tell(_rotate(make, config, passphrase_file), "network certificate", then, as_json)


@rotate.command("encryption")
def rotate_encryption(
    config: ConfigOption,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
    suite: SuiteOption = MLKEM768_X25519,
) -> None:
    """A new encryption key, perhaps of another suite. The old one stays, to open what was sealed to it."""

    def make(here: Here, own: Own, fresh: bool) -> KeyChange:
        return rotations.new_encryption_key(here.keys, own.encryption, fresh=fresh, suite=suite)

    then = "What others seal to this institution is sealed to it from now on."
    _tell(_rotate(make, config, passphrase_file), "encryption key", then, as_json)


@retire.command("operations")
def retire_operations(
    index: IndexArgument,
    config: ConfigOption,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Nothing signed with this operations key counts any more."""
    _retire(RetireOperationsKey(index), "operations key", config, passphrase_file, as_json)


@retire.command("network")
def retire_network(
    index: IndexArgument,
    config: ConfigOption,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Peers accept this network certificate no more."""
    _retire(RetireNetworkCertificate(index), "network certificate", config, passphrase_file, as_json)


@app.command()
def show(config: ConfigOption, passphrase_file: NodePassphraseOption = None, as_json: JsonOption = False) -> None:
    """This institution's keys on the ledger, and which of them this node's keystore holds."""
    with _here(config, passphrase_file) as here:
        own, keystore = here.own(), here.keys.keystore
    held = {SigningKey(seed).public for seed in (*keystore.operations, *keystore.votes)}
    rows: list[tuple[str, int | None, str, bool]] = [
        ("operations", index, key.hex(), key in held) for index, key in enumerate(own.operations) if key != RETIRED_KEY
    ]
    rows.append(("vote", None, own.vote.hex(), own.vote in held))
    certificates = {key.certificate for key in keystore.network}
    rows += [("network", n, der.hex()[-32:], der in certificates) for n, der in enumerate(own.certificates)]
    digests = {encryption_digest(key) for key in keystore.encryption}
    rows.append(("encryption", None, own.encryption.hex(), own.encryption in digests))
    document = [{"kind": kind, "index": index, "key": key, "here": there} for kind, index, key, there in rows]
    cells = [[kind, "" if n is None else n, key, "yes" if there else "no"] for kind, n, key, there in rows]
    emit(document, as_json, lambda: table(["key", "index", "public", "in the keystore"], cells))


@app.command()
def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; a new file, mode 0600.")],
    config: ConfigOption,
    passphrase_file: NodePassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """A copy of the keystore for the safe, under the same passphrase, without the vote keys."""
    settings = load_config(config)
    open_keystore(settings.keystore, find_passphrase(settings, passphrase_file)).backup(out)

    def render() -> None:
        say(f"keystore copied without its vote keys: {out}")
        prose("A node restored from it follows; `chartledger keys rotate vote` lets it vote again.")

    emit({"backup": str(out)}, as_json, render)


@contextmanager
def _here(config: Path, passphrase_file: Path | None) -> Iterator[Here]:
    settings = load_config(config)
    keys = open_keystore(settings.keystore, find_passphrase(settings, passphrase_file))
    with connect(settings.socket) as session:
        yield Here(session, keys, settings.data)


def _rotate(make: Callable[[Here, Own, bool], KeyChange], config: Path, passphrase_file: Path | None) -> dict[str, Any]:
    """Make the key and wait until it is final. One that the ledger once had, left in the keystore, is passed over."""
    with _here(config, passphrase_file) as here:
        try:
            done = here.session.change_key(encode(make(here, here.own(), False)))
        except Claimed:
            done = here.session.change_key(encode(make(here, here.own(), True)))
    return {"height": done["height"], "time_ms": done["time_ms"], "transaction": done["transaction"]}


def _retire(
    change: RetireOperationsKey | RetireNetworkCertificate, what: str, config: Path, passphrase: Path | None, js: bool
) -> None:
    with _here(config, passphrase) as here:
        before = here.own()
        listed = before.operations if isinstance(change, RetireOperationsKey) else before.certificates
        done = here.session.change_key(encode(change))
        after = here.own()
        if listed[change.index] not in (*after.operations, *after.certificates):  # as it is unless two retire at once
            rotations.forget(here.keys, listed[change.index])
    _tell(done, what, "It is retired, and out of the keystore.", js)


def _tell(done: dict[str, Any], what: str, then: str, as_json: bool) -> None:
    def render() -> None:
        say(f"{what} changed in block {done['height']}")
        prose(then)

    emit(done, as_json, render)
