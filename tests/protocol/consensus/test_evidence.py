"""Evidence: whoever signs two votes that contradict each other is found, however they reach this node."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.consensus.effects import Effect, Equivocation, Halted, Validate
from protocol.consensus.votes import EVIDENCE_VIEWS
from protocol.crypto.signing import verify, vote_message
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Body,
    Certificate,
    ConsensusMessage,
    Proposal,
    Vote,
    VoteSubject,
)
from tests.protocol.consensus.bench import (
    GENESIS,
    OTHER,
    PUBLIC,
    A,
    Bench,
    block,
    certificate,
    final_a,
    finalize_of,
    in_epoch,
    last,
    notarize_of,
    nullify_of,
    only,
    proposal,
    vote,
)

E = last(GENESIS, 1, b"e")
X, Y = block(A.header, 2, b"x"), block(A.header, 2, b"y")
PAIRS = {
    "notarizes": (notarize_of(X, 2, 1), notarize_of(Y, 2, 1)),
    "parent views": (notarize_of(X, 2, 1), notarize_of(X, 2, 0)),
    "finalizes": (finalize_of(X, 2), finalize_of(Y, 2)),
    "nullify and finalize": (nullify_of(2), finalize_of(X, 2)),
}


def found(effects: list[Effect]) -> list[tuple[int, int]]:
    """(index, view) of what was reported, each half checked."""
    reports = only(Equivocation, effects)
    for report in reports:
        first, second = report.first, report.second
        assert first.subject != second.subject
        assert (
            (first.subject.view, first.index)
            == (second.subject.view, second.index)
            == (
                second.subject.view,
                report.index,
            )
        )
        for half in (first, second):
            assert verify(PUBLIC[report.index], vote_message(half.subject), half.signature)
    return [(report.index, report.first.subject.view) for report in reports]


def told(bench: Bench, *messages: ConsensusMessage) -> list[tuple[int, int]]:
    reports: list[tuple[int, int]] = []
    for message in messages:
        reports += found(bench.get(message, 1))
    return reports


def forged(subject: VoteSubject, index: int, salt: int = 0) -> Vote:
    return Vote(subject, index, bytes([salt]) * 64)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_in_either_order_once(pair: tuple[VoteSubject, VoteSubject]) -> None:
    for first, second in permutations(pair):
        bench = final_a(Bench())
        assert told(bench, vote(first, 0), vote(second, 0)) == [(0, 2)]
        assert told(bench, vote(first, 0), vote(second, 0), vote(first, 0)) == []


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_after_the_view_became_final(pair: tuple[VoteSubject, VoteSubject]) -> None:
    for first, second in permutations(pair):
        for before in (0, 1, 2):  # how many came before its finality
            bench = final_a(Bench())
            child = block(X.header, 3, b"z")
            reports = told(bench, *[vote(s, 0) for s in (first, second)[:before]])
            bench.get(certificate(finalize_of(child, 3)))
            reports += told(bench, *[vote(s, 0) for s in (first, second)[before:]])
            assert reports == [(0, 2)]


def test_up_to_so_many_views_back() -> None:
    first, second = PAIRS["finalizes"]
    for views, reports in ((EVIDENCE_VIEWS, [(0, 2)]), (EVIDENCE_VIEWS + 1, [])):
        bench = final_a(Bench())
        bench.get(vote(first, 0), 0)
        bench.get(certificate(finalize_of(block(X.header, 3, b"z"), 1 + views)))
        assert bench.machine.view == 2 + views
        assert told(bench, vote(second, 0)) == reports


def test_a_vote_inside_a_certificate_is_a_half() -> None:
    bench = final_a(Bench())
    bench.get(vote(finalize_of(X, 2), 0), 0)
    assert told(bench, certificate(nullify_of(2))) == [(0, 2)]
    bench = final_a(Bench())
    bench.get(certificate(nullify_of(2)))
    assert told(bench, vote(finalize_of(X, 2), 0), vote(finalize_of(X, 2), 1)) == [(0, 2), (1, 2)]


def test_a_vote_inside_a_second_copy_of_a_certificate_is_a_half() -> None:
    bench = Bench(index=3)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0), 1, 2, 3))
    bench.get(certificate(notarize_of(A, 1, 0), 0, 1, 2))  # what 0 signed is in this copy alone
    assert bench.verified <= 4, "a copy is no reason to verify anything"
    assert told(bench, vote(notarize_of(OTHER, 1, 0), 0)) == [(0, 1)]


def test_a_vote_inside_an_old_certificate_is_a_half() -> None:
    bench = final_a(Bench())
    bench.get(certificate(notarize_of(X, 2, 1), 0, 1, 2))
    bench.get(certificate(finalize_of(block(X.header, 3, b"z"), 3)))
    assert told(bench, vote(finalize_of(X, 2), 0)) == []
    assert told(bench, certificate(nullify_of(2), 0, 1, 2)) == [(0, 2)]


def test_a_proposal_that_is_refused_still_shows_its_vote() -> None:
    for false in (
        Proposal(Block(OTHER.header, (b"foreign",)), vote(notarize_of(OTHER, 1, 0), 1)),
        Proposal(A, vote(notarize_of(OTHER, 1, 0), 1)),
    ):
        bench = Bench()
        bench.get(proposal(A, 1, 0), 1)
        assert told(bench, false) == [(1, 1)]
        assert bench.signed == [nullify_of(1)]


def test_a_leader_that_contradicts_itself_inside_a_certificate_is_not_finalized() -> None:
    bench = Bench()
    bench.get(proposal(A, 1, 0), 1)
    effects = bench.get(certificate(notarize_of(OTHER, 1, 0)))
    assert found(effects) == [(1, 1)]
    bench.get(proposal(OTHER, 1, 0), 1)
    bench.answer(OTHER, 1)
    assert FINALIZE not in [subject.kind for subject in bench.signed]


def test_what_is_forged_accuses_nobody_and_hides_nobody() -> None:
    first, second = PAIRS["finalizes"]
    child = block(X.header, 3, b"z")
    bench = final_a(Bench())
    bench.get(certificate(finalize_of(child, 3)))  # view 2 is final: its votes are noted unverified
    assert told(bench, forged(first, 0), forged(second, 0), forged(nullify_of(2), 0)) == []
    assert told(bench, vote(first, 0), forged(first, 0, 1), vote(second, 0)) == [(0, 2)]


@given(st.lists(st.integers(0, 11), min_size=1, max_size=14), st.booleans())
def test_any_order_with_forgeries_between(order: list[int], final: bool) -> None:
    """Of the votes that come, the first true pair that contradicts itself is reported, whatever else comes."""
    subjects = [nullify_of(2), finalize_of(X, 2), finalize_of(Y, 2), notarize_of(X, 2, 1), notarize_of(Y, 2, 1)]
    supply = [vote(s, 0) for s in subjects] + [forged(s, 0, salt) for s in subjects for salt in (0, 1)]
    bench = final_a(Bench())
    if final:
        bench.get(certificate(finalize_of(block(X.header, 3, b"z"), 3)))
    shown: set[tuple[int, bytes]] = set()
    reports: list[tuple[int, int]] = []
    for choice in order:
        reports += told(bench, supply[choice])
        if choice < len(subjects):
            shown.add((subjects[choice].kind, subjects[choice].block))
    kinds = [kind for kind, _ in shown]
    due = kinds.count(NOTARIZE) > 1 or kinds.count(FINALIZE) > 1 or {NULLIFY, FINALIZE} <= set(kinds)
    assert reports == ([(0, 2)] if due else [])


def test_an_accused_authority_cannot_make_others_verify_without_end() -> None:
    bench = final_a(Bench())
    told(bench, vote(notarize_of(X, 2, 1), 0), vote(notarize_of(Y, 2, 1), 0))
    before = bench.verified
    for number in range(50):
        bench.get(forged(notarize_of(block(A.header, 2, b"%d" % number), 2, 1), 0), 0)
    assert bench.verified == before


def test_an_epoch_that_ended_is_still_looked_at_and_others_are_not() -> None:
    bench = Bench()
    bench.get(proposal(E, 1, 0), 1)
    bench.answer(E, 1)
    bench.get(certificate(notarize_of(E, 1, 0)))
    bench.get(certificate(finalize_of(E, 1)))
    assert bench.machine.ended
    assert told(bench, vote(nullify_of(1), 2)) == [(2, 1)]
    assert told(bench, certificate(nullify_of(1), 0, 1, 2)) == [(0, 1), (1, 1)]
    assert told(bench, vote(in_epoch(nullify_of(1), 1), 0), vote(in_epoch(finalize_of(E, 1), 1), 0)) == []


def test_somebody_else_with_this_key_is_seen_inside_a_certificate() -> None:
    effects = Bench(index=2).get(certificate(nullify_of(1), 0, 1, 2))
    assert "another instance" in only(Halted, effects)[0].reason
    bench = Bench(index=2)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    assert not only(Halted, bench.get(certificate(notarize_of(A, 1, 0), 0, 1, 2)))


def test_own_votes_of_final_views_are_forgotten_by_a_restart_and_no_reason_to_halt() -> None:
    bench = final_a(Bench(index=3))
    bench.final = bench.machine.chain.head
    again = bench.restart()
    for message in (vote(notarize_of(A, 1, 0), 3), certificate(finalize_of(A, 1), 1, 2, 3)):
        assert not only(Halted, again.get(message, 0))


def test_no_lie_about_them_makes_them_a_reason_either() -> None:
    """A traitor's forged copy comes first, so that the true one is looked at."""
    bench = final_a(Bench(index=3))
    bench.final = bench.machine.chain.head
    again = bench.restart()
    for subject in (notarize_of(A, 1, 0), finalize_of(A, 1)):
        again.get(forged(subject, 3), 0)
        again.get(forged(finalize_of(X, 1), 3), 0)
        assert not only(Halted, again.get(vote(subject, 3), 0))
        assert not only(Halted, again.get(certificate(subject, 1, 2, 3), 0))


