"""The JSON of the socket: what requests carry and what answers hold.

Digests, keys, tags and signatures are lower-case hex; wire values and record contents inside JSON are base64 (msgspec
does both ways for `bytes`); times are milliseconds of ledger time. /openapi.json is made from these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from node.records.seal import MediaType
from node.storage.schema import CHARTS
from protocol import limits

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="32 bytes in lower-case hex")]
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{128}$", description="64 bytes in lower-case hex")]
HexBytes = Annotated[str, Meta(pattern="^([0-9a-f]{2})+$", max_length=8_192, description="bytes in lower-case hex")]
Number = Annotated[int, Meta(ge=0, le=limits.U53)]
EventNumber = Annotated[int, Meta(ge=0, lt=limits.EVENTS_PER_CHART)]
ChartNumber = Annotated[int, Meta(ge=0, lt=CHARTS)]
Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$(?!\n)")]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of request bodies: a misspelt member is refused, since it would silently do nothing."""


class CosignatureIn(Request, frozen=True):
    """The owner's co-signature: its number, expiry (ledger ms) and Ed25519 signature."""

    number: Number
    expires_at: Number
    signature: Hex64


class ChartIn(Request, frozen=True):
    """Open a chart: what the wallet hands over at the desk. `encryption_public` is the owner's envelope key."""

    owner_key: Hex32
    encryption_suite: Annotated[int, Meta(ge=1, le=0xFFFF)]
    encryption_public: HexBytes
    chart_secret: Hex32
    cosignature: CosignatureIn


class RecordIn(Request, frozen=True):
    """One record: exact bytes (base64), how they are to be read, and its labels where FHIR does not tell them."""

    media_type: MediaType
    data: bytes
    category: Label | None = None
    year: Annotated[str, Meta(pattern=r"^([0-9]{4}|none)$(?!\n)")] | None = None
    sensitivities: Annotated[tuple[Label, ...], Meta(max_length=16)] | None = None
    supersedes: EventNumber | None = None


class LabelHeaders(Request, frozen=True):
    """The same labels as headers beside a raw body."""

    category: Label | None = None
    year: Annotated[str, Meta(pattern=r"^([0-9]{4}|none)$(?!\n)")] | None = None
    sensitivities: Annotated[tuple[Label, ...], Meta(max_length=16)] | None = None
    supersedes: EventNumber | None = None


class RecordsIn(Request, frozen=True):
    """Many records of one chart."""

    records: Annotated[tuple[RecordIn, ...], Meta(min_length=1, max_length=20_000)]


class OperationIn(Request, frozen=True):
    """An operation that the owner, or who may act for it, signed: the canonical bytes of a `SignedOperation`
    (base64)."""

    chart: ChartNumber
    operation: bytes


class PermitIn(Request, frozen=True):
    """A write permit that the owner's wallet made: the canonical bytes of a `WritePermit` (base64)."""

    permit: bytes


class PermitDone(Struct, frozen=True):
    """Under which grant the permit lets write, for which of the chart's generations, and how many labels it lists."""

    chart: int
    grant: int
    generation: int
    labels: int


class TransactionsIn(Request, frozen=True):
    """Transactions that clients signed, each in canonical bytes (base64)."""

    transactions: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=20_000)]


class Accepted(Struct, frozen=True):
    """Durable in the outbox, not final yet: repeat with the same Idempotency-Key and wait=final to learn more."""

    transactions: list[str]
    status: Literal["pending"] = "pending"


class ChartOpened(Struct, frozen=True):
    """A chart is open: its number, and the block that did it."""

    chart: int
    height: int
    time_ms: int
    transaction: str


class RecordsStored(Struct, frozen=True):
    """The event numbers of the records, in the order they came, and the last block that holds one."""

    chart: int
    records: list[int]
    height: int
    time_ms: int
    transactions: list[str]


class OperationDone(Struct, frozen=True):
    """An owner's operation is final. `grant` is the number of the grant made or revoked, `delegate` that of the
    delegate named or ended, `event` the number of its last event, null if it changed nothing."""

    chart: int
    grant: int | None
    delegate: int | None
    event: int | None
    height: int
    time_ms: int
    transaction: str


class TransactionDone(Struct, frozen=True, omit_defaults=True):
    """Where one transaction of a batch stands; `problem` is the name of what refused it."""

    id: str
    status: Literal["final", "pending", "refused"]
    height: int | None = None
    problem: str | None = None
    detail: str | None = None


class TransactionsDone(Struct, frozen=True):
    """A batch, in its own order."""

    transactions: list[TransactionDone]


