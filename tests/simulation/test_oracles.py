"""Each oracle lets a sound history pass and notices the one thing that is wrong with another."""

from __future__ import annotations

import pytest

from node.simulation import keyring
from node.simulation.oracles import KINDS
from node.simulation.oracles.agreement import Agreement
from node.simulation.oracles.base import Failure
from node.simulation.oracles.durability import Durability
from node.simulation.oracles.epochs import Epochs
from node.simulation.oracles.evidence import Evidence
from node.simulation.oracles.execution import NoDoubleExecution
from node.simulation.oracles.governance import Governance
from node.simulation.oracles.liveness import BOUND_DELTAS, Liveness
from node.simulation.oracles.memory import BoundedMemory
from node.simulation.oracles.quiet import Quiet
from node.simulation.oracles.records import (
    BlockFinal,
    BlockStored,
    ClientTold,
    Crashed,
    EpochBegan,
    EquivocationFound,
    Healed,
    JournalRecord,
    MessageArrived,
    Restarted,
    Sent,
    Stepped,
    Stopped,
    Submitted,
    VoteLeft,
)
from node.simulation.oracles.validity import Validity
from node.simulation.oracles.votes import Votes
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest, transaction_digest, transaction_id
from protocol.crypto.merkle import merkle_root
from protocol.types.block import Block
from protocol.types.governance import Ballot, Motion, TakeAuthority
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.operations import AppendRecords, RecordEntry
from protocol.types.transaction import Transaction
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Proposal, Vote
from tests.simulation.fabricated import FIRST, GENESIS, HOUR, Story, altered

TAGS = (bytes(16),) * 4


def noticed(failure: Failure | None, *words: str, kind: str = "safety") -> None:
    assert failure is not None
    assert failure.kind == kind
    assert all(word in failure.sentence for word in words), failure.sentence


def entry_id(raw: bytes) -> bytes:
    return transaction_id(decode(Transaction, raw).body)


def last_block(story: Story) -> Block:
    """A block with which authority 2 loses its seat: moved by 0, voted for by 1 and 3."""
    change = TakeAuthority(2)
    story.grow(story.transaction(Motion(change, keyring.EPOCH_MS + HOUR)))
    motion = Ballot(0, change, True)
    story.final(Block(story.replay.head, (encode_first(story),)))
    return story.grow(story.transaction(motion, node=1), story.transaction(motion, node=3))


def encode_first(story: Story) -> bytes:
    """The transaction of the motion, made again: the same bytes."""
    story.number -= 1
    return story.transaction(Motion(TakeAuthority(2), keyring.EPOCH_MS + HOUR))


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


def stored(story: Story, host: int, block: Block) -> BlockStored:
    return BlockStored(1, host, block.header.height, block_digest(block.header))


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


# --- votes -----------------------------------------------------------------------------------------------------------


class Voter:
    """Host 0 and its journal."""

    def __init__(self) -> None:
        self.story = Story(Votes)
        self.block = self.story.grow()
        self.journal: list[JournalRecord] = []

    def holds(self, *records: JournalRecord) -> None:
        self.journal += records

    def says(
        self, kind: int, view: int, block: Block | None = None, parent: int = 0, durable: bool = True
    ) -> Failure | None:
        vote = self.story.vote(0, self.story.subject(kind, view, block, parent))
        if durable:
            self.journal.append(Proposal(block, vote) if kind == NOTARIZE and block else vote)
        return self.story.tell(VoteLeft(1, 0, vote, self.journal))


def test_votes_let_an_honest_life_pass() -> None:
    voter = Voter()
    story, first = voter.story, voter.block
    assert voter.says(NOTARIZE, 1, first) is None
    assert voter.says(NULLIFY, 1) is None
    voter.holds(story.notarization(1, first), story.nullification(2))
    second = story.grow()
    assert voter.says(NOTARIZE, 3, second, parent=1) is None
    voter.holds(story.notarization(3, second, 1))
    assert voter.says(FINALIZE, 3, second) is None
    voter.journal = [record for record in voter.journal if not isinstance(record, Certificate)]  # compacted
    story.tell(
        BlockFinal(2, 0, first, story.finalization(second, 3)), BlockFinal(2, 0, second, story.finalization(second, 3))
    )
    assert voter.says(NOTARIZE, 4, story.grow(), parent=3) is None
    assert isinstance(story.oracle, Votes)
    assert story.oracle.count == 5


def test_s1_two_notarizes_of_a_view() -> None:
    voter = Voter()
    voter.says(NOTARIZE, 1, voter.block)
    other = altered(voter.block, timestamp=voter.block.header.timestamp + 1)
    noticed(voter.says(NOTARIZE, 1, other), "S1")


def test_s1_across_a_restart_that_forgot() -> None:
    voter = Voter()
    voter.says(NOTARIZE, 1, voter.block)
    voter.journal = []
    voter.story.tell(Crashed(2, 0), Restarted(2, 0, 2, FIRST.header, None, voter.journal))
    other = altered(voter.block, timestamp=voter.block.header.timestamp + 1)
    noticed(voter.says(NOTARIZE, 1, other), "S1")


def test_s1_notarize_after_nullify() -> None:
    voter = Voter()
    voter.says(NULLIFY, 1)
    noticed(voter.says(NOTARIZE, 1, voter.block), "S1")


def test_s2_both_ways() -> None:
    voter = Voter()
    voter.holds(voter.story.notarization(1, voter.block))
    voter.says(FINALIZE, 1, voter.block)
    noticed(voter.says(NULLIFY, 1), "S2")
    voter = Voter()
    voter.holds(voter.story.notarization(1, voter.block))
    voter.says(NULLIFY, 1)
    noticed(voter.says(FINALIZE, 1, voter.block), "S2")


