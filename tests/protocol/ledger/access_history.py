"""Histories: steps of every kind in any order, each settled by ledger and model alike, and looked at again later.

`History.play` plays one step of a kind from one seed. After each, some askings of before are put to whoever holds keys,
as things stand by then: what was disclosed may have been revoked, barred, erased or have run out meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from protocol import limits
from tests.protocol.ledger.access_draw import EMERGENCIES, step
from tests.protocol.ledger.access_model import AskingModel, EmergencyModel
from tests.protocol.ledger.access_rules import DAY_MS, Bounds, Step
from tests.protocol.ledger.access_stage import INSTITUTIONS, Stage
from tests.protocol.ledger.access_steps import Steps

KINDS: dict[str, int] = {
    "open": 1,
    "move": 2,
    "append": 8,
    "write": 3,
    "grant": 6,
    "grant_by_delegate": 4,
    "revoke": 6,
    "revoke_by_delegate": 1,
    "policy": 4,
    "name_delegate": 3,
    "end_delegate": 1,
    "set_guardians": 3,
    "rotate": 1,
    "recover": 2,
    "cancel": 1,
    "complete": 2,
    "standing": 2,
    "ask": 6,
    "ask_what_was_granted": 24,
    "ask_as_delegate": 10,
    "break_glass": 10,
    "confirm": 3,
    "review": 3,
    "erase": 3,
    "receipt": 2,
    "hold": 1,
    "release_hold": 1,
    "boundary": 14,
    "recovery": 3,
    "debtor": 1,
    "race": 5,
}
"""Every kind of step, and how often a plainly drawn history takes it against the others."""
RACERS = [kind for kind in KINDS if kind not in ("boundary", "recovery", "debtor", "race", "standing")]


@contextmanager
def small_limits() -> Iterator[None]:
    """The limits that no history would reach otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        bounds = draw_bounds(Random(0))
        patch.setattr(limits, "EMERGENCIES_UNREVIEWED", bounds.unreviewed)
        patch.setattr(limits, "GRANTS_PER_CHART", bounds.grants)
        patch.setattr(limits, "GRANTS_BY_DELEGATES", bounds.delegated_grants)
        patch.setattr(limits, "DELEGATES_PER_CHART", bounds.delegates)
        patch.setattr(limits, "HOLDS_PER_CHART", bounds.holds)
        yield


def draw_bounds(rng: Random) -> Bounds:
    """Short times, so that everything falls due within a history; few denials a day in one of three."""
    return Bounds(
        release_ms=700,
        recovery_ms=1_000,
        review_ms=1_000,
        cosign_ms=2 * 3_600_000,
        guardian_cosign_ms=15 * DAY_MS,
        denials_per_day=rng.choice((3, 1_000, 1_000)),
        unreviewed=2,
        grants=16,
        delegated_grants=6,
        delegates=8,
        holds=2,
    )


