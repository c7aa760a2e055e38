"""`chartledger record erase`, `erasures`, `dispute` and `show`, and `chartledger hold`."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from node.cli.client import Document, Session, connect
from node.cli.exits import BadArgument
from node.cli.options import SOCKET, JsonOption, PassphraseOption, SocketOption, WalletOption
from node.cli.output import counted, emit, numbers, prose, say, table, when
from node.cli.signing import submit_owned
from node.keystore import find_passphrase, write_private
from node.records.seal import read_owner_plain
from node.wallet import Wallet, WalletChart
from protocol.codec.canonical import decode
from protocol.crypto.commitments import SALT_BYTES, commit
from protocol.crypto.details import Details, DetailsOpening, commit_details
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, open_envelope
from protocol.crypto.fields import json_fields
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import ChartledgerError, CommitmentMismatch
from protocol.types.operations import AppendRecords, Erase, SignedOperation

hold = typer.Typer(no_args_is_help=True)
ChartArgument = Annotated[int, typer.Argument(help="The chart's number.", min=0)]
RecordArgument = Annotated[int, typer.Argument(help="The record's event number.", min=0)]

WHAT_IT_MEANS = (
    "Erasing means: every institution that stores the record deletes its copy and its key, makes the key under which "
    "its keys lie anew, and says so on the ledger. It does not mean: copies that somebody read before are not "
    "recalled; that there was a record, when, and who asked for it stays on the ledger; and whoever keeps a copy "
    "outside this system is not bound by it."
)


class NotConfirmed(ChartledgerError):
    """The erasure was not confirmed, and nothing was done."""

    advice = "Give --yes to answer beforehand."


class NoteChanged(ChartledgerError):
    """The custodian wants something else signed than the note that was handed to it."""

    advice = "Sign nothing, and ask the custodian's operators."


def erase(
    chart: ChartArgument,
    records: Annotated[list[int], typer.Argument(help="The records' event numbers.", min=0)],
    *,
    wallet: WalletOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have records deleted everywhere, as their owner, at their custodian's node. It cannot be taken back."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    wanted = sorted(set(records))
    if not yes:
        prose(WHAT_IT_MEANS)
        if not typer.confirm(f"Erase {counted(len(wanted), 'record')} of chart {chart}, for good?", err=True):
            raise NotConfirmed
    with connect(socket) as session:
        document = erase_with(session, opened, opened.chart(session.chain(), chart), wanted)
        names = session.institutions()

    def render() -> None:
        say(f"ordered in block {document['height']}: erasure {document['event']} of {counted(len(wanted), 'record')}")
        owed = ", ".join(names.get(number, str(number)) for number in document["owed"])
        say(f"receipts are owed by {owed}; `chartledger record erasures {chart}` shows who has answered")
        if yes:
            prose(WHAT_IT_MEANS)

    emit(document, as_json, render)


def erase_with(session: Session, wallet: Wallet, chart: WalletChart, records: list[int]) -> Document:
    """Sign an erasure, submit it at the custodian's node, and wait until it is final."""
    place = f"/v1/charts/{chart.number}/erasure-holders"
    holders = session.client.get(place, records=",".join(map(str, records)))["holders"]

    def build(current: WalletChart, control: Document) -> Erase:
        assert current.number is not None, "a chart found by its number has one"
        return Erase(current.number, tuple(records), tuple(holders))

    done = submit_owned(session, wallet, chart, build)
    owed = sorted({*holders, session.chart(done["chart"])["custodian"]})
    return done | {"records": records, "owed": owed}


