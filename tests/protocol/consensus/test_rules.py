"""Rules 1 to 6 of docs/spec/consensus.md, each with one authority in hand."""

from __future__ import annotations

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
from protocol.consensus.events import CaughtUp, PeerUp, Verdict, WorkChanged
from protocol.types.block import Block
from protocol.types.votes import NOTARIZE, Certificate, Fetch, Proposal, Vote
from tests.protocol.consensus.bench import (
    CAP_MS,
    DELTA_MS,
    GENESIS,
    OTHER,
    A,
    Bench,
    block,
    certificate,
    finalize_of,
    fire,
    notarize_of,
    nullify_of,
    only,
    proposal,
    sent,
    vote,
)

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
    told = sent(bench.get(vote(notarize_of(A, 1, 0), 0), 0))  # the third, with the leader's and its own
    made = bench.machine.chain.held(NOTARIZE, 1)
    assert made is not None
    assert made in [r for r in bench.journal if isinstance(r, Certificate)]
    assert bench.signed[-1] == finalize_of(A, 1)
    assert [m for m in told if isinstance(m, Certificate)] == [made]
    assert not sent(bench.get(made)), "passed on twice"
    assert not sent(bench.get(vote(notarize_of(A, 1, 0), 2), 2))


def test_4_a_quorum_for_what_is_invalid_here_halts_for_good() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1, Verdict.INVALID)
    effects = bench.get(certificate(notarize_of(A, 1, 0)))
    assert only(Halted, effects)
    before = list(bench.signed)
    assert bench.work() == []
    assert bench.signed == before


def test_4_one_invalid_block_does_not_hide_another() -> None:
    bench = Bench(index=0)
    bench.get(proposal(OTHER, 1, 0), 1)
    bench.answer(OTHER, 1, Verdict.INVALID)
    bench.get(certificate(nullify_of(1), 1, 2, 3))
    second = block(GENESIS, 2, b"second")
    bench.get(proposal(second, 2, 0), 2)
    bench.answer(second, 2, Verdict.INVALID)
    assert not bench.machine.halted
    assert only(Halted, bench.get(certificate(notarize_of(second, 2, 0), 1, 2, 3)))


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
