"""What a motion would do to the chain's ability to go on, as seen from this node now.

A set of authorities that has no quorum within reach stops the chain with the block that makes it, and a chain that has
stopped cannot take a motion back. So whoever moves or votes for such a change is told before.
"""

from __future__ import annotations

from typing import Any

from protocol.types.institutions import quorum_of


def warnings(change: dict[str, Any], status: dict[str, Any], names: dict[int, str]) -> list[str]:
    """Sentences to read before this change (as the socket has it) is wanted; none if nothing speaks against it.

    `status` is the status document of the node that is asked, `names` those of all institutions by number.
    """
    members = {one["institution"] for one in status["authorities"]}
    after = _after(change, members)
    if after == members or not after:
        return []  # the ledger refuses to remove the last
    within_reach = {one["institution"] for one in status["peers"] if one["state"] == "connected"}
    within_reach.add(status["institution"]["number"])
    away = ", ".join(names.get(number, f"institution {number}") for number in sorted(after - within_reach))
    count, needed, reachable = len(after), quorum_of(len(after)), len(after & within_reach)
    if reachable < needed:
        return [
            f"this would stop the chain: {needed} of {count} authorities would have to vote, and {reachable} can be "
            f"reached from here now (not {away}); what has stopped cannot take a motion back"
        ]
    if reachable == needed:
        missing = f" ({away} cannot be reached)" if away else ""
        return [
            f"this would leave no fault to spare: all {needed} of the {count} authorities that can be reached would "
            f"have to vote{missing}, and if one more fails the chain stops"
        ]
    return []


def _after(change: dict[str, Any], members: set[int]) -> set[int]:
    match change["kind"]:
        case "give-authority":
            return members | {change["institution"]}
        case "suspend" | "remove" | "take-authority":
            return members - {change["institution"]}
    return members