def erasures(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """What was ordered erased, and which institutions have said that they did."""
    with connect(socket) as session:
        found = session.client.get(f"/v1/charts/{chart}/erasures")
    columns = ["erasure", "ordered (UTC)", "records", "institution", "receipt", "block"]
    rows = [
        [one["erasure"], when(one["time_ms"]), numbers(one["records"]), owed["name"], owed["state"],
         owed["height"]]
        for one in found for owed in one["receipts"]
    ]  # fmt: skip

    def render() -> None:
        table(columns, rows, "nothing was ordered erased")
        if any(row[4] == "gone" for row in rows):
            say("gone: removed from the consortium before it answered; nobody can say whether it deleted its copy")

    emit(found, as_json, render)


def show(
    chart: ChartArgument, record: RecordArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False
) -> None:
    """How a record stands: whether it was amended, disputed or erased."""
    with connect(socket) as session:
        found = standing_of(session, chart, record)

    def render() -> None:
        for sentence in found["sentences"] or [f"record {record} is neither amended, disputed nor erased"]:
            say(sentence)

    emit(found, as_json, render)


def standing_of(session: Session, chart: int, record: int) -> Document:
    """How a record stands, with the sentences that its reader must be told."""
    return session.client.get(f"/v1/charts/{chart}/records/{record}/standing")


def dispute(
    chart: ChartArgument,
    record: RecordArgument,
    file: Annotated[Path, typer.Argument(metavar="NOTE", help="What you say to it: a text file.")],
    *,
    wallet: WalletOption,
    media_type: Annotated[str, typer.Option("--media-type", help="How the note is to be read.")] = "text/plain",
    socket: SocketOption = SOCKET,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a note beside a record that you dispute, as its owner, at its custodian's node. The record stays."""
    opened = Wallet.open(wallet, find_passphrase(None, passphrase_file))
    note = file.read_bytes()
    if not note:
        raise BadArgument("the note is empty")
    with connect(socket) as session:
        done = dispute_with(session, opened, opened.chart(session.chain(), chart), record, note, media_type)
    emit(done, as_json, lambda: say(f"record {done['records'][0]} stands beside record {record}, as your word on it"))


def dispute_with(
    session: Session, wallet: Wallet, chart: WalletChart, record: int, note: bytes, media_type: str
) -> Document:
    """Have a note sealed, see that it is this one, sign it, and wait until it is final. Raises `NoteChanged`."""
    assert chart.number is not None, "a chart found by its number has one"
    control = session.control(chart.number)
    current = wallet.catch_up(chart, bytes.fromhex(control["owner_key"]))
    place = f"/v1/charts/{chart.number}/notes"
    body = {"disputes": record, "media_type": media_type, "data": base64.b64encode(note).decode()}
    draft = session.client.post(place, body)
    operation = decode(AppendRecords, base64.b64decode(draft["operation"]))
    suite = session.chart(chart.number)["encryption_suite"]
    envelope = base64.b64decode(draft["owner_envelope"])
    _check_note(wallet, current, operation, suite, envelope, record=record, note=note)
    raw = wallet.sign(current, operation, session.ledger_now(), control["owner_number"])
    signed = decode(SignedOperation, raw).cosignatures[0]
    cosignature = {"number": signed.number, "expires_at": signed.expires_at, "signature": signed.signature.hex()}
    return session.submit_json(f"{place}/{draft['draft']}", {"cosignature": cosignature})


def _check_note(
    wallet: Wallet,
    chart: WalletChart,
    operation: AppendRecords,
    suite: int,
    envelope: bytes,
    *,
    record: int,
    note: bytes,
) -> None:
    """A patient signs its own words and nothing else."""
    entries = operation.entries
    if operation.chart != chart.number or len(entries) != 1 or entries[0].disputes != record or entries[0].supersedes:
        raise NoteChanged
    private, public = keypair_from_seed(suite, wallet.keys(chart).encryption_seed)
    entry = entries[0]
    info = envelope_info(chart.chain, operation.chart, entry.commitment, encryption_key_digest(suite, public))
    try:
        secret = read_owner_plain(open_envelope(suite, private, info, envelope))
        if commit(note, json_fields(note), secret.opening) != entry.commitment:
            raise CommitmentMismatch("the entry is of other bytes than the note")
    except ChartledgerError:
        raise NoteChanged from None


# --- holds --------------------------------------------------------------------------------------------------------


@hold.command()
def place(
    chart: ChartArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The order behind it, in words.")],
    keep: Annotated[Path, typer.Option("--keep", help="A new file for what opens the ledger's digest of the reason.")],
    reference: Annotated[str, typer.Option("--reference", help="The order's own number.")] = "",
    record: Annotated[
        list[int] | None,
        typer.Option("--record", help="A record to keep; repeatable. Default: the whole chart.", min=0),
    ] = None,
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Place a legal hold, at the custodian's node: what it keeps cannot be erased. Everybody sees that it stands, and
    a digest of its reason; the reason itself stays with you."""
    if keep.exists():
        raise BadArgument(f"{keep} exists already", advice="Choose another file.")
    opening = DetailsOpening(os.urandom(SALT_BYTES), Details(reason=reason, reference=reference))
    basis = commit_details(opening).hex()
    opened = {"basis": basis, "salt": opening.salt.hex(), "reason": reason, "reference": reference}
    write_private(keep, msgspec.json.format(msgspec.json.encode(opened), indent=2) + b"\n")
    body: dict[str, Any] = {"basis": basis} | ({} if not record else {"records": sorted(set(record))})
    with connect(socket) as session:
        done = session.submit_json(f"/v1/charts/{chart}/holds", body)
    kept = counted(len(set(record)), "record") if record else "the whole chart"

    def render() -> None:
        say(f"hold {done['hold']} keeps {kept}, since block {done['height']}")
        say(f"{keep} shows its reason: keep it")

    emit(done, as_json, render)


@hold.command()
def release(
    chart: ChartArgument,
    number: Annotated[int, typer.Argument(metavar="HOLD", help="As `chartledger hold list` shows it.", min=0)],
    socket: SocketOption = SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Release a legal hold, at the custodian's node."""
    with connect(socket) as session:
        done = session.submit_json(f"/v1/charts/{chart}/holds/{number}/release", None)
    emit(done, as_json, lambda: say(f"hold {number} is released since block {done['height']}"))


@hold.command("list")
def list_holds(chart: ChartArgument, socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """The legal holds in force on a chart."""
    with connect(socket) as session:
        found = session.client.get(f"/v1/charts/{chart}/holds")
        names = session.institutions()
    columns = ["hold", "since (UTC)", "institution", "keeps", "digest of its reason"]
    rows = [
        [
            one["hold"],
            when(one["time_ms"]),
            names.get(one["institution"], one["institution"]),
            "all" if one["records"] is None else ", ".join(map(str, one["records"])),
            one["basis"][:16],
        ]
        for one in found
    ]
    emit(found, as_json, lambda: table(columns, rows, "no holds"))