class BlockOut(Struct, frozen=True, omit_defaults=True):
    """A final block."""

    height: int
    epoch: int
    digest: str
    parent: str
    proposer: int
    time_ms: int
    transactions_root: str
    state_root: str
    transactions: int
    bytes: int


class InstitutionOut(Struct, frozen=True):
    """An institution at the final head. `authority` says whether its vote counts in the next block's epoch. An
    operations key of zeros is retired."""

    number: int
    name: str
    status: Literal["accredited", "suspended", "removed"]
    authority: bool
    operation_keys: list[str]
    vote_key: str
    network_certificates: list[str]
    encryption_key: str


class ChartOut(Struct, frozen=True):
    """A chart at the final head. `history_root` commits to all its `events`; `owner_number` is the highest number that
    its owner has signed with."""

    chart: int
    custodian: int
    owner_key: str
    encryption_suite: int
    encryption_key: str
    opened_at: int
    generation: int
    grants: int
    events: int
    history_root: str
    owner_number: int
    held_here: bool


EventKind = Literal[
    "opened",
    "moved",
    "record",
    "granted",
    "revoked",
    "disclosure",
    "policy",
    "delegate",
    "delegate-ended",
    "change-begun",
    "change-cancelled",
    "change-completed",
    "emergency",
    "emergency-confirmed",
    "emergency-reviewed",
    "erased",
    "erasure-receipt",
    "hold",
    "hold-released",
]


class EventOut(Struct, frozen=True, omit_defaults=True):
    """Something that happened to a chart; which members are there depends on `kind`. `raw` is canonical (base64)."""

    number: int
    kind: EventKind
    height: int
    time_ms: int
    institution: int
    raw: bytes
    sentence: str | None = None
    encryption_suite: int | None = None
    encryption_key: str | None = None
    former: int | None = None
    commitment: str | None = None
    tags: list[str] | None = None
    generation: int | None = None
    supersedes: int | None = None
    disputes: int | None = None
    holders: list[int] | None = None
    grant: int | None = None
    grantees: list[int] | None = None
    purposes: list[str] | None = None
    not_before: int | None = None
    not_after: int | None = None
    terms: dict[str, Any] | None = None
    records: list[int] | None = None
    purpose: str | None = None
    outcome: Literal["disclosed", "denied", "pending"] | None = None
    reason: str | None = None
    release_until: int | None = None
    practitioner: str | None = None
    details: str | None = None
    delegate: int | None = None
    reissues: list[dict[str, Any]] | None = None
    delegates: list[dict[str, Any]] | None = None
    bars: list[dict[str, Any]] | None = None
    policy: dict[str, Any] | None = None
    change: int | None = None
    change_kind: int | None = None
    keys: dict[str, Any] | None = None
    guardians: dict[str, Any] | None = None
    overrule: bool | None = None
    ready_at: int | None = None
    by_guardians: bool | None = None
    review_by: int | None = None
    justification: str | None = None
    emergency: int | None = None
    justified: bool | None = None
    findings: str | None = None
    late: bool | None = None
    erasure: int | None = None
    basis: str | None = None
    hold: int | None = None


class EventsOut(Struct, frozen=True):
    """A stretch of a chart's history; `next` is where to go on, null at its end."""

    chart: int
    events: list[EventOut]
    next: int | None


class LabelOut(Struct, frozen=True):
    """A label, what it means, and whether this institution defined it."""

    code: str
    meaning: str
    own: bool


class LabelsOut(Struct, frozen=True):
    """The labels that are known here besides FHIR's resource types, what is done with what cannot be looked into, and
    how many rules the institution's own table adds, and takes away of the built-in ones."""

    sensitivities: list[LabelOut]
    categories: list[LabelOut]
    unexamined: Literal["mark", "plain"]
    own_rules: int
    taken_away: int


class RecordOut(Struct, frozen=True):
    """A record at its writer: its entry on the ledger, and what is stored here of it. `blob_state` is "ok",
    "missing" or "corrupt", as just read; `length` is that of the plain bytes."""

    chart: int
    record: int
    height: int
    time_ms: int
    commitment: str
    tags: list[str]
    supersedes: int | None
    blob: str
    blob_bytes: int
    blob_state: str
    length: int
    media_type: str
    category: str
    year: str
    sensitivities: list[str]


class ReadItem(Struct, frozen=True):
    """One record in a bulk read: exact bytes (base64), checked against the commitment."""

    record: int
    media_type: str
    data: bytes


class ReadOut(Struct, frozen=True):
    """A stretch of a disclosure's records; `next` is the position among them to go on from, null at the end."""

    records: list[ReadItem]
    next: int | None


class Health(Struct, frozen=True):
    """Whether all is well, and in one line what is not."""

    healthy: bool
    summary: str
