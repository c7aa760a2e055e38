"""Each oracle lets a sound history pass and notices the one thing that is wrong with another."""

from __future__ import annotations

import pytest

from node.simulation import keyring
from node.simulation.oracles import KINDS
from node.simulation.oracles.agreement import Agreement
from node.simulation.oracles.base import Failure
from node.simulation.oracles.durability import Durability
from node.simulation.oracles.evidence import Evidence
from node.simulation.oracles.execution import NoDoubleExecution
from node.simulation.oracles.governance import Governance
from node.simulation.oracles.liveness import BOUND_DELTAS, Liveness
from node.simulation.oracles.memory import BoundedMemory
from node.simulation.oracles.quiet import Quiet
from node.simulation.oracles.records import (
    BlockFinal,
    ClientTold,
    Crashed,
    EpochBegan,
    EquivocationFound,
    Healed,
    MessageArrived,
    Restarted,
    Sent,
    Stepped,
    Stopped,
    Submitted,
)
from node.simulation.oracles.validity import Validity
from protocol.codec.canonical import encode
from protocol.crypto.hashing import transaction_digest
from protocol.crypto.merkle import merkle_root
from protocol.types.block import Block
from protocol.types.governance import Ballot, Motion, TakeAuthority
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.operations import AppendRecords, RecordEntry
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Proposal, Vote
from tests.simulation.fabricated import FIRST, GENESIS, HOUR, Story, altered, entry_id, last_block, noticed, stored

TAGS = (bytes(16),) * 4


# --- agreement -------------------------------------------------------------------------------------------------------


def test_agreement_lets_one_chain_pass_however_often_it_is_told() -> None:
    story = Story(Agreement)
    first, second = story.grow(story.transaction(story.opening())), story.grow()
    one = story.finalization(second)
    for host in (0, 1, 2):
        story.tell(BlockFinal(1, host, first, one), BlockFinal(1, host, second, one))
    story.tell(Restarted(2, 0, 2, first.header, None, ()))
    assert story.final(second, hosts=(0,)) is None


def test_agreement_notices_a_fork() -> None:
    story = Story(Agreement)
    block = story.grow()
    story.final(block, hosts=(0,))
    noticed(story.final(altered(block, timestamp=block.header.timestamp + 1), hosts=(1,)), "FORK")


def test_agreement_notices_what_is_final_without_a_quorum() -> None:
    story = Story(Agreement)
    block = story.grow()
    subject = story.subject(FINALIZE, 1, block)
    noticed(story.final(block, certificate=story.certificate(subject, (0, 1))), "has 2 signers")


@pytest.mark.parametrize("indexes", [(0, 0, 0), (0, 1, 9)])
def test_agreement_notices_repeated_and_foreign_signers(indexes: tuple[int, ...]) -> None:
    story = Story(Agreement)
    block = story.grow()
    subject = story.subject(FINALIZE, 1, block)
    signatures = tuple((index, story.vote(index, subject).signature) for index in indexes)
    assert story.final(block, certificate=Certificate(subject, signatures)) is not None


def test_agreement_notices_a_forged_signature() -> None:
    story = Story(Agreement)
    block = story.grow()
    sound = story.finalization(block)
    forged = Certificate(sound.subject, (*sound.signatures[:2], (3, bytes(64))))
    noticed(story.final(block, certificate=forged), "authority 3 did not sign")


def test_agreement_notices_a_certificate_of_another_block() -> None:
    story = Story(Agreement)
    first, second, third = story.grow(), story.grow(), story.grow()
    certificate = story.finalization(third)
    story.tell(BlockFinal(1, 0, first, certificate), BlockFinal(1, 0, second, certificate))
    noticed(story.tell(BlockFinal(1, 0, third, story.finalization(third, 9))), "not of the last block")


def test_agreement_notices_a_gap_and_a_machine_that_gave_up() -> None:
    story = Story(Agreement)
    story.grow()
    noticed(story.final(story.grow(), hosts=(0,)), "made height 2 final after 0")
    noticed(Story(Agreement).tell(Stopped(1, 1, "two blocks are notarized")), "stopped")
    assert Story(Agreement).tell(Stopped(1, 3, "it is a traitor's")) is None


