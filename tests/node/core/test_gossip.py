"""Gossip: pushed once in full, announced only where it may lack, asked for once, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from node.gossip import Gossip
from node.mempool import Entry, Mempool
from node.network.interface import Channel, Network
from node.sansio import spreading as module
from node.sansio.refusals import CAP_MS, FIRST_MS, Refusals
from node.sansio.spreading import RELAY_AFTER_MS, REMIND_MS
from protocol.codec.canonical import decode, encode
from protocol.errors import BadSignature, ChartledgerError, DecodeError
from protocol.sync.messages import GossipMessage, Have, Transactions, Want

Make = Callable[..., Entry]


class Wire:
    """Two peers, 1 and 2, that write down what reaches them."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Any]] = []
        self.up = frozenset({1, 2})

    def connected(self) -> frozenset[int]:
        return self.up

    def broadcast(self, channel: Channel, payload: bytes, exclude: frozenset[int] = frozenset()) -> None:
        for peer in sorted(self.up - exclude):
            self.send(peer, channel, payload)

    def send(self, peer: int, channel: Channel, payload: bytes) -> bool:
        assert channel is Channel.TRANSACTIONS
        self.sent.append((peer, decode(cast(Any, GossipMessage), payload)))
        return peer in self.up

    def take(self) -> list[tuple[int, Any]]:
        sent, self.sent = self.sent, []
        return sent


class Hand:
    now = 0

    def monotonic_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return self.now


class Checker:
    """Knows its transactions by bytes; everything else is badly signed."""

    def __init__(self) -> None:
        self.known: dict[bytes, Entry] = {}
        self.checked = 0

    async def check(self, raws: Sequence[bytes]) -> list[Entry | ChartledgerError]:
        self.checked += len(raws)
        return [self.known.get(raw, BadSignature()) for raw in raws]


class Node:
    def __init__(self) -> None:
        self.wire, self.clock, self.checker, self.pool = Wire(), Hand(), Checker(), Mempool(1 << 20)
        self.gossip = Gossip(cast(Network, self.wire), self.pool, cast(Any, self.checker), self.admit, self.clock)

    def admit(self, entries: Sequence[Entry]) -> list[Entry]:
        for entry in entries:
            entry.added_ms = self.clock.now
        return [entry for entry in entries if self.pool.add(entry)]

    async def receive(self, peer: int, *entries: Entry) -> bool:
        """Whether anything new was admitted."""
        came = asyncio.Event()
        task = asyncio.create_task(self.gossip.run(came.set))
        self.gossip.on_payload(peer, encode(Transactions(tuple(entry.raw for entry in entries))))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        return came.is_set()


async def test_what_is_submitted_here_goes_to_everyone_once(make_entry: Make) -> None:
    node = Node()
    entry = make_entry(0, 1)
    node.admit([entry])
    node.gossip.push([entry])
    assert node.wire.take() == [(1, Transactions((entry.raw,))), (2, Transactions((entry.raw,)))]
    node.clock.now = RELAY_AFTER_MS
    node.gossip.tick(None)
    assert node.wire.take() == []


async def test_what_came_from_one_is_announced_to_the_other_after_a_while(make_entry: Make) -> None:
    node = Node()
    entry = make_entry(0, 1)
    node.checker.known[entry.raw] = entry
    assert await node.receive(1, entry)
    node.gossip.tick(None)
    assert node.wire.take() == []
    node.clock.now = RELAY_AFTER_MS
    node.gossip.tick(None)
    node.gossip.tick(None)
    assert node.wire.take() == [(2, Have((entry.id,)))]
    node.gossip.on_payload(2, encode(Want((entry.id, bytes(32)))))
    assert node.wire.take() == [(2, Transactions((entry.raw,)))]


async def test_the_leader_is_reminded_of_what_stays_pending(make_entry: Make) -> None:
    node = Node()
    entry = make_entry(0, 1)
    node.admit([entry])
    node.gossip.push([entry])
    node.wire.take()
    for _ in range(2):
        node.clock.now += REMIND_MS
        node.gossip.tick(2)
        assert node.wire.take() == [(2, Have((entry.id,)))]
        node.gossip.tick(2)
        assert node.wire.take() == []
    node.pool.judge([(entry, False)])
    node.clock.now += REMIND_MS
    node.gossip.tick(2)
    assert node.wire.take() == [], "the head refuses it"
    node.pool.judge([(entry, True)])
    node.pool.set_carried([entry.id])
    node.clock.now += REMIND_MS
    node.gossip.tick(2)
    assert node.wire.take() == []


async def test_who_was_away_hears_of_everything_pending(make_entry: Make) -> None:
    node = Node()
    entry = make_entry(0, 1)
    node.admit([entry])
    node.gossip.push([entry])
    node.gossip.on_peer_down(2)
    node.wire.take()
    node.gossip.on_peer_up(2)
    assert node.wire.take() == [(2, Have((entry.id,)))]


async def test_unknown_ids_are_asked_for_once_and_final_ones_never(make_entry: Make) -> None:
    node = Node()
    entry, final = make_entry(0, 1), make_entry(0, 2)
    node.gossip.forget([final.id])
    for peer in (1, 2):
        node.gossip.on_payload(peer, encode(Have((entry.id, final.id))))
    assert node.wire.take() == [(1, Want((entry.id,)))]
    node.clock.now += module.WANT_AGAIN_MS  # the answer was lost
    node.gossip.on_payload(2, encode(Have((entry.id,))))
    assert node.wire.take() == [(2, Want((entry.id,)))]


