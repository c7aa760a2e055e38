"""Rule 11 of docs/spec/consensus.md: the epoch's last block, its second proposals, and what goes on around an end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from protocol.consensus.chain import Chain, Footing
from protocol.consensus.effects import Behind, Build, EpochEnded, Finalized, Halted, Rejected, Send, SetTimer, Validate
from protocol.consensus.events import CaughtUp, PeerUp
from protocol.consensus.machine import FinalHead
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Body,
    Fetch,
    Proposal,
)
from tests.protocol.consensus.bench import (
    DELTA_MS,
    GENESIS,
    A,
    Bench,
    E,
    F,
    block,
    certificate,
    finalize_of,
    fire,
    last,
    notarize_of,
    notarized,
    nullify_of,
    only,
    others,
    proposal,
    sent,
    vote,
)


def lost(bench: Bench, *views: int) -> Bench:
    """These views are nullified."""
    assert bench.index is not None
    for view in views:
        bench.get(certificate(nullify_of(view), *others(bench.index)))
    return bench


def kinds(bench: Bench, view: int) -> list[int]:
    return [subject.kind for subject in bench.signed if subject.view == view]


def proposed(effects: Sequence[object]) -> list[Proposal]:
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Proposal)]


# --- proposing it again -----------------------------------------------------------------------------------------


def test_11_the_last_block_is_proposed_again_and_never_extended() -> None:
    bench = notarized(Bench(index=2))
    assert not only(Build, bench.work()), "a block on the epoch's last"
    assert not proposed(fire(bench, DELTA_MS * 3 // 2 - 1)), "its finality is not overdue"
    effects = fire(bench, 1)
    assert proposed(effects) == [Proposal(E, vote(notarize_of(E, 2, 1), 2))]
    assert not [e for e in effects if isinstance(e, Build)]
    assert Proposal(E, vote(notarize_of(E, 2, 1), 2)) in bench.journal


def test_11_a_prodded_leader_proposes_it_again_at_once() -> None:
    bench = notarized(Bench(index=2))
    effects = bench.get(vote(nullify_of(2), 0), 0)
    assert proposed(effects) == [Proposal(E, vote(notarize_of(E, 2, 1), 2))]


def test_11_the_parent_view_is_the_newest_in_which_it_was_notarized() -> None:
    bench = notarized(Bench(index=3))
    bench.get(certificate(notarize_of(E, 2, 1), 0, 1, 2))
    effects = fire(bench, DELTA_MS * 3 // 2)
    assert proposed(effects) == [Proposal(E, vote(notarize_of(E, 3, 2), 3))]


def test_11_once_abandoned_another_block_takes_its_place() -> None:
    bench = Bench(index=2)
    bench.get(proposal(E, 1, 0), 1)
    bench.answer(E, 1)
    lost(bench, 1)
    build = only(Build, bench.work())[0]
    assert (build.view, build.parent_view) == (2, 0), "E was not notarized as far as is known here"
    bench.built(F, 2, 0)
    assert bench.signed[-1] == notarize_of(F, 2, 0)
    bench.get(certificate(notarize_of(E, 1, 0), 0, 1, 3))
    bench.get(certificate(notarize_of(F, 2, 0), 0, 1, 3))
    assert kinds(bench, 1) == [NOTARIZE, FINALIZE], "it signed no nullify of view 1: others did"
    assert kinds(bench, 2) == [NOTARIZE, FINALIZE]


# --- voting for it again ----------------------------------------------------------------------------------------


def test_11_a_voter_notarizes_it_again_whoever_leads() -> None:
    bench = notarized(Bench(index=3))
    again = proposal(E, 2, 1)
    assert not only(Validate, bench.get(again, 2)), "executed twice"
    assert bench.signed[-1] == notarize_of(E, 2, 1)
    assert bench.journal[-1] == vote(notarize_of(E, 2, 1), 3)


def test_11_the_gap_must_be_nullified_here_too() -> None:
    bench = lost(notarized(Bench(index=0)), 3, 4)
    bench.get(proposal(E, 5, 1), 1)
    assert kinds(bench, 5) == []
    asked = only(Fetch, sent(fire(bench, DELTA_MS)))  # type: ignore[arg-type]
    assert (asked[-1].first, asked[-1].last) == (2, 2)
    lost(bench, 2)
    assert kinds(bench, 5) == [NOTARIZE]


def test_11_without_its_notarization_it_is_fetched_and_waited_for() -> None:
    bench = lost(Bench(index=3), 1)
    effects = bench.get(proposal(E, 2, 1), 2)
    assert not only(Rejected, effects)
    assert not only(Validate, effects), "executed although nobody may have voted for it"
    asked = only(Fetch, sent(fire(bench, DELTA_MS // 4)))  # type: ignore[arg-type]
    assert (asked[0].first, asked[0].last) == (1, 1)
    assert only(Validate, bench.get(certificate(notarize_of(E, 1, 0))))[0].certified
    bench.answer(E, 2)
    assert bench.signed[-1] == notarize_of(E, 2, 1)


@pytest.mark.parametrize(
    ("false", "parent_view"),
    [
        (E, 0),  # nothing is notarized, and it is not this leader's
        (block(GENESIS, 1, b"p"), 0),  # another's block that ends nothing
        (block(GENESIS, 1, b"p"), 1),
    ],
    ids=["last", "plain", "plain of an earlier view"],
)
def test_11_anothers_block_that_nobody_notarized_is_rejected(false: Block, parent_view: int) -> None:
    bench = lost(Bench(index=3), 1)
    effects = bench.get(proposal(false, 2, parent_view), 2)
    assert only(Rejected, effects)[0].reason == "its header names another proposer"
    assert kinds(bench, 2) == [NULLIFY]


def test_11_a_block_that_does_not_end_the_epoch_is_not_proposed_again() -> None:
    bench = Bench(index=3)
    bench.get(proposal(A, 1, 0), 1)
    bench.answer(A, 1)
    bench.get(certificate(notarize_of(A, 1, 0), 0, 1, 2))
    effects = bench.get(proposal(A, 2, 1), 2)
    assert only(Rejected, effects)
    assert kinds(bench, 2) == [NULLIFY]


def test_11_nothing_extends_it_whoever_signs() -> None:
    child = block(E.header, 2, b"c")
    bench = notarized(Bench(index=3))
    effects = bench.get(proposal(child, 2, 1), 2)
    assert not only(Validate, effects)
    assert only(Rejected, effects)[0].reason == "its header's parent ends the epoch"
    assert kinds(bench, 2) == [NULLIFY]
    effects = bench.get(certificate(notarize_of(child, 2, 1), 0, 1, 2))
    assert only(Halted, effects), "a quorum that extends it is more than f traitors"


def test_11_nothing_extends_it_though_its_body_comes_later() -> None:
    child = block(E.header, 2, b"c")
    bench = Bench(index=3)
    bench.get(certificate(notarize_of(E, 1, 0)))
    assert not only(Rejected, bench.get(proposal(child, 2, 1), 2))
    effects = bench.get(Body(E))
    bench.answer(E, 1)
    assert only(Rejected, effects)
    assert NOTARIZE not in kinds(bench, 2)


def test_11_a_false_parent_view_is_rejected() -> None:
    bench = lost(notarized(Bench(index=3)), 2)
    bench.get(certificate(nullify_of(3), 0, 1, 2))
    bench.get(certificate(notarize_of(F, 4, 0), 0, 1, 2))
    assert bench.machine.view == 5
    effects = bench.get(proposal(E, 5, 4), 1)
    assert only(Rejected, effects)[0].reason == "its header's parent is not the block of its parent view"
    assert kinds(bench, 5) == [NULLIFY]


def test_11_two_proposals_of_it_that_differ_in_the_parent_view_are_two() -> None:
    bench = notarized(Bench(index=0))
    bench.get(certificate(notarize_of(E, 2, 1), 1, 2, 3))
    bench.get(proposal(E, 3, 2), 3)
    assert kinds(bench, 3) == [NOTARIZE]
    bench.get(Proposal(E, vote(notarize_of(E, 3, 1), 3)), 3)
    assert kinds(bench, 3) == [NOTARIZE, NULLIFY], "an equivocating leader's view is nullified"
    bench.get(certificate(notarize_of(E, 3, 2), 1, 2, 3))
    assert FINALIZE not in kinds(bench, 3)


def test_11_it_is_finalized_in_each_view_that_notarizes_it() -> None:
    bench = notarized(Bench(index=3))
    bench.get(proposal(E, 2, 1), 2)
    bench.get(certificate(notarize_of(E, 2, 1), 0, 1, 2))
    assert [s for s in bench.signed if s.kind == FINALIZE] == [finalize_of(E, 1), finalize_of(E, 2)]


def test_11_it_is_voted_for_again_however_deep_it_lies() -> None:
    bench = Bench(index=3)
    parent, parent_view = GENESIS, 0
    for view in range(1, 2 * bench.machine.config.depth + 1):
        child = block(parent, view % 4)
        bench.get(vote(notarize_of(child, view, parent_view), 2), 2)  # a sign of life
        bench.get(certificate(notarize_of(child, view, parent_view)))
        bench.get(Body(child))
        bench.answer(child, view)
        parent, parent_view = child.header, view
    deep = last(parent, 1, b"e")
    bench.get(certificate(notarize_of(deep, 9, parent_view)))
    bench.get(Body(deep))
    bench.answer(deep, 9)
    bench.get(proposal(deep, 10, 9), 2)
    assert kinds(bench, 10) == [NOTARIZE]


def test_11_the_final_head_is_nothing_to_propose_again() -> None:
    chain = Chain(FinalHead(E.header, certificate(finalize_of(E, 4))), 16)
    assert chain.footing(E.header, notarize_of(E, 5, 4)) is Footing.NONE
    assert chain.footing(block(E.header, 1).header, notarize_of(block(E.header, 1), 5, 4)) is Footing.EXTENDS


# --- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [1, 2])
def test_11_its_first_finalization_in_any_view_ends_the_epoch(view: int) -> None:
    bench = notarized(Bench(index=3))
    bench.get(certificate(notarize_of(E, 2, 1), 0, 1, 2))
    end = certificate(finalize_of(E, view))
    effects = bench.get(end)
    done, ended = only(Finalized, effects)[0], only(EpochEnded, effects)[0]
    assert (done.blocks, done.certificate) == ((E,), end)
    assert ended == EpochEnded(E.header, end)
    assert effects.index(done) < effects.index(ended)
    assert only(SetTimer, effects)[-1].at_ms is None


def test_11_after_the_end_it_signs_and_builds_nothing() -> None:
    bench = notarized(Bench(index=3))
    bench.get(certificate(finalize_of(E, 1)))
    before = list(bench.signed)
    effects: list[object] = [*bench.work(), *fire(bench, 100 * DELTA_MS)]
    for view in (3, 4, 5):
        effects += bench.get(vote(nullify_of(view), 2), 2)
        effects += bench.get(certificate(nullify_of(view)))
    effects += bench.get(proposal(E, 2, 1), 2)
    effects += bench.get(certificate(notarize_of(E, 2, 1)))
    effects += bench.get(certificate(finalize_of(E, 2)))
    assert bench.signed == before
    assert all(isinstance(e, Send) and e.message == certificate(finalize_of(E, 1)) for e in effects)
    with pytest.raises(AssertionError, match="epoch has ended"):
        bench.machine._sign(nullify_of(bench.machine.view))


def test_11_after_the_end_who_is_still_there_is_told() -> None:
    bench = notarized(Bench(index=3))
    end = certificate(finalize_of(E, 1))
    bench.get(end)
    assert not sent(bench.get(vote(finalize_of(E, 1), 0), 0)), "merely late"
    assert sent(bench.get(vote(nullify_of(2), 0), 0)) == [end]
    assert not sent(bench.get(vote(nullify_of(2), 0), 0)), "once in a while"
    assert sent(bench.get(Fetch(0, 1, 2), 1)) == [end]
    assert sent(bench.do(PeerUp(2))) == [end]
    bench.now_ms += DELTA_MS
    assert sent(bench.get(certificate(notarize_of(E, 1, 0)), 0)) == [end]
    assert not sent(bench.get(certificate(finalize_of(E, 2)), 2)), "who finalized it knows"


def test_11_a_head_that_sync_moved_to_the_end_ends_the_epoch() -> None:
    bench = Bench(index=3)
    end = certificate(finalize_of(E, 2))
    bench.get(end)
    effects = bench.do(CaughtUp(E, end))
    assert only(EpochEnded, effects) == [EpochEnded(E.header, end)]
    assert not only(Finalized, effects)


def test_11_an_end_whose_body_lacks_is_synced() -> None:
    bench = Bench(index=3)
    bench.get(certificate(finalize_of(E, 1)))
    assert [b.block for b in only(Behind, fire(bench, DELTA_MS))] == [finalize_of(E, 1).block]
    assert not bench.machine.ended


def test_11_a_follower_ends_the_epoch_too() -> None:
    bench = Bench(index=None)
    end = certificate(finalize_of(E, 1))
    bench.get(end)
    assert only(EpochEnded, bench.do(CaughtUp(E, end)))
