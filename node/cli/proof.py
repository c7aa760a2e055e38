"""`chartledger checkpoint` and `verify`: evidence that needs neither a node nor trust in who hands it over."""

from __future__ import annotations

from dataclasses import replace as with_fields
from pathlib import Path
from typing import Annotated

import typer

from node.cli.client import connect
from node.cli.exits import BadArgument
from node.cli.files import write_whole
from node.cli.options import SOCKET, JsonOption, SocketOption
from node.cli.output import emit, prose
from node.cli.proof_documents import block_document, document_of
from node.genesis_file import read_genesis
from protocol import limits
from protocol.errors import BadProof
from protocol.proofs import bundle, final
from protocol.proofs.explaining import explain
from protocol.proofs.final import Finality
from protocol.proofs.inclusion import InclusionProof
from protocol.proofs.light import Checkpoint
from protocol.types.institutions import Genesis

GenesisOption = Annotated[Path | None, typer.Option("--genesis", help="The chain's genesis file.")]
CheckpointOption = Annotated[Path | None, typer.Option("--checkpoint", help="A checkpoint that you kept.")]


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
    write_whole(output, bundle.write_checkpoint(shown.checkpoint), private=False)
    lines = explain(shown, origin)
    document = {**block_document(shown), "file": str(output), "explanation": lines}
    emit(document, as_json, lambda: prose(*lines, f"Checkpoint written to {output}."))


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
    found = bundle.read(read_file(file))
    if record is not None and not isinstance(found, InclusionProof):
        raise BadArgument(
            f"this proof is of {bundle.WORDS[type(found)]}, and shows no record's bytes", advice="Leave out --record."
        )
    data = None if record is None else record.read_bytes()
    shown = bundle.check(found, genesis=origin, checkpoint=kept, record=data)
    lines = explain(shown, origin)
    document = {"valid": True, **document_of(shown), "explanation": lines}
    emit(document, as_json, lambda: prose(*lines))


def _trusted(genesis: Path | None, checkpoint: Path | None) -> tuple[Genesis | None, Checkpoint | None]:
    if genesis is None and checkpoint is None:
        raise BadArgument(
            "nothing is given to check by",
            advice="Give --genesis with the chain's genesis file, or --checkpoint with a checkpoint that you kept.",
        )
    origin = None if genesis is None else read_genesis(genesis)
    return origin, None if checkpoint is None else read_checkpoint(checkpoint)


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint file. Raises `BadProof`."""
    return bundle.read_checkpoint(read_file(path))


def read_file(path: Path) -> bytes:
    """A proof or checkpoint file, or as much of it as shows that it is too large."""
    with path.open("rb") as source:
        return source.read(limits.PROOF_BYTES + 1)
