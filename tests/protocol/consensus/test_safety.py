"""S1 to S5: what one authority never signs, whatever it is told."""

from __future__ import annotations

import pytest

from protocol.consensus.effects import Build, Persist, Record, Rejected, Send, Validate
from protocol.consensus.events import Started, TimerFired, Verdict, WorkChanged
from protocol.consensus.machine import Config, FinalHead, Machine
from protocol.crypto.signing import verify
from protocol.errors import JournalBroken
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Proposal, Vote, VoteSubject
from tests.protocol.consensus.bench import (
    CAP_MS,
    CHAIN,
    DELTA_MS,
    GENESIS,
    INSTITUTIONS,
    PUBLIC,
    Bench,
    block,
    certificate,
    finalize_of,
    notarize_of,
    nullify_of,
    only,
    proposal,
    vote,
)

A = block(GENESIS, 1, b"a")
OTHER = block(GENESIS, 1, b"b")


def kinds(bench: Bench, view: int) -> list[int]:
    return [subject.kind for subject in bench.signed if subject.view == view]


def voted(bench: Bench) -> Bench:
    """Authority 3 after it notarized A in view 1."""
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    assert kinds(bench, 1) == [NOTARIZE]
    return bench


def timed_out(bench: Bench, deltas: int) -> Bench:
    bench.do(TimerFired(bench.machine._serial), after_ms=deltas * DELTA_MS)
    return bench


def test_s1_one_notarize_a_view() -> None:
    bench = voted(Bench())
    effects = bench.get(proposal(OTHER, 1, 0), 1)
    assert not only(Validate, effects)
    bench.answer(OTHER, 1)
    assert kinds(bench, 1).count(NOTARIZE) == 1


def test_s1_no_notarize_after_nullify() -> None:
    bench = Bench()
    bench.work()
    timed_out(bench, 2)
    assert kinds(bench, 1) == [NULLIFY]
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    assert kinds(bench, 1) == [NULLIFY]


def test_s2_no_finalize_after_nullify() -> None:
    bench = timed_out(voted(Bench()), 3)
    assert kinds(bench, 1) == [NOTARIZE, NULLIFY]
    bench.get(certificate(notarize_of(A, 1, 0)))
    assert bench.machine.view == 2
    assert kinds(bench, 1) == [NOTARIZE, NULLIFY]


def test_s2_no_nullify_after_finalize() -> None:
    bench = voted(Bench())
    bench.get(certificate(notarize_of(A, 1, 0)))
    assert kinds(bench, 1) == [NOTARIZE, FINALIZE]
    for index in (0, 1, 2):
        bench.get(vote(nullify_of(1), index), index)
    timed_out(bench, 3)
    assert kinds(bench, 1) == [NOTARIZE, FINALIZE]


def test_s3_finalize_only_with_the_notarization_and_a_valid_body() -> None:
    bench = voted(Bench())
    bench.get(vote(finalize_of(A, 1), 0), 0)
    bench.get(vote(finalize_of(A, 1), 1), 1)
    bench.get(vote(notarize_of(A, 1, 0), 1), 1)
    assert FINALIZE not in kinds(bench, 1)
    bench.get(vote(notarize_of(A, 1, 0), 0), 0)
    assert kinds(bench, 1) == [NOTARIZE, FINALIZE]

    unvalidated = Bench()
    unvalidated.get(certificate(notarize_of(A, 1, 0)))
    assert not unvalidated.signed
    effects = unvalidated.get(Body(A))
    assert only(Validate, effects)[0].certified
    assert not unvalidated.signed
    effects = unvalidated.answer(A, 1)
    assert kinds(unvalidated, 1) == [FINALIZE]
    assert Body(A) in [e.record for e in only(Persist, effects)], "finalized a body that is not durable"


def test_s4_the_parent_must_be_certified() -> None:
    child = block(A.header, 2, b"c")
    bench = Bench()
    bench.get(certificate(nullify_of(1)))
    bench.get(proposal(child, 2, 1), 2)
    bench.answer(child, 2)
    assert not bench.signed
    bench.get(certificate(notarize_of(A, 1, 0)))
    bench.get(Body(A))
    bench.answer(A, 1)
    bench.answer(child, 2)
    assert kinds(bench, 2) == [NOTARIZE]


def test_s4_the_whole_gap_must_be_nullified() -> None:
    late = block(GENESIS, 3, b"l")
    bench = Bench(index=0)
    bench.get(certificate(nullify_of(2), 1, 2, 3))
    assert bench.machine.view == 3
    bench.get(proposal(late, 3, 0), 3)
    bench.answer(late, 3)
    assert not bench.signed, "voted across view 1, which nobody nullified"
    bench.get(certificate(nullify_of(1), 1, 2, 3))
    assert kinds(bench, 3) == [NOTARIZE]


def test_s4_nothing_below_the_final_view_is_extended() -> None:
    bench = voted(Bench(index=3))
    bench.get(certificate(notarize_of(A, 1, 0)))
    bench.get(certificate(finalize_of(A, 1)))
    stale = block(GENESIS, 2, b"s")
    bench.get(proposal(stale, 2, 0), 2)
    assert kinds(bench, 2) == [NULLIFY]