# --- bounds -----------------------------------------------------------------------------------------------------


def within_bounds(bench: Bench) -> bool:
    """The bounds of docs/spec/consensus.md."""
    load, n, depth = bench.machine.load(), 4, bench.machine.config.depth
    return (
        load["rounds"] <= load["unfinal"] + 2
        and load["votes"] <= 6 * n * (EVIDENCE_VIEWS + 2) + 3 * load["unfinal"]
        and load["certificates"] <= 2 * load["unfinal"] + EVIDENCE_VIEWS + 1
        and load["blocks"] <= 4 * depth + 2 + load["unfinal"]
    )


def test_a_long_time_without_finality_leaves_certificates_and_own_votes() -> None:
    bench = Bench(index=3)
    bench.work()
    for view in range(1, 160):
        for index in (0, 1, 2):
            bench.get(vote(notarize_of(block(GENESIS, view % 4, b"%d" % view), view, 0), index), index)
            bench.get(vote(nullify_of(view), index), index)
        assert bench.machine.view == view + 1
        assert within_bounds(bench)
    assert bench.machine.load()["votes"] <= 7 * (EVIDENCE_VIEWS + 2) + 160
    statuses = {view: held.status for view, held in bench.machine.rounds.items() if held.own}
    again = bench.restart()
    assert {view: again.machine.rounds[view].status for view in statuses} == statuses


