"""`chartledger recovery`: a lost wallet's chart moves to a new one, by its guardians, after a waiting time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.choose import ChartArgument
from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, facts, say, when
from node.cli.signing import submit_owned, submit_request, submit_unsigned
from node.keystore import find_passphrase, write_private
from node.records.errors import NotCustodian
from node.wallet import Wallet, WalletChart
from node.wallet import recovery as making
from node.wallet.consent import IN_FORCE
from node.wallet.recovery import RecoveryRequest, read_request, waiting
from node.wallet.secret import open_secret
from protocol.chart_errors import TooEarly, WrongChange
from protocol.errors import ChartledgerError
from protocol.types.operations import BeginRecovery, CancelRecovery, CompleteRecovery

app = typer.Typer(no_args_is_help=True)
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the request.")]
RequestArgument = Annotated[Path, typer.Argument(help="The request that was passed on.")]
OptionalWallet = Annotated[
    Path | None, typer.Option("--wallet", envvar="CHARTLEDGER_WALLET", help="The wallet that is to own the chart.")
]


@app.command()
def begin(
    chart: ChartArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the request for the guardians.")],
    *,
    wallet: WalletOption,
    overrule: Annotated[
        bool,
        typer.Option("--overrule", help="The old key is stolen: the custodian carries it, and it cannot be vetoed."),
    ] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the guardians to move a chart to this (new) wallet. Writes a file that each of them signs."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        control = session.control(chart)
        own, request = making.begin(opened, session.chain(), control, overrule=overrule)
    write_private(output, request.file())
    key = opened.owner_keys(own).owner_key.hex()
    document = {"chart": chart, "file": str(output), "owner_key": key, "threshold": control["guardians"]["threshold"]}

    def render() -> None:
        say(f"request written to {output}")
        say(f"{document['threshold']} guardians must sign it, one after another: `chartledger recovery sign {output}`")
        say(f"tell each of them, so that they can compare, how the new key begins: {key[:16]}")

    emit(document, as_json, render)


@app.command()
def sign(
    file: RequestArgument,
    *,
    wallet: WalletOption,
    output: OutputOption = None,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """As a guardian: add your signature to a request. First ask the patient, by voice, whether it is theirs."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        request = read_request(file.read_bytes(), session.chain())
        control = session.control(request.chart)
        signed = making.sign_request(opened, session.chain(), control, request, session.ledger_now())
    write_private(output or file, signed.file())
    document = _described(signed, control) | {"file": str(output or file)}

    def render() -> None:
        _say_request(document)
        say(f"signed; {document['signatures']} of {document['threshold']} needed are there")

    emit(document, as_json, render)


@app.command()
def submit(
    files: Annotated[list[Path], typer.Argument(help="The request, or copies that guardians signed apart.")],
    *,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Submit a request that enough guardians signed. The waiting time begins then."""
    with connect(socket) as session:
        requests = [read_request(file.read_bytes(), session.chain()) for file in files]
        control = session.control(requests[0].chart)
        stands = making.stands(requests[0], control)
        request = requests[0] if stands else making.merged(requests, control, session.ledger_now())
        document = _described(request, control) | {"chart": request.chart, "height": None}
        if not stands:
            document |= submit_request(session, request)
        pending = session.control(request.chart)["pending"]
        document["pending"] = pending
        document["key_handed_in"] = _hand_in_from(session, request, control)

    def render() -> None:
        say("it stands already" if document["height"] is None else f"stands since block {document['height']}")
        if pending is not None:
            say(f"chart {request.chart} moves to its new owner key at {when(pending['ready_at'])} UTC")
            _say_handed_in(document["key_handed_in"], control)

    emit(document, as_json, render)


@app.command()
def cancel(
    chart: ChartArgument,
    *,
    wallet: Annotated[
        Path | None, typer.Option("--wallet", envvar="CHARTLEDGER_WALLET", help="The owner's wallet.")
    ] = None,
    by_guardians: Annotated[
        bool, typer.Option("--by-guardians", help="Write a request that the guardians sign, instead.")
    ] = False,
    output: OutputOption = None,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the change that waits: as the chart's owner, or by its guardians."""
    with connect(socket) as session:
        if by_guardians:
            if output is None:
                raise BadArgument("--by-guardians writes a request", advice="Say where with --output.")
            request = making.cancellation(session.chain(), session.control(chart))
            write_private(output, request.file())
            emit({"chart": chart, "file": str(output)}, as_json, lambda: say(f"request written to {output}"))
            return
        if wallet is None:
            raise BadArgument("nobody is to cancel it", advice="Name the owner's --wallet, or give --by-guardians.")
        opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))

        def build(_current: WalletChart, control: Document) -> CancelRecovery:
            return CancelRecovery(chart, waiting(control)["change"])

        document = submit_owned(session, opened, opened.chart(session.chain(), chart), build)
    emit(document, as_json, lambda: say(f"cancelled, as of block {document['height']}; nothing changes"))


