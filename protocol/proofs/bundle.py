"""Proof files: what `chartledger verify` reads, and what a checked proof tells people.

A file is the canonical bytes of a `Bundle`: a name that says what it is, a version, and one proof by its tag. Further
kinds of proof join the union.
"""

from __future__ import annotations

from typing import Final, Literal

from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.errors import BadProof, DecodeError
from protocol.ledger.events import (
    ChartOpened,
    Disclosed,
    Event,
    Granted,
    Outcome,
    RecordAppended,
    Revoked,
)
from protocol.proofs.inclusion import Claim, InclusionProof
from protocol.types.base import Wire
from protocol.types.institutions import Genesis

NAME: Final = "chartledger-proof"
VERSION: Final = 1


class Bundle(Wire, frozen=True):
    """A proof file."""

    name: Literal["chartledger-proof"]
    version: Literal[1]
    proof: InclusionProof


def write(proof: InclusionProof) -> bytes:
    """The bytes of a proof file."""
    return encode(Bundle(NAME, VERSION, proof))


def read(data: bytes) -> InclusionProof:
    """The proof in a file, unchecked. Raises `BadProof`."""
    try:
        return decode(Bundle, data, limits.FRAME_BYTES).proof
    except DecodeError as error:
        raise BadProof(f"file: {error}") from None


def explain(claim: Claim, genesis: Genesis) -> list[str]:
    """What was shown and what was not, in sentences for people; `genesis` is the one that the claim was checked by."""
    names = ", ".join(genesis.institutions[number].name for number in claim.signers)
    total = len(genesis.authorities)
    event = claim.event
    lines = [
        f"On the network '{claim.network}', event {claim.number} of chart {claim.chart} is final: "
        f"{_what(event, genesis)}.",
        f"It happened in block {event.height}, at {_time(event.time_ms)} by ledger time.",
        f"Shown at block {claim.header.height} of {_time(claim.header.timestamp)}, "
        f"finalized by {len(claim.signers)} of {total} authorities: {names}.",
    ]
    if claim.record_shown:
        lines.append("The bytes at hand are exactly the record that was committed to then.")
    elif isinstance(event, RecordAppended):
        lines.append("Not shown: what the record says. The entry commits to it and tells nothing of it.")
    lines.append(
        f"Not shown: what happened to the chart besides (it had {claim.events} events then), or anything later."
    )
    return lines


def _what(event: Event, genesis: Genesis) -> str:
    who = _name(event.institution, genesis)
    match event:
        case ChartOpened():
            return f"the chart was opened, with {who} as its custodian"
        case RecordAppended(entry=entry):
            amends = "" if entry.supersedes is None else f", which amends record {entry.supersedes}"
            return f"{who} recorded a record{amends}, under commitment {entry.commitment.hex()}"
        case Granted(grant=grant, terms=terms):
            return f"the chart's owner gave {_name(terms.grantee, genesis)} permission number {grant}"
        case Revoked(grant=grant):
            return f"the chart's owner withdrew permission number {grant}"
        case Disclosed(records=records, purpose=purpose, outcome=outcome):
            decided = "it was disclosed" if outcome is Outcome.DISCLOSED else "it was denied"
            return f"{who} asked to read {len(records)} record(s) for purpose {purpose}, and {decided}"


def _name(institution: int, genesis: Genesis) -> str:
    known = institution < len(genesis.institutions)
    return genesis.institutions[institution].name if known else f"institution {institution}"


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