# --- validity --------------------------------------------------------------------------------------------------------


def test_validity_lets_charts_records_and_motions_pass() -> None:
    story = Story(Validity)
    story.final(story.grow(story.transaction(story.opening())))
    story.final(story.grow(story.transaction(AppendRecords(0, (RecordEntry(bytes(32), TAGS),)))))
    assert story.final(last_block(story)) is None
    assert story.watch.chronicle.sets[1].members == tuple(
        Authority(n, keyring.vote_key(n, 0).public, 0) for n in (0, 1, 3)
    )


def test_validity_notices_a_wrong_state_root() -> None:
    story = Story(Validity)
    block = story.grow(story.transaction(story.opening()))
    noticed(story.final(altered(block, state_root=bytes(32))), "another state root")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", GENESIS.created_at),
        ("epoch", 1),
        ("proposer", 9),
        ("next_authorities", bytes(32)),
        ("version", 2),
        ("transactions_root", bytes(32)),
    ],
)
def test_validity_notices_a_wrong_header(field: str, value: object) -> None:
    story = Story(Validity)
    noticed(story.final(altered(story.grow(), **{field: value})))


def _foreign(story: Story) -> bytes:
    raw = story.transaction(story.opening())
    return raw[:-1] + bytes([raw[-1] ^ 1])


def _twice_the_number(story: Story) -> bytes:
    story.final(story.grow(story.transaction(story.opening(), number=7)))
    return story.transaction(story.opening(patient=2), number=7)


def _others_chart(story: Story) -> bytes:
    story.final(story.grow(story.transaction(story.opening())))
    return story.transaction(AppendRecords(0, (RecordEntry(bytes(32), TAGS),)), node=1)


def _voted_twice(story: Story) -> bytes:
    story.final(story.grow(story.transaction(Motion(TakeAuthority(2), keyring.EPOCH_MS + HOUR))))
    return story.transaction(Ballot(0, TakeAuthority(2), True))


def _other_motion(story: Story) -> bytes:
    story.final(story.grow(story.transaction(Motion(TakeAuthority(2), keyring.EPOCH_MS + HOUR))))
    return story.transaction(Ballot(0, TakeAuthority(1), True), node=1)


def _unknown_institution(story: Story) -> bytes:
    return story.transaction(Motion(TakeAuthority(77), keyring.EPOCH_MS + HOUR))


def _superseded_nothing(story: Story) -> bytes:
    story.final(story.grow(story.transaction(story.opening())))
    return story.transaction(AppendRecords(0, (RecordEntry(bytes(32), TAGS, 5),)))


@pytest.mark.parametrize(
    "made",
    [
        _foreign,
        _twice_the_number,
        _others_chart,
        _voted_twice,
        _other_motion,
        _unknown_institution,
        _superseded_nothing,
        lambda story: b"no transaction",
        lambda story: story.transaction(AppendRecords(5, (RecordEntry(bytes(32), TAGS),))),
    ],
)
def test_the_naive_ledger_refuses_by_itself_what_is_invalid(made) -> None:
    """Independent of the replay: the naive ledger alone says what is wrong."""
    story = Story(Validity)
    raw = made(story)
    head = story.block()
    root = merkle_root([transaction_digest(raw)])
    story.final(Block(altered(head, transactions_root=root).header, (raw,)))
    noticed(story.watch.failure, "an invalid block is final")


# --- durability ------------------------------------------------------------------------------------------------------


def test_durability_lets_pass_what_is_stored_told_and_still_there() -> None:
    story = Story(Durability)
    raw = story.transaction(story.opening())
    block = story.grow(raw)
    story.final(block)
    story.tell(stored(story, 0, block), ClientTold(2, 0, entry_id(raw), 1))
    assert story.tell(Restarted(3, 0, 2, block.header, None, ())) is None
    assert story.ended() is None


def test_durability_notices_what_was_told_before_it_was_stored() -> None:
    story = Story(Durability)
    raw = story.transaction(story.opening())
    story.final(story.grow(raw))
    noticed(story.tell(ClientTold(2, 0, entry_id(raw), 1)), "has stored 0")


