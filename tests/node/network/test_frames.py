"""Framing: however the bytes are cut, the same messages come out; and nothing but frames is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.network.frames import HEADER_BYTES, SLICE_BYTES, BadFrame, Kind, Unframer, frame, frames
from node.network.interface import Channel
from protocol import limits

kinds = st.sampled_from([Kind.MESSAGE, Kind.REQUEST, Kind.RESPONSE])
bodies = st.integers(0, 3 * SLICE_BYTES).map(lambda n: bytes(n % 251 for _ in range(min(n, 9))) + bytes(max(0, n - 9)))


@given(st.lists(st.tuples(kinds, st.sampled_from(Channel), bodies), max_size=4), st.lists(st.integers(1, 70_000)))
def test_however_the_bytes_are_cut_the_same_messages_come_out(
    messages: list[tuple[Kind, Channel, bytes]], cuts: list[int]
) -> None:
    wire = b"".join(part for kind, channel, body in messages for part in frames(kind, channel, body))
    unframer, found, at = Unframer(), [], 0
    for cut in [*cuts, len(wire)]:
        found += unframer.feed(wire[at : at + cut])
        at += cut
    assert found == messages


def test_frames_of_channels_interleave_and_controls_go_between() -> None:
    blob, vote = bytes(range(256)) * 1024, b"vote"
    first, *rest = frames(Kind.RESPONSE, Channel.BLOBS, blob)
    wire = first + frame(Kind.PING, b"p" * 16) + frame(Kind.MESSAGE, vote, Channel.VOTES) + b"".join(rest)
    assert list(Unframer().feed(wire)) == [
        (Kind.PING, Channel.VOTES, b"p" * 16),
        (Kind.MESSAGE, Channel.VOTES, vote),
        (Kind.RESPONSE, Channel.BLOBS, blob),
    ]


def test_the_longest_message_passes_and_a_longer_one_is_not_made() -> None:
    longest = bytes(limits.FRAME_BYTES)
    assert list(Unframer().feed(b"".join(frames(Kind.MESSAGE, Channel.SYNC, longest)))) == [
        (Kind.MESSAGE, Channel.SYNC, longest)
    ]
    with pytest.raises(ValueError, match="over the limit"):
        frames(Kind.MESSAGE, Channel.SYNC, longest + b"x")


def header(length: int, code: int) -> bytes:
    return length.to_bytes(4, "big") + bytes([code])


MORE = 0x80


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (header(SLICE_BYTES + 1, Kind.MESSAGE), "over the limit"),
        (header(0xFFFFFFFF, Kind.MESSAGE), "over the limit"),
        (header(0, 15), "unknown kind"),
        (header(0, 0x40 | Kind.MESSAGE), "unknown kind"),
        (header(0, MORE | Kind.PING), "whole and has no channel"),
        (header(0, 0x10 | Kind.HELLO), "whole and has no channel"),
        (header(1, MORE | Kind.MESSAGE) + b"a" + header(1, Kind.REQUEST) + b"b", "amid the slices"),
        (header(1, MORE | Kind.MESSAGE) + b"a" + header(0, MORE | Kind.MESSAGE), "an empty slice"),
        ((header(SLICE_BYTES, MORE | Kind.MESSAGE) + bytes(SLICE_BYTES)) * 129, "a message of over"),
    ],
)
def test_what_is_no_frame_is_refused(wire: bytes, what: str) -> None:
    with pytest.raises(BadFrame, match=what):
        list(Unframer().feed(wire))


@given(st.lists(st.binary(max_size=64)))
def test_garbage_is_waited_for_or_refused_and_never_kept_beyond_a_frame(chunks: list[bytes]) -> None:
    unframer = Unframer()
    try:
        for chunk in chunks:
            list(unframer.feed(chunk))
    except BadFrame:
        return
    assert len(unframer._rest) < SLICE_BYTES + HEADER_BYTES
