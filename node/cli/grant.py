"""`chartledger grant`, `grants` and `revoke`: the patient, or a delegate, decides who reads."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli.choose import (
    UNTIL_HELP,
    CategoryOption,
    ChartArgument,
    CustomOption,
    FromOption,
    PurposeOption,
    SensitivityOption,
    YearOption,
    find_grantees,
    known_labels,
    read_labels,
    read_period,
    read_practitioners,
    read_purposes,
    with_those_below,
)
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, say, table, warn, when
from node.cli.signing import submit_delegated, submit_owned
from node.keystore import find_passphrase
from node.wallet import Wallet, WalletChart, tags_through
from node.wallet import consent as making
from node.wallet.acting import delegated_grant
from node.wallet.consent import MODES, NotRenewed, Wish, bar_of
from node.wallet.preview import Line, preview
from protocol.codec.canonical import decode
from protocol.crypto.tags import GrantLabels
from protocol.ledger.events import RecordAppended
from protocol.types.operations import ACCESS_READ, ACCESS_WRITE, Grant, Policy, Revoke

DelegateOption = Annotated[bool, typer.Option("--as-delegate", help="Act for the owner, who named this wallet.")]


def grant(  # options
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    until: Annotated[str, typer.Option("--until", help=UNTIL_HELP)],
    to: Annotated[
        list[str] | None, typer.Option("--to", help="An institution that may read: its number or name; repeatable.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option("--group", help="A group of this wallet; repeatable.")] = None,
    category: CategoryOption = None,
    year: YearOption = None,
    sensitivity: SensitivityOption = None,
    custom: CustomOption = False,
    purpose: PurposeOption = None,
    practitioner: Annotated[
        list[str] | None,
        typer.Option("--practitioner", help="Only who has this pseudonym there; repeatable. Default: everybody there."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="They may add records, too.")] = False,
    begin: FromOption = "0m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Sign nothing; list what it would open, and what not and why.")
    ] = False,
    as_delegate: DelegateOption = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let institutions read some records of a chart, until a date."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    purposes, staff = read_purposes(purpose), read_practitioners(practitioner)
    if as_delegate and (dry_run or category or year or sensitivity):
        raise BadArgument(
            "a delegate's permission covers what the owner let it grant, no more and no less",
            advice="Leave --category, --year, --sensitivity and --dry-run out.",
        )
    with connect(socket) as session:
        labels = read_labels(category, year, sensitivity, None if custom else known_labels(session, opened))
        begins, ends = read_period(begin, until, session.ledger_now())
        access = ACCESS_READ | ACCESS_WRITE if write else ACCESS_READ
        wish = Wish(find_grantees(session, opened, to, group), labels, purposes, begins, ends, access, staff)
        names = session.institutions()
        if dry_run:
            lines = preview_with(session, opened, opened.chart(session.chain(), chart), wish)
            _show_preview(lines, names, as_json)
            return
        if as_delegate:
            document = submit_delegated(
                session, opened, chart, lambda mine, _: delegated_grant(chart, mine, wish), "grant"
            )
        else:
            document = _grant(session, opened, opened.chart(session.chain(), chart), wish)
    emit(document, as_json, lambda: _say_granted(document, wish, names, as_delegate))


def _say_granted(document: Document, wish: Wish, names: dict[int, str], as_delegate: bool) -> None:
    say(f"grant {document['grant']} stands since block {document['height']}")
    labels = wish.labels
    kinds = " or ".join(labels.categories) if labels.categories else "all"
    dated = f" of {' or '.join(labels.years)}" if labels.years else ""
    also = f", also those marked {' or '.join(labels.sensitivities)}" if labels.sensitivities else ""
    what = "what you may grant" if as_delegate else f"{kinds} records{dated}{also or ', none marked sensitive'}"
    who = ", ".join(names.get(one, str(one)) for one in wish.grantees)
    added = " and add" if wish.access & ACCESS_WRITE else ""
    say(f"{who} may read{added} {what}")
    if added:
        place = f"{document['chart']} {document['grant']}"
        say(f"to add, each of them needs a permit of yours: run `chartledger permit {place}` at its socket, or with")
        say("`-o FILE` and give it the file")
    if wish.practitioners:
        say(f"only {counted(len(wish.practitioners), 'person')} there, by pseudonym")
    say(f"for {with_those_below(wish.purposes)}, from {when(wish.not_before)} until {when(wish.not_after)} UTC")


def grant_with(
    session: Session,
    wallet: Wallet,
    chart: WalletChart,
    *,
    grantees: list[int],
    labels: GrantLabels,
    purposes: list[str],
    not_before: int,
    not_after: int,
) -> Document:
    """Sign a grant, submit it and wait until it is final; times in ms of ledger time."""
    return _grant(session, wallet, chart, Wish(tuple(grantees), labels, tuple(purposes), not_before, not_after))


def _grant(session: Session, wallet: Wallet, chart: WalletChart, wish: Wish) -> Document:
    def build(current: WalletChart, control: Document) -> Grant:
        return making.grant(wallet, current, control["generation"], wish)

    return submit_owned(session, wallet, chart, build)


def preview_with(session: Session, wallet: Wallet, chart: WalletChart, wish: Wish) -> list[Line]:
    """What a grant would open, record by record; nothing is signed or noted."""
    assert chart.number is not None, "a chart found by its number has one"
    control = session.control(chart.number)
    records: list[tuple[int, RecordAppended]] = []
    erased: set[int] = set()
    for event in session.events(chart.number):
        if event["kind"] == "record":
            records.append((event["number"], decode(RecordAppended, session.raw_of(event))))
        elif event["kind"] == "erased":
            erased.update(event["records"])
    generation = control["generation"]
    terms = wish.terms(tags_through(wallet.chart_secret(chart), generation, wish.labels))
    policy = Policy(MODES[control["policy"]["break_glass"]], tuple(bar_of(one) for one in control["policy"]["bars"]))
    return preview(terms, policy, records, erased, wallet.meanings(chart, generation))


def _show_preview(lines: list[Line], names: dict[int, str], as_json: bool) -> None:
    opens = sum(line.opens for line in lines)
    document = {
        "dry_run": True,
        "opens": [line.record for line in lines if line.opens],
        "records": [{name: getattr(line, name) for name in Line.__struct_fields__} for line in lines],
    }

    def why(line: Line) -> str:
        closed = [f"not for {names.get(one, one)}: you have forbidden it" for one in line.closed_for if line.opens]
        return "; ".join([*line.why, *closed])

    def render() -> None:
        rows = [
            [line.record, line.category or "unknown", line.year or "unknown", line.sensitivities, line.opens, why(line)]
            for line in lines
        ]
        table(["record", "kind", "year", "sensitive", "opens", "why not"], rows, "no records")
        say(f"nothing was signed; this would open {opens} of {counted(len(lines), 'record')}")

    emit(document, as_json, render)


def grants(
    chart: ChartArgument,
    every: Annotated[bool, typer.Option("--all", help="Those that ended, too.")] = False,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """The grants of a chart, and how each stands."""
    with connect(socket) as session:
        names = session.institutions()
        found = [one for one in session.control(chart)["grants"] if every or one["state"] in making.IN_FORCE]
    columns = ["grant", "state", "to", "may", "purposes", "from", "until", "revoked at height"]
    rows = (
        [
            one["grant"],
            one["state"],
            ", ".join(names.get(number, str(number)) for number in one["grantees"]),
            " and ".join(one["access"]) + ("" if one["practitioners"] is None else ", certain people"),
            one["purposes"],
            when(one["not_before"]),
            when(one["not_after"]),
            one["revoked_at"],
        ]
        for one in found
    )
    emit(found, as_json, lambda: table(columns, rows, "no grants"))


def revoke(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="GRANT", help="The grant's number.", min=0)],
    *,
    wallet: WalletOption,
    as_delegate: DelegateOption = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a grant. Nothing more is handed out under it; what was read before was read."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        if as_delegate:
            document = submit_delegated(session, opened, chart, lambda _mine, _control: Revoke(chart, number), "revoke")
            document |= {"not_reissued": [], "delegates_not_renewed": [], "bars_not_renewed": False}
        else:
            document = revoke_with(session, opened, opened.chart(session.chain(), chart), number)
        document["read_before"] = read_under(session, chart, number)
    document["records_disclosed_before"] = sum(len(one["records"]) for one in document["read_before"])
    emit(document, as_json, lambda: _say_revoked(document, number))


def _say_revoked(document: Document, number: int) -> None:
    if document["event"] is None:
        say(f"grant {number} was revoked before; nothing changed")
    else:
        say(f"grant {number} is revoked since block {document['height']}: from there on nothing is handed out under it")
    for one in document["read_before"]:
        staff = f", {counted(len(one['practitioners']), 'person')}" if one["practitioners"] else ""
        say(
            f"before that, {one['name']} asked for {counted(len(one['records']), 'record')} and was let "
            f"({when(one['first_ms'])} to {when(one['last_ms'])} UTC{staff}): what was read stays read"
        )
    if not document["read_before"]:
        say("nobody was let read anything under it")
    for other in document["not_reissued"]:
        warn(f"grant {other} names labels that this wallet does not know: it covers no record written from now on")
    for other in document["delegates_not_renewed"]:
        warn(f"the bounds of delegate {other} could not be renewed: they cover no record written from now on")
    if document["bars_not_renewed"]:
        warn("what you have forbidden could not be renewed, so it closes every record written from now on to those "
             "it is about: set it anew with `chartledger policy`")  # fmt: skip


def read_under(session: Session, chart: int, grant_number: int) -> list[dict[str, Any]]:
    """By institution, what was disclosed under a grant: records (each once), when first and last, and to whom there."""
    names = session.institutions()
    found: dict[int, dict[str, Any]] = {}
    for event in session.events(chart, "disclosures"):
        if event.get("grant") != grant_number or event.get("outcome") != "disclosed":
            continue
        institution = event["institution"]
        one = found.setdefault(
            institution,
            {
                "institution": institution,
                "name": names.get(institution, f"institution {institution}"),
                "records": set(),
                "practitioners": set(),
                "first_ms": event["time_ms"],
            },
        )
        one["last_ms"] = event["time_ms"]
        one["records"] |= set(event["records"])
        one["practitioners"] |= {event["practitioner"]} if event.get("practitioner") else set()
    return [
        one | {"records": sorted(one["records"]), "practitioners": sorted(one["practitioners"])}
        for one in found.values()
    ]


def revoke_with(session: Session, wallet: Wallet, chart: WalletChart, number: int) -> Document:
    """Sign a revocation with fresh tags for all that goes on, submit it and wait until it is final."""
    left = NotRenewed([], [], bars=False)

    def build(current: WalletChart, control: Document) -> Revoke:
        nonlocal left
        operation, left = making.revocation(wallet, current, control, number)
        return operation

    document = submit_owned(session, wallet, chart, build, whole=True)
    return document | {
        "not_reissued": left.grants,
        "delegates_not_renewed": left.delegates,
        "bars_not_renewed": left.bars,
    }
