"""The JSON of asking to read, of emergencies and of alerts, as `schemas` has the rest of the socket's."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node.alerts.rules import Kind
from node.api.refusals import BlockingException
from node.api.schemas import ChartNumber, EventNumber, Hex64, Number, Request
from node.emergencies import State
from protocol import limits

Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="16 bytes in lower-case hex")]
Short = Annotated[str, Meta(max_length=limits.DETAIL_CHARACTERS)]
PurposeCode = Annotated[str, Meta(min_length=2, max_length=16)]
Named = Annotated[tuple[EventNumber, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_DISCLOSURE)]


class DetailsIn(Request, frozen=True):
    """Who asks and why, for the chart's owner alone: the ledger gets a commitment, the owner the words. From `staff`,
    the institution's own id of the person, the practitioner's pseudonym is made where none is given."""

    staff: Short = ""
    family: Short = ""
    given: Short = ""
    role: Short = ""
    reason: Annotated[str, Meta(max_length=limits.DETAIL_REASON_CHARACTERS)] = ""
    reference: Short = ""


class DelegateCosignatureIn(Request, frozen=True):
    """A delegate's co-signature: its number on the ledger, the co-signature's own number, expiry (ledger ms) and
    Ed25519 signature."""

    delegate: Annotated[int, Meta(ge=0, lt=limits.DELEGATES_PER_CHART)]
    number: Number
    expires_at: Number
    signature: Hex64


class DisclosureIn(Request, frozen=True):
    """Ask to read: event numbers of records, or "covered" for what the grant covers now and is neither erased nor
    barred. With `delegate` it is the delegate who asks, without grant, for named records."""

    chart: ChartNumber
    purpose: PurposeCode
    grant: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    records: Named | Literal["covered"] = "covered"
    practitioner: Hex16 | None = None
    details: DetailsIn | None = None
    delegate: DelegateCosignatureIn | None = None


class EmergencyIn(Request, frozen=True):
    """Read in an emergency, without grant. `details.reason` must say why."""

    chart: ChartNumber
    purpose: PurposeCode
    records: Named
    details: DetailsIn
    practitioner: Hex16 | None = None


class ReviewIn(Request, frozen=True):
    """Whether the emergency was justified; `findings` go to the owner in confidence."""

    justified: bool
    findings: DetailsIn | None = None


class DisclosureDone(Struct, frozen=True):
    """The rules' decision: `outcome` is "disclosed", "denied" or, for an emergency that
    a second institution must vouch for, "pending"; `reason` its public name and `sentence` says it. `exception` is the
    exception of 45 CFR part 171 that a denial rests on. An emergency's review is due by `review_by` (ledger ms)."""

    chart: int
    disclosure: int
    outcome: Literal["disclosed", "denied", "pending"]
    reason: str
    sentence: str
    exception: BlockingException | None
    records: list[int]
    release_until: int | None
    review_by: int | None
    height: int
    time_ms: int
    transaction: str


class EmergencyDone(Struct, frozen=True):
    """A confirmation or review is final; `event` is where it stands."""

    chart: int
    emergency: int
    event: int
    height: int
    time_ms: int
    transaction: str


class EmergencyOut(Struct, frozen=True):
    """An emergency that somebody has something to do about: "pending" waits for a second institution, "unreviewed" and
    "overdue" for another institution's review. `own` if this institution read, `held_here` if it keeps the chart."""

    chart: int
    emergency: int
    institution: int
    own: bool
    held_here: bool
    state: State
    purpose: str
    practitioner: str | None
    records: int
    asked_at: int
    release_until: int | None
    review_by: int | None
    confirmed_by: int | None


class EmergencyCount(Struct, frozen=True):
    """What one institution did in emergencies, and owes."""

    institution: int
    opened: int
    unreviewed: int
    overdue: int
    late: int
    unjustified: int


class EmergenciesOut(Struct, frozen=True):
    """Emergencies in which something is to be done, and each institution's count."""

    emergencies: list[EmergencyOut]
    counts: list[EmergencyCount]


class DetailsOut(Struct, frozen=True):
    """What this institution itself stated about an asking of its own."""

    staff: str
    family: str
    given: str
    role: str
    reason: str
    reference: str


class SealedDetails(Struct, frozen=True):
    """What an institution said to the owner about its asking `event`: sealed (base64), for the wallet to open."""

    event: int
    institution: int
    sealed: bytes


class SealedDetailsOut(Struct, frozen=True):
    """A stretch of what was said to a chart's owner; `next` is where to go on, null at the end."""

    details: list[SealedDetails]
    next: int | None


class AlertOut(Struct, frozen=True):
    """Something for the privacy officer to look into; `kind` is "stranger" (a reader without a relationship of
    treatment), "burst" (unusually many charts) or "same-name". `practitioner` is the staff id of own people, a
    pseudonym of others', or null. `chart` and `event` are of the asking by which it was noticed."""

    kind: Kind
    time_ms: int
    chart: int
    event: int
    institution: int
    own: bool
    practitioner: str | None
    charts: int
    window_ms: int
    sentence: str
