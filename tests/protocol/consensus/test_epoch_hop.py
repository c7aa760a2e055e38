"""Rule 11 of docs/spec/consensus.md: what goes on after an epoch's end, and what a restart makes of it."""

from __future__ import annotations

import msgspec
import pytest

from protocol.consensus.effects import Behind, Build, EpochEnded, Finalized, Rejected, Validate
from protocol.consensus.events import Built, CaughtUp, PeerUp, Verdict
from protocol.consensus.machine import FinalHead, Machine
from protocol.errors import JournalBroken
from protocol.types.block import Block
from protocol.types.votes import (
    FINALIZE,
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
    NEXT,
    A,
    Bench,
    E,
    block,
    certificate,
    final_a,
    finalize_of,
    fire,
    in_epoch,
    notarize_of,
    notarized,
    nullify_of,
    only,
    proposal,
    sent,
    vote,
)

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
