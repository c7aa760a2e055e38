"""Rules 8 to 10 of docs/spec/consensus.md: repair, quiet and slowing down; and what a signature costs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from protocol.consensus.effects import (
    Build,
    Equivocation,
    Validate,
)
from protocol.consensus.events import PeerUp
from protocol.consensus.timeouts import Timeouts
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Fetch, Vote
from tests.protocol.consensus.bench import (
    CAP_MS,
    DELTA_MS,
    GENESIS,
    OTHER,
    A,
    Bench,
    block,
    certificate,
    final_a,
    finalize_of,
    fire,
    notarize_of,
    nullify_of,
    only,
    proposal,
    sent,
    vote,
)

# --- 8: repair --------------------------------------------------------------------------------------------------


def test_8_own_votes_are_sent_again_ever_less_often_up_to_the_cap() -> None:
    bench = Bench()
    bench.work()
    fire(bench, 2 * DELTA_MS)
    times = []
    for _ in range(400):
        if vote(nullify_of(1), 3) in sent(fire(bench, 50)):
            times.append(bench.now_ms)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert CAP_MS <= gaps[-1] <= CAP_MS + 50


def test_8_an_old_nullify_is_answered_with_the_newest_finalization_and_not_endlessly() -> None:
    bench = final_a(Bench())
    answers = sent(bench.get(vote(nullify_of(1), 0), 0))
    assert [m.subject for m in answers if isinstance(m, Certificate)] == [finalize_of(A, 1)]
    assert not sent(bench.get(vote(nullify_of(1), 0), 0))


def test_8_a_vote_from_far_ahead_makes_it_ask() -> None:
    bench = Bench()
    asked = only(Fetch, sent(bench.get(vote(nullify_of(9), 2), 2)))  # type: ignore[arg-type]
    assert [(f.first, f.last) for f in asked] == [(1, 8)]
    assert 9 not in bench.machine.rounds


def test_8_a_fetch_is_answered_with_what_is_held() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0)))
    digest = notarize_of(A, 1, 0).block
    answers = sent(bench.get(Fetch(0, 1, 1, (digest, b"\x09" * 32, digest)), 2))
    assert answers == [certificate(notarize_of(A, 1, 0)), Body(A)], "each body once, however often it is named"
    bench.get(certificate(finalize_of(A, 1)))
    answers = sent(bench.get(Fetch(0, 1, 5), 2))
    assert [m.subject for m in answers if isinstance(m, Certificate)] == [finalize_of(A, 1)]
    served = sum(bool(sent(bench.get(Fetch(0, 1, 5), 2))) for _ in range(100))
    assert served < 20, "answers to one peer are not bounded"


def test_8_a_peer_that_comes_up_is_told_how_to_enter_the_view() -> None:
    bench = final_a(Bench())
    effects = bench.do(PeerUp(1))
    assert sent(effects) == [certificate(finalize_of(A, 1))]


def test_8_a_lost_proposal_is_fetched_when_its_leaders_vote_is_seen() -> None:
    bench = Bench()
    bench.get(vote(notarize_of(A, 1, 0), 1), 1)
    asked = only(Fetch, sent(fire(bench, DELTA_MS // 4)))  # type: ignore[arg-type]
    assert asked[0].blocks == (notarize_of(A, 1, 0).block,)
    assert only(Validate, bench.get(Body(A), 1))
    bench.answer(A, 1)
    assert bench.signed == [notarize_of(A, 1, 0)]


@pytest.mark.parametrize("kind", [NOTARIZE, NULLIFY, FINALIZE])
def test_8_contradictions_are_found_though_one_half_came_late(kind: int) -> None:
    bench = final_a(Bench())
    late = {
        NOTARIZE: (notarize_of(block(A.header, 2), 2, 1), notarize_of(block(A.header, 2, b"x"), 2, 1)),
        NULLIFY: (nullify_of(2), finalize_of(block(A.header, 2), 2)),
        FINALIZE: (finalize_of(block(A.header, 2), 2), finalize_of(block(A.header, 2, b"x"), 2)),
    }[kind]
    assert not only(Equivocation, bench.get(vote(late[0], 0), 0))
    assert [e.index for e in only(Equivocation, bench.get(vote(late[1], 0), 1))] == [0]


def test_8_a_contradiction_with_a_vote_that_was_never_verified_is_checked_first() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0), 1, 2, 3))
    bench.get(Vote(notarize_of(A, 1, 0), 0, bytes(64)), 2)  # forged in the name of 0, and redundant: only noted
    assert not only(Equivocation, bench.get(vote(notarize_of(OTHER, 1, 0), 0), 0))


# --- 9: quiet ---------------------------------------------------------------------------------------------------


def test_9_after_finality_no_timer_runs_and_no_block_is_asked_for() -> None:
    bench = final_a(Bench(index=2))  # the next leader
    assert bench.machine._timer_ms is None
    assert not fire(bench, 100_000)


def test_9_a_leader_with_work_builds_at_once_and_one_without_waits_for_finality() -> None:
    bench = Bench(index=2)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    assert not only(Build, bench.get(certificate(notarize_of(A, 1, 0))))
    build = only(Build, fire(bench, DELTA_MS * 3 // 2))
    assert [b.allow_empty for b in build] == [True]


def test_9_nothing_to_build_is_no_reason_to_nullify() -> None:
    bench = Bench(index=1)
    assert [b.allow_empty for b in only(Build, bench.work())] == [False]
    assert not only(Build, bench.built(None, 1, 0))
    assert not bench.signed
    assert only(Build, bench.work()), "more work is a reason to try again"


def test_9_a_prodded_leader_proposes_empty_blocks_but_not_at_any_rate() -> None:
    bench = Bench(index=1)
    assert [b.allow_empty for b in only(Build, bench.get(vote(nullify_of(1), 0), 0))] == [True]
    bench.get(certificate(nullify_of(4), 0, 2, 3))
    for view in (1, 2, 3):
        bench.get(certificate(nullify_of(view), 0, 2, 3))
    assert bench.machine.view == 5
    assert not only(Build, bench.get(vote(nullify_of(5), 0), 0))


# --- 10: slowing down, silent leaders, depth --------------------------------------------------------------------


def test_10_waits_double_up_to_the_cap_while_blocks_halve() -> None:
    waits = [Timeouts(500, 8_000, views) for views in range(40)]
    assert [w.leader for w in waits[:5]] == [1_000, 1_000, 1_000, 2_000, 4_000]
    assert max(w.certificate for w in waits) <= 8_000
    assert waits[-1].certificate == max(w.certificate for w in waits)
    assert [w.size_limit(1 << 20) for w in waits[2:5]] == [1 << 20, 1 << 19, 1 << 18]
    assert waits[-1].size_limit(1 << 20) == 1 << 12


def test_10_a_leader_silent_for_two_rounds_of_turns_is_skipped_at_once_until_it_speaks() -> None:
    def lived_through(bench: Bench, speaks: bool) -> Bench:
        for view in range(1, 12):
            for index in (0, 2):
                bench.get(vote(nullify_of(view), index), index)
            bench.get(certificate(nullify_of(view), 0, 1, 2), 0)
        if speaks:
            bench.get(vote(nullify_of(12), 1), 1)
        bench.get(certificate(nullify_of(12), 0, 1, 2), 0)
        return bench

    skipping = lived_through(Bench(), speaks=False)
    skipping.work()
    assert skipping.signed[-1] == nullify_of(skipping.machine.view)
    waiting = lived_through(Bench(), speaks=True)
    waiting.work()
    assert nullify_of(waiting.machine.view) not in waiting.signed


def test_10_deep_chains_grow_by_empty_blocks_only() -> None:
    bench = Bench(index=1)
    parent, parent_view = GENESIS, 0
    bench.get(certificate(nullify_of(1), 0, 2, 3))
    for view in range(2, 9):
        if view % 4 == 1:
            bench.get(certificate(nullify_of(view), 0, 2, 3))
            continue
        b = block(parent, view % 4)
        bench.get(proposal(b, view, parent_view), view % 4)
        bench.answer(b, view)
        bench.get(certificate(notarize_of(b, view, parent_view), 0, 2, 3))
        parent, parent_view = b.header, view
    assert bench.machine.view == 9
    assert parent.height > bench.machine.config.depth
    assert [b.size_limit for b in only(Build, bench.work())] == [0]


# --- cost -------------------------------------------------------------------------------------------------------


def test_each_signature_is_verified_once() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    assert bench.verified == 1
    bench.get(vote(notarize_of(A, 1, 0), 0), 0)
    assert bench.verified == 2
    assert bench.machine.view == 2, "own vote, the leader's and one more"
    bench.get(certificate(notarize_of(A, 1, 0), 0, 1, 3))
    bench.get(certificate(notarize_of(A, 1, 0), 0, 1, 2))
    bench.get(vote(notarize_of(A, 1, 0), 2), 2)
    bench.get(vote(notarize_of(A, 1, 0), 2), 2)
    bench.get(proposal(A, 1, 0), 1)
    assert bench.verified == 2
    bench.get(vote(finalize_of(A, 1), 0), 0)
    bench.get(certificate(finalize_of(A, 1), 0, 1, 2))
    assert bench.verified == 5, "of the certificate, the vote that was seen is not verified again"
