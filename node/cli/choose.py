"""How a person names institutions, kinds of records, purposes and times on the command line, and what is wrong with it.

What is not known is refused before anything is signed, by a name and with what to do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Annotated, NamedTuple

import typer

from node.cli.client import Session
from node.cli.exits import BadArgument
from node.cli.options import parse_time
from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from node.records.errors import UnknownCategory, UnknownSensitivity
from node.wallet import Wallet, label_list
from protocol.crypto.pseudonyms import PSEUDONYM_BYTES
from protocol.crypto.tags import NONE, GrantLabels
from protocol.errors import ChartledgerError, UnknownPurpose
from protocol.ledger import purposes

ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]
CategoryOption = Annotated[
    list[str] | None,
    typer.Option("--category", help="A kind of record, e.g. Observation; repeatable. Default: any."),
]
YearOption = Annotated[
    list[str] | None, typer.Option("--year", help='A clinical year, or "none"; repeatable. Default: any.')
]
SensitivityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sensitivity",
        help='Also records marked sensitive so, e.g. MH; repeatable. "several" besides for records marked more '
        'than twice, "unexamined" for those that nobody looked into. Without it, none of these.',
    ),
]
PurposeOption = Annotated[
    list[str] | None,
    typer.Option("--purpose", help="An HL7 purpose of use, with all below it; repeatable. Default: TREAT."),
]
FromOption = Annotated[str, typer.Option("--from", help="When it begins. Default: now.")]
CustomOption = Annotated[
    bool, typer.Option("--custom", help="Take labels that are not known, such as a hospital made up, as written.")
]
OWN = "For a label that a hospital made up, add --custom; `chartledger labels list` tells what there is."
UNTIL_HELP = 'When it ends: a date, or "30d" from now.'


class NoSuchGroup(ChartledgerError):
    """The wallet has no group of this name."""

    advice = "`chartledger group list` shows the groups of a wallet, `chartledger group add` makes one."


class EmergencyPurpose(ChartledgerError):
    """A purpose is for emergencies, which no permission covers."""

    advice = "Leave it out: `chartledger policy set --break-glass` says whether you may be read in an emergency."


class BadAge(ChartledgerError):
    """The date of birth, or the age, leads to no time ahead."""

    advice = "Write --born as YYYY-MM-DD and --until-age in years, or give the end with --until."


def find_institution(session: Session, text: str) -> int:
    """The number of the institution that `text` names, by number or exact name. Raises `BadArgument`."""
    names = session.institutions()
    if text.isascii() and text.isdecimal() and int(text) in names:
        return int(text)
    found = [number for number, name in names.items() if name == text]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} ({name})" for number, name in names.items())
    raise BadArgument(f"no institution is called {text!r}", advice=f"There are: {listed}.")


def find_grantees(
    session: Session, wallet: Wallet, to: Sequence[str] | None, groups: Sequence[str] | None
) -> tuple[int, ...]:
    """All institutions that are named, and those of the groups. Raises `BadArgument` or `NoSuchGroup`."""
    numbers = {find_institution(session, one) for one in to or ()}
    for name in groups or ():
        chain = session.chain()
        group = next((one for one in wallet.content.groups if (one.name, one.chain) == (name, chain)), None)
        if group is None:
            raise NoSuchGroup(f"the wallet has no group called {name!r} on this chain")
        numbers |= set(group.institutions)
    if not numbers:
        raise BadArgument("nobody is named", advice="Name an institution with --to, or a group with --group.")
    return tuple(sorted(numbers))


class Known(NamedTuple):
    """Labels that are no slips: those that every wallet knows, those that this one granted or forbade by before, and
    those that the node asked defines."""

    categories: frozenset[str]
    sensitivities: frozenset[str]


def known_labels(session: Session, wallet: Wallet) -> Known:
    """What a wallet and the node at this socket know together."""
    there, mine = session.labels(), wallet.content.labels
    own = [{one["code"] for one in there[kind] if one["own"]} for kind in ("categories", "sensitivities")]
    return Known(frozenset((*RESOURCE_TYPES, NONE, *mine, *own[0])), frozenset((*SENSITIVITY_LABELS, *mine, *own[1])))


def read_labels(
    category: Sequence[str] | None, year: Sequence[str] | None, sensitivity: Sequence[str] | None, known: Known | None
) -> GrantLabels:
    """Labels as they were named. Those that are not `known` are refused, since a slip would forbid nothing; None takes
    all. Raises `BadArgument` for what is no year, `UnknownCategory` and `UnknownSensitivity`."""
    unknown = sorted(set(year or ()) - set(YEARS))
    if unknown:
        raise BadArgument(f"{unknown[0]!r} is not a year", advice='Write four digits, or "none" for records without.')
    if known is not None:
        for one in sorted(set(category or ()) - known.categories):
            near = ", ".join(get_close_matches(one, known.categories, 4, 0.6))
            own = ", ".join(sorted(known.categories - set(RESOURCE_TYPES)))
            kinds = f"FHIR's resource types{f', such as {near}' if near else ''}"
            raise UnknownCategory(f"{one!r} is no kind of record", advice=f"Known are {kinds}, and {own}. {OWN}")
        for one in sorted(set(sensitivity or ()) - known.sensitivities):
            listed = ", ".join(sorted(known.sensitivities))
            raise UnknownSensitivity(f"{one!r} is no sensitivity", advice=f"Known are {listed}. {OWN}")
    marks = tuple(sorted(set(sensitivity or ()) - {NONE}))
    return GrantLabels(label_list(category or ()), label_list(year or ()), marks)


def read_purposes(named: Sequence[str] | None) -> tuple[str, ...]:
    """Codes of HL7's PurposeOfUse. Raises `UnknownPurpose` or `EmergencyPurpose`."""
    found = sorted(set(named or ("TREAT",)))
    for code in found:
        if code not in purposes.PARENTS:
            raise UnknownPurpose(f"{code!r} is not a purpose of use")
        if purposes.is_emergency(code):
            raise EmergencyPurpose(f"{code} is for emergencies, which no permission covers")
    return tuple(found)


