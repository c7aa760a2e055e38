"""Rules 1 to 10 of docs/spec/consensus.md, each with one authority in hand."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from protocol.consensus.effects import (
    Behind,
    Build,
    Equivocation,
    Finalized,
    Halted,
    Persist,
    Rejected,
    SetTimer,
    Validate,
)
from protocol.consensus.events import CaughtUp, PeerUp, TimerFired, Verdict, WorkChanged
from protocol.consensus.timeouts import Timeouts
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Fetch, Proposal, Vote
from tests.protocol.consensus.bench import (
    CAP_MS,
    DELTA_MS,
    GENESIS,
    Bench,
    block,
    certificate,
    finalize_of,
    notarize_of,
    nullify_of,
    only,
    proposal,
    sent,
    vote,
)

A = block(GENESIS, 1, b"a")
OTHER = block(GENESIS, 1, b"b")


def fire(bench: Bench, after_ms: int) -> list[object]:
    return list(bench.do(TimerFired(bench.machine._serial), after_ms))


def final_a(bench: Bench) -> Bench:
    """A is final in view 1, all is quiet, and the machine is in view 2."""
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0)))
    effects = bench.get(certificate(finalize_of(A, 1)))
    assert [e.blocks for e in only(Finalized, effects)] == [(A,)]
    return bench


# --- 1: entering ------------------------------------------------------------------------------------------------


def test_1_certificates_of_any_view_let_in() -> None:
    for subject in (notarize_of(A, 7, 0), nullify_of(7), finalize_of(A, 7)):
        bench = Bench()
        bench.get(certificate(subject), 2)
        assert bench.machine.view == 8


def test_1_forged_certificates_and_votes_do_not() -> None:
    bench = Bench()
    good = certificate(nullify_of(1))
    bench.get(Certificate(good.subject, (*good.signatures[:2], (2, bytes(64)))))
    bench.get(Certificate(good.subject, good.signatures[:2]))
    for index in (0, 1, 2):
        bench.get(Vote(nullify_of(1), index, bytes(64)), index)
        bench.get(Vote(nullify_of(1), index, vote(nullify_of(1), (index + 1) % 3).signature), index)
    assert bench.machine.view == 1


def test_1_timers_are_armed_by_work_only() -> None:
    bench = Bench()
    assert not only(SetTimer, bench.do(PeerUp(1)))
    timer = only(SetTimer, bench.work())[0]
    assert timer.at_ms == bench.now_ms + DELTA_MS  # resend; the leader's turn ends after two
    assert only(SetTimer, bench.do(WorkChanged(False)))[0].at_ms is None


# --- 2: leading -------------------------------------------------------------------------------------------------


def test_2_a_leader_builds_on_the_highest_validated_block_and_votes_with_its_proposal() -> None:
    bench = Bench(index=2)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.work()
    build = only(Build, bench.get(certificate(notarize_of(A, 1, 0))))[0]
    child = block(A.header, 2, b"c")
    assert (build.view, build.parent_view, build.parent) == (2, 1, child.header.parent)
    effects = bench.built(child, 2, 1)
    told = only(Proposal, sent(effects))  # type: ignore[arg-type]
    assert told == [Proposal(child, vote(notarize_of(child, 2, 1), 2))]
    assert told[0] in [e.record for e in only(Persist, effects)]


def test_2_a_leader_without_the_gaps_nullification_fetches_it() -> None:
    bench = Bench(index=3)
    bench.work()
    assert not only(Build, bench.get(certificate(nullify_of(2))))
    asked = only(Fetch, sent(fire(bench, DELTA_MS)))  # type: ignore[arg-type]
    assert asked[0].first == 1
    assert only(Build, bench.get(certificate(nullify_of(1))))[0].parent_view == 0


# --- 3: voting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["leader", "signature", "digest", "transactions"])
def test_3_what_its_leader_did_not_sign_is_no_proposal(wrong: str) -> None:
    good = proposal(A, 1, 0)
    bad = {
        "leader": Proposal(A, vote(good.vote.subject, 2)),
        "signature": Proposal(A, msgspec.structs.replace(good.vote, signature=bytes(64))),
        "digest": Proposal(OTHER, good.vote),
        "transactions": Proposal(Block(A.header, (b"x",)), good.vote),
    }[wrong]
    bench = Bench()
    assert not only(Validate, bench.get(bad, 1))
    assert only(Validate, bench.get(good, 1)), "a lie about a block must not harm the block"


@pytest.mark.parametrize("field", ["chain", "epoch", "proposer", "height"])
def test_3_a_header_that_lies_is_rejected_and_nullified(field: str) -> None:
    lie = b"\x02" * 32 if field == "chain" else 5
    false = Block(msgspec.structs.replace(A.header, **{field: lie}), A.transactions)
    bench = Bench()
    effects = bench.get(proposal(false, 1, 0), 1)
    assert not only(Validate, effects)
    assert only(Rejected, effects)[0].proposal.block == false
    assert bench.signed == [nullify_of(1)]


def test_3_an_invalid_block_is_rejected_and_nullified() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    assert only(Rejected, bench.answer(A, 1, Verdict.INVALID))
    assert bench.signed == [nullify_of(1)]


def test_3_what_was_refused_in_one_view_is_judged_anew_in_another() -> None:
    bench = Bench(index=0)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1, Verdict.REFUSED)
    for view in (1, 2, 3, 4):
        bench.get(certificate(nullify_of(view), 1, 2, 3))
    assert only(Validate, bench.get(proposal(A, 5, 0), 1))
    bench.answer(A, 5)
    assert bench.signed[-1] == notarize_of(A, 5, 0)


def test_3_missing_evidence_is_fetched_and_waited_for() -> None:
    child = block(A.header, 2, b"c")
    bench = Bench()
    bench.get(certificate(nullify_of(1)))
    bench.get(proposal(child, 2, 1), 2)
    asked = only(Fetch, sent(fire(bench, DELTA_MS // 4)))  # type: ignore[arg-type]
    assert (asked[0].first, asked[0].last) == (1, 1)
    asked = only(Fetch, sent(bench.get(certificate(notarize_of(A, 1, 0)), 2)))  # type: ignore[arg-type]
    assert asked[-1].blocks == (child.header.parent,)


def test_3_two_proposals_are_evidence_and_nullified() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    effects = bench.get(proposal(OTHER, 1, 0), 1)
    found = only(Equivocation, effects)
    assert [(e.index, e.first.subject.block != e.second.subject.block) for e in found] == [(1, True)]
    assert bench.signed == [nullify_of(1)]
    assert not only(Equivocation, bench.get(proposal(OTHER, 1, 0), 1)), "reported twice"


# --- 4: notarizations -------------------------------------------------------------------------------------------


def test_4_a_notarization_is_stored_passed_on_once_and_finalized() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(vote(notarize_of(A, 1, 0), 0), 0)
    effects = sent(bench.get(vote(notarize_of(A, 1, 0), 2), 2))
    # the leader's vote came with its proposal, so this vote makes it one more than needed or just enough
    made = bench.machine.chain.held(NOTARIZE, 1)
    assert made is not None
    assert made in [r for r in bench.journal if isinstance(r, Certificate)]
    assert bench.signed[-1] == finalize_of(A, 1)
    assert not [m for m in sent(bench.get(made)) if isinstance(m, Certificate)], "passed on twice"
    assert len([m for m in effects if isinstance(m, Certificate)]) <= 1


def test_4_a_quorum_for_what_is_invalid_here_halts_for_good() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1, Verdict.INVALID)
    effects = bench.get(certificate(notarize_of(A, 1, 0)))
    assert only(Halted, effects)
    before = list(bench.signed)
    assert bench.work() == []
    assert bench.signed == before


def test_4_certificates_that_contradict_each_other_halt() -> None:
    bench = Bench()
    bench.get(certificate(notarize_of(A, 1, 0)))
    assert only(Halted, bench.get(certificate(notarize_of(OTHER, 1, 0))))
    bench = Bench()
    bench.get(certificate(nullify_of(1)))
    assert only(Halted, bench.get(certificate(finalize_of(A, 1))))


def test_4_another_instance_with_the_same_key_is_noticed() -> None:
    bench = Bench(index=3)
    assert "another instance" in only(Halted, bench.get(vote(nullify_of(1), 3), 0))[0].reason


# --- 5: nullifying ----------------------------------------------------------------------------------------------


def test_5_a_silent_view_is_nullified_after_two_deltas_and_one_with_a_proposal_after_three() -> None:
    bench = Bench()
    bench.work()
    fire(bench, 2 * DELTA_MS - 1)
    assert not bench.signed
    fire(bench, 1)
    assert bench.signed == [nullify_of(1)]
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    fire(bench, 2 * DELTA_MS)
    assert not bench.signed
    fire(bench, DELTA_MS)
    assert bench.signed == [nullify_of(1)]


def test_5_the_leaders_own_nullify_and_those_of_more_than_f_are_followed() -> None:
    bench = Bench()
    bench.get(vote(nullify_of(1), 1), 1)
    assert bench.signed == [nullify_of(1)]
    bench = Bench()
    bench.get(vote(nullify_of(1), 0), 0)
    assert not bench.signed
    bench.get(vote(nullify_of(1), 2), 2)
    assert bench.signed == [nullify_of(1)]


# --- 6: finality ------------------------------------------------------------------------------------------------


def test_6_a_finalization_makes_ancestors_final_with_the_gaps_nullifications() -> None:
    child = block(A.header, 3, b"c")
    bench = Bench(index=0)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0), 1, 2, 3))
    bench.get(certificate(nullify_of(2), 1, 2, 3))
    bench.get(proposal(child, 3, 1), 3)
    bench.answer(child, 3)
    effects = bench.get(certificate(finalize_of(child, 3), 1, 2, 3))
    done = only(Finalized, effects)[0]
    assert done.blocks == (A, child)
    assert [c.subject for c in done.nullifications] == [nullify_of(2)]
    assert done.certificate in sent(effects)
    assert bench.machine.view == 4
    assert not bench.machine.chain.notarizations
    assert not bench.machine.chain.blocks


def test_6_a_finalization_without_its_body_is_fetched_by_range() -> None:
    child = block(A.header, 2, b"c")
    bench = Bench()
    bench.get(certificate(finalize_of(child, 2)), 1)
    behind = only(Behind, fire(bench, DELTA_MS))
    assert [(b.final_view, b.block) for b in behind] == [(2, finalize_of(child, 2).block)]
    assert only(Behind, fire(bench, CAP_MS)), "asked once only"
    effects = bench.do(CaughtUp(child, certificate(finalize_of(child, 2))))
    assert not only(Finalized, effects)
    assert bench.machine.chain.head.header == child.header
    assert only(SetTimer, effects)[-1].at_ms is None


def test_6_a_follower_learns_of_finality_and_asks_for_it() -> None:
    bench = Bench(index=None)
    effects = bench.get(certificate(finalize_of(A, 1)), 2)
    assert [e.sender for e in only(Behind, effects)] == [2]
    effects = bench.do(CaughtUp(A, certificate(finalize_of(A, 1))))
    assert bench.machine.chain.head.view == 1
    assert only(SetTimer, effects)[-1].at_ms is None


# --- 8: repair --------------------------------------------------------------------------------------------------


def test_8_own_votes_are_sent_again_ever_less_often_up_to_the_cap() -> None:
    bench = Bench()
    bench.work()
    fire(bench, 2 * DELTA_MS)
    times = []
    for _ in range(400):
        if vote(nullify_of(1), 3) in sent(fire(bench, 50)):  # type: ignore[arg-type]
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
    answers = sent(bench.get(Fetch(0, 1, 1, (digest, b"\x09" * 32)), 2))
    assert answers == [certificate(notarize_of(A, 1, 0)), Body(A)]
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
    bench.get(certificate(notarize_of(A, 1, 0)))
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
    bench.work()
    builds = only(Build, bench.work()) or only(Build, bench.do(WorkChanged(True)))
    depth = parent.height
    assert depth > 4
    assert not builds or builds[0].size_limit == 0


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
