"""Who votes: the authority set of this epoch, and the next one's while the block that ends this epoch is applied.

A block ends its epoch by writing the next epoch's set, whatever made it do so; all that consensus goes by (members,
vote keys, parameters) is therefore the same from an epoch's first block to its last.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol import limits
from protocol.errors import Contradicted, LastAuthority, SetFull
from protocol.ledger import keys
from protocol.ledger.working import Working
from protocol.types.institutions import Authority, AuthoritySet


def current(working: Working) -> AuthoritySet:
    """The set of the block's epoch."""
    return working.require(keys.authorities(working.epoch), AuthoritySet)


def upcoming(working: Working) -> AuthoritySet:
    """The set of the epoch that would follow if the block ended here: this epoch's, if nothing changed it yet."""
    written = working.written(keys.authorities(working.epoch + 1), AuthoritySet)
    return AuthoritySet(working.epoch + 1, current(working).members) if written is None else written


def voters(working: Working) -> dict[int, Authority]:
    """The seats of this epoch by institution that decide on motions, without those lost earlier in this block."""
    kept = {member.institution for member in upcoming(working).members}
    return {member.institution: member for member in current(working).members if member.institution in kept}


def end_epoch(working: Working, members: Iterable[Authority] | None = None) -> None:
    """The block ends its epoch; the next one's set has these members, or those that it has so far."""
    listed = upcoming(working).members if members is None else members
    ordered = tuple(sorted(listed, key=lambda member: member.institution))
    working.put(keys.authorities(working.epoch + 1), AuthoritySet(working.epoch + 1, ordered))


def check_give(working: Working, institution: int) -> None:
    """Raise `Contradicted` if it has a seat in the next set, `SetFull` if that has none left."""
    following = upcoming(working)
    if following.seat(institution) is not None:
        raise Contradicted(f"institution {institution} has authority")
    if len(following.members) >= limits.AUTHORITIES:
        raise SetFull(f"there are {limits.AUTHORITIES} authorities, which is the most")


def give(working: Working, institution: int, vote_key: bytes) -> None:
    """A seat in the next set. Whoever had one in this epoch's has it without a break."""
    check_give(working, institution)
    before = current(working).seat(institution)
    since = working.epoch + 1 if before is None else before.since
    end_epoch(working, (*upcoming(working).members, Authority(institution, vote_key, since)))


def check_take(working: Working, institution: int) -> None:
    """Raise `LastAuthority` if the next set would be empty without this institution's seat."""
    if all(member.institution == institution for member in upcoming(working).members):
        raise LastAuthority(f"institution {institution} is the only authority")


def take(working: Working, institution: int) -> None:
    """The institution loses its seat in the next set; nothing happens if it has none. Raises `LastAuthority`."""
    following = upcoming(working)
    if following.seat(institution) is None:
        return
    check_take(working, institution)
    end_epoch(working, (member for member in following.members if member.institution != institution))


def rekey(working: Working, institution: int, vote_key: bytes) -> None:
    """The institution's seat in the next set, if it has one, is voted from with another key."""
    following = upcoming(working)
    if following.seat(institution) is None:
        return
    end_epoch(
        working,
        (
            Authority(member.institution, vote_key, member.since) if member.institution == institution else member
            for member in following.members
        ),
    )