def with_those_below(codes: Sequence[str]) -> str:
    """Purposes for people, each with what it includes."""
    said = []
    for code in codes:
        below = [one for one in purposes.PARENTS if one != code and purposes.covers(code, one)]
        said.append(f"{code} (and what lies below it: {', '.join(below)})" if below else code)
    return "; ".join(said)


def read_practitioners(pseudonyms: Sequence[str] | None) -> tuple[bytes, ...]:
    """Pseudonyms as institutions tell them, in hex. Raises `BadArgument`."""
    found = []
    for text in pseudonyms or ():
        try:
            one = bytes.fromhex(text)
        except ValueError:
            one = b""
        if len(one) != PSEUDONYM_BYTES:
            raise BadArgument(
                f"{text!r} is not a practitioner's pseudonym",
                advice=f"It is {2 * PSEUDONYM_BYTES} hex digits; the institution tells it, made for this chart.",
            )
        found.append(one)
    return tuple(sorted(set(found)))


def read_period(begin: str, until: str, now_ms: int) -> tuple[int, int]:
    """From and until, ms of ledger time. Raises `BadArgument` for what ends before it begins, or has ended."""
    begins, ends = parse_time(begin, now_ms), parse_time(until, now_ms)
    if ends <= begins:
        raise BadArgument("it would end before it begins", advice="Give a later --until.")
    if ends <= now_ms:
        raise BadArgument("it would have ended already", advice="Give a later --until.")
    return begins, ends


def read_end(until: str | None, until_age: int | None, born: str | None, now_ms: int) -> int:
    """When somebody's acting for another ends: a time, or the day on which the other comes of age (its first instant,
    UTC). Raises `BadArgument` or `BadAge`."""
    if (until is None) == (until_age is None) or (until_age is None) != (born is None):
        raise BadArgument("give --until, or --until-age with --born", advice="One of the two ways, not both.")
    if until is not None:
        return parse_time(until, now_ms)
    assert until_age is not None, "asked for above"
    assert born is not None, "asked for above"
    try:
        of_age = birthday(date.fromisoformat(born), until_age)
    except ValueError:
        raise BadAge(f"{born!r} is not a date of birth, or {until_age} no age") from None
    ends = int(datetime(of_age.year, of_age.month, of_age.day, tzinfo=UTC).timestamp() * 1_000)
    if ends <= now_ms:
        raise BadAge(f"whoever was born then is {until_age} already")
    return ends


def birthday(born: date, age: int) -> date:
    """The day on which somebody reaches an age; who was born on 29 February, on 1 March of a common year. Raises
    `ValueError` for an age that leads to no date."""
    if not 0 < age < 150:
        raise ValueError("no age of a person")
    try:
        return born.replace(year=born.year + age)
    except ValueError:
        return date(born.year + age, 3, 1)
