"""What a node's disk keeps: journals through crashes, copies and marks, and final blocks whichever way they came."""

from __future__ import annotations

from random import Random

import pytest

from node.simulation import keyring
from node.simulation.disk import Disk, Journal
from node.simulation.plan import Crash, Submit
from node.simulation.world import World
from protocol.errors import JournalBroken
from protocol.sync.ranges import Segment
from protocol.types.votes import NULLIFY, Vote, VoteSubject
from tests.simulation.play import calm, played, submits


def vote(view: int) -> Vote:
    return Vote(VoteSubject(NULLIFY, bytes(32), 0, view, 0, bytes(32)), 0, bytes(64))


def test_a_crash_leaves_what_was_synced_and_of_the_rest_a_beginning() -> None:
    kept = set()
    for seed in range(40):
        journal = Journal()
        journal.append(vote(1))
        journal.sync()
        for view in (2, 3, 4):
            journal.append(vote(view))
        journal.crash(True, Random(seed))
        assert journal.durable == [vote(view) for view in range(1, len(journal.durable) + 1)]
        assert journal.sequence == len(journal.durable)
        kept.add(len(journal.durable))
    assert kept == {1, 2, 3, 4}


def test_a_crash_that_tears_nothing_leaves_only_what_was_synced() -> None:
    journal = Journal()
    journal.append(vote(1))
    journal.sync()
    journal.append(vote(2))
    journal.crash(False, Random(1))
    assert (journal.durable, journal.unsynced) == ([vote(1)], [])


def disk() -> Disk:
    world = World(calm(4, Submit(1_000, 0)), observers=())
    world.run()
    return world.hosts[0].disk


def test_an_old_copy_of_a_journal_and_none_at_all_are_not_opened() -> None:
    public = keyring.vote_key(0, 0).public
    one = disk()
    assert one.open_journal(public).sequence >= one.marks[public] > 0
    one.lose_journals(to_copy=True)
    with pytest.raises(JournalBroken, match="older"):
        one.open_journal(public)
    other = disk()
    other.lose_journals(to_copy=False)
    with pytest.raises(JournalBroken, match="no journal"):
        other.open_journal(public)


def test_the_newest_copy_that_the_mark_can_tell_is_put_back() -> None:
    journal = Journal()
    for number in range(1, 6):
        journal.append(vote(number))
        journal.sync()
        journal.copy()
    assert journal.put_back(mark=4)
    assert (journal.durable, journal.sequence) == ([vote(1), vote(2), vote(3)], 3)
    assert not Journal().put_back(mark=0)


def test_a_plan_with_an_old_journal_really_brings_one_back() -> None:
    actions = (*submits(20, 200, (0, 1, 2, 3)), Crash(4_000, 1, 500, journal="old"))
    world = World(calm(4, *actions))
    opened: list[str] = []
    right = world.hosts[1].disk.open_journal

    def noted(public: bytes) -> Journal:
        try:
            return right(public)
        except JournalBroken as error:
            opened.append(f"{error}, {world.hosts[1].disk.journals[public].sequence}")
            raise

    world.hosts[1].disk.open_journal = noted  # type: ignore[method-assign]  # to see what it says
    played(world)
    assert opened
    assert opened[0].startswith("the journal is older than its mark")
    assert not opened[0].endswith(" 0"), "a copy from some time before, not an empty one"


def test_an_old_journal_stays_old_whatever_is_stored_while_the_node_only_follows() -> None:
    """Its mark is not lowered to what it has: after another crash the node would vote from the old copy."""
    one = disk()
    public = keyring.vote_key(0, 0).public
    one.lose_journals(to_copy=True)
    one.store(one.blocks[-1:], one.state, journal=None)
    with pytest.raises(JournalBroken, match="older"):
        one.open_journal(public)


def test_the_mark_is_how_far_the_journal_of_the_key_in_use_reaches() -> None:
    one = disk()
    public = keyring.vote_key(0, 0).public
    journal, other = one.open_journal(public), one.make_vote_key(0)
    journal.append(vote(1))
    journal.sync()
    one.store(one.blocks[-1:], one.state, journal)
    assert one.marks[public] == journal.sequence
    assert keyring.vote_key(0, other).public not in one.marks


def test_what_is_fetched_twice_does_not_hide_how_far_the_head_came() -> None:
    """While a slow disk stores what was fetched, another answer brings the older part of it again: the machine is told
    of the newest all the same, or it would wait for ever for a block that is final."""
    source = World(calm(4, *submits(3, 1_000, (0, 1, 2))), observers=())
    source.run()
    stored = source.hosts[0].disk.blocks
    segments = [Segment((one.block,), one.certificate) for one in stored if one.certificate is not None]
    assert len(segments) == len(stored) == 3
    world = World(calm(4, store_ms=(5, 10)), observers=())
    heights: list[int] = []

    host = world.hosts[3]

    def fetch() -> None:
        host.begin(host.syncing._apply(segments))
        host.begin(host.syncing._apply(segments[:2]))

    def look() -> None:
        heights.append(world.hosts[3].machine.chain.head.header.height)

    world.at(1_000, fetch)
    world.at(50_000, look)
    world.run()
    assert heights == [3]