def test_durability_notices_a_wrong_height_and_what_was_never_final() -> None:
    story = Story(Durability)
    block = story.grow()
    story.final(block)
    story.tell(stored(story, 0, block))
    noticed(story.tell(ClientTold(2, 0, bytes(32), 1)), "the transaction is at None")


def test_durability_notices_a_store_that_forgot() -> None:
    story = Story(Durability)
    block = story.grow()
    story.final(block)
    story.tell(stored(story, 0, block))
    noticed(story.tell(Restarted(3, 0, 2, FIRST.header, None, ())), "is back with height 0")


def test_durability_notices_a_store_of_another_chain() -> None:
    story = Story(Durability)
    block = story.grow()
    story.final(block)
    other = altered(block, timestamp=block.header.timestamp + 1)
    noticed(story.tell(stored(story, 0, other)), "not final at 1")


# --- no double execution ---------------------------------------------------------------------------------------------


def test_no_double_execution_notices_the_same_transaction_and_the_same_number() -> None:
    story = Story(NoDoubleExecution)
    raw = story.transaction(story.opening(), number=5)
    block = story.grow(raw)
    assert story.final(block) is None
    noticed(story.final(Block(altered(story.block()).header, (raw,))), "is executed at")
    story = Story(NoDoubleExecution)
    story.final(story.grow(story.transaction(story.opening(), number=5)))
    other = story.transaction(story.opening(patient=2), number=5)
    noticed(story.final(Block(story.block().header, (other,))), "is used by two")


# --- governance ------------------------------------------------------------------------------------------------------


def test_governance_notices_a_set_that_nothing_led_to() -> None:
    story = Story(Governance)
    assert story.tell(EpochBegan(1, 0, story.watch.chronicle.sets[0])) is None
    members = story.watch.chronicle.sets[0].members
    noticed(story.tell(EpochBegan(1, 0, AuthoritySet(0, members[:3]))), "another set")


def test_governance_says_when_a_plan_has_too_many_traitors() -> None:
    story = Story(Governance)
    story.final(last_block(story))
    noticed(story.tell(EpochBegan(1, 0, story.watch.chronicle.sets[1])), "no promise holds", kind="crash")


# --- evidence --------------------------------------------------------------------------------------------------------


def arrived(story: Story, message: object, host: int = 0, view: int = 5, at_ms: int = 1) -> Failure | None:
    return story.tell(MessageArrived(at_ms, host, 3, message, 1, 0, view, 0))  # type: ignore[arg-type]  # any message


def test_evidence_that_was_seen_must_be_found() -> None:
    story = Story(Evidence)
    one, other = story.vote(3, story.subject(NULLIFY, 5)), story.vote(3, story.subject(FINALIZE, 5, bytes(32)))
    arrived(story, one)
    arrived(story, other)
    noticed(story.ended(), "equivocate in view 0/5")


def test_evidence_inside_certificates_and_proposals_counts() -> None:
    story = Story(Evidence)
    block = story.grow()
    twin = altered(block, timestamp=block.header.timestamp + 1)
    arrived(story, story.certificate(story.subject(NOTARIZE, 5, block), (0, 1, 3)))
    arrived(story, Proposal(twin, story.vote(3, story.subject(NOTARIZE, 5, twin))))
    noticed(story.ended(), "equivocate")


def test_evidence_that_was_found_or_that_no_host_could_see_is_owed_no_more() -> None:
    story = Story(Evidence)
    one, other = story.vote(3, story.subject(NULLIFY, 5)), story.vote(3, story.subject(FINALIZE, 5, bytes(32)))
    arrived(story, one)
    arrived(story, other)
    story.tell(EquivocationFound(2, 1, 0, 3, one, other))
    assert story.ended() is None
    assert isinstance(story.oracle, Evidence)
    assert story.oracle.owed == 1
    story = Story(Evidence)
    arrived(story, one, host=0)
    arrived(story, other, host=1)
    assert story.ended() is None
    story = Story(Evidence)
    arrived(story, one)
    story.tell(Crashed(2, 0))
    arrived(story, other)
    assert story.ended() is None
    story = Story(Evidence)
    arrived(story, one, view=200)
    arrived(story, other, view=200)
    arrived(story, Vote(one.subject, 3, bytes(64)))
    assert story.ended() is None


