"""Proof files and checkpoint files: what is in them, and the check of whatever is.

A proof file is the canonical bytes of a `Bundle`: a name that says what it is, a version, and one proof by its tag; or
the text form of those bytes (`scan`), as a QR code yields it. Further kinds of proof join the union. A checkpoint file
is the canonical bytes of a `CheckpointFile`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof, DecodeError, NonCanonical
from protocol.proofs import erasure, field, final, grant, history, inclusion, past, scan
from protocol.proofs.erasure import ErasureClaim, ErasureProof
from protocol.proofs.field import FieldClaim, FieldProof
from protocol.proofs.final import Finality, FinalityProof
from protocol.proofs.grant import GrantClaim, GrantProof
from protocol.proofs.history import HistoryClaim, HistoryProof
from protocol.proofs.inclusion import Claim, InclusionProof
from protocol.proofs.light import Checkpoint
from protocol.proofs.past import PastGrantProof
from protocol.types.base import Wire
from protocol.types.institutions import Genesis

NAME: Final = "chartledger-proof"
CHECKPOINT_NAME: Final = "chartledger-checkpoint"
VERSION: Final = 1

Proof = InclusionProof | FinalityProof | HistoryProof | FieldProof | GrantProof | PastGrantProof | ErasureProof
Shown = Claim | Finality | HistoryClaim | FieldClaim | GrantClaim | ErasureClaim
"""What a checked proof has shown."""

WORDS: Final[dict[type[Wire], str]] = {
    InclusionProof: "an event",
    FinalityProof: "a block",
    HistoryProof: "a chart's history",
    FieldProof: "a field of a record",
    GrantProof: "a grant",
    PastGrantProof: "a grant in the past",
    ErasureProof: "an erasure",
}
"""What each kind of proof is of."""

P = TypeVar("P", bound=Wire)
W = TypeVar("W", bound=Wire)


class Bundle(Wire, frozen=True):
    """A proof file."""

    name: Literal["chartledger-proof"]
    version: Literal[1]
    proof: Proof


class CheckpointFile(Wire, frozen=True):
    """A checkpoint that somebody checked and keeps."""

    name: Literal["chartledger-checkpoint"]
    version: Literal[1]
    checkpoint: Checkpoint


def write(proof: Proof) -> bytes:
    """The bytes of a proof file."""
    return encode(Bundle(NAME, VERSION, proof))


def read(data: bytes) -> Proof:
    """The proof in a file, unchecked. Raises `BadProof` that begins with "file: " or "text: "."""
    return _decoded(Bundle, scan.from_text(data) if scan.is_text(data) else data, "file").proof


def read_as(kind: type[P], data: bytes) -> P:
    """The proof of one kind in a file, unchecked. Raises `BadProof`."""
    proof = read(data)
    if not isinstance(proof, kind):
        raise BadProof(f"file: it holds a proof of {WORDS[type(proof)]}, not of {WORDS[kind]}")
    return proof


def read_inclusion(data: bytes) -> InclusionProof:
    """The proof of inclusion in a file, unchecked. Raises `BadProof`."""
    return read_as(InclusionProof, data)


def read_final(data: bytes) -> FinalityProof:
    """The proof of finality in a file, unchecked. Raises `BadProof`."""
    return read_as(FinalityProof, data)


def check(
    proof: Proof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    record: bytes | None = None,
    verifier: Verifier = verify,
) -> Shown:
    """What a proof of any kind shows on the chain of `genesis` or `checkpoint`. `record`: the bytes at hand.

    Raises `GenesisMismatch`, `ForkShown`, or `BadProof` that begins with the name of the check that failed.
    """
    if isinstance(proof, InclusionProof):
        return inclusion.check(proof, genesis, verifier, record, checkpoint=checkpoint)
    if record is not None:
        raise BadProof(f"record: the proof is of {WORDS[type(proof)]}, and shows no record's bytes")
    return _CHECKS[type(proof)](proof, genesis=genesis, checkpoint=checkpoint, verifier=verifier)


_CHECKS: Final[dict[type[Wire], Callable[..., Shown]]] = {
    FinalityProof: final.check,
    HistoryProof: history.check,
    FieldProof: field.check,
    GrantProof: grant.check,
    PastGrantProof: past.check,
    ErasureProof: erasure.check,
}


def write_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint file."""
    return encode(CheckpointFile(CHECKPOINT_NAME, VERSION, checkpoint))


def read_checkpoint(data: bytes) -> Checkpoint:
    """The checkpoint in a file, unchecked. Raises `BadProof`."""
    return _decoded(CheckpointFile, data, "checkpoint file").checkpoint


def _decoded(kind: type[W], data: bytes, what: str) -> W:
    """Raises `BadProof` that says what is wrong with the file as a whole, as far as that can be told."""
    if not data:
        raise BadProof(f"{what}: it is empty")
    try:
        return decode(kind, data, limits.PROOF_BYTES)
    except NonCanonical:
        raise BadProof(f"{what}: it was changed: these bytes are not the one form that its contents have") from None
    except DecodeError as error:
        text = str(error)
    if "truncated" in text:
        text = f"it is cut short: it ends after {len(data)} bytes and is not complete"
    elif "trailing" in text:
        text = "it is longer than its contents: bytes follow after its end"
    elif text.endswith("unknown tag"):
        text = "it holds what this version does not know"
    raise BadProof(f"{what}: {text}")
