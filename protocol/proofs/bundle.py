"""Proof files and checkpoint files, and what a checked proof tells people.

A proof file is the canonical bytes of a `Bundle`: a name that says what it is, a version, and one proof by its tag.
Further kinds of proof join the union. A checkpoint file is the same of a `CheckpointFile`.
"""

from __future__ import annotations

from typing import Final, Literal

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest
from protocol.errors import BadProof, DecodeError
from protocol.ledger.events import RecordAppended
from protocol.proofs.final import Finality, FinalityProof
from protocol.proofs.inclusion import Claim, InclusionProof
from protocol.proofs.light import Checkpoint
from protocol.proofs.wording import sentence
from protocol.types.base import Wire
from protocol.types.institutions import Genesis

NAME: Final = "chartledger-proof"
CHECKPOINT_NAME: Final = "chartledger-checkpoint"
VERSION: Final = 1

Proof = InclusionProof | FinalityProof


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
    """The proof in a file, unchecked. Raises `BadProof`."""
    try:
        return decode(Bundle, data, limits.FRAME_BYTES).proof
    except DecodeError as error:
        raise BadProof(f"file: {error}") from None


def read_inclusion(data: bytes) -> InclusionProof:
    """The proof of inclusion in a file, unchecked. Raises `BadProof`."""
    proof = read(data)
    if not isinstance(proof, InclusionProof):
        raise BadProof("file: it holds a proof of finality, not of an event")
    return proof


def read_final(data: bytes) -> FinalityProof:
    """The proof of finality in a file, unchecked. Raises `BadProof`."""
    proof = read(data)
    if not isinstance(proof, FinalityProof):
        raise BadProof("file: it holds a proof of an event, not of finality alone")
    return proof


def write_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint file."""
    return encode(CheckpointFile(CHECKPOINT_NAME, VERSION, checkpoint))


def read_checkpoint(data: bytes) -> Checkpoint:
    """The checkpoint in a file, unchecked. Raises `BadProof`."""
    try:
        return decode(CheckpointFile, data, limits.FRAME_BYTES).checkpoint
    except DecodeError as error:
        raise BadProof(f"checkpoint file: {error}") from None


def explain_final(final: Finality, genesis: Genesis | None) -> list[str]:
    """What was shown of a block, in sentences for people; see `explain`."""
    header = final.header
    digest = block_digest(header).hex()
    lines = [
        f"On {_chain(final)}, block {header.height} of {_time(header.timestamp)} is final: its digest is {digest}.",
        *_finality(final, genesis),
    ]
    lines.append("Not shown: what the block holds, or that it is the last one.")
    return lines


def explain(claim: Claim, genesis: Genesis | None) -> list[str]:
    """What was shown and what was not, in sentences for people.

    `genesis` is the one that the claim was checked by, if any: it knows the names of those that began the network.
    """
    event = claim.event
    what = sentence(event, lambda number: _name(number, genesis))
    lines = [
        f"On {_chain(claim.final)}, event {claim.number} of chart {claim.chart} is final: {what}.",
        f"It happened in block {event.height}, at {_time(event.time_ms)} by ledger time.",
        *_finality(claim.final, genesis),
    ]
    if claim.record_shown:
        lines.append("The bytes at hand are exactly the record that was committed to then.")
    elif isinstance(event, RecordAppended):
        lines.append("Not shown: what the record says. The entry commits to it and tells nothing of it.")
    lines.append(
        f"Not shown: what happened to the chart besides (it had {claim.events} events then), or anything later."
    )
    return lines


def _chain(final: Finality) -> str:
    return f"the network '{final.network}'" if final.network is not None else f"chain {final.header.chain.hex()}"


def _finality(final: Finality, genesis: Genesis | None) -> list[str]:
    names = ", ".join(_name(number, genesis) for number in final.signers)
    lines = [
        f"Shown at block {final.certified.height} of {_time(final.certified.timestamp)}, "
        f"finalized by {len(final.signers)} of {len(final.authorities.members)} authorities: {names}."
    ]
    if final.ends:
        first, last = final.ends[0].epoch, final.ends[-1]
        count = "1 epoch was" if len(final.ends) == 1 else f"{len(final.ends)} epochs were"
        lines.append(
            f"{count} passed, from epoch {first} on, the last of them ended by block {last.height} of "
            f"{_time(last.timestamp)}: a quorum of each one's authorities vouched for those of the next."
        )
    return lines


def _name(institution: int, genesis: Genesis | None) -> str:
    if genesis is None or institution >= len(genesis.institutions):
        return f"institution {institution}"
    return genesis.institutions[institution].name


def _time(time_ms: int) -> str:
    """UTC in the proleptic Gregorian calendar, to the millisecond, for any time that a header can carry.

    `datetime` ends at the year 9999 and belongs to the clock that the core does without. The days are counted from
    1 March of year 0, so that leap days end a year (H. Hinnant, "chrono-compatible low-level date algorithms").
    """
    seconds, milliseconds = divmod(time_ms, 1_000)
    days, second = divmod(seconds, 86_400)
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    year += era * 400 + (month >= 10)
    month += 3 if month < 10 else -9
    clock = f"{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}.{milliseconds:03}"
    return f"{year:04}-{month:02}-{day:02} {clock} UTC"