def test_s3_finalize_without_its_notarization() -> None:
    voter = Voter()
    noticed(voter.says(FINALIZE, 1, voter.block), "S3")
    voter = Voter()
    voter.holds(voter.story.notarization(1, altered(voter.block, timestamp=5)))
    noticed(voter.says(FINALIZE, 1, voter.block), "S3")


def test_s4_a_parent_that_is_not_certified_and_a_gap_that_is_not_nullified() -> None:
    voter = Voter()
    voter.says(NOTARIZE, 1, voter.block)
    noticed(voter.says(NOTARIZE, 2, voter.story.grow(), parent=1), "S4", "neither notarized nor final")
    voter = Voter()
    noticed(voter.says(NOTARIZE, 2, voter.block, parent=0), "S4", "view 1")


def test_s5_a_vote_or_a_body_that_is_not_durable() -> None:
    voter = Voter()
    noticed(voter.says(NULLIFY, 1, durable=False), "S5")
    voter = Voter()
    vote = voter.story.vote(0, voter.story.subject(NOTARIZE, 1, voter.block))
    noticed(voter.story.tell(VoteLeft(1, 0, vote, [vote])), "S5", "body")


def test_an_epochs_last_block_is_its_own_parent_when_proposed_again_and_no_other_is() -> None:
    for ends, passes in ((bytes(32), True), (None, False)):
        voter = Voter()
        last = altered(voter.block, next_authorities=ends)
        voter.says(NOTARIZE, 1, last)
        voter.holds(voter.story.notarization(1, last))
        failure = voter.says(NOTARIZE, 2, last, parent=1)
        assert (failure is None) is passes


# --- epochs ----------------------------------------------------------------------------------------------------------


def voted(story: Story, host: int, vote: Vote) -> Failure | None:
    return story.tell(VoteLeft(1, host, vote, []))


def began(story: Story, host: int, epoch: int) -> EpochBegan:
    return EpochBegan(1, host, story.watch.chronicle.sets[epoch])


def test_epochs_let_a_change_of_the_set_pass() -> None:
    story = Story(Epochs)
    story.tell(began(story, 0, 0))
    last = last_block(story)
    story.tell(*(stored(story, 0, story.watch.chronicle.blocks[h]) for h in (1,)))
    assert voted(story, 0, story.vote(0, story.subject(NOTARIZE, 5, last))) is None
    assert story.final(last) is None
    story.tell(stored(story, 0, last), began(story, 0, 1))
    assert voted(story, 0, story.vote(0, story.subject(NULLIFY, 1, epoch=1))) is None


def test_epochs_notice_another_set_than_ones_own() -> None:
    story = Story(Epochs)
    story.tell(began(story, 0, 0))
    noticed(voted(story, 0, story.vote(1, story.subject(NULLIFY, 1))), "no seat 1")
    story = Story(Epochs)
    story.tell(began(story, 0, 0))
    mine = story.vote(0, story.subject(NULLIFY, 1))
    noticed(voted(story, 0, Vote(mine.subject, 0, bytes(64))), "not the epoch's")


def test_epochs_notice_an_extension_of_the_last_block() -> None:
    story = Story(Epochs)
    story.tell(began(story, 0, 0))
    last = last_block(story)
    beyond = altered(story.block(), epoch=0)
    for block in (last, beyond):
        proposal = Proposal(block, story.vote(3, story.subject(NOTARIZE, 6, block)))
        story.tell(MessageArrived(1, 0, 3, proposal, 1, 0, 6, 1))
    assert voted(story, 0, story.vote(0, story.subject(NOTARIZE, 6, last))) is None
    noticed(voted(story, 0, story.vote(0, story.subject(NOTARIZE, 7, beyond, 6))), "beyond the last")


def test_epochs_notice_a_second_last_block_a_wrong_epoch_and_an_epoch_begun_too_soon() -> None:
    story = Story(Epochs)
    last = last_block(story)
    story.final(last, hosts=(0,))
    other = altered(last, timestamp=last.header.timestamp + 1)
    noticed(story.final(other, hosts=(1,)), "second last block")
    story = Story(Epochs)
    story.final(last_block(story))
    noticed(story.final(altered(story.block(), epoch=0)), "is of epoch 0, not 1")
    story = Story(Epochs)
    story.final(last_block(story))
    noticed(story.tell(began(story, 0, 1)), "without the last block")


def test_epochs_notice_votes_of_an_epoch_that_is_over() -> None:
    story = Story(Epochs)
    last = last_block(story)
    story.final(last)
    story.tell(*(stored(story, 0, story.watch.chronicle.blocks[h]) for h in (1, 2)), began(story, 0, 1))
    noticed(voted(story, 0, story.vote(0, story.subject(NULLIFY, 9))), "not in")


# --- governance ------------------------------------------------------------------------------------------------------


def test_governance_notices_a_set_that_nothing_led_to() -> None:
    story = Story(Governance)
    assert story.tell(EpochBegan(1, 0, story.watch.chronicle.sets[0])) is None
    story.final(last_block(story))
    assert story.tell(EpochBegan(1, 0, story.watch.chronicle.sets[1])) is not None  # three of which one is a traitor
    story = Story(Governance)
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
    load = {"rounds": 5, "votes": 40, "blocks": 4, "certificates": 6, "unsettled": 4, "unfinal": 4}
    assert story.tell(Stepped(1, 0, load)) is None
    for name in ("rounds", "votes", "blocks", "certificates"):
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