@app.command()
def complete(
    chart: ChartArgument,
    *,
    wallet: OptionalWallet = None,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish a change whose waiting time is over; with the new wallet, at the custodian's socket, take the chart over.

    The custodian's node completes changes by itself; this hands it the new envelope key and fetches the chart's secret.
    """
    opened = None if wallet is None else Wallet.open(wallet, find_passphrase(None, passphrase_file))
    with connect(socket) as session:
        document = complete_with(session, chart)
        document["taken_over"] = None if opened is None else take_over(session, opened, chart)
        control = session.control(chart)
        document["grants_in_force"] = [one["grant"] for one in control["grants"] if one["state"] in IN_FORCE]

    def render() -> None:
        done = "the change is complete at" if document["completed"] else "nothing waits at"
        say(f"{done} chart {chart}; its owner's key begins with {control['owner_key'][:16]}")
        if document["taken_over"] is not None:
            _say_handed_in(document["taken_over"], control)
        if document["grants_in_force"]:
            say(
                f"{counted(len(document['grants_in_force']), 'grant')} in force, whoever made them: "
                f"look through them with `chartledger grants {chart}`"
            )

    emit(document, as_json, render)


@app.command()
def status(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """What waits at a chart, until when, and what can be done about it."""
    with connect(socket) as session:
        control, now = session.control(chart), session.ledger_now()
    pending = control["pending"]
    document = {name: control[name] for name in ("chart", "owner_key", "guardians", "next_change", "pending", "frozen")}

    def render() -> None:
        if pending is None:
            say("nothing waits")
            return
        kind = {"rotation": "new owner keys", "guardians": "other guardians", "recovery": "a new owner, by guardians"}
        facts(
            [
                ("change", pending["change"]),
                ("what", kind[pending["kind"]]),
                ("waits until", f"{when(pending['ready_at'])} UTC"),
                ("new owner key", pending["owner_key"]),
            ]
        )
        if pending["overrule"]:
            say("the custodian and the guardians say that the owner's key is stolen: only guardians can cancel it")
        if pending["ready_at"] <= now:
            say("it is due: the custodian's node completes it, or `chartledger recovery complete` does")
        elif pending["kind"] == "recovery" and not pending["overrule"]:
            say("if this is not your doing, stop it with `chartledger recovery cancel`")

    emit(document, as_json, render)


def complete_with(session: Session, chart: int) -> Document:
    """Complete what waits, if it is due; if nothing waits, all is done. Raises `TooEarly`."""
    pending = session.control(chart)["pending"]
    if pending is None:
        return {"chart": chart, "completed": False}
    if pending["ready_at"] > session.ledger_now():
        raise TooEarly(f"the change waits until {when(pending['ready_at'])} UTC", advice="Come back then.")
    try:
        document = submit_unsigned(session, chart, CompleteRecovery(chart, pending["change"]))
    except WrongChange:  # the custodian's node was faster
        if session.control(chart)["pending"] is not None:
            raise
        return {"chart": chart, "completed": False}
    return document | {"completed": True}


def take_over(session: Session, wallet: Wallet, number: int) -> bool:
    """Hand the custodian the key that the ledger names as the owner's, and fetch the chart's secret if this wallet
    cannot derive it; whether that was possible here. At another institution that wrote to the chart, hand it the key,
    so that what it wrote opens. Raises `NotTheOwner`."""
    chart = wallet.chart(session.chain(), number)
    control = session.control(number)
    chart = wallet.catch_up(chart, bytes.fromhex(control["owner_key"]))
    suite = session.chart(number)["encryption_suite"]
    if session.institution() != control["custodian"]:
        try:
            hand_in(session, wallet, chart, suite)
        except ChartledgerError as error:
            if error.code != NotCustodian.code:  # it may not have written anything to it, either
                raise
        return False
    hand_in(session, wallet, chart, suite)
    if chart.recovered and chart.secret is None:
        wallet.keep_secret(chart, open_secret(wallet, chart, session.secret_envelope(number), suite))
    return True


def hand_in(session: Session, wallet: Wallet, chart: WalletChart, suite: int, version: int | None = None) -> None:
    """Hand the custodian the public envelope key, of this suite, of one version of the owner's keys."""
    assert chart.number is not None, "a chart found by its number has one"
    session.hand_in_owner_key(chart.number, suite, wallet.encryption_public(chart, version, suite))


def _hand_in_from(session: Session, request: RecoveryRequest, control: Document) -> bool | None:
    operation = request.operation.operation
    if not isinstance(operation, BeginRecovery) or request.encryption_public is None:
        return None
    if session.institution() != control["custodian"]:
        return False
    public = bytes.fromhex(request.encryption_public)
    session.hand_in_owner_key(request.chart, operation.keys.encryption_suite, public)
    return True


def _say_handed_in(done: bool | None, control: Document) -> None:
    if done is False:
        say(
            f"at the socket of institution {control['custodian']}, which keeps the chart, run once more: "
            f"`chartledger recovery complete {control['chart']} --wallet FILE`"
        )
    elif done:
        say("the institution that keeps the chart has the new key")


def _described(request: RecoveryRequest, control: Document) -> dict[str, Any]:
    signed = request.operation
    operation = signed.operation
    begins = isinstance(operation, BeginRecovery)
    return {
        "chart": request.chart,
        "asks": "recovery" if begins else "cancellation",
        "owner_key": operation.keys.owner_key.hex() if isinstance(operation, BeginRecovery) else None,
        "overrule": isinstance(operation, BeginRecovery) and operation.overrule,
        "signatures": len(signed.cosignatures),
        "threshold": control["guardians"]["threshold"],
    }


def _say_request(document: Document) -> None:
    if document["asks"] == "cancellation":
        say(f"this cancels what waits at chart {document['chart']}")
        return
    say(f"this moves chart {document['chart']} to an owner key that begins with {document['owner_key'][:16]}")
    if document["overrule"]:
        say("and says that the present owner's key is stolen, so that its veto does not count")
