"""Reading with keys of one's own through whichever node answers: as a chart's owner, or as a delegate.

The node hands on what others gave, sealed to the reader; here it is opened and checked against the ledger
(`node.parts_reading`). What the writer gave is tried first, and if that is not the record, what the holders give.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from node.cli.client import Document, Session
from node.owner_reading import OwnRecord, reader_keys
from node.parts_reading import Fetch, NothingOpens, ReaderKey, ReadRecord, WhichRecord, read_parts
from node.records.owner_messages import EVENTS_PER_REQUEST
from node.records.parts import Part
from node.wallet import Wallet, WalletChart
from node.wallet.reading import reading_pass
from protocol.codec.canonical import encode
from protocol.errors import ChartledgerError

LIES_ELSEWHERE = frozenset(
    ("blob-corrupt", "blob-missing", "not-custodian", "nothing-opens", "owner-key-missing", "record-unknown-here")
)
"""What a node says that has not got the record, or not for the owner's present key."""

Ask = Callable[[bool], Document]
"""(from the holders alone) -> the document with parts."""


def read_handed_on(keys: Sequence[ReaderKey], which: WhichRecord, ask: Ask, fetch: Fetch) -> ReadRecord:
    """A record from what a node hands on. Raises `NothingOpens`, and what the node says."""
    try:
        return read_parts(keys, which, _parts(ask(False)), fetch)
    except NothingOpens:
        return read_parts(keys, which, _parts(ask(True)), fetch)


def read_as_owner(session: Session, wallet: Wallet, chart: int, record: int) -> OwnRecord:
    """A record opened with the wallet, and checked against the ledger: from this node if it stores it, else through it
    from whoever does. Raises `NotTheOwner`, `NothingOpens`, and what the node says."""
    ledger = session.chart(chart)
    chain = session.chain()
    mine = wallet.catch_up(wallet.chart(chain, chart), bytes.fromhex(ledger["owner_key"]))
    versions = [wallet.keys(mine, version) for version in range(mine.version, -1, -1)]
    keys = reader_keys(versions, ledger["encryption_suite"])
    which = WhichRecord.of_event(chain, chart, session.event(chart, record))
    place = f"/v1/charts/{chart}/records/{record}"
    try:
        return _own(_from_here(session, keys, which, place))
    except ChartledgerError as error:
        if error.code not in LIES_ELSEWHERE:
            raise
    shown = owners_pass(session, wallet, mine, ledger)

    def ask(holders: bool) -> Document:
        return session.draw(f"{place}/owner-parts", shown, holders=str(holders).lower())

    def fetch(source: int) -> bytes:
        return session.client.draw(f"{place}/owner-sealed", shown, source=source)

    return _own(read_handed_on(keys, which, ask, fetch))


def said_elsewhere(
    session: Session, wallet: Wallet, mine: WalletChart, ledger: Document, events: Sequence[int]
) -> dict[int, list[bytes]]:
    """What was said to the owner about these events, sealed, by event number: through this node from who said it, and
    from the chart's custodian. Raises what the node says."""
    found: dict[int, list[bytes]] = {}
    for first in range(0, len(events), EVENTS_PER_REQUEST):
        document = owners_pass(session, wallet, mine, ledger) | {"events": events[first : first + EVENTS_PER_REQUEST]}
        answer = session.draw(f"/v1/charts/{ledger['chart']}/owner-details", document)
        for one in answer["details"]:
            found.setdefault(one["event"], []).append(b64decode(one["sealed"]))
    return found


def owners_pass(session: Session, wallet: Wallet, mine: WalletChart, ledger: Document) -> Document:
    """The body of an owner's request: a fresh reading pass for this node's institution."""
    status = session.status()
    shown = reading_pass(
        wallet, mine, ledger["encryption_suite"], session.institution(), status["height"], session.ledger_now()
    )
    return {"reading_pass": b64encode(encode(shown)).decode()}


def _from_here(session: Session, keys: Sequence[ReaderKey], which: WhichRecord, place: str) -> ReadRecord:
    """What lies at this very node takes no pass, and no chain that goes on."""
    here = session.institution()
    envelope = session.client.read(f"{place}/owner-envelope")
    sealed = session.client.read(f"{place}/sealed")
    return read_parts(keys, which, [Part(here, "owner", envelope, b"", len(sealed))], lambda _: sealed)


def _parts(document: Document) -> list[Part]:
    return [
        Part(
            one["institution"],
            one["kind"],
            b64decode(one["envelope"]),
            b64decode(one["details"]),
            one["blob_bytes"],
        )
        for one in document["parts"]
    ]


def _own(found: ReadRecord) -> OwnRecord:
    return OwnRecord(found.data, found.media_type, found.opening)
