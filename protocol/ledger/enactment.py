"""What a motion would change: what that needs, asked when it is moved and again when it passes, and the doing of it.

One entry a kind of change in `CHANGES`. `check` raises `InvalidTransaction` while the change is impossible; `enact`
comes right after a `check` that went well, on the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from protocol import limits
from protocol.errors import BadTerms, Claimed, Contradicted, SetFull
from protocol.ledger import claims, institutions, keys, seats
from protocol.ledger.leaves import Counters
from protocol.ledger.rules import check_ascending
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.params import Params
from protocol.types.governance import (
    Accredit,
    Application,
    Change,
    GiveAuthority,
    Reinstate,
    Remove,
    ReplaceKeys,
    SetParameters,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import STATUS_ACCREDITED, STATUS_REMOVED, STATUS_SUSPENDED, Institution

_WORDS: Final = {STATUS_ACCREDITED: "accredited", STATUS_SUSPENDED: "suspended", STATUS_REMOVED: "removed"}


@dataclass(frozen=True, slots=True)
class Enactment:
    """All take the kind of change that it stands for; `enact` answers the number of an institution taken in."""

    reads: Callable[[Any, ReadSet], None]
    check: Callable[[Working, Any], None]
    enact: Callable[[Working, Any], int | None]


def reads(change: Change, read: ReadSet) -> None:
    """What checking and enacting the change looks at, besides parameters, counters and this epoch's set."""
    CHANGES[type(change)].reads(change, read)


def check(working: Working, change: Change) -> None:
    """Raise unless the change is possible here and now."""
    CHANGES[type(change)].check(working, change)


def application_of(change: Change) -> Application | None:
    """The application that the change carries, whose proofs of possession must hold."""
    return change.application if isinstance(change, Accredit | ReplaceKeys) else None


def enact(working: Working, change: Change) -> int | None:
    """Do it. The number assigned to an institution that is taken in. Raises as `check` does."""
    check(working, change)
    return CHANGES[type(change)].enact(working, change)


# --- institutions come and go ----------------------------------------------------------------------------------


def _reads_institution(
    change: Suspend | Reinstate | Remove | GiveAuthority | TakeAuthority | ReplaceKeys, read: ReadSet
) -> None:
    if change.institution <= keys.INSTITUTION_MAX:
        read.keys.add(keys.institution(change.institution))


def _reads_accredit(change: Accredit, read: ReadSet) -> None:
    applicant = change.application.institution
    claims.reads([claims.name_of(applicant), *claims.keys_of(applicant)], read)


def _check_accredit(working: Working, change: Accredit) -> None:
    applicant = change.application.institution
    if working.require(keys.COUNTERS, Counters).institutions >= limits.INSTITUTIONS:
        raise SetFull(f"there are {limits.INSTITUTIONS} institutions, which is the most")
    claims.check_free(working, [claims.name_of(applicant), *claims.keys_of(applicant)])


def _accredit(working: Working, change: Accredit) -> int:
    applicant = change.application.institution
    counters = working.require(keys.COUNTERS, Counters)
    number = counters.institutions
    working.put(keys.COUNTERS, replace(counters, institutions=number + 1))
    working.put(keys.institution(number), replace(applicant, vote_key_at=working.timestamp))
    claims.take(working, [claims.name_of(applicant), *claims.keys_of(applicant)], number)
    return number


def _in_status(working: Working, number: int, *allowed: int) -> Institution:
    """The institution, if its status is one of these. Raises `UnknownInstitution`, `Contradicted`."""
    found = institutions.institution(working, number)
    if found.status not in allowed:
        raise Contradicted(f"institution {number} is {_WORDS[found.status]}")
    return found


def _check_suspend(working: Working, change: Suspend) -> None:
    _in_status(working, change.institution, STATUS_ACCREDITED)
    seats.check_take(working, change.institution)


def _check_reinstate(working: Working, change: Reinstate) -> None:
    _in_status(working, change.institution, STATUS_SUSPENDED)


def _check_remove(working: Working, change: Remove) -> None:
    _in_status(working, change.institution, STATUS_ACCREDITED, STATUS_SUSPENDED)
    seats.check_take(working, change.institution)


def _set_status(status: int) -> Callable[[Working, Any], None]:
    def enact(working: Working, change: Suspend | Reinstate | Remove) -> None:
        found = institutions.institution(working, change.institution)
        working.put(keys.institution(change.institution), replace(found, status=status))
        if status != STATUS_ACCREDITED:
            seats.take(working, change.institution)

    return enact


# --- authority -------------------------------------------------------------------------------------------------


