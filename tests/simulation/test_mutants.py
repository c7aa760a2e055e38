"""A machine that is broken on purpose must not survive the simulation: this tests the oracles, not the machine.

Where the machine asserts a rule itself, that assertion is switched off first, so that it is the oracle that notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from protocol.consensus import quorum
from protocol.consensus.chain import Chain, Standing
from protocol.consensus.core import Core
from protocol.consensus.effects import Persist
from protocol.consensus.journal import Restored
from protocol.consensus.machine import Machine
from protocol.consensus.repair import Repair
from protocol.consensus.round import _NEXT, Round, Status
from protocol.types.votes import NOTARIZE, NULLIFY, Proposal, Vote
from tests.simulation.faults import Faults
from tests.simulation.oracle import Violation
from tests.simulation.traitors import KINDS
from tests.simulation.world import World

SEEDS = 100


def history(seed: int) -> Faults | None:
    """Every other history is drawn as usual; between them come busy ones with a traitor that forks."""
    if seed % 2 == 0:
        return None
    return replace(Faults.draw(Random(seed), tuple(KINDS)), authorities=4, traitors=("forker",), transactions=60)


def votes_after_nullify(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(_NEXT, Status.NULLIFIED, {Status.NOTARIZED, Status.FINALIZED})


def nullifies_after_finalize(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(_NEXT, Status.NOTARIZED, {Status.NULLIFIED, Status.FINALIZED})
    signed = Round.signed

    def forgetful(self: Round, vote: Vote) -> None:
        signed(self, vote)
        if self.status is Status.FINALIZED:
            self.status = Status.NOTARIZED

    def every_view(self: Machine) -> None:
        turn(self)
        for view in list(self.rounds):
            held = self.rounds.get(view)
            if held is not None and len(held.own) == 2 and NULLIFY not in held.own and held.may(NULLIFY):
                self._vote(quorum.nullify(self.config.chain, 0, view))

    turn = Machine._turn
    patch.setattr(Round, "signed", forgetful)
    patch.setattr(Machine, "_turn", every_view)


def finalizes_what_it_notarizes(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: Machine, proposal: Proposal) -> None:
        subject = proposal.vote.subject
        self._send(self._sign(subject, proposal))
        self._vote(quorum.finalize(subject.chain, subject.epoch, subject.view, subject.block))

    patch.setattr(Machine, "_notarize", hasty)


def counts_one_too_few(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quorum, "quorum", lambda n: max(1, n - (n - 1) // 3 - 1))


def syncs_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Core, "_record", lambda self, record, sync=True: self._records.append(Persist(record, False)))


def forgets_its_nullify(patch: pytest.MonkeyPatch) -> None:
    replay = Restored._vote

    def forgetful(self: Restored, held: Round, vote: Vote) -> None:
        if vote.subject.kind != NULLIFY:
            replay(self, held, vote)

    patch.setattr(Restored, "_vote", forgetful)


def forgets_its_journal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Restored, "_replay", lambda self, record: None)


def ignores_gaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Chain, "lacking", lambda self, parent_view, view: None)


def ignores_parents(patch: pytest.MonkeyPatch) -> None:
    def credulous(self: Machine, proposal: Proposal) -> bool:
        candidate = self.chain.blocks.get(proposal.vote.subject.block)
        return candidate is not None and candidate.standing is Standing.VALID

    patch.setattr(Machine, "_good", credulous)
    patch.setattr(Machine, "_bad", lambda self, proposal: False)


def validates_nothing(patch: pytest.MonkeyPatch) -> None:
    judge = Machine._judge

    def credulous(self: Machine, candidate: object, verdict: object) -> None:
        judge(self, candidate, verdict)  # type: ignore[arg-type]
        candidate.standing = Standing.VALID  # type: ignore[attr-defined]

    patch.setattr(Machine, "_judge", credulous)


def sends_nothing_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "_resend", lambda self, to: None)


def asks_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Repair, "want", lambda self, fetch, waits, now_ms: None)


def leaves_the_last_block_unfinal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Chain, "unfinal", lambda self: False)
    patch.setattr(Machine, "_work", lambda self, held: self._pooled)


def is_never_quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "_work", lambda self, held: True)


def notarizes_twice(patch: pytest.MonkeyPatch) -> None:
    take = Machine._on_proposal

    def eager(self: Machine, proposal: Proposal, sender: int | None) -> None:
        held = self.rounds.get(proposal.vote.subject.view)
        if held is not None and held.status in (Status.NOTARIZED, Status.BARRED):
            held.proposal, held.status = None, Status.OPEN
            held.own.pop(NOTARIZE, None)
            held.votes._votes.pop((NOTARIZE, proposal.vote.index), None)
        take(self, proposal, sender)

    patch.setattr(Machine, "_on_proposal", eager)


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    votes_after_nullify,
    nullifies_after_finalize,
    finalizes_what_it_notarizes,
    counts_one_too_few,
    syncs_nothing,
    forgets_its_nullify,
    forgets_its_journal,
    ignores_gaps,
    ignores_parents,
    validates_nothing,
    sends_nothing_again,
    asks_for_nothing,
    leaves_the_last_block_unfinal,
    is_never_quiet,
    notarizes_twice,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_machine_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Core, "_check_rules", lambda self, subject, held: None)
    mutant(monkeypatch)
    for seed in range(SEEDS):
        try:
            World(seed, history(seed)).run()
        except Violation:
            return
        except (AssertionError, KeyError):  # the mutant tripped over itself: not what is tested
            continue
    pytest.fail(f"{mutant.__name__} survived {SEEDS} seeds")