def test_a_parent_that_contradicts_its_view_is_rejected_for_good() -> None:
    bench = Bench()
    bench.get(certificate(notarize_of(A, 1, 0)))
    wrong = block(OTHER.header, 2, b"w")
    effects = bench.get(proposal(wrong, 2, 1), 2)
    assert only(Rejected, effects)
    assert kinds(bench, 2) == [NULLIFY]


def test_s5_records_come_before_what_rests_on_them() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    effects = bench.answer(A, 1)
    records = [type(e.record) for e in only(Persist, effects)]
    assert records == [Proposal, Vote], "a torn write must not keep the vote and lose the body"
    first_send = next(i for i, e in enumerate(effects) if isinstance(e, Send))
    assert all(not isinstance(e, Persist) for e in effects[first_send:])
    assert all(e.sync for e in only(Persist, effects))


def test_s5_to_send_an_unrecorded_vote_is_refused() -> None:
    bench = Bench()
    with pytest.raises(AssertionError, match="S5"):
        bench.machine._send(vote(nullify_of(1), 3))


@pytest.mark.parametrize("signed", ["notarize", "nullify", "both", "finalize"])
def test_a_restart_never_signs_differently(signed: str) -> None:
    bench = Bench()
    if signed == "nullify":
        bench.work()
        timed_out(bench, 2)
    else:
        voted(bench)
    if signed == "both":
        timed_out(bench, 3)
    if signed == "finalize":
        bench.get(certificate(notarize_of(A, 1, 0)))
    before = set(bench.signed)
    again = bench.restart()
    assert again.machine.view == bench.machine.view
    again.work()
    again.get(proposal(OTHER, 1, 0), 1)
    again.answer(OTHER, 1)
    again.answer(A, 1)
    again.get(certificate(notarize_of(A, 1, 0)))
    timed_out(again, 3)
    every = before | set(again.signed)
    of_view = [subject for subject in every if subject.view == 1]
    assert len({s.block for s in of_view if s.kind == NOTARIZE}) <= 1
    assert {s.kind for s in of_view} not in ({NULLIFY, FINALIZE}, {NOTARIZE, NULLIFY, FINALIZE})
    if signed == "nullify":
        assert of_view == [nullify_of(1)]


def test_a_snapshot_restores_what_the_journal_would() -> None:
    for prepare in (voted, lambda b: timed_out(voted(b), 3)):
        bench = prepare(Bench())
        snapshot = bench.machine.journal_snapshot()
        again = Bench(3, bench.final, snapshot)
        assert again.machine.round(1).status is bench.machine.round(1).status
        assert again.machine.round(1).own == bench.machine.round(1).own
        assert again.machine.journal_snapshot() == snapshot


def test_a_journal_that_contradicts_itself_is_refused() -> None:
    journals: tuple[list[Record], ...] = (
        [vote(nullify_of(1), 3), vote(finalize_of(A, 1), 3)],
        [vote(notarize_of(A, 1, 0), 3), vote(notarize_of(OTHER, 1, 0), 3)],
        [vote(nullify_of(1), 3), vote(notarize_of(A, 1, 0), 3)],
        [certificate(notarize_of(A, 1, 0)), certificate(notarize_of(OTHER, 1, 0))],
    )
    for records in journals:
        with pytest.raises(JournalBroken):
            Bench(3, FinalHead(GENESIS, None), records)


def test_a_follower_signs_nothing() -> None:
    bench = Bench(index=None)
    bench.work()
    bench.get(proposal(A, 1, 0), 1)
    bench.get(certificate(notarize_of(A, 1, 0)))
    timed_out(bench, 5)
    assert not bench.signed


def test_a_refused_block_is_nullified_and_a_certified_one_asked_for_again() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    effects = bench.answer(A, 1, Verdict.REFUSED)
    assert kinds(bench, 1) == [NULLIFY]
    assert not only(Rejected, effects), "an honest leader's clock is no offence"
    effects = bench.get(certificate(notarize_of(A, 1, 0)))
    assert [e.certified for e in only(Validate, effects)] == [True]


@pytest.mark.parametrize("subject", [nullify_of(1), nullify_of(2)])
def test_a_sole_authority_goes_on_from_votes_whose_certificate_a_crash_lost(subject: VoteSubject) -> None:
    """Its vote is a quorum, and nobody else's comes: a journal that ends with it must not end the chain."""
    config = Config(CHAIN, 0, PUBLIC[:1], INSTITUTIONS[:1], 0, DELTA_MS, CAP_MS, 1 << 20, 16)
    below = [certificate(nullify_of(view), 0) for view in range(1, subject.view)]
    machine = Machine(config, [*below, vote(subject, 0)], FinalHead(GENESIS, None), verify, lambda s: vote(s, 0))
    effects = [*machine.step(Started(), 0), *machine.step(WorkChanged(True), 0)]
    assert machine.view == subject.view + 1
    assert Persist(certificate(subject, 0), True) in effects
    assert [build.view for build in only(Build, effects)] == [subject.view + 1]
