"""The rest of what operations do to the model: delegates, guardians and recovery, erasure and holds, standing.

As `access_rules`, whose other half this is; `Model` is the whole.
"""

from __future__ import annotations

from tests.protocol.ledger.access_model import ChangeModel, ChartModel, ErasureModel
from tests.protocol.ledger.access_rules import Answer, Asking, Basis, Consent, Step, must, nothing

ACTS = {"grant", "revoke", "read"}


class Control(Basis):
    """Delegates, guardians, and the changes that wait."""

    def move(self, step: Step) -> Answer:
        what = step.what
        must(what.custodian == step.carrier, "Unauthorised")
        chart = self.chart(step)
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        must(chart.custodian == what.former, "CustodianRemains")
        must(self.status[what.former] == "removed", "CustodianRemains")
        use()
        chart.custodian = step.carrier
        return Answer([("ChartMoved", {"former": what.former})])

    def name_delegate(self, step: Step) -> Answer:
        chart, delegate = self.chart(step), step.what.delegate
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        must(delegate.acts and delegate.acts <= ACTS, "BadTerms")
        must(delegate.key != chart.owner[0], "BadTerms")
        self.check_period(delegate.begin, delegate.end)
        self.check_purposes(delegate.purposes)
        must(len(chart.delegates) < self.bounds.delegates, "TooManyDelegates")
        use()
        chart.delegates.append(delegate)
        return Answer([("DelegateNamed", {"delegate": len(chart.delegates) - 1})])

    def end_delegate(self, step: Step) -> Answer:
        """By the owner even while its key may be stolen; by the delegate itself and no other, in force or not."""
        chart, number = self.chart(step), step.what.delegate
        if self.only(step).role == "delegate":
            must(step.signed[0].actor == number, "Unauthorised")
            use = self.by_delegate(step, chart)
        else:
            use = self.by_owner_of(step, chart)
        must(number < len(chart.delegates), "UnknownDelegate")
        use()
        if chart.delegates[number].ended:
            return Answer([])
        chart.delegates[number].ended = True
        return Answer([("DelegateEnded", {"delegate": number})])

    def set_guardians(self, step: Step) -> Answer:
        chart, guardians = self.chart(step), step.what.guardians
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        must(step.what.change == chart.changes, "WrongChange")
        must(chart.waits is None, "ChangePending")
        if guardians is None:
            must(chart.guardians is not None, "BadTerms")
        else:
            must(guardians.threshold <= len(guardians.keys), "BadTerms")
            must(chart.owner[0] not in guardians.keys, "BadTerms")
        use()
        wait_ms = 0 if chart.guardians is None else self.bounds.recovery_ms
        change = ChangeModel(chart.changes, "GUARDIANS", self.now + wait_ms, guardians=guardians)
        if chart.guardians is None:
            chart.guardians = guardians
        else:
            chart.waits = change
        chart.changes += 1
        return Answer([self.begun(change)])

    def rotate(self, step: Step) -> Answer:
        chart = self.chart(step)
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        must(step.what.change == chart.changes, "WrongChange")
        must(chart.waits is None, "ChangePending")
        self.claim(step, chart)
        use()
        return Answer([self.wait(step, chart, "ROTATION")])

    def recover(self, step: Step) -> Answer:
        chart = self.chart(step)
        must(step.what.change == chart.changes, "WrongChange")
        self.by_guardians(step, chart)
        must(not step.what.overrule or step.carrier == chart.custodian, "Unauthorised")
        self.claim(step, chart)
        given_up = [] if chart.waits is None else [self.cancelled(chart.waits, by_guardians=True)]
        return Answer([*given_up, self.wait(step, chart, "RECOVERY", step.what.overrule)])

    def claim(self, step: Step, chart: ChartModel) -> None:
        """The new keys are not in use by another chart, were not this one's before, and are not this one's now."""
        key, what = step.what.to[0], step.what
        must(what.possessed, "BadPossession")
        must(self.owners.get(key, step.chart) == step.chart, "ChartExists")
        must(key not in self.spent, "BadTerms")
        must(what.to != chart.owner, "BadTerms")
        must(chart.guardians is None or key not in chart.guardians.keys, "BadTerms")
        self.owners[key] = step.chart

    def wait(self, step: Step, chart: ChartModel, kind: str, overrule: bool = False) -> tuple[str, dict[str, object]]:
        ready_at = self.now + self.bounds.recovery_ms
        chart.waits = ChangeModel(chart.changes, kind, ready_at, step.what.to, None, overrule)
        chart.changes += 1
        return self.begun(chart.waits)

    def begun(self, change: ChangeModel) -> tuple[str, dict[str, object]]:
        said = {
            "change": change.number, "kind": change.kind, "overrule": change.overrule, "ready_at": change.ready_at,
        }  # fmt: skip
        return "ChangeBegun", said

    def cancelled(self, change: ChangeModel, *, by_guardians: bool) -> tuple[str, dict[str, object]]:
        return "ChangeCancelled", {"change": change.number, "by_guardians": by_guardians}

    def waiting(self, step: Step, chart: ChartModel) -> ChangeModel:
        must(chart.waits is not None and chart.waits.number == step.what.change, "WrongChange")
        assert chart.waits is not None
        return chart.waits

    def cancel(self, step: Step) -> Answer:
        chart = self.chart(step)
        change = self.waiting(step, chart)
        use = nothing
        by_guardians = bool(step.signed) and step.signed[0].role == "guardian"
        if by_guardians:
            self.by_guardians(step, chart)
        else:
            use = self.by_owner_of(step, chart)
            must(not change.overrule, "VetoOverruled")
        use()
        chart.waits = None
        return Answer([self.cancelled(change, by_guardians=by_guardians)])

    def complete(self, step: Step) -> Answer:
        """After a recovery the old owner key is dead and all delegates are void; a new key has used no number."""
        must(not step.signed, "Unauthorised")
        chart = self.chart(step)
        change = self.waiting(step, chart)
        must(self.now >= change.ready_at, "TooEarly")
        chart.waits = None
        if change.to is None:
            chart.guardians = change.guardians
        else:
            if change.to[0] != chart.owner[0]:
                self.spent.add(chart.owner[0])
                chart.numbers.used.clear()
            chart.owner = change.to
        if change.kind == "RECOVERY":
            for delegate in chart.delegates:
                delegate.void = True
        return Answer([("ChangeCompleted", {"change": change.number, "kind": change.kind})])


