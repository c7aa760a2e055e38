"""Send queues: votes first, nothing starves, everything bounded and counted. And the meter of what comes in."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from node.network.frames import SLICE_BYTES, Kind, Unframer, frames
from node.network.interface import Channel
from node.network.meter import MESSAGE_COST, Meter
from node.network.queues import MESSAGES, SendQueue


def put(queue: SendQueue, channel: Channel, body: bytes, drawn: Callable[[], None] | None = None) -> None:
    parts = frames(Kind.MESSAGE, channel, body)
    queue.put(channel, parts, sum(map(len, parts)), drawn)


def drain(queue: SendQueue, target_bytes: int = 1) -> list[tuple[Kind, Channel, bytes]]:
    unframer, found = Unframer(), []
    while batch := queue.batch(target_bytes):
        found += unframer.feed(b"".join(batch))
    return found


def test_a_vote_overtakes_a_blob_that_is_half_sent() -> None:
    queue = SendQueue(1 << 24)
    put(queue, Channel.BLOBS, bytes(3 * SLICE_BYTES))
    first = queue.batch(SLICE_BYTES)
    put(queue, Channel.VOTES, b"vote")
    assert b"".join(queue.batch(1)).endswith(b"vote")
    rest = b"".join(b"".join(batch) for batch in iter(lambda: queue.batch(1), []))
    assert list(Unframer().feed(b"".join(first) + rest)) == [(Kind.MESSAGE, Channel.BLOBS, bytes(3 * SLICE_BYTES))]


def test_controls_go_before_votes_and_classes_in_order() -> None:
    queue = SendQueue(1 << 20)
    for channel in reversed(Channel):
        put(queue, channel, channel.name.encode())
    queue.put_control(frames(Kind.PING, Channel.VOTES, b"ping")[0])
    assert [body for _, _, body in drain(queue)] == [b"ping", b"VOTES", b"TRANSACTIONS", b"SYNC", b"BLOBS"]


def test_a_flood_of_votes_does_not_starve_the_rest() -> None:
    queue = SendQueue(1 << 20)
    put(queue, Channel.BLOBS, b"blob")
    for _ in range(100):
        put(queue, Channel.VOTES, b"vote")
    assert (Kind.MESSAGE, Channel.BLOBS, b"blob") in drain(queue)[:10]


def test_a_full_queue_drops_its_oldest_and_counts_them() -> None:
    queue = SendQueue(5 * 15)
    for number in range(8):
        put(queue, Channel.TRANSACTIONS, b"message %02d" % number)
        put(queue, Channel.VOTES, b"vote")
    assert queue.dropped == 3
    found = drain(queue)
    assert [body for _, c, body in found if c is Channel.TRANSACTIONS] == [b"message %02d" % n for n in range(3, 8)]
    assert sum(c is Channel.VOTES for _, c, _ in found) == 8


def test_one_message_above_the_bound_still_goes() -> None:
    queue = SendQueue(100)
    put(queue, Channel.VOTES, bytes(90))
    put(queue, Channel.VOTES, bytes(5_000))
    assert [len(body) for _, _, body in drain(queue)] == [5_000]


def test_the_number_of_small_messages_is_bounded_too() -> None:
    queue = SendQueue(1 << 30)
    for _ in range(MESSAGES + 10):
        put(queue, Channel.VOTES, b"")
    assert queue.dropped == 10


def test_requests_and_answers_are_never_dropped_and_tell_when_they_left() -> None:
    queue, left = SendQueue(100), []
    for number in range(10):
        put(queue, Channel.SYNC, b"droppable")
        put(queue, Channel.SYNC, bytes(40), drawn=lambda number=number: left.append(number))
    assert queue.dropped == 10
    assert left == []
    assert len(drain(queue)) == 10
    assert left == list(range(10))


def test_what_is_drawn_by_slices_tells_only_after_the_last() -> None:
    queue, left = SendQueue(1 << 24), []
    put(queue, Channel.BLOBS, bytes(2 * SLICE_BYTES), drawn=lambda: left.append(1))
    queue.batch(1)
    assert not left
    queue.batch(1)
    assert left


@given(st.lists(st.tuples(st.sampled_from(Channel), st.integers(0, 200_000))), st.integers(1, 200_000))
def test_everything_queued_leaves_once_whole_and_in_order_of_its_channel(
    messages: list[tuple[Channel, int]], target_bytes: int
) -> None:
    queue = SendQueue(1 << 30)
    for channel, size in messages:
        put(queue, channel, bytes(size))
    found = drain(queue, target_bytes)
    for channel in Channel:
        assert [len(body) for _, c, body in found if c is channel] == [n for c, n in messages if c is channel]
    assert queue.size_bytes == 0


def test_who_sends_more_than_its_share_waits_until_it_is_paid() -> None:
    meter = Meter(1_000_000.0, now_s=0.0, burst_s=2.0)
    assert meter.charge(2_000_000, 0, now_s=0.0) == 0
    assert meter.charge(500_000, 0, now_s=0.0) == 0.5
    assert meter.charge(0, 0, now_s=0.5) == 0
    assert meter.charge(0, 500, now_s=0.5) == 500 * MESSAGE_COST / 1_000_000
    assert meter.charge(2_000_000, 0, now_s=100.0) == 0, "what was not used for long is a burst and no more"
    assert meter.charge(1, 0, now_s=100.0) > 0
