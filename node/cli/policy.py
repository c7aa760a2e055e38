"""`chartledger policy`: what the patient forbids whatever any permission says, and whether emergencies may read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli.choose import (
    CategoryOption,
    ChartArgument,
    CustomOption,
    YearOption,
    find_institution,
    known_labels,
    read_labels,
)
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import emit, say, table, warn
from node.cli.signing import submit_owned
from node.keystore import find_passphrase
from node.records.sensitivity_codes import UNEXAMINED
from node.wallet import Wallet, WalletChart
from node.wallet import consent as making
from node.wallet.tagging import Forbidden
from protocol.errors import ChartledgerError
from protocol.types.operations import SetPolicy

app = typer.Typer(no_args_is_help=True)
ALL = "everybody"
WhoArgument = Annotated[
    str, typer.Argument(metavar="INSTITUTION", help=f'The institution\'s number or name, or "{ALL}".')
]
BarredSensitivity = Annotated[
    list[str] | None,
    typer.Option("--sensitivity", help="Only what is marked so, e.g. MH; repeatable. Default: whatever its marks."),
]
MODES = {
    "allowed": "whoever treats you in an emergency may read, and must answer for it",
    "two-institutions": "in an emergency a second institution must vouch for it first",
    "forbidden": "nobody may read without permission, not even in an emergency",
}


class NotForbidden(ChartledgerError):
    """Nothing of the kind is forbidden."""

    advice = "`chartledger policy show` lists what is."


@app.command()
def show(
    chart: ChartArgument,
    wallet: WalletOption,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is forbidden, and what holds in an emergency."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        control, names = session.control(chart), session.institutions()
        rules = making.forbidden_by(opened, opened.chart(session.chain(), chart), control)
    _show(control["policy"]["break_glass"], rules, names, as_json, {"chart": chart})


@app.command("set")
def set_policy(
    chart: ChartArgument,
    *,
    wallet: WalletOption,
    break_glass: Annotated[
        str | None, typer.Option("--break-glass", help="In an emergency: allowed, two-institutions or forbidden.")
    ] = None,
    clear: Annotated[bool, typer.Option("--forbid-nothing", help="Take back all that was forbidden.")] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what holds in an emergency, when nobody can be asked."""
    if break_glass is not None and break_glass not in MODES:
        raise BadArgument(f"{break_glass!r} is no rule for emergencies", advice=f"There are: {', '.join(MODES)}.")
    if break_glass is None and not clear:
        raise BadArgument("nothing is to be set", advice="Give --break-glass, or --forbid-nothing.")
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))

    def change(mode: str, rules: set[Forbidden]) -> tuple[str, set[Forbidden]]:
        return break_glass or mode, set() if clear else rules

    _change(chart, opened, socket, as_json, change, forget=clear)


@app.command()
def bar(
    chart: ChartArgument,
    institution: WhoArgument,
    *,
    wallet: WalletOption,
    category: CategoryOption = None,
    year: YearOption = None,
    sensitivity: BarredSensitivity = None,
    custom: CustomOption = False,
    emergencies: Annotated[bool, typer.Option("--emergencies", help="In an emergency, too.")] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forbid an institution to read some records, or any. It comes before every permission."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    rule = _rule(socket, institution, (category, year, sensitivity), emergencies, None if custom else opened)
    if rule.sensitivities and UNEXAMINED not in rule.sensitivities:
        warn(
            f"documents that nobody looked into are not among them: add --sensitivity {UNEXAMINED} to forbid these, too"
        )
    _change(chart, opened, socket, as_json, lambda mode, rules: (mode, rules | {rule}))


@app.command()
def unbar(
    chart: ChartArgument,
    institution: WhoArgument,
    *,
    wallet: WalletOption,
    category: CategoryOption = None,
    year: YearOption = None,
    sensitivity: BarredSensitivity = None,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what was forbidden to an institution: all of it, or exactly these records."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    rule = _rule(socket, institution, (category, year, sensitivity), emergencies=False, wallet=None)
    named = (rule.categories, rule.years, rule.sensitivities)

    def change(mode: str, rules: set[Forbidden]) -> tuple[str, set[Forbidden]]:
        gone = {
            one
            for one in rules
            if one.institution == rule.institution
            and named in ((None, None, None), (one.categories, one.years, one.sensitivities))
        }
        if not gone:
            raise NotForbidden(f"nothing of the kind is forbidden to {institution}")
        return mode, rules - gone

    _change(chart, opened, socket, as_json, change)


def _rule(
    socket: Any, institution: str, labels: tuple[Any, Any, Any], emergencies: bool, wallet: Wallet | None
) -> Forbidden:
    """The rule that was named; its labels are held against what is known if there is a wallet to ask."""
    with connect(socket) as session:
        named = read_labels(*labels, None if wallet is None else known_labels(session, wallet))
        number = None if institution == ALL else find_institution(session, institution)
    return Forbidden(number, named.categories, named.years, named.sensitivities or None, emergencies)


def _change(chart: int, wallet: Wallet, socket: Any, as_json: bool, change: Any, *, forget: bool = False) -> None:
    with connect(socket) as session:
        document, mode, rules = change_with(session, wallet, wallet.chart(session.chain(), chart), change, forget)
        names = session.institutions()
    _show(mode, rules, names, as_json, document)


def change_with(
    session: Session, wallet: Wallet, chart: WalletChart, change: Any, forget: bool = False
) -> tuple[Document, str, list[Forbidden]]:
    """Have the owner set the policy that `change(mode, what is forbidden)` gives back, over how it stands; `forget`:
    what is forbidden by labels that the wallet does not know goes, too."""
    mode, rules = "", set[Forbidden]()

    def build(current: WalletChart, control: Document) -> SetPolicy:
        nonlocal mode, rules
        before = set() if forget else set(making.forbidden_by(wallet, current, control))
        mode, rules = change(control["policy"]["break_glass"], before)
        return making.policy(wallet, current, control, mode, rules)

    document = submit_owned(session, wallet, chart, build, whole=True)
    return document, mode, sorted(rules, key=repr)


def _show(mode: str, rules: list[Forbidden], names: dict[int, str], as_json: bool, document: Document) -> None:
    document = document | {
        "break_glass": mode,
        "forbidden": [{name: getattr(rule, name) for name in Forbidden.__struct_fields__} for rule in rules],
    }

    def render() -> None:
        say(f"emergencies: {mode}: {MODES[mode]}")
        rows = [
            [
                ALL if rule.institution is None else names.get(rule.institution, str(rule.institution)),
                rule.categories or "any",
                rule.years or "any",
                rule.sensitivities or "any",
                rule.emergencies,
            ]
            for rule in rules
        ]
        columns = ["forbidden to", "kinds", "years", "sensitive", "in emergencies, too"]
        table(columns, rows, "nothing is forbidden beyond what no permission covers")

    emit(document, as_json, render)