class LaterSteps(Steps):
    """Emergencies, erasures and holds."""

    def break_glass(self) -> Step | None:
        number = self.chart("records")
        if number is None:
            return None
        purpose = self.rng.choice(EMERGENCIES) if self.chance(0.96) else self.rng.choice(("TREAT", "CURIOUS"))
        what = {"records": self.records(number, most=2), "purpose": purpose, "staff": self.staff()}
        signed = self.owner(number) if self.chance(0.01) else ()
        waiting = [one.institution for one in self.of(number).emergencies.values() if one.release_until is None]
        carrier = self.rng.choice(waiting[-3:]) if waiting and self.chance(0.5) else self.carrier()
        return step("break_glass", carrier, number, signed, **what)

    def emergency(self, waits: bool, reviewed: bool = False) -> tuple[int, int, EmergencyModel] | None:
        """One that waits for a second institution, or does not; now and then any."""
        every = [
            (number, event, one)
            for number, chart in enumerate(self.model.charts)
            for event, one in chart.emergencies.items()
        ]
        fit = [each for each in every if (each[2].release_until is None) == waits]
        fit = [each for each in fit if (each[2].reviewed_by is not None) == reviewed]
        return self.rng.choice(fit if fit and self.chance(0.9) else every) if every else None

    def confirm(self) -> Step | None:
        found = self.emergency(waits=True)
        for _ in range(3):  # rather one whose asker owes reviews
            if found is not None and not self.model.owes_too_many(found[2].institution):
                found = self.emergency(waits=True)
        return None if found is None else self.confirm_this(*found)

    def confirm_this(self, number: int, event: int, emergency: EmergencyModel) -> Step:
        event = event if self.chance(0.98) else event + 1
        institution = emergency.institution if self.chance(0.97) else self.institution()
        signed = self.owner(number) if self.chance(0.01) else ()
        records = emergency.records if self.chance(0.96) else self.records(number, most=2)
        what = {"event": event, "institution": institution, "records": records}
        return step("confirm", self.carrier(), number, signed, **what)

    def review(self) -> Step | None:
        found = self.emergency(waits=False)
        return None if found is None else self.review_this(*found)

    def review_this(self, number: int, event: int, emergency: EmergencyModel) -> Step:
        event = event if self.chance(0.98) else event + 1
        institution = emergency.institution if self.chance(0.97) else self.institution()
        what = {"event": event, "institution": institution, "justified": self.chance(0.6)}
        carrier = self.carrier()
        if self.chance(0.05):
            carrier = emergency.institution if emergency.confirmed_by is None else emergency.confirmed_by
        return step("review", carrier, number, **what)

    def erase(self) -> Step | None:
        number = self.chart("records")
        lately = [one for one in self.model.askings[-12:] if one.outcome != "DENIED"]
        if lately and self.chance(0.4):
            number = self.rng.choice(lately).chart
        if number is None:
            return None
        chart = self.of(number)
        left = [at for at, record in chart.records.items() if not record.erased]
        asked = {at for one in lately if one.chart == number for at in one.records if at in left}
        left = sorted(asked) if asked and self.chance(0.5) else left
        others = [at for at in left if chart.records[at].writer != chart.custodian]
        left = others if others and self.chance(0.3) else left
        records = tuple(self.some(left, 2)) if left and self.chance(0.93) else self.records(number)
        stored = {
            who
            for at in records
            if at in chart.records
            for who in (*chart.records[at].holders, chart.records[at].writer)
        }
        holders = stored - {chart.custodian} if self.chance(0.6) else stored | set(self.some(range(7), 2))
        wrote = {chart.records[at].writer for at in records if at in chart.records} - {chart.custodian}
        if wrote and self.chance(0.25):
            holders -= wrote
        if holders and self.chance(0.08):
            holders.remove(self.rng.choice(sorted(holders)))
        carrier = chart.custodian if self.chance(0.95) else self.carrier()
        return step("erase", carrier, number, self.owner(number), records=records, holders=holders)

    def receipt(self) -> Step | None:
        number = self.chart("erasures")
        if number is None or not self.of(number).erasures:
            return None
        event, erasure = self.rng.choice(sorted(self.of(number).erasures.items(), key=lambda item: item[0]))
        owing = sorted(erasure.owed - erasure.receipts)
        carrier = self.rng.choice(owing) if owing and self.chance(0.85) else self.carrier()
        return step("receipt", carrier, number, event=event if self.chance(0.97) else event + 1)

    def hold(self) -> Step | None:
        number = self.chart("records")
        if number is None:
            return None
        chart = self.of(number)
        carrier = chart.custodian if self.chance(0.95) else self.carrier()
        records = None if self.chance(0.3) else self.records(number, most=2)
        return step("hold", carrier, number, records=records)

    def release_hold(self) -> Step | None:
        number = self.chart("holds") if self.chance(0.95) else self.chart()
        if number is None:
            return None
        chart = self.of(number)
        event = self.rng.choice(sorted(chart.holds)) if chart.holds and self.chance(0.95) else 1
        carrier = chart.custodian if self.chance(0.95) else self.carrier()
        return step("release_hold", carrier, number, event=event)

    # --- time

    def boundaries(self) -> list[tuple[int, Callable[[], Step | None]]]:
        """Every moment ahead at which something begins, ends or falls due, and what shows on which side one is."""
        found: list[tuple[int, Callable[[], Step | None]]] = []
        for number, chart in enumerate(self.model.charts):
            for which, grant in enumerate(chart.grants):
                if chart.records and not grant.revoked:
                    found += [(at, lambda n=number, g=which: self.ask_under(n, g)) for at in (grant.begin, grant.end)]
            for which, delegate in enumerate(chart.delegates):
                if not delegate.ended:
                    moments = (delegate.begin, delegate.end)
                    found += [(at, lambda n=number, d=which: self.ask_as_delegate(n, d)) for at in moments]
            if chart.waits is not None:
                found.append((chart.waits.ready_at, lambda n=number: self.complete(n)))
            for event, one in chart.emergencies.items():
                place = (number, event, one)
                if one.release_until is None:
                    until = one.asked_at + self.model.bounds.release_ms
                    found.append((until, lambda place=place: self.confirm_this(*place)))
                elif one.reviewed_by is None and one.review_by is not None:
                    found.append((one.review_by, lambda place=place: self.review_this(*place)))
        midnight = (self.now // DAY_MS + 1) * DAY_MS
        if midnight - self.now < 2_000 or self.chance(0.02):
            found.append((midnight, self.ask))
        return sorted((each for each in found if each[0] >= self.now), key=lambda each: each[0])


class History:
    """One history, from its first chart on. Steps are counted in `steps`, what they met in `met`."""

    def __init__(self, seed: int, met: Counter[str] | None = None) -> None:
        rng = Random(seed)
        self.seed = seed
        self.stage = Stage(draw_bounds(rng), met)
        self.steps = 0
        while not self.stage.model.charts:
            self.play("open", rng.getrandbits(32))
        for kind in ("open", "append", "append", "append", "grant", "grant", "grant", "set_guardians"):
            self.play(kind, rng.getrandbits(32))

    def play(self, kind: str, seed: int) -> None:
        """One step of this kind, or of another if there is nothing to do it to. Raises `Disagreement`."""
        rng = Random(self.seed << 32 | seed)  # or what Hypothesis likes to draw again would happen again
        self.steps += 1
        if kind == "boundary":
            self.at_a_boundary(rng)
        elif kind == "recovery":
            self.a_recovery(rng)
        elif kind == "debtor":
            self.a_debtor(rng)
        else:
            if rng.random() < 0.15:
                self.stage.world.wait(rng.choice((1, 5, 20)))
            draws = LaterSteps(self.stage, rng)
            kinds = [kind] if kind != "race" else [rng.choice(RACERS) for _ in range(rng.randint(2, 4))]
            drawn = [one for each in kinds if (one := getattr(draws, each)()) is not None]
            self.stage.block(drawn or [fallback(draws)])
        self.look_again(rng)

    def at_a_boundary(self, rng: Random) -> None:
        """Exactly at a moment, just before it or just after it."""
        stage = self.stage
        draws = LaterSteps(stage, rng)
        ahead = draws.boundaries() or [(draws.now, draws.grant)]
        moment, then = ahead[min(int(rng.expovariate(0.7)), len(ahead) - 1)]
        deadlines = [one for one in stage.model.askings if one.deadline is not None and one.deadline >= draws.now]
        if deadlines and rng.random() < 0.2:
            asking = rng.choice(deadlines)
            for time_ms in (asking.deadline - 1, asking.deadline):
                stage.check_release(asking, asking.records, time_ms)
            moment, then = asking.deadline, draws.ask_what_was_granted
        stage.world.now = max(draws.now, moment + rng.choice((-1, 0, 1)))
        draws.now = stage.now
        stage.block([then() or fallback(draws)])

    def a_recovery(self, rng: Random) -> None:
        """A chart's guardians recover it while its delegates read: before, as it waits, just before it is ready, and
        after. Any of the steps may be refused, as any step may."""
        stage = self.stage
        charts = [n for n, chart in enumerate(stage.model.charts) if chart.guardians and chart.records]
        able = [n for n in charts if any(one.in_force(stage.now) for one in stage.model.charts[n].delegates)]
        number = rng.choice(able or charts) if charts else None
        for what in ("ask_as_delegate", "recover", "ask_as_delegate", "nearly", "ask_as_delegate", "complete"):
            draws = LaterSteps(stage, rng)
            waits = None if number is None else stage.model.charts[number].waits
            if what == "nearly" and waits is not None:
                stage.world.now = max(stage.now, waits.ready_at - rng.choice((1, 5)))
            elif what != "nearly":
                if what == "complete" and waits is not None:
                    stage.world.now = max(stage.now, waits.ready_at)
                stage.block([getattr(draws, what)(number) or fallback(draws)])
            for asking in stage.model.askings[-3:]:
                stage.check_release(asking, asking.records, stage.world.head.timestamp)
        stage.block([draws.ask_as_delegate(number) or fallback(draws)])

    def a_debtor(self, rng: Random) -> None:
        """An institution asks in emergencies once more often than it may owe reviews, each is confirmed as long as that
        may be, and then a review makes room for the last. Perhaps what the last asked for was erased meanwhile. Any of
        the steps may be refused, as any step may."""
        stage = self.stage
        charts = [n for n, chart in enumerate(stage.model.charts) if chart.records and not chart.frozen]
        draws = LaterSteps(stage, rng)
        if not charts:
            stage.block([fallback(draws)])
            return
        number, asker = rng.choice(charts), draws.carrier()
        chart = stage.model.charts[number]
        stage.block([step("policy", draws.carrier(), number, draws.owner(number, 0), mode="TWO_INSTITUTIONS", bars=[])])
        for _ in range(stage.model.bounds.unreviewed + 1):
            draws = LaterSteps(stage, rng)
            what = {"records": draws.records(number, most=2), "purpose": rng.choice(EMERGENCIES), "staff": None}
            stage.block([step("break_glass", asker, number, **what)])
        asked = [one.records[0] for one in chart.emergencies.values() if one.institution == asker][-1:]
        if asked and rng.random() < 0.4:
            stored = chart.records[asked[0]].holders | {chart.records[asked[0]].writer}
            signed, what = draws.owner(number, 0), {"records": tuple(asked), "holders": stored - {chart.custodian}}
            stage.block([step("erase", chart.custodian, number, signed, **what)])
        for _ in range(stage.model.bounds.unreviewed + 1):
            self.confirm_one(rng, number, asker)
        for event, one in list(chart.emergencies.items()):
            if one.institution == asker and one.reviewed_by is None and one.review_by is not None:
                stage.block([LaterSteps(stage, rng).review_this(number, event, one)])
                break
        self.confirm_one(rng, number, asker)

    def confirm_one(self, rng: Random, number: int, asker: int) -> None:
        """Vouch for one of the asker's emergencies that wait, if there is one."""
        draws = LaterSteps(self.stage, rng)
        found = self.stage.model.charts[number].emergencies.items()
        waiting = [(at, one) for at, one in found if one.institution == asker and one.release_until is None]
        self.stage.block([draws.confirm_this(number, *waiting[-1]) if waiting else fallback(draws)])

    def look_again(self, rng: Random) -> None:
        """Askings of before, the newest more often, as things stand now or will if nothing else happens."""
        stage, askings = self.stage, self.stage.model.askings
        for _ in range(5):
            if not askings:
                return
            asking = askings[max(0, len(askings) - 1 - int(rng.expovariate(0.15)))]
            if asking.outcome == "DENIED" and rng.random() < 0.9:
                continue
            records = tuple(sorted(rng.sample(asking.records, rng.randint(1, len(asking.records)))))
            time_ms = rng.choice(self.moments(asking))
            stage.check_release(asking, records, time_ms)
        others = tuple(stage.model.charts[asking.chart].records)
        reader = asking.reader if rng.random() < 0.5 else rng.randrange(INSTITUTIONS)
        which = rng.choice((asking.records, (rng.choice(others),)))
        stage.check_reader(asking, reader, which, rng.random() < 0.5)

    def moments(self, asking: AskingModel) -> list[int]:
        """Times of a releaser's clock that matter to this asking: none earlier than the newest block's."""
        now, chart = self.stage.world.head.timestamp, self.stage.model.charts[asking.chart]
        found = [now, now, now, now + 1]
        if asking.grant is not None and asking.grant < len(chart.grants):
            found += [chart.grants[asking.grant].end - 1, chart.grants[asking.grant].end]
        if asking.delegate is not None:
            found += [chart.delegates[asking.delegate].end - 1, chart.delegates[asking.delegate].end]
        if asking.deadline is not None:
            found += [asking.deadline - 1, asking.deadline]
        return [at for at in found if at >= now]


def fallback(draws: LaterSteps) -> Step:
    """Something that can always be done: there is a chart from the first step on."""
    done = draws.append()
    assert done is not None
    return done


def plainly(seed: int, steps: int, met: Counter[str] | None = None) -> History:
    """A history of so many steps, drawn without Hypothesis."""
    rng = Random(seed)
    history = History(rng.getrandbits(32), met)
    kinds, weights = list(KINDS), list(KINDS.values())
    for _ in range(steps):
        history.play(rng.choices(kinds, weights)[0], rng.getrandbits(32))
    history.stage.finish()
    return history
