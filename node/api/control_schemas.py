"""The JSON of who controls a chart: grants, policy, delegates, guardians, what waits. See `node.api.schemas`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node.api.schemas import Hex32, HexBytes, Request

Standing = Literal["live", "not-yet", "expired", "revoked"]


class GrantOut(Struct, frozen=True):
    """A grant as it stands at the final head; tags in hex by position, null for "any". `practitioners` are pseudonyms,
    null for everybody there."""

    chart: int
    grant: int
    state: Standing
    grantees: list[int]
    tags: list[list[str] | None]
    purposes: list[str]
    not_before: int
    not_after: int
    access: list[Literal["read", "write"]]
    practitioners: list[str] | None
    granted_at: int
    granted_generation: int
    revoked_at: int | None


class BarOut(Struct, frozen=True):
    """Who must not read what; `institution` is null for all, `tags` (categories, years, sensitivities) as in grants.
    Records of a generation after `generation` count as barred."""

    institution: int | None
    tags: list[list[str] | None]
    emergencies: bool
    generation: int


class PolicyOut(Struct, frozen=True):
    """The chart's standing rules besides its grants."""

    break_glass: Literal["allowed", "two-institutions", "forbidden"]
    bars: list[BarOut]


class DelegateOut(Struct, frozen=True):
    """A delegate as it stands. `state` is "recovered" for one that ended when the chart was recovered."""

    delegate: int
    state: Literal["live", "not-yet", "expired", "ended", "recovered"]
    key: str
    encryption_suite: int
    encryption_key: str
    acts: list[Literal["grant", "revoke", "read"]]
    tags: list[list[str] | None]
    purposes: list[str]
    not_before: int
    not_after: int
    number: int
    named_at: int
    ended_at: int | None


class GuardiansOut(Struct, frozen=True):
    """`threshold` of the holders of `keys` together can move the chart to a new owner."""

    threshold: int
    keys: list[str]


class PendingOut(Struct, frozen=True):
    """The change that waits until `ready_at` (ledger ms); then the custodian's node completes it."""

    change: int
    kind: Literal["rotation", "guardians", "recovery"]
    ready_at: int
    overrule: bool
    owner_key: str | None
    encryption_suite: int | None
    encryption_key: str | None
    guardians: GuardiansOut | None


class ControlOut(Struct, frozen=True):
    """Who may do what with a chart, at the final head. `next_change` is the number that a new change must name;
    `frozen` says whether the owner's key can only withdraw, because it is said to be stolen."""

    chart: int
    custodian: int
    owner_key: str
    owner_number: int
    generation: int
    policy: PolicyOut
    grants: list[GrantOut]
    delegates: list[DelegateOut]
    guardians: GuardiansOut | None
    next_change: int
    pending: PendingOut | None
    frozen: bool


class OwnerKeyIn(Request, frozen=True):
    """The envelope key of the chart's owner, or of who is to become it; the ledger has its digest."""

    encryption_suite: Annotated[int, Meta(ge=1, le=0xFFFF)]
    encryption_public: HexBytes


class CustodyIn(Request, frozen=True):
    """What the owner of a chart hands to its new custodian: as when a chart is opened."""

    encryption_suite: Annotated[int, Meta(ge=1, le=0xFFFF)]
    encryption_public: HexBytes
    chart_secret: Hex32

    def __repr__(self) -> str:
        return "CustodyIn(hidden)"


class CustodyDone(Struct, frozen=True):
    """The chart is kept here from now on."""

    chart: int


class OwnerKeyDone(Struct, frozen=True):
    """Whether the key is in force, or waits for its change."""

    chart: int
    state: Literal["in-force", "waiting"]


class PseudonymOut(Struct, frozen=True):
    """What this institution calls one of its staff towards the chart's owner: 16 bytes in hex."""

    chart: int
    practitioner: str
