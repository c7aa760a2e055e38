"""Broken nodes: what `node.sansio` decides around the machine, and a daemon with it, since both run the same code."""

from __future__ import annotations

from node.sansio.catching_up import CatchingUp
from node.sansio.finality import Batch, Executed, Final, FinalityCore
from node.sansio.stepping import Step, Stepping
from node.sansio.terms import VotingKeyCore
from node.simulation import driver
from tests.simulation.mutant import Patch, mutant


@mutant("rule 7: what a step records is synced before anything leaves")
def carries_out_before_it_syncs(patch: Patch) -> None:
    step = Stepping.step

    def hasty(self: Stepping, now_ms: int) -> Step | None:  # type: ignore[type-arg]
        found = step(self, now_ms)
        if found is not None:
            found.sync = False
        return found

    patch.setattr(Stepping, "step", hasty)


@mutant("rule 11: the next epoch's machine takes over")
def keeps_the_old_machine(patch: Patch) -> None:
    patch.setattr(driver, "due", lambda epoch, state, standing: False)


@mutant("rule 7: a vote key begins an epoch with that epoch's records")
def begins_without_its_records(patch: Patch) -> None:
    patch.setattr(VotingKeyCore, "records_of", lambda self, epoch: [])


@mutant("nobody is told before it is stored")
def tells_before_it_is_stored(patch: Patch) -> None:
    take = FinalityCore.take

    def hasty(self: FinalityCore[Executed], executed: Executed, batch: Batch) -> Final[Executed]:
        final = take(self, executed, batch)
        self._outcomes.final(executed)
        return final

    patch.setattr(FinalityCore, "take", hasty)


@mutant("who is behind asks")
def never_asks_how_far_others_are(patch: Patch) -> None:
    patch.setattr(CatchingUp, "on_peer_up", lambda self, peer: None)
