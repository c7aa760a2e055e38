"""The steps of a history, one function a kind: each draws an operation, or None if there is nothing to do it to."""

from __future__ import annotations

from protocol.crypto.tags import NONE
from tests.protocol.ledger import access_model
from tests.protocol.ledger.access_draw import (
    CHARTS,
    GRANTABLE,
    INSTITUTIONS,
    NOBODY,
    UNDER,
    Draws,
    step,
)
from tests.protocol.ledger.access_model import OVER, ChartModel, GuardiansModel, Mark
from tests.protocol.ledger.access_rules import Signed, Step
from tests.protocol.ledger.access_stage import GOVERNOR

CODES = sorted(code for code in OVER if code)


class Steps(Draws):
    """Everything that anybody does."""

    def open(self) -> Step | None:
        """A patient opens charts with different keys, which nothing ties together."""
        charts, custodian = len(self.model.charts), self.carrier()
        if charts >= CHARTS and not self.chance(0.1):
            return None
        key = f"owner {charts} 0" if charts < CHARTS else self.rng.choice(sorted(self.model.owners))
        chosen = custodian if self.chance(0.95) else self.institution()
        good = Signed("owner", 0, key, self.rng.randrange(3), self.until())
        signed = self.spoil(good, 0) if self.chance(0.03) else (good,)
        return step("open", custodian, charts, signed, custodian=chosen, owner=(key, f"encryption {charts}"))

    def move(self) -> Step | None:
        """An owner whose custodian was removed turns to another; some try before that."""
        gone = [n for n, one in enumerate(self.model.charts) if self.model.status[one.custodian] == "removed"]
        number = self.rng.choice(gone) if gone and self.chance(0.9) else self.chart()
        if number is None:
            return None
        carrier, custodian = self.carrier(), self.of(number).custodian
        former = custodian if self.chance(0.9) else self.institution()
        chosen = carrier if self.chance(0.95) else self.institution()
        return step("move", carrier, number, self.owner(number), former=former, custodian=chosen)

    def append(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        chart = self.of(number)
        entries = []
        for place in range(self.rng.choice((1, 1, 2, 3))):
            at = chart.events + place
            supersedes = self.rng.choice((*chart.records, at - 1)) if chart.records and self.chance(0.2) else None
            entries.append((self.record(chart.generation), at if self.chance(0.005) else supersedes, None))
        signed: tuple[Signed, ...] = ()
        if chart.records and self.chance(0.12):  # a note of dispute
            entries[0] = (entries[0][0], None, self.rng.choice(sorted(chart.records)))
            signed = self.owner(number)
        elif self.chance(0.01):
            signed = self.owner(number)
        holders = self.rng.sample(range(INSTITUTIONS), self.rng.choice((0, 1, 3)))
        if self.chance(0.005):
            holders.append(NOBODY)
        carrier = chart.custodian if self.chance(0.95) else self.carrier()
        return step("append", carrier, number, signed, entries=entries, holders=holders, grant=None)

    def write(self) -> Step | None:
        """Another institution writes, under a grant."""
        number = self.chart("grants")
        if number is None or number >= len(self.model.charts):
            return None
        chart = self.of(number)
        writing = [n for n, grant in enumerate(chart.grants) if "write" in grant.access]
        writing = [n for n in writing if not chart.grants[n].revoked or self.chance(0.25)]
        grant = self.rng.choice(writing) if writing and self.chance(0.9) else self.rng.randrange(len(chart.grants) + 1)
        readers = chart.grants[grant].readers if grant < len(chart.grants) and self.chance(0.9) else {self.carrier()}
        holders = self.rng.sample(range(INSTITUTIONS), 2)
        latest = chart.generation
        if grant < len(chart.grants) and chart.grants[grant].revoked:
            latest = max(generation for generation, _ in chart.grants[grant].cover[2] or [(latest, NONE)])
        drawn = [self.record(latest) for _ in range(6)]
        good = [marks for marks in drawn if self.fits(chart, grant, marks)]
        amended = self.rng.choice(sorted(chart.records)) if chart.records and self.chance(0.4) else None
        entries = [(good[0] if good and self.chance(0.85) else drawn[0], amended, None)]
        carrier = self.rng.choice(sorted(readers))
        return step("append", carrier, number, entries=entries, holders=holders, grant=grant)

    def fits(self, chart: ChartModel, grant: int, marks: tuple[Mark, ...]) -> bool:
        if grant >= len(chart.grants):
            return False
        cover = chart.grants[grant].cover
        return all(listed is None or mark in listed for listed, mark in zip(cover, marks, strict=True))

    def grant(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        grant = self.a_grant(self.of(number).generation)
        return step("grant", self.carrier(), number, self.owner(number), grant=grant)

    def grant_by_delegate(self) -> Step | None:
        number = self.at_a_delegate("grant") if self.chance(0.8) else self.chart("delegates")
        if number is None or number >= len(self.model.charts):
            return None
        chart = self.of(number)
        able = [n for n, one in enumerate(chart.delegates) if "grant" in one.acts and one.in_force(self.now)]
        who = self.rng.choice(able) if able and self.chance(0.85) else self.rng.randrange(len(chart.delegates) + 1)
        grant = self.a_grant(chart.generation)
        if who < len(chart.delegates) and self.chance(0.9):
            bounds = chart.delegates[who]
            grant.access = frozenset({"read"}) if self.chance(0.95) else grant.access
            grant.cover = self.inside(bounds.cover, chart.generation)
            under = {one for granted in bounds.purposes for one in UNDER.get(granted, []) if one in GRANTABLE}
            grant.purposes = frozenset(self.some(under, 2)) if under and self.chance(0.9) else grant.purposes
            grant.end = bounds.end + self.chance(0.35) if self.chance(0.4) else min(grant.end, bounds.end)
        return step("grant", self.carrier(), number, self.delegate_signs(number, who), grant=grant)

    def at_a_delegate(self, act: str) -> int | None:
        """A chart with a delegate who may do this now."""
        fit = [
            number
            for number, chart in enumerate(self.model.charts)
            if any(act in one.acts and one.in_force(self.now) for one in chart.delegates)
        ]
        return self.rng.choice(fit) if fit else None

    def revoke(self) -> Step | None:
        number = self.chart("grants")
        if number is None:
            return None
        chart = self.of(number)
        live = [n for n, grant in enumerate(chart.grants) if not grant.revoked]
        grant = self.rng.choice(live) if live and self.chance(0.85) else self.rng.randrange(len(chart.grants) + 1)
        latest = chart.generation + 1
        again = [n for n in live if n != grant and self.chance(0.85)]
        reissues = {n: self.cover(latest) for n in again}
        if self.chance(0.02):
            reissues[self.rng.choice((grant, len(chart.grants)))] = self.cover(latest)
        gone = [n for n, one in enumerate(chart.grants) if one.revoked and n != grant]
        if gone and self.chance(0.15):
            reissues[self.rng.choice(gone)] = self.cover(latest)
        delegates = [n for n in range(len(chart.delegates)) if self.chance(0.8)]
        if self.chance(0.01):
            delegates.append(len(chart.delegates))
        renewals = {n: self.cover(latest) for n in delegates}
        bars = self.bars(latest) if chart.bars and self.chance(0.6) else None
        what = {"grant": grant, "reissues": reissues, "renewals": renewals, "bars": bars}
        return step("revoke", self.carrier(), number, self.owner(number, old=0.25 if bars else 0.05), **what)

    def revoke_by_delegate(self) -> Step | None:
        number = self.at_a_delegate("revoke") if self.chance(0.8) else self.chart("delegates")
        if number is None or not self.of(number).grants:
            return None
        chart = self.of(number)
        able = [n for n, one in enumerate(chart.delegates) if "revoke" in one.acts and one.in_force(self.now)]
        who = self.rng.choice(able) if able and self.chance(0.8) else self.rng.randrange(len(chart.delegates) or 1)
        grant = self.rng.randrange(len(chart.grants))
        renewed = {who: self.cover(chart.generation)} if self.chance(0.1) else {}
        what = {"grant": grant, "reissues": {}, "renewals": renewed, "bars": [] if self.chance(0.1) else None}
        return step("revoke", self.carrier(), number, self.delegate_signs(number, who), **what)

    def policy(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        mode = self.rng.choice(("ALLOWED", "ALLOWED", "TWO_INSTITUTIONS", "TWO_INSTITUTIONS", "FORBIDDEN"))
        bars = self.bars(self.of(number).generation)
        return step("policy", self.carrier(), number, self.owner(number, old=0.15), mode=mode, bars=bars)

    def name_delegate(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        delegate = self.a_delegate(number, self.of(number).generation)
        return step("name_delegate", self.carrier(), number, self.owner(number), delegate=delegate)

    def end_delegate(self) -> Step | None:
        number = self.chart("delegates")
        if number is None:
            return None
        delegate = self.rng.randrange(len(self.of(number).delegates) + self.chance(0.1) or 1)
        by = delegate if self.chance(0.9) else delegate + 1
        signed = self.delegate_signs(number, by) if self.chance(0.5) else self.owner(number)
        return step("end_delegate", self.carrier(), number, signed, delegate=delegate)

    # --- guardians and keys

    def change(self, number: int) -> int:
        chart = self.of(number)
        return chart.changes if self.chance(0.96) else self.rng.choice((chart.changes + 1, max(0, chart.changes - 1)))

    def set_guardians(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        names = [f"guardian {number} {n}" for n in self.rng.sample(range(5), self.rng.randint(1, 3))]
        if self.chance(0.02):
            names.append(self.of(number).owner[0])
        names.sort(key=lambda one: self.stage.words.key(one).public)
        threshold = self.rng.randint(1, len(names)) if self.chance(0.97) else len(names) + 1
        guardians = None if self.chance(0.06) else GuardiansModel(threshold, tuple(names))
        what = {"change": self.change(number), "guardians": guardians}
        return step("set_guardians", self.carrier(), number, self.owner(number), **what)

    def new_keys(self, number: int) -> tuple[str, str]:
        """Mostly new ones; now and then one that this chart or another has or had."""
        chart = self.of(number)
        key = f"owner {number} {self.rng.randrange(1, 40)}"
        if self.chance(0.1):
            key = self.rng.choice(sorted({*self.model.owners, chart.owner[0]}))
        had = sorted(one for one in self.model.spent if one.startswith(f"owner {number} "))
        if had and self.chance(0.25):
            key = self.rng.choice(had)
        if chart.guardians is not None and self.chance(0.03):
            key = chart.guardians.keys[0]
        if self.chance(0.02):
            return chart.owner
        return key, f"encryption {number} {self.rng.randrange(9)}"

    def rotate(self) -> Step | None:
        number = self.chart()
        if number is None:
            return None
        what = {"change": self.change(number), "to": self.new_keys(number), "possessed": self.chance(0.97)}
        return step("rotate", self.carrier(), number, self.owner(number), **what)

    def recover(self, number: int | None = None) -> Step | None:
        if number is None:
            number = self.chart("guardians") if self.chance(0.95) else self.chart()
        if number is None:
            return None
        what = {"change": self.change(number), "to": self.new_keys(number), "possessed": self.chance(0.97)}
        overrule = self.chance(0.4)
        carrier = self.of(number).custodian if overrule and self.chance(0.9) else self.carrier()
        return step("recover", carrier, number, self.guardians_sign(number), overrule=overrule, **what)

    def waiting(self, number: int) -> int:
        waits = self.of(number).waits
        return waits.number if waits is not None and self.chance(0.97) else self.rng.randrange(3)

    def cancel(self) -> Step | None:
        number = self.chart("waits") if self.chance(0.95) else self.chart()
        if number is None:
            return None
        signed = self.guardians_sign(number) if self.chance(0.4) else self.owner(number)
        return step("cancel", self.carrier(), number, signed, change=self.waiting(number))

    def complete(self, number: int | None = None) -> Step | None:
        if number is None:
            number = self.chart("waits") if self.chance(0.95) else self.chart()
        if number is None:
            return None
        signed = self.owner(number) if self.chance(0.02) else ()
        return step("complete", self.carrier(), number, signed, change=self.waiting(number))

    def standing(self) -> Step | None:
        """The consortium suspends few, reinstates most of them, and removes at most one."""
        status = self.model.status
        suspended = [n for n, one in status.items() if one == "suspended"]
        if suspended and self.chance(0.75):
            return step("standing", GOVERNOR, 0, institution=self.rng.choice(suspended), status="accredited")
        standing = [n for n, one in status.items() if one == "accredited" and n != GOVERNOR]
        if len(suspended) >= 2 or len(standing) < 4:
            return None
        removed = "removed" not in status.values() and self.chance(0.06)
        to = "removed" if removed else "suspended"
        return step("standing", GOVERNOR, 0, institution=self.rng.choice(standing), status=to)

    # --- asking

    def ask(self) -> Step | None:
        """Anything, by anybody."""
        number = self.chart("records")
        if number is None:
            return None
        grant = self.rng.choice((None, *range(len(self.of(number).grants) + 1)))
        if self.chance(0.02):
            grant = self.rng.choice((70_000, 1 << 50))
        purpose = "CURIOUS" if self.chance(0.01) else self.rng.choice(CODES)
        what = {"grant": grant, "records": self.records(number), "purpose": purpose, "staff": self.staff()}
        signed = self.owner(number) if self.chance(0.02) else ()
        return step("disclose", self.carrier(), number, signed, **what)

    def ask_what_was_granted(self) -> Step | None:
        """Mostly under a grant that lets something be read now."""
        every = [
            (number, which, chart, grant)
            for number, chart in enumerate(self.model.charts)
            if chart.records
            for which, grant in enumerate(chart.grants)
        ]
        live = [each for each in every if not each[3].revoked and each[3].begin <= self.now < each[3].end]
        live = [each for each in live if "read" in each[3].access or self.chance(0.05)]
        of_use = [
            each for each in live if any(access_model.covers(each[3].cover, one) for one in each[2].records.values())
        ]
        if not every:
            return None
        behind_bars = [each for each in of_use if each[2].bars]
        of_use = behind_bars if behind_bars and self.chance(0.3) else of_use
        number, which, _, _ = self.rng.choice(of_use if of_use and self.chance(0.85) else every)
        return self.ask_under(number, which)

    def ask_under(self, number: int, which: int) -> Step:
        """As the grant says, or spoilt in one particular."""
        grant = self.of(number).grants[which]
        reader = self.rng.choice(sorted(grant.readers))
        purpose = self.rng.choice(UNDER[self.rng.choice(sorted(grant.purposes))])
        if access_model.is_emergency(purpose) and self.chance(0.8):
            purpose = self.rng.choice(sorted(grant.purposes))
        records = self.records(number, grant.cover)
        staff = self.staff() if grant.staff is None else self.rng.choice(sorted(grant.staff))
        match self.rng.randrange(14):
            case 0:
                reader = self.carrier()
            case 1:
                purpose = self.rng.choice(CODES)
            case 2:
                records = self.records(number)
            case 3 | 4 | 5:
                staff = self.staff()
        return step("disclose", reader, number, grant=which, records=records, purpose=purpose, staff=staff)

    def ask_as_delegate(self, number: int | None = None, which: int | None = None) -> Step | None:
        if number is None:
            number = self.at_a_delegate("read") if self.chance(0.8) else self.chart("delegates")
        if number is None or number >= len(self.model.charts):
            return None
        chart = self.of(number)
        if not chart.records or not chart.delegates:
            return None
        able = [n for n, one in enumerate(chart.delegates) if "read" in one.acts and one.in_force(self.now)]
        if self.chance(0.12):
            able = [n for n, one in enumerate(chart.delegates) if one.ended or one.void]
        if which is None:
            which = self.rng.choice(able) if able and self.chance(0.8) else self.rng.randrange(len(chart.delegates) + 1)
        delegate = chart.delegates[min(which, len(chart.delegates) - 1)]
        purpose = self.rng.choice(sorted(delegate.purposes)) if self.chance(0.85) else self.rng.choice(CODES)
        records = self.records(number, delegate.cover if self.chance(0.85) else None)
        carrier = chart.custodian if self.chance(0.5) else self.carrier()
        what = {"grant": 0 if self.chance(0.02) else None, "records": records, "purpose": purpose, "staff": None}
        return step("disclose", carrier, number, self.delegate_signs(number, which), **what)
