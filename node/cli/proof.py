"""`chartledger proof` and `verify`: evidence that needs neither a node nor trust in who hands it over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from node.cli.client import connect
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption
from node.cli.output import emit, prose, say
from node.cli.record import read_as_owner
from node.genesis_file import read_genesis
from node.keystore import find_passphrase
from node.wallet import Wallet
from protocol import limits
from protocol.proofs import bundle, inclusion


def proof(
    chart: Annotated[int, typer.Argument(help="The chart's number.", min=0)],
    event: Annotated[int, typer.Argument(help="The event's number, which is also a record's.", min=0)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the proof.")],
    *,
    wallet: Annotated[
        Path | None, typer.Option("--wallet", help="As the owner: also let it prove the record's bytes.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Write a proof that an event stands on the ledger. The record itself is not in it."""
    with connect(socket) as session:
        data = session.proof(chart, event)
        if wallet is not None:
            opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
            shown = read_as_owner(session, opened, chart, event).proof
            data = bundle.write(replace(bundle.read(data), record=shown))
    output.write_bytes(data)
    document = {"chart": chart, "event": event, "file": str(output), "bytes": len(data)}
    emit(document, as_json, lambda: say(f"proof written to {output}, {len(data)} bytes"))


def verify(
    file: Annotated[Path, typer.Argument(help="The proof.")],
    genesis: Annotated[Path, typer.Option("--genesis", help="The chain's genesis file.")],
    *,
    record: Annotated[Path | None, typer.Option("--record", help="The record's bytes, to be checked too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a proof, offline. Says what it shows and what it does not; names the check that fails."""
    with file.open("rb") as source:
        data = source.read(limits.FRAME_BYTES + 1)
    origin = read_genesis(genesis)
    shown = inclusion.check(bundle.read(data), origin, record=None if record is None else record.read_bytes())
    lines = bundle.explain(shown, origin)
    document: dict[str, Any] = {
        "valid": True,
        "network": shown.network,
        "chain": shown.header.chain.hex(),
        "height": shown.header.height,
        "time_ms": shown.header.timestamp,
        "signers": list(shown.signers),
        "chart": shown.chart,
        "event": shown.number,
        "kind": type(shown.event).__name__,
        "event_height": shown.event.height,
        "event_time_ms": shown.event.time_ms,
        "record_shown": shown.record_shown,
        "explanation": lines,
    }
    emit(document, as_json, lambda: prose("\n".join(lines)))
