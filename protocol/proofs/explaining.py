"""What a checked proof has shown and what it has not, in sentences for people."""

from __future__ import annotations

from protocol.crypto.hashing import block_digest
from protocol.ledger.events import Reason, RecordAppended
from protocol.proofs.bundle import Shown
from protocol.proofs.erasure import ErasureClaim
from protocol.proofs.field import FieldClaim
from protocol.proofs.final import Finality
from protocol.proofs.grant import GrantClaim
from protocol.proofs.history import HistoryClaim
from protocol.proofs.inclusion import Claim
from protocol.proofs.wording import Names, calendar, sentence, visible
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED, Genesis
from protocol.types.terms import ACCESS_READ, ACCESS_WRITE, GrantTerms

EVENTS_LISTED = 1_000
"""A longer history is told in part: who wants it whole has its events in the file."""

_STANDING = {STATUS_ACCREDITED: "accredited", STATUS_SUSPENDED: "suspended", STATUS_REMOVED: "removed for good"}
_AGAINST = {
    Reason.NO_GRANT: "there was no such grant",
    Reason.WRONG_INSTITUTION: "it is given to others",
    Reason.WRITE_ONLY: "it is for writing, not for reading",
    Reason.REVOKED: "it had been revoked",
    Reason.NOT_YET: "it had not begun yet",
    Reason.EXPIRED: "it had ended",
    Reason.PURPOSE: "it is for other purposes",
    Reason.OUTSIDE: "the record is not among those that it covers",
    Reason.BARRED: "the owner's bars forbade it, and they come before any grant",
    Reason.ERASED: "the record had been erased",
}


def explain(shown: Shown, genesis: Genesis | None) -> list[str]:
    """What was shown and what was not, in sentences for people.

    `genesis` is the one that the proof was checked by, if any: it knows the names of those that began the network.
    """
    names = _names(genesis)
    match shown:
        case Claim():
            return _event(shown, names)
        case Finality():
            return _block(shown, names)
        case HistoryClaim():
            return _history(shown, names)
        case FieldClaim():
            return _field(shown, names)
        case GrantClaim():
            return _grant(shown, names)
        case ErasureClaim():
            return _erasure(shown, names)


def _event(claim: Claim, names: Names) -> list[str]:
    event = claim.event
    lines = [
        f"On {_chain(claim.final)}, event {claim.number} of chart {claim.chart} is final: {sentence(event, names)}.",
        f"It happened in block {event.height}, at {calendar(event.time_ms)} by ledger time.",
        *_finality(claim.final, names),
    ]
    if claim.record_shown:
        lines.append("The bytes at hand are exactly the record that was committed to then.")
    elif isinstance(event, RecordAppended):
        lines.append("Not shown: what the record says. The entry commits to it and tells nothing of it.")
    lines.append(
        f"Not shown: what happened to the chart besides (it had {claim.events} events then), or anything later."
    )
    return lines


def _block(shown: Finality, names: Names) -> list[str]:
    header = shown.header
    digest = block_digest(header).hex()
    return [
        f"On {_chain(shown)}, block {header.height} of {calendar(header.timestamp)} is final: its digest is {digest}.",
        *_finality(shown, names),
        "Not shown: what the block holds, or that it is the last one.",
    ]


def _history(claim: HistoryClaim, names: Names) -> list[str]:
    height = claim.final.header.height
    chain, chart, last = _chain(claim.final), claim.chart, claim.end - 1
    if claim.complete:
        what = (
            f"On {chain}, this is all that ever happened to chart {chart} up to block {height}: {claim.total} events, "
            "in order. None was left out, moved or put in."
        )
    else:
        what = (
            f"On {chain}, of the {claim.total} events that chart {chart} had after block {height}, these are "
            f"{_run(claim.first, last)}, in order. None between them was left out, moved or put in."
        )
    lines = [what]
    for number, event in enumerate(claim.events[:EVENTS_LISTED], claim.first):
        lines.append(f"{number}. {calendar(event.time_ms)}, block {event.height}: {sentence(event, names)}.")
    if len(claim.events) > EVENTS_LISTED:
        lines.append(f"({len(claim.events) - EVENTS_LISTED} more events are shown, and not listed here.)")
    lines += _finality(claim.final, names)
    if not claim.complete:
        left_out = [(0, claim.first - 1), (claim.end, claim.total - 1)]
        runs = [_run(first, last) for first, last in left_out if first <= last]
        lines.append(f"Not shown here: {' and '.join(runs)}, which other proofs have to show.")
    lines.append(
        f"Not shown: anything after block {height}, what the records say, whose chart it is, and what happened without "
        "being brought to the ledger."
    )
    return lines


def _run(first: int, last: int) -> str:
    return f"event {first}" if first == last else f"events {first} to {last}"


def _field(claim: FieldClaim, names: Names) -> list[str]:
    entry = claim.entry
    event = entry.event
    pointer, value = visible(claim.pointer), visible(claim.value.decode())
    return [
        f"On {_chain(entry.final)}, record {entry.number} of chart {entry.chart} has at {pointer} the value {value}, "
        "as whoever recorded it committed to it.",
        f"The record has stood on the ledger since block {event.height}, of {calendar(event.time_ms)} by ledger time: "
        f"{sentence(event, names)}.",
        *_finality(entry.final, names),
        "Not shown: any other field of the record or how many it has, that its whole bytes say the same there (whoever "
        "reads the record checks that), whose record it is, that its author told the truth, and whether it was "
        "amended, disputed or erased later.",
    ]


