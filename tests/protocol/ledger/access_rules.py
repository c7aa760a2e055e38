"""What each operation does to the model of `access_model`, and by which name the ledger must refuse it.

A `Step` says an operation in the model's own words. Each rule checks all before it changes anything, so what is refused
leaves no trace here either. Written from docs/spec/operations.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tests.protocol.ledger import access_model
from tests.protocol.ledger.access_model import (
    OVER,
    AskingModel,
    ChartModel,
    CountModel,
    DelegateModel,
    EmergencyModel,
    GrantModel,
    Numbers,
    RecordModel,
    Refused,
)

DAY_MS = 86_400_000
EventModel = tuple[str, dict[str, Any]]
"""An event that the ledger must record: its kind, and what it must say."""
KNOWN_ACCESS = ({"read"}, {"write"}, {"read", "write"})


@dataclass(frozen=True)
class Signed:
    """A co-signature: who it claims to be, with which key it was really made, and whether for this very operation."""

    role: str
    actor: int
    key: str
    number: int
    until: int
    spoiled: bool = False


@dataclass
class Step:
    """An operation of this kind, carried by this institution; `what` holds the particulars."""

    kind: str
    carrier: int
    chart: int
    what: SimpleNamespace
    signed: tuple[Signed, ...] = ()


@dataclass
class Bounds:
    """The parameters and limits that a small world has."""

    release_ms: int
    recovery_ms: int
    review_ms: int
    cosign_ms: int
    guardian_cosign_ms: int
    denials_per_day: int
    unreviewed: int
    grants: int
    delegated_grants: int
    delegates: int
    holds: int


@dataclass
class Answer:
    """What a valid operation does: the events that it adds to its chart, and the outcome of an asking."""

    events: list[EventModel]
    outcome: str | None = None
    reason: str | None = None


def must(holds: object, error: str) -> None:
    if not holds:
        raise Refused(error)


def nothing() -> None:
    """What uses up no number, where no co-signature stands."""


@dataclass
class Basis:
    """What the rules of all families share."""

    bounds: Bounds
    status: dict[int, str]
    now: int = 0
    charts: list[ChartModel] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    counts: dict[int, CountModel] = field(default_factory=dict)
    denials: dict[tuple[int, int, int], int] = field(default_factory=dict)
    askings: list[AskingModel] = field(default_factory=list)

    def do(self, step: Step, now: int) -> Answer:
        """What the ledger must do with this at this time. Raises `Refused`."""
        self.now = now
        must(self.status.get(step.carrier) == "accredited", "NotAccredited")
        answer: Answer = getattr(self, step.kind)(step)
        if step.kind != "open":
            self.charts[step.chart].events += len(answer.events)
        return answer

    def chart(self, step: Step) -> ChartModel:
        must(step.chart < len(self.charts), "UnknownChart")
        return self.charts[step.chart]

    def custodians(self, step: Step) -> ChartModel:
        chart = self.chart(step)
        must(chart.custodian == step.carrier, "Unauthorised")
        return chart

    def records(self, chart: ChartModel, numbers: tuple[int, ...]) -> list[RecordModel]:
        must(all(number in chart.records for number in numbers), "UnknownRecord")
        return [chart.records[number] for number in numbers]

    # --- co-signatures: each check answers with what uses the number up, for when all else holds too

    def by_owner(self, step: Step, key: str, numbers: Numbers) -> Callable[[], None]:
        signed = self.only(step)
        must(signed.role == "owner" and signed.actor == 0, "Unauthorised")
        return self.counted(signed, key, numbers)

    def by_owner_of(self, step: Step, chart: ChartModel) -> Callable[[], None]:
        return self.by_owner(step, chart.owner[0], chart.numbers)

    def by_delegate(self, step: Step, chart: ChartModel) -> Callable[[], None]:
        signed = self.only(step)
        must(signed.role == "delegate", "Unauthorised")
        must(signed.actor < len(chart.delegates), "UnknownDelegate")
        delegate = chart.delegates[signed.actor]
        return self.counted(signed, delegate.key, delegate.numbers)

    def by_either(self, step: Step, chart: ChartModel) -> tuple[Callable[[], None], DelegateModel | None]:
        if self.only(step).role == "delegate":
            use = self.by_delegate(step, chart)
            return use, chart.delegates[step.signed[0].actor]
        return self.by_owner_of(step, chart), None

    def by_guardians(self, step: Step, chart: ChartModel) -> None:
        must(chart.guardians is not None, "NoGuardians")
        assert chart.guardians is not None
        must(step.signed, "MissingCosignature")
        places = range(len(chart.guardians.keys))
        formed = all(one.role == "guardian" and one.actor in places and one.number == 0 for one in step.signed)
        must(formed, "Unauthorised")
        must(len({one.actor for one in step.signed}) == len(step.signed), "NotAscending")
        must(len(step.signed) >= chart.guardians.threshold, "TooFewGuardians")
        for one in step.signed:
            self.check_until(one)
            must(one.key == chart.guardians.keys[one.actor] and not one.spoiled, "BadCosignature")

    def only(self, step: Step) -> Signed:
        must(step.signed, "MissingCosignature")
        must(len(step.signed) == 1, "Unauthorised")
        return step.signed[0]

    def check_until(self, signed: Signed) -> None:
        must(self.now <= signed.until, "CosignatureExpired")
        longest = self.bounds.guardian_cosign_ms if signed.role == "guardian" else self.bounds.cosign_ms
        must(signed.until <= self.now + longest, "CosignatureTooLong")

    def counted(self, signed: Signed, key: str, numbers: Numbers) -> Callable[[], None]:
        self.check_until(signed)
        numbers.check(signed.number)
        must(signed.key == key and not signed.spoiled, "BadCosignature")
        return lambda: numbers.used.add(signed.number)

    # --- terms

    def check_period(self, begin: int, end: int) -> None:
        must(begin < end and end > self.now, "BadTerms")

    def check_purposes(self, purposes: frozenset[str]) -> None:
        for purpose in sorted(purposes):
            must(purpose in OVER, "UnknownPurpose")
            must(not access_model.is_emergency(purpose), "BadTerms")


class Asking(Basis):
    """Who asks to read, and emergencies."""

    def disclose(self, step: Step) -> Answer:
        chart, what = self.chart(step), step.what
        must(what.purpose in OVER, "UnknownPurpose")
        self.records(chart, what.records)
        use, delegate = None, None
        if step.signed:
            must(what.grant is None, "BadTerms")
            use, delegate = self.by_delegate(step, chart), step.signed[0].actor
        asking = AskingModel(
            step.chart, chart.events, step.carrier, what.records, what.purpose, what.staff, "", what.grant, delegate
        )
        reason = access_model.why_not(chart, asking, what.records, self.now)
        asking.outcome = "DISCLOSED" if reason == "NONE" else "DENIED"
        if reason == "NONE":
            asking.release_until = self.now + self.bounds.release_ms
        else:
            self.count_unanswered(step)
        if use is not None:
            use()
        self.askings.append(asking)
        said = {
            "grant": what.grant, "delegate": delegate, "records": what.records, "purpose": what.purpose,
            "outcome": asking.outcome, "reason": reason, "release_until": asking.release_until,
        }  # fmt: skip
        return Answer([("Disclosed", said)], asking.outcome, reason)

    def count_unanswered(self, step: Step, times: int = 1) -> None:
        key = (step.chart, step.carrier, self.now // DAY_MS)
        must(self.denials.get(key, 0) < times * self.bounds.denials_per_day, "DenialCapReached")
        self.denials[key] = self.denials.get(key, 0) + 1

    def break_glass(self, step: Step) -> Answer:
        must(not step.signed, "Unauthorised")
        chart, what = self.chart(step), step.what
        must(what.purpose in OVER, "UnknownPurpose")
        self.records(chart, what.records)
        must(access_model.is_emergency(what.purpose), "BadTerms")
        emergency = EmergencyModel(step.carrier, self.now, what.records)
        asking = AskingModel(
            step.chart, chart.events, step.carrier, what.records, what.purpose, what.staff, "", emergency=emergency
        )
        reason = access_model.why_not(chart, asking, what.records, self.now)
        if reason == "NONE" and self.owes_too_many(step.carrier):
            reason = "REVIEWS_OWED"
        if reason != "NONE":
            asking.outcome = "DENIED"
            self.count_unanswered(step, 2)
        else:
            asking.outcome = "PENDING" if chart.mode == "TWO_INSTITUTIONS" else "DISCLOSED"
            if asking.outcome == "PENDING":
                self.count_unanswered(step, 2)
            chart.emergencies[chart.events] = emergency
            if asking.outcome == "DISCLOSED":
                self.release(step.chart, chart.events, emergency)
        self.askings.append(asking)
        said = {
            "records": what.records, "purpose": what.purpose, "outcome": asking.outcome, "reason": reason,
            "release_until": emergency.release_until, "review_by": emergency.review_by,
        }  # fmt: skip
        return Answer([("GlassBroken", said)], asking.outcome, reason)

    def owes_too_many(self, institution: int) -> bool:
        return len(self.count(institution).unreviewed) >= self.bounds.unreviewed

    def count(self, institution: int) -> CountModel:
        return self.counts.setdefault(institution, CountModel())

    def release(self, chart: int, event: int, emergency: EmergencyModel) -> None:
        emergency.release_until = self.now + self.bounds.release_ms
        emergency.review_by = self.now + self.bounds.review_ms
        count = self.count(emergency.institution)
        count.opened += 1
        count.unreviewed.add((emergency.review_by, chart, event))

    def found(self, step: Step) -> tuple[ChartModel, EmergencyModel]:
        must(not step.signed, "Unauthorised")
        chart = self.chart(step)
        emergency = chart.emergencies.get(step.what.event)
        must(emergency is not None and emergency.institution == step.what.institution, "UnknownEmergency")
        assert emergency is not None
        return chart, emergency

    def confirm(self, step: Step) -> Answer:
        chart, emergency = self.found(step)
        must(emergency.release_until is None, "NotWaiting")
        must(step.carrier != emergency.institution, "Unauthorised")
        must(self.now <= emergency.asked_at + self.bounds.release_ms, "Expired")
        asker, records = emergency.institution, step.what.records
        must(self.status[asker] == "accredited", "NotAccredited")
        must(records == emergency.records, "BadTerms")
        again = AskingModel(step.chart, step.what.event, asker, records, "ETREAT", None, "", emergency=emergency)
        reason = access_model.why_not(chart, again, records, self.now)
        must(reason not in ("BREAK_GLASS_FORBIDDEN", "BARRED"), "ForbiddenMeanwhile")
        must(reason != "ERASED", "AlreadyErased")
        must(not self.owes_too_many(asker), "TooManyUnreviewed")
        emergency.confirmed_by = step.carrier
        self.release(step.chart, step.what.event, emergency)
        until, due = emergency.release_until, emergency.review_by
        said = {"emergency": step.what.event, "release_until": until, "review_by": due}
        return Answer([("GlassConfirmed", said)])

    def review(self, step: Step) -> Answer:
        _, emergency = self.found(step)
        must(emergency.review_by is not None, "TooEarly")
        must(emergency.reviewed_by is None, "AlreadyReviewed")
        must(step.carrier not in (emergency.institution, emergency.confirmed_by), "Unauthorised")
        assert emergency.review_by is not None
        late = self.now > emergency.review_by
        emergency.reviewed_by = step.carrier
        count = self.count(emergency.institution)
        count.late += late
        count.unjustified += not step.what.justified
        count.unreviewed.remove((emergency.review_by, step.chart, step.what.event))
        said = {"emergency": step.what.event, "justified": step.what.justified, "late": late}
        return Answer([("GlassReviewed", said)])

    def may_read_now(self, asking: AskingModel, records: tuple[int, ...], now: int) -> tuple[str, str]:
        """Whether these records of a final asking may be released: "" if so, else by which name not, and why."""
        if asking.outcome == "DENIED":
            return "ReleaseDenied", ""
        if self.status[asking.reader] != "accredited":
            return "NotAccredited", ""
        if asking.deadline is None:
            return "ReleaseDenied", ""
        if now >= asking.deadline:
            return "ReleaseOverdue", ""
        if any(self.charts[asking.chart].records[number].erased for number in records):
            return "RecordErased", ""
        reason = access_model.why_not(self.charts[asking.chart], asking, records, now)
        return ("", "") if reason == "NONE" else ("GrantEnded", reason)


class Consent(Basis):
    """Charts, records, grants, revocations, policy, delegates."""

    def open(self, step: Step) -> Answer:
        what = step.what
        must(what.custodian == step.carrier, "Unauthorised")
        must(what.owner[0] not in self.owners, "ChartExists")
        numbers = Numbers()
        self.by_owner(step, what.owner[0], numbers)()
        self.owners[what.owner[0]] = len(self.charts)
        self.charts.append(ChartModel(step.carrier, what.owner, numbers))
        return Answer([("ChartOpened", {})])

    def append(self, step: Step) -> Answer:
        """`what.entries` are (marks, supersedes, disputes)."""
        chart, what = self.chart(step), step.what
        holders = frozenset(what.holders)
        records = [RecordModel(marks, chart.generation, step.carrier, holders) for marks, _, _ in what.entries]
        if what.grant is None:
            must(chart.custodian == step.carrier, "Unauthorised")
        else:
            must(chart.custodian != step.carrier, "BadTerms")
            must(access_model.may_write(chart, what.grant, step.carrier, records, self.now), "WriteNotGranted")
        must(holders <= set(self.status), "UnknownInstitution")
        use = nothing
        if any(disputes is not None for _, _, disputes in what.entries):
            use = self.by_owner_of(step, chart)
            must(not chart.frozen, "OwnerFrozen")
        else:
            must(not step.signed, "Unauthorised")
        there = set(chart.records)
        for place, (_, *others) in enumerate(what.entries, chart.events):
            must(all(other is None or other in there for other in others), "UnknownRecord")
            there.add(place)
        if what.grant is not None:
            known = {**chart.records, **dict(enumerate(records, chart.events))}
            amended = [known[supersedes] for _, supersedes, _ in what.entries if supersedes is not None]
            must(access_model.may_write(chart, what.grant, step.carrier, amended, self.now), "WriteNotGranted")
        use()
        chart.records.update(enumerate(records, chart.events))
        said = {"generation": chart.generation, "holders": tuple(sorted(holders)), "grant": what.grant}
        return Answer([("RecordAppended", said)] * len(records))

    def grant(self, step: Step) -> Answer:
        chart, grant = self.chart(step), step.what.grant
        use, delegate = self.by_either(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        for reader in sorted(grant.readers):
            must(reader in self.status, "UnknownInstitution")
            must(self.status[reader] != "removed", "BadTerms")
        must(grant.access in KNOWN_ACCESS, "BadTerms")
        self.check_period(grant.begin, grant.end)
        self.check_purposes(grant.purposes)
        if delegate is not None:
            self.check_bounds(delegate, grant)
        most = self.bounds.grants if delegate is None else self.bounds.delegated_grants
        must(len(chart.grants) < most, "TooManyGrants")
        use()
        grant.by_delegate = delegate is not None
        chart.grants.append(grant)
        by = None if delegate is None else step.signed[0].actor
        return Answer([("Granted", {"grant": len(chart.grants) - 1, "delegate": by})])

    def check_bounds(self, delegate: DelegateModel, grant: GrantModel) -> None:
        must(delegate.in_force(self.now), "DelegateNotInForce")
        must("grant" in delegate.acts, "BeyondBounds")
        must(grant.access == {"read"} and grant.end <= delegate.end, "BeyondBounds")
        must(access_model.lies_within(grant.cover, delegate.cover), "BeyondBounds")
        must(all(access_model.serves(delegate.purposes, one) for one in grant.purposes), "BeyondBounds")

    def revoke(self, step: Step) -> Answer:
        """`what.reissues` are covers by grant, `what.renewals` by delegate, `what.bars` a list or None."""
        chart, what = self.chart(step), step.what
        use, delegate = self.by_either(step, chart)
        if delegate is not None:
            must(delegate.in_force(self.now), "DelegateNotInForce")
            must("revoke" in delegate.acts, "BeyondBounds")
            must(not what.reissues and not what.renewals and what.bars is None, "BeyondBounds")
        must(what.grant < len(chart.grants), "UnknownGrant")
        must(what.grant not in what.reissues, "BadTerms")
        must(all(number < len(chart.grants) for number in what.reissues), "UnknownGrant")
        must(all(number < len(chart.delegates) for number in what.renewals), "UnknownDelegate")
        use()
        if chart.grants[what.grant].revoked:
            return Answer([])
        chart.grants[what.grant].revoked = True
        reissued, renewed, bars = (), (), None
        if delegate is None and not chart.frozen:
            chart.generation += 1
            reissued = tuple(number for number in sorted(what.reissues) if not chart.grants[number].revoked)
            live = [number for number, one in enumerate(chart.delegates) if not one.ended and not one.void]
            renewed = tuple(number for number in live if number in what.renewals)
            for number in reissued:
                chart.grants[number].cover, chart.grants[number].reissued = what.reissues[number], True
            for number in renewed:
                chart.delegates[number].cover = what.renewals[number]
            if what.bars is not None and not chart.overtaken(step.signed[0].number):
                chart.bars = bars = what.bars
                chart.policy_signed = (chart.owner[0], step.signed[0].number)
        said = {
            "grant": what.grant, "generation": chart.generation, "reissues": reissued, "delegates": renewed,
            "bars": bars, "delegate": None if delegate is None else step.signed[0].actor,
        }  # fmt: skip
        return Answer([("Revoked", said)])

    def policy(self, step: Step) -> Answer:
        chart = self.chart(step)
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        must(not chart.overtaken(step.signed[0].number), "Overtaken")
        use()
        chart.mode, chart.bars = step.what.mode, step.what.bars
        chart.policy_signed = (chart.owner[0], step.signed[0].number)
        return Answer([("PolicySet", {})])