def _check_give(working: Working, change: GiveAuthority) -> None:
    _in_status(working, change.institution, STATUS_ACCREDITED)
    seats.check_give(working, change.institution)


def _give(working: Working, change: GiveAuthority) -> None:
    seats.give(working, change.institution, institutions.institution(working, change.institution).vote_key)


def _check_take(working: Working, change: TakeAuthority) -> None:
    institutions.institution(working, change.institution)
    if seats.upcoming(working).seat(change.institution) is None:
        raise Contradicted(f"institution {change.institution} has no authority")
    seats.check_take(working, change.institution)


def _take(working: Working, change: TakeAuthority) -> None:
    seats.take(working, change.institution)


# --- keys and parameters ---------------------------------------------------------------------------------------


def _reads_replace(change: ReplaceKeys, read: ReadSet) -> None:
    _reads_institution(change, read)
    claims.reads(claims.keys_of(change.application.institution), read)


def _check_replace(working: Working, change: ReplaceKeys) -> None:
    """What the institution uses now it may go on using, each for the same; all else must be new."""
    held = _in_status(working, change.institution, STATUS_ACCREDITED, STATUS_SUSPENDED)
    applied = change.application.institution
    if applied.name != held.name:
        raise BadTerms(f"the application is not one of institution {change.institution}")
    if _without_standing(applied) == _without_standing(held):
        raise Contradicted(f"institution {change.institution} has these keys")
    _check_once(applied)
    claims.check_free(working, _new_keys(held, applied))


def _without_standing(institution: Institution) -> Institution:
    return replace(institution, status=STATUS_ACCREDITED, vote_key_at=0)


def _check_once(applied: Institution) -> None:
    listed = claims.keys_of(applied)
    if len(set(listed)) != len(listed):
        raise Claimed("the application names a key or a certificate twice")


def _new_keys(held: Institution, applied: Institution) -> list[claims.Value]:
    """What of the application the institution does not use now for the very same."""
    signing = [key for key in applied.operation_keys if key not in held.operation_keys]
    if applied.vote_key != held.vote_key:
        signing.append(applied.vote_key)
    kept = {*claims.keys_of(held)}.difference(claims.signing_of(held))
    others = (value for value in claims.keys_of(applied) if value[0] != keys.CLAIM_SIGNING_KEY and value not in kept)
    return [*((keys.CLAIM_SIGNING_KEY, key) for key in signing), *others]


def _replace(working: Working, change: ReplaceKeys) -> None:
    number, applied = change.institution, change.application.institution
    held = institutions.institution(working, number)
    changed = applied.vote_key != held.vote_key
    vote_key_at = working.timestamp if changed else held.vote_key_at
    working.put(keys.institution(number), replace(applied, status=held.status, vote_key_at=vote_key_at))
    claims.take(working, _new_keys(held, applied), number)
    if changed:
        seats.rekey(working, number, applied.vote_key)


def _reads_parameters(change: SetParameters, read: ReadSet) -> None:
    """Parameters are in every read set."""


def _parameters(working: Working, change: SetParameters) -> Params:
    names = [parameter.name for parameter in change.parameters]
    check_ascending(names, "parameters")
    for name in names:
        if name not in Params.__struct_fields__:
            raise BadTerms(f"there is no parameter {name!r}")
    before = working.require(keys.PARAMS, Params)
    after = replace(before, **{parameter.name: parameter.value for parameter in change.parameters})
    after.check()
    if after == before:
        raise Contradicted("the parameters have these values")
    return after


def _check_parameters(working: Working, change: SetParameters) -> None:
    _parameters(working, change)


def _set_parameters(working: Working, change: SetParameters) -> None:
    working.put(keys.PARAMS, _parameters(working, change))
    seats.end_epoch(working)


CHANGES: Final[dict[type, Enactment]] = {
    Accredit: Enactment(_reads_accredit, _check_accredit, _accredit),
    Suspend: Enactment(_reads_institution, _check_suspend, _set_status(STATUS_SUSPENDED)),
    Reinstate: Enactment(_reads_institution, _check_reinstate, _set_status(STATUS_ACCREDITED)),
    Remove: Enactment(_reads_institution, _check_remove, _set_status(STATUS_REMOVED)),
    GiveAuthority: Enactment(_reads_institution, _check_give, _give),
    TakeAuthority: Enactment(_reads_institution, _check_take, _take),
    ReplaceKeys: Enactment(_reads_replace, _check_replace, _replace),
    SetParameters: Enactment(_reads_parameters, _check_parameters, _set_parameters),
}