async def test_what_is_known_or_final_is_not_checked_or_taken_again(make_entry: Make) -> None:
    node = Node()
    entry, final, bad = make_entry(0, 1), make_entry(0, 2), make_entry(0, 3)
    node.checker.known = {entry.raw: entry, final.raw: final}
    assert await node.receive(1, entry)
    assert not await node.receive(2, entry)
    assert node.checker.checked == 1
    node.gossip.forget([final.id])
    assert not await node.receive(1, final, bad)
    assert list(node.pool) == [entry]
    assert node.gossip.refused == 1


async def test_a_flood_is_bounded_and_the_newest_stays(make_entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    entries = [make_entry(0, number) for number in range(5)]
    monkeypatch.setattr(module, "WAITING_BYTES", 2 * len(entries[0].raw))
    for entry in entries:
        node.checker.known[entry.raw] = entry
        node.gossip.on_payload(1, encode(Transactions((entry.raw,))))
    assert node.gossip.dropped == 3
    task = asyncio.create_task(node.gossip.run(lambda: None))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    assert list(node.pool) == entries[3:]


async def test_garbage_is_named_for_the_network_to_drop_its_sender() -> None:
    node = Node()
    for garbage in (b"", b"\xc1", encode((9, ())), encode(Transactions(())), encode(Have((b"short",)))):
        with pytest.raises(DecodeError):
            node.gossip.on_payload(1, garbage)


async def test_large_batches_travel_in_messages_of_bounded_size(make_entry: Make) -> None:
    node = Node()
    entries = [make_entry(0, number) for number in range(40)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MESSAGE_BYTES", 10 * len(entries[0].raw))
        node.gossip.push(entries)
    batches = [message.transactions for peer, message in node.wire.take() if peer == 1]
    assert [len(batch) for batch in batches] == [10, 10, 10, 10]
    assert [raw for batch in batches for raw in batch] == [entry.raw for entry in entries]


async def test_an_answer_holds_each_once_and_has_a_bound(make_entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    entries = [make_entry(0, number) for number in range(4)]
    ids = tuple(entry.id for entry in entries)
    node.admit(entries)
    node.gossip.push(entries)
    node.wire.take()
    monkeypatch.setattr(module, "ANSWER_BYTES", 2 * len(entries[0].raw))
    node.gossip.on_payload(1, encode(Want(ids * 1_000)))
    assert node.wire.take() == [(1, Transactions(tuple(entry.raw for entry in entries[:2])))]
    node.clock.now = RELAY_AFTER_MS
    node.gossip.tick(None)
    assert node.wire.take() == [(1, Have(ids[2:]))]


async def test_the_real_intake_refuses_by_name(make_entry: Make) -> None:
    from node.intake import Intake
    from node.standing import Standing

    with ThreadPoolExecutor(1) as threads:
        intake = Intake(bytes(range(32)), Standing(), threads)
        entry = make_entry(0, 1)
        results = await intake.check([entry.raw, b"\x00", entry.raw] * 30)
    assert {getattr(result, "code", None) for result in results} == {"unknown-institution", "decode-error"}


async def test_what_was_refused_here_is_taken_again_from_whom_it_is_of_alone_and_after_a_while(
    make_entry: Make,
) -> None:
    """An institution without authority can bring what became valid to nobody else; whoever merely holds it is not
    asked, or two nodes that disagree would never fall silent."""
    node = Node()
    entry = make_entry(1, 1)
    node.checker.known[entry.raw] = entry
    node.gossip.doubt([entry])
    have = encode(Have((entry.id,)))
    for peer in (1, 2):  # too soon, even for whom it is of
        node.gossip.on_payload(peer, have)
        assert not await node.receive(peer, entry)
    assert node.wire.take() == []
    node.clock.now = FIRST_MS
    node.gossip.on_payload(2, have)
    assert not await node.receive(2, entry)
    assert node.wire.take() == []
    node.gossip.on_payload(1, have)
    assert node.wire.take() == [(1, Want((entry.id,)))]
    assert await node.receive(1, entry)


async def test_who_is_wrong_about_it_is_heard_ever_less_often(make_entry: Make) -> None:
    refusals, entry = Refusals(2), make_entry(1, 1)
    now, waits = 0, []
    for _ in range(6):
        refusals.add([entry], now)
        wait = next(ms for ms in range(CAP_MS + 1) if refusals.hears(entry.id, 1, now + ms))
        waits.append(wait)
        now += wait
    assert waits == [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]
    refusals.add([make_entry(1, 2), make_entry(1, 3)], now)
    assert refusals.hears(entry.id, 2, now)  # only so many are remembered


async def test_what_is_final_is_never_taken_again(make_entry: Make) -> None:
    node = Node()
    entry = make_entry(1, 1)
    node.checker.known[entry.raw] = entry
    node.gossip.doubt([entry])
    node.gossip.forget([entry.id])
    node.clock.now = 1 << 40
    node.gossip.on_payload(1, encode(Have((entry.id,))))
    assert not await node.receive(1, entry)
    assert node.wire.take() == []