def _grant(claim: GrantClaim, names: Names) -> list[str]:
    who = "" if claim.institution is None else f" for {names(claim.institution)}"
    when = f"after block {claim.height}, at {calendar(claim.time_ms)} by ledger time"
    what = f"grant {claim.grant} of chart {claim.chart}"
    if claim.record is not None:
        what += f", as to reading record {claim.record} for a purpose that it names,"
    verdict = "was in force" if claim.in_force else "was not in force"
    why = "" if claim.against is Reason.NONE else f": {_AGAINST.get(claim.against, claim.against.name)}"
    lines = [f"On {_chain(claim.final)}, {what} {verdict}{who} {when}{why}."]
    if claim.terms is not None:
        lines += _terms(claim.terms, names)
    else:
        made = "1 grant was" if claim.grants == 1 else f"{claim.grants} grants were"
        lines.append(f"{made} ever made of the chart by then, numbered from 0.")
    if claim.revoked_at is not None:
        lines.append(f"It was revoked in block {claim.revoked_at}.")
    if claim.institution is not None and claim.standing is not None:
        lines.append(_standing(claim, names(claim.institution)))
    lines += _bars(claim)
    lines += _finality(claim.final, names)
    if claim.later is not None:
        lines.append(
            f"Judged from the chart's own history, complete up to that block, as it stood at block "
            f"{claim.later.header.height} of {calendar(claim.later.header.timestamp)}."
        )
        lines.append("Not shown: whether the institution was suspended or removed then, which is no event of a chart.")
    lines.append(
        "Not shown: what became of the grant later, who read under it, whose chart it is, and which records its tags "
        "stand for."
    )
    return lines


def _terms(terms: GrantTerms, names: Names) -> list[str]:
    access = [word for bit, word in ((ACCESS_READ, "read"), (ACCESS_WRITE, "write")) if terms.access & bit]
    counts = ["any" if listed is None else str(len(listed)) for listed in terms.tags]
    people = "" if terms.practitioners is None else f", by {len(terms.practitioners)} named people there only"
    return [
        f"It lets {', '.join(names(one) for one in terms.grantees)} {' and '.join(access)}{people}, for "
        f"{', '.join(terms.purposes)}, from {calendar(terms.not_before)} until before {calendar(terms.not_after)}: "
        f"records of {counts[0]} categories, {counts[1]} years, {counts[2]} and {counts[3]} sensitivities, by tags."
    ]


def _standing(claim: GrantClaim, name: str) -> str:
    assert claim.standing is not None
    word = _STANDING.get(claim.standing, f"of status {claim.standing}")
    if claim.suspended:
        return f"{name} was {word} then: nothing that it signed counted, so it could not use the grant."
    return f"{name} was {word} then."


def _bars(claim: GrantClaim) -> list[str]:
    """What the owner forbade besides, which a grant does not outweigh."""
    if claim.terms is None or claim.record is not None:
        return []
    if not claim.bars:
        return ["The owner forbade nothing besides: no bar stood against it."]
    stale = (
        " Records appended since tags last changed counted as barred until the bars' renewal."
        if claim.bars_stale
        else ""
    )
    some = sum(bar.institution is not None for bar in claim.bars) if claim.institution is None else 0
    whom = f" ({some} of them against one institution alone)" if some else ""
    return [
        f"{len(claim.bars)} of the owner's bars held{whom}, and take from the grant whatever records carry their tags."
        f"{stale} Whether that is so of one record, a proof with --record shows."
    ]


def _erasure(claim: ErasureClaim, names: Names) -> list[str]:
    ordered = claim.ordered
    numbers = ", ".join(map(str, ordered.records))
    lines = [
        f"On {_chain(claim.final)}, erasure {claim.number} of chart {claim.chart} was ordered by the owner and "
        f"{names(ordered.institution)} in block {ordered.height}, at {calendar(ordered.time_ms)} by ledger time: "
        f"records {numbers}.",
        *_finality(claim.final, names),
    ]
    for institution, height in claim.receipts:
        lines.append(f"{names(institution)} acknowledged in block {height} that it deleted all it had of them.")
    for number, leaf in claim.owing.items():
        if number in claim.gone:
            why = "and never will: it was removed from the consortium"
        else:
            why = f"though it is {_STANDING.get(leaf.status, 'a member')}"
        lines.append(f"{names(number)} had not acknowledged it by block {claim.final.header.height}, {why}.")
    if claim.complete:
        lines.append("Everybody whom the order names as having stored any of them has acknowledged.")
    lines.append(
        "Not shown: that no copy is left, or that nobody but those named had one. An acknowledgement is the "
        "institution's own word; who read a record before it was erased may have kept it, and the entries on the "
        "ledger stay, which open nothing."
    )
    return lines


def _chain(final: Finality) -> str:
    return f"the network '{final.network}'" if final.network is not None else f"chain {final.header.chain.hex()}"


def _finality(final: Finality, names: Names) -> list[str]:
    signers = ", ".join(names(number) for number in final.signers)
    lines = [
        f"Shown at block {final.certified.height} of {calendar(final.certified.timestamp)}, "
        f"finalized by {len(final.signers)} of {len(final.authorities.members)} authorities: {signers}."
    ]
    if final.ends:
        first, last = final.ends[0].epoch, final.ends[-1]
        count = "1 epoch was" if len(final.ends) == 1 else f"{len(final.ends)} epochs were"
        lines.append(
            f"{count} passed, from epoch {first} on, the last of them ended by block {last.height} of "
            f"{calendar(last.timestamp)}: a quorum of each one's authorities vouched for those of the next."
        )
    return lines


def _names(genesis: Genesis | None) -> Names:
    def name(institution: int) -> str:
        if genesis is None or institution >= len(genesis.institutions):
            return f"institution {institution}"
        return genesis.institutions[institution].name

    return name
