"""The JSON of motions, ballots, key rotation and evidence on the socket.

As in `node.api.schemas`: digests and keys are lower-case hex, times ledger milliseconds. A change is told apart by its
`kind`, which is also its word on the command line.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node.api.schemas import Number, Request
from node.motions import Kind
from protocol import limits

ApplicationHex = Annotated[
    str,
    Meta(pattern="^([0-9a-f]{2})+$", max_length=32_768, description="a canonical Application in lower-case hex"),
]
ParameterName = Annotated[str, Meta(min_length=1, max_length=40)]


class AccreditIn(Request, frozen=True, tag_field="kind", tag="accredit"):
    """Take in a new institution; its node's operators make the application (`chartledger institution apply`)."""

    application: ApplicationHex


class SuspendIn(Request, frozen=True, tag_field="kind", tag="suspend"):
    """Nothing of the institution counts until it is reinstated."""

    institution: Number


class ReinstateIn(Request, frozen=True, tag_field="kind", tag="reinstate"):
    """A suspended institution is accredited again, without authority."""

    institution: Number


class RemoveIn(Request, frozen=True, tag_field="kind", tag="remove"):
    """The institution leaves for good."""

    institution: Number


class GiveAuthorityIn(Request, frozen=True, tag_field="kind", tag="give-authority"):
    """Its vote counts from the next epoch on."""

    institution: Number


class TakeAuthorityIn(Request, frozen=True, tag_field="kind", tag="take-authority"):
    """Its vote does not count from the next epoch on."""

    institution: Number


class ReplaceKeysIn(Request, frozen=True, tag_field="kind", tag="replace-keys"):
    """New keys for an institution that cannot sign for itself any more."""

    institution: Number
    application: ApplicationHex


class SetParametersIn(Request, frozen=True, tag_field="kind", tag="set"):
    """New values of parameters by name; the others stay."""

    parameters: Annotated[dict[ParameterName, Number], Meta(min_length=1, max_length=limits.PARAMETERS_PER_MOTION)]


ChangeIn = (
    AccreditIn
    | SuspendIn
    | ReinstateIn
    | RemoveIn
    | GiveAuthorityIn
    | TakeAuthorityIn
    | ReplaceKeysIn
    | SetParametersIn
)


class MotionIn(Request, frozen=True):
    """A change, and until when it can be voted on (ledger ms); without that, seven days if the parameters allow."""

    change: ChangeIn
    expires_at: Number | None = None


class BallotIn(Request, frozen=True):
    """In favour or against."""

    favour: bool


class KeyChangeIn(Request, frozen=True):
    """The canonical bytes of a KeyChange in hex; `chartledger keys rotate` makes them."""

    change: Annotated[str, Meta(pattern="^([0-9a-f]{2})+$", max_length=8_192)]


class Applicant(Struct, frozen=True):
    """What an application asks an institution to be known by; compare the keys with its people by another way."""

    name: str
    operation_keys: list[str]
    vote_key: str
    network_certificates: list[str]
    encryption_suite: int
    encryption_key: str


class ChangeOut(Struct, frozen=True, omit_defaults=True):
    """A change; which members are there depends on `kind`. `sentence` says it in words."""

    kind: Kind
    sentence: str
    institution: int | None = None
    applicant: Applicant | None = None
    application: str | None = None
    parameters: dict[str, int] | None = None


class MotionOut(Struct, frozen=True):
    """A motion at the final head. `favour` and `against` are institutions; `counted` of those in favour are
    authorities now, and `needed` make it pass. `awaits` says whether this node's institution can still vote on it.
    `assigned` is the number that an accredited institution got."""

    motion: int
    state: Literal["open", "passed", "lost", "expired"]
    change: ChangeOut
    proposer: int
    moved_at: int
    expires_at: int
    favour: list[int]
    against: list[int]
    counted: int
    needed: int
    awaits: bool
    decided_at: int | None
    assigned: int | None


class MotionDone(Struct, frozen=True):
    """A motion or ballot is final, and where the motion stands by it."""

    motion: int
    state: Literal["open", "passed", "lost"]
    height: int
    time_ms: int
    transaction: str


class KeyChanged(Struct, frozen=True):
    """The ledger has the new key; a vote key counts from the next epoch on."""

    height: int
    time_ms: int
    transaction: str


class EvidenceOut(Struct, frozen=True):
    """Two votes by which an authority convicts itself, canonical (base64), and who reported them when."""

    institution: int
    epoch: int
    view: int
    index: int
    reporter: int
    height: int
    first: bytes
    second: bytes