def test_what_is_too_old_is_not_looked_at_but_still_binds() -> None:
    bench = Bench(index=3)
    bench.work()
    bench.get(vote(nullify_of(1), 1), 1)
    assert bench.signed == [nullify_of(1)]
    for view in range(1, EVIDENCE_VIEWS + 10):
        bench.get(certificate(nullify_of(view)))
    assert told(bench, vote(notarize_of(A, 1, 0), 0), vote(notarize_of(OTHER, 1, 0), 0)) == []
    bench.get(certificate(notarize_of(A, 1, 0)))
    assert only(Validate, bench.get(Body(A)))
    bench.answer(A, 1)
    assert finalize_of(A, 1) not in bench.signed


def test_while_the_head_lags_little_is_kept() -> None:
    bench = Bench(index=3)
    parent, lag = block(GENESIS, 1, b"never seen"), 150
    bench.get(certificate(finalize_of(parent, 1)))
    for view in range(2, lag):
        child = block(parent.header, view % 4, b"%d" % view)
        bench.get(certificate(notarize_of(child, view, view - 1)))
        bench.get(Body(child))
        bench.get(certificate(finalize_of(child, view)))
        parent = child
        assert within_bounds(bench)
    assert bench.machine.load()["unsettled"] == lag
    assert bench.machine.load()["blocks"] >= 4 * bench.machine.config.depth, "the newest are kept"
    assert isinstance(bench.machine.chain.finalization, Certificate)


def test_a_flood_of_proposals_and_votes_stays_within_bounds() -> None:
    bench = Bench(index=0)
    for view in range(1, 120):
        for number in range(3):
            b = block(GENESIS, view % 4, b"%d %d" % (view, number))
            if view % 4:
                bench.get(proposal(b, view, 0), view % 4)
            for index in (1, 2, 3):
                bench.get(vote(notarize_of(b, view, 0), index), index)
                bench.get(vote(finalize_of(b, view), index), index)
        bench.get(certificate(nullify_of(view), 1, 2, 3))
        assert within_bounds(bench)
