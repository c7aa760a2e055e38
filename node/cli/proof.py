"""`chartledger proof`, `checkpoint` and `verify`: evidence that needs neither a node nor trust in who hands it over."""

from __future__ import annotations

from dataclasses import replace as with_fields
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from node.cli.client import connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption
from node.cli.output import emit, prose, say
from node.cli.record import read_as_owner
from node.genesis_file import read_genesis
from node.keystore import find_passphrase
from node.wallet import Wallet
from protocol import limits
from protocol.crypto.hashing import block_digest
from protocol.errors import BadProof
from protocol.proofs import bundle, final, inclusion
from protocol.proofs.final import Finality
from protocol.proofs.light import Checkpoint
from protocol.types.institutions import Genesis

GenesisOption = Annotated[Path | None, typer.Option("--genesis", help="The chain's genesis file.")]
CheckpointOption = Annotated[Path | None, typer.Option("--checkpoint", help="A checkpoint that you kept.")]


def proof(
    chart: Annotated[int, typer.Argument(help="The chart's number.", min=0)],
    event: Annotated[int, typer.Argument(help="The event's number, which is also a record's.", min=0)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the proof.")],
    *,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Leave out the epochs before this: its holder knows them.")
    ] = None,
    wallet: Annotated[
        Path | None, typer.Option("--wallet", help="As the owner: also let it prove the record's bytes.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Write a proof that an event stands on the ledger. The record itself is not in it."""
    epoch = 0 if checkpoint is None else _checkpoint(checkpoint).header.epoch
    with connect(socket) as session:
        data = session.proof(chart, event, epoch)
        if wallet is not None:
            opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
            shown = read_as_owner(session, opened, chart, event).proof
            data = bundle.write(replace(bundle.read_inclusion(data), record=shown))
    output.write_bytes(data)
    document = {"chart": chart, "event": event, "file": str(output), "bytes": len(data)}
    emit(document, as_json, lambda: say(f"proof written to {output}, {len(data)} bytes"))


def checkpoint(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the checkpoint.")],
    *,
    genesis: GenesisOption = None,
    former: CheckpointOption = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Keep the last final block, checked from the genesis file or from an earlier checkpoint.

    Whoever keeps one checks proofs from there on, and can tell if the chain is ever rewritten below it: the node must
    show an earlier checkpoint's very block, too.
    """
    origin, kept = _trusted(genesis, former)
    epoch = 0 if kept is None else kept.header.epoch
    with connect(socket) as session:
        if kept is not None:
            _shown_above(kept, session.final_proof(epoch, kept.header.height), origin, exactly=True)
        data = session.final_proof(epoch)
        shown = (
            final.check(bundle.read_final(data), genesis=origin) if kept is None else _shown_above(kept, data, origin)
        )
        last = shown
        while len(last.ends) == limits.HOPS_PER_PROOF:  # as far as one proof reaches: the next begins there
            last = _shown_above(last.checkpoint, session.final_proof(last.header.epoch), origin)
            shown = with_fields(last, ends=(*shown.ends, *last.ends))
    output.write_bytes(bundle.write_checkpoint(shown.checkpoint))
    lines = bundle.explain_final(shown, origin)
    document = {**_block(shown), "file": str(output), "explanation": lines}
    emit(document, as_json, lambda: prose("\n".join([*lines, f"Checkpoint written to {output}."])))


def _shown_above(kept: Checkpoint, data: bytes, origin: Genesis | None, *, exactly: bool = False) -> Finality:
    """What the node's proof shows of a block that is not below the checkpoint's; `exactly`: of one at its very height.

    The height is the node's to get wrong: two chains agree nowhere but below where they part.
    """
    shown = final.check(bundle.read_final(data), genesis=origin, checkpoint=kept)
    height, wanted = shown.header.height, kept.header.height
    if height < wanted or (exactly and height != wanted):
        raise BadProof(
            f"checkpoint: the node shows block {height}, and was asked for block {wanted} or a later one",
            advice="It may hide that its chain is another one from there on: ask another institution's node.",
        )
    return shown


def verify(
    file: Annotated[Path, typer.Argument(help="The proof.")],
    *,
    genesis: GenesisOption = None,
    checkpoint: CheckpointOption = None,
    record: Annotated[Path | None, typer.Option("--record", help="The record's bytes, to be checked too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a proof, offline, by the genesis file, a checkpoint, or both, which must agree.

    Says what it shows and what it does not; names the check that fails.
    """
    origin, kept = _trusted(genesis, checkpoint)
    found = bundle.read(_read(file))
    if isinstance(found, final.FinalityProof):
        if record is not None:
            raise BadArgument("this proof is of a block, and shows no record", advice="Leave out --record.")
        block = final.check(found, genesis=origin, checkpoint=kept)
        lines = bundle.explain_final(block, origin)
        _report({"valid": True, **_block(block)}, lines, as_json)
        return
    data = None if record is None else record.read_bytes()
    shown = inclusion.check(found, origin, record=data, checkpoint=kept)
    document: dict[str, Any] = {
        "valid": True,
        **_block(shown.final),
        "chart": shown.chart,
        "event": shown.number,
        "kind": type(shown.event).__name__,
        "event_height": shown.event.height,
        "event_time_ms": shown.event.time_ms,
        "record_shown": shown.record_shown,
    }
    _report(document, bundle.explain(shown, origin), as_json)


def _report(document: dict[str, Any], lines: list[str], as_json: bool) -> None:
    emit({**document, "explanation": lines}, as_json, lambda: prose("\n".join(lines)))


def _block(shown: Finality) -> dict[str, Any]:
    """What was shown of the final block, as JSON has it."""
    return {
        "network": shown.network,
        "chain": shown.header.chain.hex(),
        "height": shown.header.height,
        "time_ms": shown.header.timestamp,
        "digest": block_digest(shown.header).hex(),
        "epoch": shown.header.epoch,
        "epochs_passed": [{"epoch": one.epoch, "height": one.height} for one in shown.ends],
        "authorities": [member.institution for member in shown.authorities.members],
        "signers": list(shown.signers),
    }


def _trusted(genesis: Path | None, checkpoint: Path | None) -> tuple[Genesis | None, Checkpoint | None]:
    if genesis is None and checkpoint is None:
        raise BadArgument(
            "nothing is given to check by",
            advice="Give --genesis with the chain's genesis file, or --checkpoint with a checkpoint that you kept.",
        )
    origin = None if genesis is None else read_genesis(genesis)
    return origin, None if checkpoint is None else _checkpoint(checkpoint)


def _checkpoint(path: Path) -> Checkpoint:
    return bundle.read_checkpoint(_read(path))


def _read(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(limits.FRAME_BYTES + 1)
