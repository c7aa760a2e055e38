"""What commands and the demo ask of a node, in words of the ledger rather than of HTTP.

Relies on `node.client` for the socket; nothing here knows how a request travels.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from node.cli.output import tell
from node.client import Client, Source
from protocol.errors import ChartledgerError, UnknownChart, UnknownRecord

Document = Any
"""A JSON document; docs/integrators.md says what there is."""
PAGE = 1_000
HINT_SECONDS = 3.0
CLOCKS_APART_MS = 60 * 60 * 1_000
"""A node that says that the ledger is further ahead than this is not believed: it would have what is signed now count
at a time of its choice, years ahead."""


class ClocksApart(ChartledgerError):
    """The node's time and this machine's are too far apart to sign anything by."""

    advice = "Set this machine's clock. If it is right, trust no time of this node: ask another institution's."


def own_clock_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


class Session:
    """A node, asked through its socket. Problems come as the named error that the node gives."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._status: Document | None = None

    def status(self) -> Document:
        """The status document, fresh."""
        self._status = self.client.get("/v1/status")
        return self._status

    def chain(self) -> bytes:
        """The chain's id."""
        return bytes.fromhex((self._status or self.status())["chain"])

    def release_ms(self) -> int:
        """How long after an asking its keys may be released, by the chain's parameters."""
        found: int = (self._status or self.status())["params"]["release_ms"]
        return found

    def institution(self) -> int:
        """The number of the institution whose node this is."""
        number: int = (self._status or self.status())["institution"]["number"]
        return number

    def institutions(self) -> dict[int, str]:
        """Numbers and names of all institutions."""
        return {one["number"]: one["name"] for one in self.client.get("/v1/institutions")}

    def ledger_now(self) -> int:
        """Now, in ms of ledger time: this machine's clock, but never behind the last block. Raises `ClocksApart`."""
        head, own = int((self._status or self.status())["head_time_ms"]), own_clock_ms()
        if head > own + CLOCKS_APART_MS:
            raise ClocksApart(
                f"the node says that the ledger is {(head - own) // 60_000} minutes ahead of this machine"
            )
        return max(head, own)

    def labels(self) -> Document:
        """Which labels the node knows."""
        return self.client.get("/v1/labels")

    def chart(self, number: int) -> Document:
        """A chart at the final head."""
        return self.client.get(f"/v1/charts/{number}")

    def chart_of_owner(self, key: bytes) -> int | None:
        """The number of the chart that this owner key opened."""
        try:
            found: int = self.client.get("/v1/charts", owner_key=key.hex())[0]["chart"]
        except UnknownChart:
            return None
        return found

    def events(self, chart: int, kind: Literal["events", "records", "disclosures"] = "events") -> Iterator[Document]:
        """A chart's history, or only its records or disclosures, page by page."""
        first: int | None = 0
        while first is not None:
            page = self.client.get(f"/v1/charts/{chart}/{kind}", first=first, count=PAGE)
            yield from page["events"]
            first = page["next"]

    def event(self, chart: int, number: int) -> bytes:
        """One event's canonical bytes."""
        page = self.client.get(f"/v1/charts/{chart}/events", first=number, count=1)["events"]
        if not page:
            raise UnknownRecord(f"chart {chart} has no event {number}")
        return base64.b64decode(page[0]["raw"])

    @staticmethod
    def raw_of(event: Document) -> bytes:
        """The canonical bytes of an event that was listed."""
        return base64.b64decode(event["raw"])

    def control(self, chart: int) -> Document:
        """Who controls a chart: all grants, the policy, delegates, guardians, what waits."""
        return self.client.get(f"/v1/charts/{chart}/control")

    def chart_named_for(self, key: bytes) -> Document | None:
        """The chart that this owner key opened, or that a change was to lead to it, though another may own it now."""
        try:
            return self.client.get("/v1/charts", owner_key=key.hex(), former="true")[0]
        except UnknownChart:
            return None

    def hand_in_owner_key(self, chart: int, suite: int, public: bytes) -> Document:
        """Give the chart's custodian, whose node this is, the owner's envelope key."""
        document = {"encryption_suite": suite, "encryption_public": public.hex()}
        return self.client.put(f"/v1/charts/{chart}/owner-key", document)

    def draw(self, path: str, document: Document, **query: Any) -> Document:
        """What is answered to a document that changes nothing."""
        return json.loads(self.client.draw(path, document, **query))

    def take_over(self, chart: int, suite: int, public: bytes, secret: bytes) -> Document:
        """Give the chart's new custodian, whose node this is, what only the former one had."""
        document = {"encryption_suite": suite, "encryption_public": public.hex(), "chart_secret": secret.hex()}
        return self.client.put(f"/v1/charts/{chart}/custody", document)

    def hand_in_permit(self, chart: int, permit: bytes) -> Document:
        """Give this node's institution what a chart's owner lets it write with (a canonical `WritePermit`)."""
        return self.client.put(f"/v1/charts/{chart}/write-permit", {"permit": base64.b64encode(permit).decode()})

    def secret_envelope(self, chart: int) -> bytes:
        """The chart's secret, sealed to its owner; at the custodian."""
        return self.client.read(f"/v1/charts/{chart}/secret-envelope")

    def pseudonym(self, chart: int, staff: str) -> Document:
        """What this node's institution calls one of its staff towards that chart's owner."""
        return self.client.get(f"/v1/charts/{chart}/pseudonym", staff=staff)

    def open_chart(self, opening: Document) -> Document:
        """Open a chart with what a wallet made, and wait until it is final."""
        with _patience():
            return self.client.post("/v1/charts", opening, key=fresh_key(), wait=True)

    def submit_operation(self, chart: int, operation: bytes) -> Document:
        """Carry what an owner signed, and wait until it is final."""
        document = {"chart": chart, "operation": base64.b64encode(operation).decode()}
        with _patience():
            return self.client.post("/v1/operations", document, key=fresh_key(), wait=True)

    def submit_json(self, path: str, document: Document) -> Document:
        """Send what reaches the ledger, as JSON (None: no body), and wait until it is final."""
        with _patience():
            return self.client.post(path, document, key=fresh_key(), wait=True)

    def submit_record(
        self,
        chart: int,
        data: bytes,
        media_type: str,
        grant: int | None = None,
        *,
        custom: bool = False,
        **labels: str | None,
    ) -> Document:
        """Submit one record's exact bytes, to another's chart under a grant, and wait until it is final. `labels` are
        headers by name."""
        headers = {"content-type": media_type} | {name: value for name, value in labels.items() if value is not None}
        with _patience():
            path, under = f"/v1/charts/{chart}/records", _under(grant, custom)
            return self.client.send(path, data, headers, key=fresh_key(), wait=True, **under)

    def submit_file(  # where to, what, under which grant, and its labels
        self,
        chart: int,
        file: Source,
        length: int,
        media_type: str,
        grant: int | None = None,
        *,
        custom: bool = False,
        **labels: str | None,
    ) -> Document:
        """The same for a file of any size, in bounded memory."""
        headers = {"content-type": media_type} | {name: value for name, value in labels.items() if value is not None}
        with _patience():
            path, under = f"/v1/charts/{chart}/records", _under(grant, custom)
            document: Document = self.client.upload(path, file, length, headers, fresh_key(), **under)
            return document

    def submit_bundle(self, chart: int, bundle: bytes, grant: int | None = None) -> Document:
        """Submit a FHIR Bundle, each resource of which becomes a record."""
        headers = {"content-type": "application/fhir+json"}
        with _patience():
            path, query = f"/v1/charts/{chart}/records", {"split": "true"} | _under(grant)
            return self.client.send(path, bundle, headers, key=fresh_key(), wait=True, **query)

    def disclose(
        self,
        chart: int,
        grant: int | None,
        purpose: str,
        records: Sequence[int] | None = None,
        details: Document | None = None,
        key: str | None = None,
    ) -> Document:
        """Ask to read records, or all that the grant covers; the answer says disclosed or denied. `details` are for the
        patient alone; under one `key` it is asked once, however often this is called."""
        asked: object = "covered" if records is None else list(records)
        document = {"chart": chart, "grant": grant, "purpose": purpose, "records": asked, "details": details}
        with _patience():
            return self.client.post("/v1/disclosures", document, key=key or fresh_key(), wait=True)

    def disclose_for_delegate(
        self, chart: int, purpose: str, records: Sequence[int], cosignature: Document
    ) -> Document:
        """Have this node carry what a delegate signed: to read these records itself."""
        document = {"chart": chart, "purpose": purpose, "records": list(records), "delegate": cosignature}
        with _patience():
            return self.client.post("/v1/disclosures", document, key=fresh_key(), wait=True)

    def break_glass(self, emergency: Document) -> Document:
        """Read in an emergency, and wait until it is final; the answer says disclosed, denied or pending."""
        with _patience():
            return self.client.post("/v1/emergencies", emergency, key=fresh_key(), wait=True)

    def confirm_emergency(self, chart: int, emergency: int) -> Document:
        """Vouch for another institution's emergency, and wait until it is final."""
        with _patience():
            return self.client.send(f"/v1/emergencies/{chart}/{emergency}/confirm", b"", {}, key=fresh_key(), wait=True)

    def review_emergency(self, chart: int, emergency: int, justified: bool, findings: Document | None) -> Document:
        """State what a review of another institution's emergency found, and wait until it is final."""
        document = {"justified": justified, "findings": findings}
        with _patience():
            return self.client.post(f"/v1/emergencies/{chart}/{emergency}/review", document, key=fresh_key(), wait=True)

    def sealed_details(self, chart: int) -> dict[int, bytes]:
        """What was said to a chart's owner, sealed, by event number; at its custodian."""
        found: dict[int, bytes] = {}
        first: int | None = 0
        while first is not None:
            page = self.client.get(f"/v1/charts/{chart}/details", first=first, count=PAGE)
            found.update((one["event"], base64.b64decode(one["sealed"])) for one in page["details"])
            first = page["next"]
        return found

    def read(self, chart: int, disclosure: int, record: int) -> bytes:
        """The exact bytes of one disclosed record, from its custodian."""
        return self.client.read(f"/v1/disclosures/{chart}/{disclosure}/records/{record}")

    def read_page(self, chart: int, disclosure: int, first: int, count: int) -> Document:
        """Up to `count` records of a disclosure from position `first` among them on, as many as come at once."""
        page: Document = self.client.get(f"/v1/disclosures/{chart}/{disclosure}/records", first=first, count=count)
        return page

    def read_own(self, chart: int, record: int) -> bytes:
        """The exact bytes of a record that this institution wrote."""
        return self.client.read(f"/v1/charts/{chart}/records/{record}/content")

    def motions(self, *, every: bool = False) -> Iterator[Document]:
        """Motions that can be voted on, or every one that ever was, ascending."""
        first = 0
        while page := self.client.get("/v1/motions", first=first, count=PAGE, all=str(every).lower()):
            yield from page
            first = page[-1]["motion"] + 1

    def motion(self, number: int) -> Document:
        """One motion, and how the votes stand."""
        return self.client.get(f"/v1/motions/{number}")

    def evidence(self) -> list[Document]:
        """Authorities that the ledger has convicted of contradicting themselves, newest epoch first."""
        found: list[Document] = self.client.get("/v1/evidence", count=PAGE)
        return found

    def propose(self, change: Document, expires_at: int | None = None) -> Document:
        """Move a change, and wait until the motion is final."""
        document = {"change": change} | ({} if expires_at is None else {"expires_at": expires_at})
        with _patience():
            return self.client.post("/v1/motions", document, key=fresh_key(), wait=True)

    def vote(self, motion: int, favour: bool) -> Document:
        """Vote on a motion, and wait until the ballot is final."""
        with _patience():
            return self.client.post(f"/v1/motions/{motion}/ballots", {"favour": favour}, key=fresh_key(), wait=True)

    def change_key(self, change: bytes) -> Document:
        """Change one of the institution's own keys (a canonical KeyChange), and wait until that is final."""
        with _patience():
            return self.client.post("/v1/institution/keys", {"change": change.hex()}, key=fresh_key(), wait=True)

    def proof(self, chart: int, event: int, epoch: int = 0) -> bytes:
        """An inclusion proof, canonical bytes, for somebody who trusts the authorities of `epoch`."""
        return self.client.read(f"/v1/proofs/charts/{chart}/events/{event}", epoch=epoch)

    def history_proof(self, chart: int, first: int, epoch: int = 0) -> bytes:
        """A proof of what happened to a chart from event `first` on, canonical bytes, as much as one carries."""
        return self.client.read(f"/v1/proofs/charts/{chart}/history", first=first, epoch=epoch)

    def grant_proof(self, chart: int, grant: int, epoch: int = 0) -> bytes:
        """A proof of how a grant stands, or that there is none, canonical bytes."""
        return self.client.read(f"/v1/proofs/charts/{chart}/grants/{grant}", epoch=epoch)

    def genesis(self) -> bytes:
        """What the chain started from, canonical bytes: their digest is the chain's id."""
        return self.client.read("/v1/genesis")

    def final_proof(self, epoch: int = 0, height: int | None = None) -> bytes:
        """A proof that the block at a height, or the last one, is final, canonical bytes."""
        which = {} if height is None else {"height": height}
        return self.client.read("/v1/proofs/final", epoch=epoch, **which)


@contextmanager
def connect(socket: Path) -> Iterator[Session]:
    """A session on a node's socket. Raises `Unreachable` when none answers."""
    with Client(socket) as client:
        yield Session(client)


def _under(grant: int | None, custom: bool = False) -> dict[str, Any]:
    return ({} if grant is None else {"grant": grant}) | ({"custom": "true"} if custom else {})


@contextmanager
def _patience() -> Iterator[None]:
    """Says on standard error, after a while, what a command is waiting for."""
    hint = threading.Timer(
        HINT_SECONDS, tell, ["waiting until it is final; `chartledger status` says how the chain is doing"]
    )
    hint.daemon = True
    hint.start()
    try:
        yield
    finally:
        hint.cancel()


def fresh_key() -> str:
    """An idempotency key: a retry inside the client repeats it, so nothing is written twice."""
    return uuid.uuid4().hex
