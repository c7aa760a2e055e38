"""The oracles of votes and epochs: each rule that a voter can break is broken once, and noticed."""

from __future__ import annotations

from node.simulation.oracles.base import Failure
from node.simulation.oracles.epochs import Epochs
from node.simulation.oracles.records import (
    BlockFinal,
    Crashed,
    EpochBegan,
    JournalRecord,
    MessageArrived,
    Restarted,
    VoteLeft,
)
from node.simulation.oracles.votes import Votes
from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, Proposal, Vote
from tests.simulation.fabricated import FIRST, Story, altered, last_block, noticed, stored

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
