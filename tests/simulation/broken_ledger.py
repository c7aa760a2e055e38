"""Broken ledgers, pools and syncs: governance, evidence, headers, replay, and what a node does around its machine."""

from __future__ import annotations

from node.sansio.catching_up import CatchingUp
from node.sansio.refusals import Refusals
from node.sansio.spreading import Spreading
from node.simulation import chainstate, memory
from node.simulation.chainstate import Executed, Recall, State
from node.simulation.disk import Disk, Journal
from protocol.errors import InvalidBlock
from protocol.ledger import blocks, evidence, governance, seats, windows
from protocol.ledger.transition import Execution
from protocol.ledger.view import Changes
from protocol.ledger.working import Working
from protocol.types.block import Block
from protocol.types.institutions import Authority
from tests.simulation.mutant import Patch, mutant

# --- governance --------------------------------------------------------------------------------------------------


@mutant("a ballot counts once")
def counts_ballots_twice(patch: Patch) -> None:
    patch.setattr(
        governance,
        "_with",
        lambda casts, cast: tuple(sorted((*casts, cast, cast), key=lambda one: one.institution)),
    )


@mutant("a motion passes with a quorum")
def passes_motions_with_one_too_few(patch: Patch) -> None:
    right = governance.quorum_of
    patch.setattr(governance, "quorum_of", lambda n: max(1, right(n) - 1))


@mutant("who lost its seat has no ballot")
def counts_ballots_of_the_suspended(patch: Patch) -> None:
    def everybody(working: Working) -> dict[int, Authority]:
        return {number: Authority(number, bytes(32), 0) for number in range(1_000)}

    patch.setattr(seats, "voters", everybody)


@mutant("evidence costs the seat")
def convicts_nobody(patch: Patch) -> None:
    patch.setattr(evidence.seats, "take", lambda working, institution: None)


@mutant("signatures inside operations verify")
def believes_what_operations_carry(patch: Patch) -> None:
    begin = Execution.__init__

    def credulous(self, view, parent, timestamp, check):  # type: ignore[no-untyped-def]
        begin(self, view, parent, timestamp, lambda public, message, signature: True)

    patch.setattr(Execution, "__init__", credulous)


# --- blocks ------------------------------------------------------------------------------------------------------


@mutant("rule 3: the whole block is valid")
def validates_nothing(patch: Patch) -> None:
    run_block = memory.run_block

    def credulous(recall: Recall, parent: State, block: Block, digest: bytes) -> Executed:
        try:
            return run_block(recall, parent, block, digest)
        except InvalidBlock:  # voted for all the same, and without effect
            state = parent.after(block.header, digest, Changes({}, ()), {})
            return Executed(block, digest, state, (), (), {}, frozenset())

    patch.setattr(memory, "run_block", credulous)


@mutant("the header says the next set")
def checks_no_next_authorities(patch: Patch) -> None:
    apply_block = blocks.apply_block

    def credulous(view, parent, block, transactions, check):  # type: ignore[no-untyped-def]
        patch.setattr(blocks, "next_authorities_digest", lambda execution: block.header.next_authorities)
        return apply_block(view, parent, block, transactions, check)

    patch.setattr(chainstate, "apply_block", credulous)


@mutant("the header says the state")
def checks_no_state_root(patch: Patch) -> None:
    patch.setattr(chainstate, "check_state_root", lambda header, root: None)


@mutant("a number is used once")
def forgets_used_numbers(patch: Patch) -> None:
    patch.setattr(windows, "use", lambda window, number, bits: window)


# --- around the machine ------------------------------------------------------------------------------------------


@mutant("rule 7: a journal older than its mark makes a follower", "copied")
def votes_from_an_old_journal(patch: Patch) -> None:
    def careless(self: Disk, public: bytes) -> Journal:
        return self.journals.setdefault(public, Journal())

    patch.setattr(Disk, "open_journal", careless)


@mutant("the pool outlives a connection")
def forgets_its_pool_on_reconnect(patch: Patch) -> None:
    def forgetful(self: Spreading, peer: int) -> None:
        self._pool.remove([entry.id for entry in self._pool])

    patch.setattr(Spreading, "on_peer_up", forgetful)


@mutant("what was refused is heard again from whom it is of")
def never_hears_again_of_what_it_refused(patch: Patch) -> None:
    patch.setattr(Refusals, "hears", lambda self, id_, institution, now_ms: id_ not in self._known)


@mutant("sync checks certificates", "forged")
def syncs_without_certificates(patch: Patch) -> None:
    patch.setattr(CatchingUp, "check_certificate", lambda self, certificate: None)
