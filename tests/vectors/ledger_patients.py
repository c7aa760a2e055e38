"""The part of the chain of tests/vectors/ledger in which patients are in control, for make_ledger.py."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from protocol.ledger.events import Outcome, Reason
from protocol.types.operations import (
    ACCESS_WRITE,
    AppendRecords,
    Bar,
    BreakGlass,
    BreakGlassMode,
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    Delegate,
    DelegateReissue,
    Disclose,
    EndDelegate,
    Erase,
    ErasureReceipt,
    Grant,
    Hold,
    MoveChart,
    Policy,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    SetGuardians,
    SetPolicy,
)
from tests.protocol.charts import Helper

PSEUDONYM = b"p" * 16


class Care:
    """Two charts of institution 0: in `cyd`'s everything happens; a recovery of `dan`'s waits at the end. And one of
    institution 3, which is removed in the end."""

    def __init__(self, recorder: Any, fixtures: Any) -> None:
        self.recorder, self.fixtures, self.world = recorder, fixtures, recorder.world
        world = self.world
        self.cyd, self.dan = world.patient(), world.patient()
        opened = recorder.block(world.body(0, world.opening(self.cyd), world.opening(self.dan)))[0].operations
        self.cyd.chart, self.dan.chart = (one.on_chart for one in opened)
        self.eve = world.patient()
        self.eve.chart = recorder.block(world.body(3, world.opening(self.eve, 3)))[0].operations[0].on_chart
        self.terms = world.terms(tags=fixtures.tag_lists([1], None, [3], [4]))

    def run(self, institution: int, *operations: Any) -> Any:
        return self.recorder.block(self.world.body(institution, *operations))[0].operations

    def play(self) -> None:
        self._records_and_rules()
        self._reading()
        self._erasure()
        self._emergencies()
        self._recovery()

    def _records_and_rules(self) -> None:
        world, cyd, entry = self.world, self.cyd, self.fixtures.entry
        chart = cyd.chart
        self.run(0, AppendRecords(chart, (entry(1, 2, 3, 4), entry(1, 2, 5, 4), entry(1, 2, 6, 4)), (0, 2, 3)))
        writing = replace(self.terms, grantees=(2, 3), access=ACCESS_WRITE)
        certain = replace(self.terms, practitioners=(PSEUDONYM,), grantees=(1, 2))
        forbidden = Bar(1, (None, None, (world_tag(self.fixtures, 5),)))
        keys = [self.fixtures.SigningKey(self.fixtures.seed(7, number)) for number in (1, 2)]
        terms = [world.delegate_terms(key, tags=self.terms.tags) for key in keys]
        wide = replace(self.terms, tags=self.fixtures.tag_lists([1], None, [3, 5], [4]))
        listed = [Grant(chart, one) for one in (writing, certain, wide)]
        listed += [SetPolicy(chart, Policy(bars=(forbidden,))), *(Delegate(chart, one) for one in terms)]
        listed += [SetGuardians(chart, 0, world.some_guardians(cyd))]
        receipts = self.run(3, *(world.owned(cyd, one) for one in listed))
        self.writing, self.certain, self.wide = (receipt.grant for receipt in receipts[:3])
        self.kin, self.aide = (
            Helper(key, chart, receipt.delegate) for key, receipt in zip(keys, receipts[4:6], strict=True)
        )
        self.run(3, AppendRecords(chart, (entry(1, 2, 3, 4),), (3,), self.writing))
        note = AppendRecords(chart, (replace(entry(1, 2, 3, 4), disputes=1),))
        self.run(0, world.owned(cyd, note))

    def _reading(self) -> None:
        world, cyd, tags = self.world, self.cyd, self.fixtures.tag_lists([1, 8], None, [3], [4])
        chart, kin = cyd.chart, self.kin
        asking = [
            Disclose(chart, self.wide, (1, 2), "TREAT"),
            Disclose(chart, self.certain, (1,), "TREAT", b"q" * 16),
            Disclose(chart, self.certain, (1,), "TREAT", PSEUDONYM, b"s" * 32),
        ]
        reasons = [one.reason for one in self.run(1, *asking)]
        reasons += [self.run(2, Disclose(chart, self.writing, (1,), "TREAT"))[0].reason]
        granting = world.delegated(kin, Grant(chart, self.terms))
        made = self.run(1, granting)[0].grant
        self.run(1, world.delegated(kin, Revoke(chart, made)), world.owned(cyd, EndDelegate(chart, self.aide.number)))
        by_delegates = [(kin, (1,)), (kin, (2,)), (self.aide, (1,))]
        reading = (world.delegated(who, Disclose(chart, None, what, "TREAT")) for who, what in by_delegates)
        reasons += [one.reason for one in self.run(0, *reading)]
        bars = (Bar(None, (None, None, (world_tag(self.fixtures, 5),)), True),)
        revoking = Revoke(chart, self.wide, (), (DelegateReissue(kin.number, tags),), bars)
        self.run(1, world.owned(cyd, revoking))
        assert reasons == [
            Reason.BARRED,
            Reason.PRACTITIONER,
            Reason.NONE,
            Reason.WRITE_ONLY,
            Reason.NONE,
            Reason.DELEGATE_BOUNDS,
            Reason.DELEGATE_ENDED,
        ]

    def _erasure(self) -> None:
        world, chart = self.world, self.cyd.chart
        holds = self.run(0, Hold(chart, (3,), b"b" * 32), Hold(chart, None, b"c" * 32))
        self.held, over = (one.first_event for one in holds)
        self.run(0, ReleaseHold(chart, over))
        erasing = Erase(chart, (1, 2), (0, 2, 3))
        self.erasure = self.run(0, world.owned(self.cyd, erasing))[0].first_event
        self.run(0, ErasureReceipt(chart, self.erasure))
        self.run(3, ErasureReceipt(chart, self.erasure))
        asked = Disclose(chart, self.certain, (1,), "TREAT", PSEUDONYM)
        assert self.run(1, asked)[0].reason is Reason.ERASED

    def _emergencies(self) -> None:
        world, cyd = self.world, self.cyd
        chart = cyd.chart
        breaking = BreakGlass(chart, (3,), "ETREAT", b"j" * 32, PSEUDONYM)
        reviewed, self.unreviewed = (one.first_event for one in self.run(1, breaking, breaking))
        world.wait(world.genesis.params.review_ms + 1)
        self.run(2, ReviewBreakGlass(chart, reviewed, 1, False, b"f" * 32))
        self.reviewed = reviewed
        two = Policy(BreakGlassMode.TWO_INSTITUTIONS)
        setting = world.body(2, world.owned(cyd, SetPolicy(chart, two)))
        pending = self.recorder.block(world.body(1, breaking, breaking), setting)[0]
        assert [one.outcome for one in pending.operations] == [Outcome.PENDING] * 2
        confirmed, self.waiting = (one.first_event for one in pending.operations)
        self.run(2, ConfirmBreakGlass(chart, confirmed, 1, (3,)))
        self.run(0, ReviewBreakGlass(chart, confirmed, 1, True))
        self.run(2, world.owned(cyd, SetPolicy(chart, Policy(BreakGlassMode.FORBIDDEN))))
        assert self.run(1, breaking)[0].reason is Reason.BREAK_GLASS_FORBIDDEN

    def _recovery(self) -> None:
        """A rotation that its owner cancels, a recovery that is vetoed, one that takes the place of another and cannot
        be, and new guardians; then one that waits."""
        world, cyd, dan = self.world, self.cyd, self.dan
        chart, new = cyd.chart, self.fixtures.SigningKey(self.fixtures.seed(9, 77))
        self.run(1, world.owned(cyd, world.rotating(cyd, new)))
        self.run(1, world.owned(cyd, CancelRecovery(chart, 1)))
        self.run(1, world.guarded(cyd, world.recovering(cyd, new), 0, 1))
        self.run(1, world.guarded(cyd, CancelRecovery(chart, 2), 1, 2))
        self.run(1, world.guarded(cyd, world.recovering(cyd, new), 0, 2))
        self.run(0, world.guarded(cyd, world.recovering(cyd, new, overrule=True), 0, 2))
        self.run(2, world.owned(cyd, Revoke(chart, self.certain)))
        world.wait(world.genesis.params.recovery_ms)
        self.run(2, CompleteRecovery(chart, 4))
        cyd.key, cyd.next_number = new, 0
        old = cyd.guardians
        self.run(2, world.owned(cyd, SetGuardians(chart, 5, world.some_guardians(cyd, 1, 1))))
        world.wait(world.genesis.params.recovery_ms)
        self.run(2, CompleteRecovery(chart, 5))
        self.past = old
        waiting = self.fixtures.SigningKey(self.fixtures.seed(9, 78))
        self.run(2, world.owned(dan, SetGuardians(dan.chart, 0, world.some_guardians(dan))))
        self.run(2, world.owned(dan, Grant(dan.chart, self.terms)), world.owned(dan, Grant(dan.chart, self.terms)))
        self.run(0, world.guarded(dan, world.recovering(dan, waiting, overrule=True), 0, 1))

    def move(self) -> None:
        """Once institution 3 was removed, its patient turns to another."""
        self.run(1, self.world.owned(self.eve, MoveChart(self.eve.chart, 3, 1)))

    def refused(self) -> list[tuple[Any, str]]:
        """What the last state refuses. Institution 3 was removed by then."""
        world, cyd, dan, chart = self.world, self.cyd, self.dan, self.cyd.chart
        entry = self.fixtures.entry(1, 2, 3, 4)
        plain = world.terms()
        other = self.fixtures.SigningKey(self.fixtures.seed(9, 79))
        wide = replace(plain, tags=self.fixtures.tag_lists(None, None, [3], [4]))
        ended = Helper(self.kin.key, chart, self.kin.number)
        ended.next_number = self.kin.next_number
        bodies = [
            ("custodian-remains", 1, world.owned(cyd, MoveChart(chart, 0, 1))),
            ("custodian-remains", 2, world.owned(self.eve, MoveChart(self.eve.chart, 3, 2))),
            ("unauthorised", 1, world.owned(self.eve, MoveChart(self.eve.chart, 1, 2))),
            ("owner-frozen", 1, world.owned(dan, Grant(dan.chart, plain))),
            ("owner-frozen", 1, world.owned(dan, SetPolicy(dan.chart, Policy()))),
            ("veto-overruled", 1, world.owned(dan, CancelRecovery(dan.chart, 1))),
            ("too-few-guardians", 1, world.guarded(dan, CancelRecovery(dan.chart, 1), 2)),
            ("wrong-change", 1, world.guarded(dan, CancelRecovery(dan.chart, 2), 0, 1)),
            ("too-early", 1, CompleteRecovery(dan.chart, 1)),
            ("unauthorised", 1, world.guarded(dan, world.recovering(dan, other, overrule=True), 0, 1)),
            ("not-ascending", 1, world.guarded(dan, CancelRecovery(dan.chart, 1), 1, 0)),
            ("no-guardians", 1, world.guarded(dan, world.recovering(replace_chart(dan, 0), other), 0, 1)),
            ("wrong-change", 1, CompleteRecovery(chart, 5)),
            ("bad-possession", 1, world.owned(cyd, world.rotating(cyd, other, possession=bytes(64)))),
            ("delegate-not-in-force", 1, world.delegated(ended, Grant(chart, wide))),
            ("unknown-delegate", 1, world.owned(cyd, EndDelegate(chart, 2))),
            ("write-not-granted", 2, AppendRecords(chart, (self.fixtures.entry(1, 2, 9, 9),), (), self.writing)),
            ("write-not-granted", 1, AppendRecords(chart, (entry,), (), self.writing)),
            ("missing-cosignature", 0, AppendRecords(chart, (replace(entry, disputes=1),))),
            ("unknown-emergency", 2, ReviewBreakGlass(chart, self.unreviewed, 4, True)),
            ("unknown-emergency", 2, ConfirmBreakGlass(chart, 1, 1, (3,))),
            ("not-waiting", 2, ConfirmBreakGlass(chart, self.unreviewed, 1, (3,))),
            ("expired", 2, ConfirmBreakGlass(chart, self.waiting, 1, (3,))),
            ("unauthorised", 1, ReviewBreakGlass(chart, self.unreviewed, 1, True)),
            ("already-reviewed", 0, ReviewBreakGlass(chart, self.reviewed, 1, True)),
            ("too-early", 0, ReviewBreakGlass(chart, self.waiting, 1, True)),
            ("already-erased", 0, world.erasing(cyd, 1, holders=(0, 2, 3))),
            ("on-hold", 0, world.erasing(cyd, 3, holders=(0, 2, 3))),
            ("holder-missing", 0, world.erasing(cyd, 11, holders=(2,))),
            ("unauthorised", 1, world.erasing(cyd, 11, holders=(3,))),
            ("missing-cosignature", 0, Erase(chart, (11,), (3,))),
            ("unknown-erasure", 0, ErasureReceipt(chart, 1)),
            ("nothing-owed", 1, ErasureReceipt(chart, self.erasure)),
            ("already-acknowledged", 0, ErasureReceipt(chart, self.erasure)),
            ("unknown-hold", 0, ReleaseHold(chart, self.erasure)),
        ]
        return [(self.recorder.signed(world.body(carrier, operation)), code) for code, carrier, operation in bodies]


def world_tag(fixtures: Any, number: int) -> bytes:
    """The tag that stands for a small number."""
    made: bytes = fixtures.one_tag(number)
    return made


def replace_chart(patient: Any, chart: int) -> Any:
    """The same guardians for another chart."""
    other = type(patient)(0)
    other.chart, other.guardians = chart, patient.guardians
    return other
