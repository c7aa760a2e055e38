"""The driver's one promise: nothing leaves the node, and nothing is made final, before what it rests on is synced."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import pytest

from node.driver import COMPACT_BYTES, Driver
from node.epochs import Term, VotingKey
from node.network.interface import Channel, Network
from node.sansio.asking import Obsolete, Refused
from node.sansio.stepping import EARLY_BYTES, EARLY_MESSAGES
from protocol.codec.canonical import encode
from protocol.consensus import effects as fx
from protocol.consensus import events as ev
from protocol.consensus.machine import Machine
from protocol.crypto.hashing import block_digest
from protocol.errors import DecodeError, InvalidBlock, JournalBroken
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Block, Header
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.votes import FINALIZE, NOTARIZE, Certificate, Fetch, Vote, VoteSubject

BLOCK = Block(Header(1, bytes(32), 0, 1, ZERO_DIGEST, 0, 1, ZERO_DIGEST, ZERO_DIGEST, None), ())
DIGEST = block_digest(BLOCK.header)


def vote(view: int) -> Vote:
    return Vote(VoteSubject(NOTARIZE, bytes(32), 0, view, 0, bytes(32)), 0, bytes(64))


def certificate(kind: int, block: bytes = bytes(32)) -> Certificate:
    return Certificate(VoteSubject(kind, bytes(32), 0, 1, 0, block), ((0, bytes(64)),))


class Script:
    """A machine that answers each event with the effects given for its type."""

    def __init__(self, answers: dict[type, list[fx.Effect]]) -> None:
        self.answers = answers
        self.seen: list[ev.Event] = []

    def step(self, event: ev.Event, now_ms: int) -> list[fx.Effect]:
        self.seen.append(event)
        return self.answers.get(type(event), [])

    def journal_snapshot(self) -> list[fx.Record]:
        return [vote(9)]


class World:
    """Journal, network and ledger that write down, in one list, what is done to them."""

    def __init__(self, answers: dict[type, list[fx.Effect]], journal: bool = True) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.size_bytes = 0
        self.broken = False
        self.verdict: Exception | None = None
        self.failures: list[BaseException] = []
        self.machine = Script(answers)
        self.next: Term | None = None
        self.on_term_does: Callable[[], None] = lambda: None
        self.held = asyncio.Event()
        self.held.set()
        self.driver = Driver(
            term=self.term(0, self.machine, (10, 11), journal),
            next_term=self.next_term,
            on_term=self.on_term,
            network=cast(Network, self),
            ledger=cast(Any, self),
            clock=cast(Any, self),
            fail=self.failures.append,
            behind=lambda effect: self.done.append(("behind", effect.final_view)),
            may_compact=lambda: True,
            convict=lambda evidence: self.done.append(("convicted", evidence.institution, evidence.view)),
        )

    def term(self, epoch: int, machine: Script, institutions: tuple[int, ...], journal: bool = True) -> Term:
        members = tuple(Authority(number, bytes(32), 0) for number in institutions)
        voting_key = cast(VotingKey, self) if journal else None
        return Term(cast(Machine, machine), AuthoritySet(epoch, members), voting_key, None)

    async def on_term(self, term: Term) -> None:
        self.done.append(("term", term.epoch))
        self.on_term_does()
        await asyncio.sleep(0)

    async def next_term(self, epoch: int) -> Term | None:
        return self.next if self.next is not None and self.next.epoch > epoch else None

    # the journal
    async def write(self, records: Sequence[bytes]) -> None:
        if self.broken:
            raise JournalBroken("the disk refuses")
        await asyncio.sleep(0)
        self.done.append(("synced", len(records)))

    def append(self, records: Sequence[bytes]) -> None:
        self.done.append(("appended", len(records)))

    def keep(self, records: Sequence[fx.Record], epoch: int) -> None:
        self.size_bytes = 0
        self.done.append(("rewritten", len(records)))

    def mark(self) -> bytes:
        return b""

    # the network
    def broadcast(self, channel: Channel, payload: bytes, exclude: frozenset[int] = frozenset()) -> None:
        self.done.append(("broadcast", exclude))

    def send(self, peer: int, channel: Channel, payload: bytes) -> bool:
        self.done.append(("sent", peer))
        return True

    def connected(self) -> frozenset[int]:
        return frozenset({10, 11, 77})

    # the ledger
    async def build(self, wanted: fx.Build) -> Block | None:
        await self.held.wait()
        if self.verdict is not None:
            raise self.verdict
        return BLOCK

    async def validate(self, wanted: fx.Validate) -> None:
        if self.verdict is not None:
            raise self.verdict

    def notarized(self, digest: bytes) -> None:
        self.done.append(("notarized", digest))

    def finalized(self, effect: fx.Finalized) -> None:
        self.done.append(("finalized", len(effect.blocks)))

    def monotonic_ms(self) -> int:
        return 0

    async def run(self, *events: ev.Event) -> list[tuple[Any, ...]]:
        self.driver.start()
        for event in events:
            self.driver.post(event)
        await turns()
        await self.driver.stop()
        return self.done


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


FINAL = fx.Finalized((BLOCK,), certificate(FINALIZE), ())
TIMER = ev.TimerFired(1)


async def test_everything_of_a_step_is_synced_before_anything_leaves() -> None:
    world = World({ev.TimerFired: [fx.Persist(vote(1)), fx.Send(None, vote(1)), fx.Send(1, vote(1)), FINAL]})
    done = await world.run(TIMER)
    assert [one[0] for one in done] == ["synced", "broadcast", "sent", "finalized"]


async def test_events_that_queued_share_one_sync() -> None:
    world = World({ev.TimerFired: [fx.Persist(vote(1)), fx.Send(1, vote(1))]})
    done = await world.run(TIMER, TIMER, TIMER)
    assert done == [("synced", 3), ("sent", 11), ("sent", 11), ("sent", 11)]


async def test_what_nothing_rests_on_costs_no_sync() -> None:
    world = World({ev.TimerFired: [fx.Persist(certificate(FINALIZE), sync=False)]})
    assert await world.run(TIMER) == [("appended", 1)]


async def test_a_journal_that_cannot_be_written_lets_nothing_out_and_stops_the_node() -> None:
    world = World({ev.TimerFired: [fx.Persist(vote(1)), fx.Send(None, vote(1)), FINAL]})
    world.broken = True
    assert await world.run(TIMER) == []
    assert [type(error) for error in world.failures] == [JournalBroken]


async def test_a_follower_without_journal_sends_and_stores_all_the_same() -> None:
    world = World({ev.TimerFired: [fx.Persist(certificate(FINALIZE)), FINAL]}, journal=False)
    assert await world.run(TIMER) == [("finalized", 1)]


async def test_votes_go_to_authorities_and_finalizations_to_followers_too() -> None:
    world = World({ev.TimerFired: [fx.Send(None, vote(1)), fx.Send(None, certificate(FINALIZE))]})
    assert await world.run(TIMER) == [("broadcast", frozenset({77})), ("broadcast", frozenset())]


async def test_a_notarization_is_told_once_it_is_durable() -> None:
    world = World({ev.TimerFired: [fx.Persist(certificate(NOTARIZE, DIGEST))]})
    assert await world.run(TIMER) == [("synced", 1), ("notarized", DIGEST)]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(None, ev.Verdict.VALID), (InvalidBlock(), ev.Verdict.INVALID), (Refused(), ev.Verdict.REFUSED)],
)
async def test_verdicts_come_back_as_events(error: Exception | None, verdict: ev.Verdict) -> None:
    world = World({ev.TimerFired: [fx.Validate(3, BLOCK, certified=False)]})
    world.verdict = error
    await world.run(TIMER)
    assert world.machine.seen[-1] == ev.Validated(3, DIGEST, verdict)


async def test_what_finality_overtook_is_not_answered_and_not_built() -> None:
    world = World({ev.TimerFired: [fx.Validate(3, BLOCK, certified=False), fx.Build(4, 3, DIGEST, 1_000, True)]})
    world.verdict = Obsolete()
    await world.run(TIMER)
    assert world.machine.seen[2:] == [ev.Built(4, 3, None)]
    assert world.failures == []


async def test_a_fault_of_ours_while_validating_stops_the_node() -> None:
    world = World({ev.TimerFired: [fx.Validate(3, BLOCK, certified=False)]})
    world.verdict = KeyError("a bug")
    await world.run(TIMER)
    assert [type(error) for error in world.failures] == [KeyError]


async def test_a_question_that_a_stop_overtakes_is_dropped_without_complaint() -> None:
    """Its task may not have begun."""
    world = World({ev.TimerFired: [fx.Build(4, 3, DIGEST, 1_000, True), fx.Send(1, vote(1))]})
    with warnings.catch_warnings(record=True) as seen, pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr(world, "send", lambda *_: [task.cancel() for task in world.driver._tasks])
        await world.run(TIMER)
        gc.collect()
    assert [str(one.message) for one in seen] == []


async def test_the_journal_is_compacted_when_it_has_grown() -> None:
    world = World({ev.TimerFired: [fx.Persist(vote(1))]})
    world.size_bytes = COMPACT_BYTES
    world.driver._journal_base = 0
    world.driver.start()
    world.driver.post(TIMER)
    async with asyncio.timeout(30):  # a journal that is never rewritten fails, instead of hanging
        while ("rewritten", 1) not in world.done:
            await asyncio.sleep(0.001)  # the rewrite is in a thread
    await world.driver.stop()


async def test_work_is_told_on_change_and_again_when_something_fresh_came() -> None:
    world = World({})
    for has_work, fresh in ((False, False), (True, False), (True, False), (True, True), (False, False)):
        world.driver.set_work(has_work, fresh=fresh)
    await world.run()
    told = [event.has_work for event in world.machine.seen if isinstance(event, ev.WorkChanged)]
    assert told == [True, True, False]


async def test_messages_come_with_the_index_of_their_sender() -> None:
    world = World({})
    message = Fetch(0, 1, 2)
    world.driver.on_payload(11, encode(message))
    world.driver.on_payload(77, encode(message))
    world.driver.on_peer_up(10)
    world.driver.on_peer_up(77)
    with pytest.raises(DecodeError):
        world.driver.on_payload(11, b"\x93")
    await world.run()
    expected = [ev.Received(1, message), ev.Received(None, message), ev.PeerUp(0), ev.Started()]
    assert world.machine.seen == expected


async def test_trouble_is_kept_for_status() -> None:
    world = World(
        {ev.TimerFired: [fx.Equivocation(1, vote(5), vote(5)), fx.Behind(7, DIGEST, None), fx.Halted("broken")]}
    )
    assert await world.run(TIMER) == [("convicted", 11, 5), ("behind", 7)]
    assert world.driver.halted == "broken"
    assert world.driver.evidence[11].view == 5


async def test_the_next_machine_takes_over_when_the_last_block_is_on_disk() -> None:
    """Answers and timers of the old machine are dropped, what the next epoch said early is said again, and messages
    come with the index that their sender has now."""
    world = World({ev.TimerFired: [fx.Build(4, 3, DIGEST, 1_000, True), fx.SetTimer(7, 3_600_000)]})
    world.driver.start()
    early, late = Fetch(1, 1, 2), Fetch(1, 3, 4)
    world.driver.set_work(True)
    world.driver.on_payload(77, encode(early))
    world.held.clear()
    world.driver.post(TIMER)
    await turns()
    following = Script({})
    world.next = world.term(1, following, (77, 10))
    world.driver.post(ev.TimerFired(5))
    world.driver.post(ev.CaughtUp(BLOCK, certificate(FINALIZE)))  # of the epoch that is over
    world.driver.on_payload(10, encode(late))
    world.driver.on_peer_up(77)
    world.driver.look()
    await turns()
    assert world.driver._timer is None
    world.held.set()  # what the old machine asked for comes too late
    await turns()
    await world.driver.stop()
    assert ev.Received(None, early) in world.machine.seen
    assert following.seen == [
        ev.Started(),
        ev.WorkChanged(True),
        ev.Received(0, early),
        ev.Received(1, late),
        ev.PeerUp(0),
    ]
    assert world.done[-1] == ("term", 1)


async def test_what_comes_while_the_next_machine_is_made_ready_is_not_lost() -> None:
    world = World({})
    following = Script({})
    message = Fetch(1, 3, 4)
    world.next = world.term(1, following, (10, 11))
    world.on_term_does = lambda: world.driver.on_payload(11, encode(message))
    await world.run()
    assert following.seen == [ev.Started(), ev.WorkChanged(False), ev.Received(1, message)]


async def test_messages_of_the_next_epoch_are_kept_in_bounds() -> None:
    world = World({})
    for number in range(EARLY_MESSAGES + 10):
        world.driver.on_payload(10, encode(Fetch(1, number, number)))
    world.driver.start()
    await turns()
    stepping = world.driver._stepping
    assert len(stepping._early) == EARLY_MESSAGES
    assert stepping._early[0].message == Fetch(1, 10, 10)
    stepping.keep(large := msgspec.structs.replace(stepping._early[0], size_bytes=EARLY_BYTES))
    assert list(stepping._early) == [large]
    await world.driver.stop()


async def test_a_halted_machine_is_followed_by_none() -> None:
    world = World({ev.TimerFired: [fx.Halted("a quorum voted for what is invalid here")]})
    world.driver.start()
    world.driver.post(TIMER)
    await turns()
    world.next = world.term(1, Script({}), (10, 11))
    world.driver.look()
    await turns()
    await world.driver.stop()
    assert world.driver.term.epoch == 0
