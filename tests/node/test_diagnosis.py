"""What `status` says of a chain that stands still and of clocks that are off: who, since when, how many are needed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from node.diagnosis import AuthorityStatus, all_well, cast_out, clocks, slow, stalled
from node.institution_keys import new_institution
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED

NINE = 9 * 3_600_000  # 09:00:00 UTC of the first day


def authority(index: int, state: str = "voting", **more: Any) -> AuthorityStatus:
    since = NINE + index * 1_000 if state in {"silent", "not voting"} else None
    return AuthorityStatus(index, index, f"Hospital {index}", state, since, 7, leader=False, **more)


def those(*states: str) -> list[AuthorityStatus]:
    return [authority(index, state) for index, state in enumerate(states)]


def test_with_a_quorum_nothing_is_stalled() -> None:
    assert stalled(those("voting", "voting", "lagging", "silent")) is None
    assert stalled(those("voting", "voting", "voting", "not voting")) is None
    assert stalled(those("voting")) is None


def test_a_stall_names_who_is_silent_since_when_and_how_many_are_needed() -> None:
    assert stalled(those("voting", "voting", "silent", "silent")) == (
        "stalled: 2 of 4 authorities are silent (Hospital 2 since 09:00:02 UTC, Hospital 3 since 09:00:03 UTC); "
        "3 are needed; start them or check the network."
    )


def test_a_stall_tells_who_is_away_from_who_can_be_reached_and_does_not_vote() -> None:
    assert stalled(those("voting", "not voting", "voting", "silent")) == (
        "stalled: 1 of 4 authorities are silent (Hospital 3 since 09:00:03 UTC) and 1 do not vote although they can be "
        "reached (Hospital 1 since 09:00:01 UTC); 3 are needed; start them or check the network; "
        "`chartledger status` there says why they do not vote."
    )
    said = stalled(those("not voting", "not voting", "voting", "voting"))
    assert said is not None
    assert said.startswith("stalled: 2 of 4 authorities do not vote although they can be reached (Hospital 0 since")


def test_who_merely_follows_does_not_call_the_chain_stalled() -> None:
    said = stalled(those("voting", "silent", "silent", "silent"), follows=True)
    assert said is not None
    assert said.startswith("out of reach: 3 of 4 authorities cannot be reached from here (Hospital 1 since 09:00:01")
    assert "suspended or removed" in said, "whoever was away then has no block that tells it"
    assert stalled(those("voting", "voting", "voting", "silent"), follows=True) is None


def test_who_was_put_out_of_the_consortium_is_told_so() -> None:
    public = new_institution("Hospital 4").public
    said = {
        status: cast_out(msgspec.structs.replace(public, status=status))
        for status in (STATUS_ACCREDITED, STATUS_SUSPENDED, STATUS_REMOVED)
    }
    assert said[STATUS_ACCREDITED] is None
    assert (said[STATUS_SUSPENDED] or "").startswith("suspended: ")
    assert (said[STATUS_REMOVED] or "").startswith("removed: ")
    assert cast_out(None) is None, "a newcomer that has not caught up does not know itself yet"


def test_slow_names_who_lags() -> None:
    assert "(lagging: Hospital 1)" in slow(those("voting", "lagging", "voting", "voting"), 42_500)
    assert "waited for 42 s" in slow(those("voting"), 42_500)


def test_all_well_counts_how_many_more_may_fail() -> None:
    assert all_well(those(*["voting"] * 4)) == "healthy: 4 of 4 authorities vote."
    assert all_well(those("voting", "voting", "voting", "silent")).endswith("no more may fail before the chain stops.")
    assert "1 of 7 authorities do not vote" in all_well(those(*["voting"] * 6, "not voting"))
    assert "; 1 more may fail" in all_well(those(*["voting"] * 6, "silent"))


def timed(*offsets: int | None) -> list[AuthorityStatus]:
    """Authorities by how far their clocks are ahead of this node's, which is authority 0."""
    return [authority(0), *(authority(n, clock_offset_ms=offset) for n, offset in enumerate(offsets, 1))]


def test_clocks_that_agree_are_not_spoken_of() -> None:
    told = clocks(timed(900, -800, 15_000), 0, 15_000)
    assert (told.ahead_ms, told.worry, told.notes) == (0, None, [])


def test_this_nodes_clock_against_most_others() -> None:
    told = clocks(timed(-40_100, -40_000, -39_900), 0, 15_000)
    assert told.ahead_ms == 40_000
    assert told.worry == "this node's clock is 40 s ahead of most authorities' clocks; set it, best by NTP."
    assert told.notes == []
    behind = clocks(timed(3_600_000, 3_600_000, None), 0, 15_000)
    assert behind.worry == "this node's clock is 3,600 s behind most authorities' clocks; set it, best by NTP."


def test_another_authoritys_clock_is_named() -> None:
    told = clocks(timed(100, -60_000, -200), 0, 15_000)
    assert told.worry is None
    assert told.notes == [
        "The clock of Hospital 2 is 60 s behind most authorities' clocks; its operators should set it."
    ]


def test_own_and_anothers_clock_are_measured_against_the_rest() -> None:
    told = clocks(timed(50_000, 50_000, 50_000, 150_000), 0, 15_000)
    assert told.ahead_ms == -50_000
    assert told.worry is not None
    assert told.notes == [
        "The clock of Hospital 4 is 100 s ahead of most authorities' clocks; its operators should set it."
    ]


@pytest.mark.parametrize("offset", [50_000, -50_000])
def test_of_two_clocks_nobody_can_tell_which_is_off(offset: int) -> None:
    told = clocks(timed(offset, None, None), 0, 15_000)
    assert told.ahead_ms is None
    assert told.worry == "the clocks of Hospital 1 and of this node are 50 s apart; set the one that is wrong."


def test_a_node_without_authority_measures_itself_against_those_who_have() -> None:
    members = [authority(n, clock_offset_ms=-70_000) for n in range(2)]
    assert clocks(members, 9, 15_000).ahead_ms == 70_000
    assert clocks([], 9, 15_000).worry is None
