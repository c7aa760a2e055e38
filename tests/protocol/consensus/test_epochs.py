"""Rule 11 of docs/spec/consensus.md: the epoch's last block, its second proposals, and what goes on around an end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from protocol.consensus.chain import Chain, Footing
from protocol.consensus.effects import Behind, Build, EpochEnded, Finalized, Halted, Rejected, Send, SetTimer, Validate
from protocol.consensus.events import Built, CaughtUp, PeerUp, Verdict
from protocol.consensus.machine import FinalHead, Machine
from protocol.errors import JournalBroken
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    Body,
    Certificate,
    ConsensusMessage,
    Fetch,
    Proposal,
)
from tests.protocol.consensus.bench import (
    DELTA_MS,
    GENESIS,
    A,
    Bench,
    block,
    certificate,
    final_a,
    finalize_of,
    fire,
    in_epoch,
    last,
    notarize_of,
    nullify_of,
    only,
    proposal,
    sent,
    vote,
)

E = last(GENESIS, 1, b"e")
F = last(GENESIS, 2, b"f")
NEXT = FinalHead(E.header, None)


def others(me: int) -> tuple[int, ...]:
    return tuple(index for index in range(4) if index != me)


def notarized(bench: Bench) -> Bench:
    """E is notarized in view 1 and validated here; the machine is in view 2."""
    assert bench.index is not None
    bench.get(proposal(E, 1, 0), 1)
    bench.answer(E, 1)
    bench.get(certificate(notarize_of(E, 1, 0), *others(bench.index)))
    assert bench.machine.view == 2
    return bench


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


# --- the next epoch ---------------------------------------------------------------------------------------------


def test_11_the_next_epoch_starts_on_it_as_view_0() -> None:
    child = Block(msgspec.structs.replace(block(E.header, 1, b"c").header, epoch=1), (b"c",))
    bench = Bench(index=3, final=NEXT, epoch=1, former=certificate(finalize_of(E, 1)))
    subject = in_epoch(notarize_of(child, 1, 0), 1)
    effects = bench.get(Proposal(child, vote(subject, 1)), 1)
    assert only(Validate, effects)
    bench.answer(child, 1)
    assert bench.signed == [subject]


def test_11_the_former_last_block_is_no_proposal_of_the_next_epoch() -> None:
    bench = Bench(index=3, final=NEXT, epoch=1, former=certificate(finalize_of(E, 1)))
    assert only(Rejected, bench.get(Proposal(E, vote(in_epoch(notarize_of(E, 1, 0), 1), 1)), 1))
    bench.get(certificate(in_epoch(nullify_of(1), 1)))
    child = Block(msgspec.structs.replace(block(E.header, 2, b"c").header, epoch=1), (b"c",))
    bench.get(Proposal(child, vote(in_epoch(notarize_of(child, 2, 0), 1), 2)), 2)
    bench.answer(child, 2)
    assert bench.signed[-1] == in_epoch(notarize_of(child, 2, 0), 1), "a copy of the head must not close the head"


def test_11_who_speaks_of_the_epoch_before_is_told_what_ended_it() -> None:
    end = certificate(finalize_of(E, 1))
    bench = Bench(index=3, final=NEXT, epoch=1, former=end)
    assert not sent(bench.get(vote(finalize_of(E, 1), 0), 0)), "merely late"
    assert sent(bench.get(vote(nullify_of(2), 0), 0)) == [end]
    assert not sent(bench.get(vote(nullify_of(2), 0), 0))
    assert sent(bench.get(Fetch(0, 1, 1), 1)) == [end]
    bench.now_ms += DELTA_MS
    assert sent(bench.get(certificate(notarize_of(E, 1, 0)), 0)) == [end]
    assert not sent(bench.get(certificate(finalize_of(E, 4)), 2)), "ended by another view's finalization: it knows"
    assert sent(bench.do(PeerUp(2))) == [end]
    assert not bench.signed


@pytest.mark.parametrize("index", [3, None])
def test_11_a_word_of_a_later_epoch_makes_it_ask_how_far_others_are(index: int | None) -> None:
    bench = Bench(index=index)
    messages: list[ConsensusMessage] = [
        vote(in_epoch(nullify_of(1), 1), 0),
        certificate(in_epoch(nullify_of(1), 1)),
        Proposal(A, vote(in_epoch(notarize_of(A, 1, 0), 1), 1)),
        Fetch(1, 1, 1),
        Body(Block(msgspec.structs.replace(A.header, epoch=1), A.transactions)),
    ]
    for message in messages:
        assert only(Behind, bench.get(message, 2)) == [Behind(0, None, 2)]
        assert not only(Behind, bench.get(message, 2)), "asked too often"
        assert only(Behind, bench.get(message, 1)) == [Behind(0, None, 1)], "one peer must not drown another"
        bench.now_ms += DELTA_MS
    assert bench.verified == 0
    assert not bench.signed


def test_11_answers_to_the_machine_before_are_not_taken() -> None:
    bench = Bench(index=1, final=NEXT, epoch=1, former=certificate(finalize_of(E, 1)))
    assert only(Build, bench.work())
    bench.do(Built(1, 0, block(GENESIS, 1, b"old")))
    assert not bench.signed
    child = Block(msgspec.structs.replace(block(E.header, 1, b"c").header, epoch=1), (b"c",))
    bench.do(Built(1, 0, child))
    assert bench.signed == [in_epoch(notarize_of(child, 1, 0), 1)]
    bench.do(CaughtUp(E, certificate(finalize_of(E, 1))))
    assert bench.machine.chain.head == NEXT


# --- restart ----------------------------------------------------------------------------------------------------


def test_11_a_restart_between_two_proposals_of_it_signs_the_same_again() -> None:
    bench = notarized(Bench(index=3))
    bench.get(proposal(E, 2, 1), 2)
    bench.get(certificate(notarize_of(E, 2, 1), 0, 1, 2))
    bench = fired_as_leader(bench)
    for records in (bench.journal, bench.machine.journal_snapshot()):
        again = Bench(3, bench.final, list(records))
        assert again.machine.view == 3
        assert {v: r.status for v, r in again.machine.rounds.items()} == {
            v: r.status for v, r in bench.machine.rounds.items()
        }
        again.answer(E, 3)
        fire(again, 10 * DELTA_MS)
        assert all(s.kind in (FINALIZE, NULLIFY) for s in again.signed)
        assert {s.view for s in again.signed if s.kind == NULLIFY} <= {3}
        ended = only(EpochEnded, again.get(certificate(finalize_of(E, 2))))
        assert [e.header for e in ended] == [E.header]


def fired_as_leader(bench: Bench) -> Bench:
    """The leader of view 3 proposed it for the third time."""
    fire(bench, DELTA_MS * 3 // 2)
    assert bench.signed[-1] == notarize_of(E, 3, 2)
    return bench


def test_11_a_restart_whose_head_is_not_stored_ends_the_epoch_again() -> None:
    bench = notarized(Bench(index=3))
    bench.get(certificate(finalize_of(E, 1)))
    again = Bench(3, bench.final, bench.journal)
    effects = again.answer(E, 1)
    assert [e.blocks for e in only(Finalized, effects)] == [(E,)]
    assert only(EpochEnded, effects)


def test_11_records_of_other_epochs_are_passed_over_and_another_chains_refused() -> None:
    bench = notarized(Bench(index=3))
    bench.get(certificate(finalize_of(E, 1)))
    end = certificate(finalize_of(E, 1))
    fresh = Bench(0, NEXT, bench.journal, epoch=1, former=end)
    assert (fresh.machine.view, len(fresh.machine.chain.blocks)) == (1, 0)
    assert fresh.machine.journal_snapshot() == []
    foreign = msgspec.structs.replace(nullify_of(1), chain=bytes(32))
    with pytest.raises(JournalBroken):
        Bench(3, NEXT, [vote(foreign, 3)], epoch=1)


@pytest.mark.parametrize(
    ("epoch", "final", "former"),
    [
        (0, NEXT, None),
        (0, FinalHead(E.header, certificate(finalize_of(E, 1))), None),
        (1, FinalHead(E.header, certificate(finalize_of(E, 1))), None),
        (1, FinalHead(GENESIS, None), None),
        (1, NEXT, certificate(nullify_of(1))),
        (1, NEXT, certificate(in_epoch(finalize_of(E, 1), 1))),
    ],
)
def test_11_a_head_of_another_epoch_is_refused(epoch: int, final: FinalHead, former: Certificate | None) -> None:
    with pytest.raises(ValueError, match="epoch"):
        Bench(3, final, [], epoch=epoch, former=former)


def test_11_a_block_that_ends_the_epoch_is_judged_like_any() -> None:
    bench = Bench(index=3)
    bench.get(proposal(E, 1, 0), 1)
    assert only(Rejected, bench.answer(E, 1, Verdict.INVALID))
    assert bench.signed == [nullify_of(1)]
    assert isinstance(bench.machine, Machine)
    assert not final_a(Bench()).machine.ended
