"""What happened to a chart, in a sentence for people: by number, since a proof knows no labels and no patients."""

from __future__ import annotations

from collections.abc import Callable

from protocol.ledger.events import (
    ChangeBegun,
    ChangeCancelled,
    ChangeCompleted,
    ChangeKind,
    ChartMoved,
    ChartOpened,
    DelegateEnded,
    DelegateNamed,
    Disclosed,
    Erased,
    ErasureAcknowledged,
    Event,
    GlassBroken,
    GlassConfirmed,
    GlassReviewed,
    Granted,
    HoldPlaced,
    HoldReleased,
    Outcome,
    PolicySet,
    RecordAppended,
    Revoked,
)

Names = Callable[[int], str]
"""The name of an institution by its number, or words for one that is not known."""

_CHANGES = {
    ChangeKind.ROTATION: "new keys of the owner's own",
    ChangeKind.GUARDIANS: "other guardians",
    ChangeKind.RECOVERY: "recovery by the guardians",
}
_OUTCOMES = {
    Outcome.DISCLOSED: "it was disclosed",
    Outcome.DENIED: "it was denied",
    Outcome.PENDING: "it waits for a second institution",
}


def sentence(event: Event, name: Names) -> str:
    """What the event says happened, without the time and without a full stop."""
    match event:
        case ChartOpened() | RecordAppended() | Disclosed():
            return _record(event, name(event.institution))
        case ChartMoved(institution=custodian, former=former):
            return f"the owner chose {name(custodian)} as the chart's custodian, since {name(former)} was removed"
        case Granted() | Revoked() | PolicySet() | DelegateNamed() | DelegateEnded():
            return _consent(event, name)
        case ChangeBegun() | ChangeCancelled() | ChangeCompleted():
            return _change(event)
        case GlassBroken() | GlassConfirmed() | GlassReviewed():
            return _emergency(event, name(event.institution))
        case Erased() | ErasureAcknowledged() | HoldPlaced() | HoldReleased():
            return _erasure(event, name(event.institution))


def _record(event: ChartOpened | RecordAppended | Disclosed, who: str) -> str:
    match event:
        case ChartOpened():
            return f"the chart was opened, with {who} as its custodian"
        case RecordAppended(entry=entry):
            amends = "" if entry.supersedes is None else f", which amends record {entry.supersedes}"
            disputes = "" if entry.disputes is None else f", the owner's note of dispute on record {entry.disputes}"
            return f"{who} recorded a record{amends}{disputes}, under commitment {entry.commitment.hex()}"
        case Disclosed(records=records, purpose=purpose, outcome=outcome, delegate=delegate):
            asker = who if delegate is None else f"delegate {delegate}, through {who},"
            return f"{asker} asked to read {len(records)} record(s) for purpose {purpose}, and {_OUTCOMES[outcome]}"


def _consent(event: Granted | Revoked | PolicySet | DelegateNamed | DelegateEnded, name: Names) -> str:
    match event:
        case Granted(grant=grant, terms=terms, delegate=delegate):
            grantees = ", ".join(name(grantee) for grantee in terms.grantees)
            return f"{_owner(delegate)} gave {grantees} permission number {grant}"
        case Revoked(grant=grant, delegate=delegate, bars=bars):
            renewed = "" if bars is None else f" and renewed what is forbidden: {len(bars)} bar(s)"
            return f"{_owner(delegate)} withdrew permission number {grant}{renewed}"
        case PolicySet(policy=policy):
            mode = policy.break_glass.name.lower().replace("_", " ")
            return f"the chart's owner set the policy: emergencies {mode}, {len(policy.bars)} bar(s)"
        case DelegateNamed(delegate=delegate):
            return f"the chart's owner named delegate {delegate}"
        case DelegateEnded(delegate=delegate):
            return f"delegate {delegate} was ended"


def _owner(delegate: int | None) -> str:
    return "the chart's owner" if delegate is None else f"delegate {delegate}, for the chart's owner,"


def _change(event: ChangeBegun | ChangeCancelled | ChangeCompleted) -> str:
    match event:
        case ChangeBegun(change=change, kind=kind, overrule=overrule):
            veto = ", whom the owner's key cannot stop," if overrule else ""
            return f"change {change} began: {_CHANGES[kind]}{veto}"
        case ChangeCancelled(change=change, by_guardians=by_guardians):
            return f"change {change} was cancelled by {'the guardians' if by_guardians else 'the owner'}"
        case ChangeCompleted(change=change, kind=kind):
            return f"change {change} took effect: {_CHANGES[kind]}"


def _emergency(event: GlassBroken | GlassConfirmed | GlassReviewed, who: str) -> str:
    match event:
        case GlassBroken(records=records, outcome=outcome):
            return f"{who} asked to read {len(records)} record(s) in an emergency, and {_OUTCOMES[outcome]}"
        case GlassConfirmed(emergency=emergency):
            return f"{who} vouched for emergency {emergency}"
        case GlassReviewed(emergency=emergency, justified=justified, late=late):
            found = "justified" if justified else "not justified"
            return f"{who} reviewed emergency {emergency}{' late' if late else ''} and found it {found}"


def _erasure(event: Erased | ErasureAcknowledged | HoldPlaced | HoldReleased, who: str) -> str:
    match event:
        case Erased(records=records):
            return f"the owner and {who} ordered {len(records)} record(s) erased"
        case ErasureAcknowledged(erasure=erasure):
            return f"{who} acknowledged that it deleted what erasure {erasure} names"
        case HoldPlaced(records=records):
            what = "the whole chart" if records is None else f"{len(records)} record(s)"
            return f"{who} placed a legal hold on {what}"
        case HoldReleased(hold=hold):
            return f"{who} released legal hold {hold}"


def visible(text: str) -> str:
    """Text of a stranger's in one line: what would end it, or move a cursor, is shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def calendar(time_ms: int) -> str:
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