class Erasing(Basis):
    """Erasure, receipts, holds; and the standing of institutions, which a motion decides."""

    def erase(self, step: Step) -> Answer:
        chart, what = self.custodians(step), step.what
        use = self.by_owner_of(step, chart)
        must(not chart.frozen, "OwnerFrozen")
        records = self.records(chart, what.records)
        must(not any(record.erased for record in records), "AlreadyErased")
        must(not any(self.held(chart, number) for number in what.records), "OnHold")
        holders = frozenset(what.holders)
        must(holders <= set(self.status), "UnknownInstitution")
        stored = frozenset().union(*(record.holders | {record.writer} for record in records))
        must(stored - {chart.custodian} <= holders, "HolderMissing")
        use()
        for record in records:
            record.erased = True
        chart.erasures[chart.events] = ErasureModel(holders | {chart.custodian})
        return Answer([("Erased", {"records": what.records, "holders": tuple(sorted(holders))})])

    def held(self, chart: ChartModel, number: int) -> bool:
        return any(held is None or number in held for held in chart.holds.values())

    def receipt(self, step: Step) -> Answer:
        must(not step.signed, "Unauthorised")
        erasure = self.chart(step).erasures.get(step.what.event)
        must(erasure is not None, "UnknownErasure")
        assert erasure is not None
        must(step.carrier in erasure.owed, "NothingOwed")
        must(step.carrier not in erasure.receipts, "AlreadyAcknowledged")
        erasure.receipts.add(step.carrier)
        return Answer([("ErasureAcknowledged", {"erasure": step.what.event})])

    def hold(self, step: Step) -> Answer:
        must(not step.signed, "Unauthorised")
        chart, numbers = self.custodians(step), step.what.records
        if numbers is not None:
            must(not any(record.erased for record in self.records(chart, numbers)), "AlreadyErased")
        must(len(chart.holds) < self.bounds.holds, "TooManyHolds")
        chart.holds[chart.events] = None if numbers is None else frozenset(numbers)
        return Answer([("HoldPlaced", {"records": numbers})])

    def release_hold(self, step: Step) -> Answer:
        must(not step.signed, "Unauthorised")
        chart = self.custodians(step)
        must(step.what.event in chart.holds, "UnknownHold")
        del chart.holds[step.what.event]
        return Answer([("HoldReleased", {"hold": step.what.event})])

    def standing(self, step: Step) -> Answer:
        self.status[step.what.institution] = step.what.status
        return Answer([])


class Model(Asking, Consent, Control, Erasing):
    """All that there is, and all that can happen to it."""
