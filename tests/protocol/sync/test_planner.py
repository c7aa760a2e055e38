"""Whom the planner asks: towards the greatest height claimed, around peers that fail or lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.sync.planner import PAUSE_CAP_MS, Planner


def test_nobody_is_asked_who_has_nothing_more() -> None:
    planner = Planner(10)
    planner.heard(1, 10)
    assert planner.next_request(0) is None
    assert planner.wait_ms(0) is None
    assert planner.behind == 0
    planner.heard(1, 12)
    assert planner.behind == 2
    found = planner.next_request(0)
    assert found is not None
    assert (found[0], found[1].first) == (1, 11)


def test_a_peer_that_fails_is_left_alone_longer_each_time_and_others_serve() -> None:
    planner = Planner(0)
    planner.heard(1, 100)
    planner.heard(2, 100)
    asked = planner.next_request(0)
    assert asked is not None
    planner.failed(asked[0], 0)
    other = planner.next_request(0)
    assert other is not None
    assert other[0] != asked[0]
    planner.lost(other[0])
    waits = []
    now = 0
    for _ in range(10):
        wait = planner.wait_ms(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert planner.next_request(now) is not None
        planner.failed(asked[0], now)
    assert waits == sorted(waits)
    assert waits[-1] == PAUSE_CAP_MS


def test_a_peer_that_fails_and_comes_again_is_not_asked_first() -> None:
    planner = Planner(0)
    planner.heard(1, 100)
    planner.heard(2, 100)
    for _ in range(10):
        found = planner.next_request(0)
        assert found is not None
        if found[0] == 1:
            planner.failed(1, 0)
            planner.lost(1)
            assert planner.wait_ms(0) == 0  # of the other
            planner.heard(1, 100)
        else:
            planner.answered(2, 1, 100)
    assert planner.next_height >= 10


def test_who_is_gone_is_not_asked() -> None:
    planner = Planner(0)
    planner.heard(1, 100)
    planner.lost(1)
    assert planner.next_request(0) is None
    assert planner.wait_ms(0) is None
    assert planner.target == 0


def test_a_peer_that_claims_more_than_it_sends_is_believed_no_longer() -> None:
    planner = Planner(0)
    planner.heard(1, 1_000_000)
    assert planner.next_request(0) is not None
    planner.answered(1, 0, 1_000_000)
    assert planner.next_request(0) is None


def test_progress_by_consensus_moves_the_fetch_on() -> None:
    planner = Planner(0)
    planner.heard(1, 50)
    planner.answered(1, 20, 50)
    assert planner.next_height == 21
    planner.reset(40)
    found = planner.next_request(0)
    assert found is not None
    assert found[1].first == 41


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.booleans()), max_size=80))
def test_whatever_happens_no_request_is_for_what_is_there_or_of_who_lacks_it(
    events: list[tuple[int, int, bool]],
) -> None:
    planner = Planner(5)
    heights: dict[int, int] = {}
    now = 0
    for peer, height, good in events:
        planner.heard(peer, height)
        heights[peer] = max(heights.get(peer, 0), height)
        now += 500
        found = planner.next_request(now)
        if found is None:
            continue
        asked, request = found
        assert request.first == planner.next_height > 5
        assert heights[asked] >= request.first
        if good:
            planner.answered(asked, 1, heights[asked])
        else:
            planner.failed(asked, now)