def test_nobody_honest_is_accused_and_nothing_that_may_stand_together() -> None:
    story = Story(Evidence)
    one, other = story.vote(1, story.subject(NULLIFY, 5)), story.vote(1, story.subject(FINALIZE, 5, bytes(32)))
    noticed(story.tell(EquivocationFound(2, 0, 0, 1, one, other)), "honest")
    story = Story(Evidence)
    one, other = story.vote(3, story.subject(NULLIFY, 5)), story.vote(3, story.subject(NOTARIZE, 5, bytes(32)))
    noticed(story.tell(EquivocationFound(2, 0, 0, 3, one, other)), "does not contradict")
    story = Story(Evidence)
    other = Vote(story.subject(FINALIZE, 5, bytes(32)), 3, bytes(64))
    noticed(story.tell(EquivocationFound(2, 0, 0, 3, one, other)), "not its own")


# --- memory, liveness, quiet -----------------------------------------------------------------------------------------


def test_bounded_memory_notices_what_grows() -> None:
    story = Story(BoundedMemory)
    story.tell(EpochBegan(0, 0, story.watch.chronicle.sets[0]))
    load = {"rounds": 5, "votes": 40, "past": 9, "blocks": 4, "certificates": 6, "unsettled": 4, "unfinal": 4}
    assert story.tell(Stepped(1, 0, load)) is None
    for name in ("rounds", "votes", "past", "blocks", "certificates"):
        story = Story(BoundedMemory)
        story.tell(EpochBegan(0, 0, story.watch.chronicle.sets[0]))
        noticed(story.tell(Stepped(1, 0, load | {name: 10_000})), name)


def test_liveness_notices_what_is_final_nowhere_or_not_everywhere_or_too_late() -> None:
    bound = BOUND_DELTAS * GENESIS.params.delta_ms

    def submitted() -> tuple[Story, Block]:
        story = Story(Liveness)
        raw = story.transaction(story.opening())
        story.tell(Submitted(5, 0, entry_id(raw), raw, True), Healed(100))
        return story, story.grow(raw)

    story, block = submitted()
    noticed(story.ended(bound), "final nowhere", kind="liveness")
    story, block = submitted()
    story.final(block, hosts=(0, 1))
    noticed(story.ended(bound), "never became so at host 2", kind="liveness")
    story, block = submitted()
    story.at_ms = 101 + bound
    story.final(block)
    noticed(story.ended(bound), "more than", kind="liveness")
    story, block = submitted()
    story.at_ms = 50
    story.final(block)
    assert story.ended(bound) is None


def test_quiet_notices_chatter_and_lets_heartbeats_pass() -> None:
    story = Story(Quiet)
    raw = story.transaction(story.opening())
    story.tell(Submitted(5, 0, entry_id(raw), raw, True), Healed(100))
    story.final(story.grow(raw))
    vote = story.vote(0, story.subject(NULLIFY, 2))
    assert story.tell(Sent(1_000, 0, vote, 3)) is None
    assert story.tell(MessageArrived(899_000, 0, 3, vote, 1, 0, 1, 1), Sent(899_001, 0, vote, 1)) is None
    assert story.tell(Sent(GENESIS.params.heartbeat_ms, 0, vote, 3)) is None
    noticed(Story(Quiet).tell(Healed(100), Sent(300_000, 0, vote, 3)), "after there was any reason", kind="liveness")


def test_every_kind_of_oracle_has_a_name_and_is_shown_something() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert all(kind.wants for kind in KINDS)


def test_safety_tells_more_than_liveness() -> None:
    story = Story(Agreement)
    story.watch.oracles[0].failure = Failure("safety", "agreement", "FORK", 9)
    block = story.grow()
    story.final(block)
    noticed(story.watch.failure, "FORK")
    assert encode(block)
