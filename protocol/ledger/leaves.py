"""What stands under the state root, by kind of key.

`Params`, `Institution` and `AuthoritySet` are leaves as they are; the rest is here. A leaf's bytes are the canonical
encoding of its type, and `KINDS` says which type a key's leaf has.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol import limits
from protocol.ledger import history, keys
from protocol.ledger.events import ChangeKind
from protocol.ledger.windows import Window
from protocol.params import Params
from protocol.types.base import U16, Digest, Number, PublicKey, TimeMs, Wire
from protocol.types.governance import Change
from protocol.types.institutions import AuthoritySet, Institution
from protocol.types.operations import DelegateTerms, GrantTerms, Guardians, OwnerKeys, Policy
from protocol.types.votes import Vote


class Counters(Wire, frozen=True):
    """How many numbers the ledger has assigned; the next chart gets number `charts`."""

    institutions: Number
    charts: Number
    motions: Number


class Chart(Wire, frozen=True):
    """One chart. `events` counts everything that ever happened to it and `peaks` commit to all of it, in order.

    `generation` counts revocations, `grants` counts grants ever made, `window` is the owner key's, `opened_at` the
    height of the block that opened it. `delegates` counts those ever named, of which those below `delegates_from` ended
    when the chart was recovered. `kept_free` is how many events the chart must still have room for, so that what was
    begun can end.
    """

    custodian: Number
    owner_key: PublicKey
    encryption_suite: U16
    encryption_key: Digest
    opened_at: Number
    generation: Number
    grants: Number
    window: Window
    events: Number
    peaks: Annotated[tuple[Digest, ...], Meta(max_length=53)]
    delegates: Number = 0
    delegates_from: Number = 0
    kept_free: Number = 0

    @property
    def history_root(self) -> bytes:
        """32 bytes over the count of events and all of them."""
        return history.root(self.events, self.peaks)


class GrantLeaf(Wire, frozen=True):
    """A grant as it stands now: reissues replace `terms.tags`. Heights are those of the deciding blocks."""

    terms: GrantTerms
    granted_at: Number
    granted_generation: Number
    revoked_at: Number | None = None


class TermsHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`GrantTerms` up to `access`, with what is large left as it lies there."""

    grantees: tuple[Number, ...]
    tags: msgspec.Raw
    purposes: tuple[str, ...]
    not_before: TimeMs
    not_after: TimeMs
    access: U16


class GrantHead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As much of a `GrantLeaf` as says to whom it is and for what: who looks through all of a chart's grants, which may
    be a thousand with 37 kB of tags each, need not take those apart."""

    terms: TermsHead


class DelegateLeaf(Wire, frozen=True):
    """A delegate as it stands now: reissues replace `terms.tags`. `window` is its key's."""

    terms: DelegateTerms
    named_at: Number
    window: Window
    ended_at: Number | None = None


class PolicyLeaf(Wire, frozen=True):
    """A chart's policy, and under which owner key and number it was signed: one that the same key signed before comes
    too late, whoever held it back. Its bars say themselves which generations' tags they hold."""

    policy: Policy
    owner_key: PublicKey
    number: Number

    def overtakes(self, owner_key: bytes, number: int) -> bool:
        """Whether what this key signed under this number is older than what stands."""
        return owner_key == self.owner_key and number < self.number


class Pending(Wire, frozen=True):
    """What waits until `ready_at` (ledger time): number `change` of the chart's changes."""

    change: Number
    kind: ChangeKind
    keys: OwnerKeys | None
    guardians: Guardians | None
    overrule: bool
    ready_at: TimeMs


class Recovery(Wire, frozen=True):
    """A chart's guardians, and what waits. `changes` counts all that were ever begun."""

    changes: Number = 0
    guardians: Guardians | None = None
    pending: Pending | None = None


class Emergency(Wire, frozen=True):
    """An emergency that was disclosed, or waits for a second institution: then `release_until` and `review_by` are
    None. `records` is the digest of those that it asks for."""

    institution: Number
    asked_at: TimeMs
    records: Digest
    release_until: TimeMs | None
    review_by: TimeMs | None
    confirmed_by: Number | None = None
    reviewed_by: Number | None = None
    justified: bool | None = None


class Emergencies(Wire, frozen=True):
    """An institution's emergencies: how many it opened, how many of their reviews came late, and how many found no
    justification. `unreviewed` are (review_by, chart, event), ascending; those past their time are overdue."""

    opened: Number = 0
    late: Number = 0
    unjustified: Number = 0
    unreviewed: Annotated[
        tuple[tuple[TimeMs, Number, Number], ...], Meta(max_length=limits.EMERGENCIES_UNREVIEWED)
    ] = ()


class Erasure(Wire, frozen=True):
    """An order to erase: who owes a receipt (ascending, the custodian among them), and who gave it at which height."""

    ordered_at: Number
    owed: Annotated[tuple[Number, ...], Meta(max_length=limits.HOLDERS_PER_ERASURE + 1)]
    receipts: Annotated[tuple[tuple[Number, Number], ...], Meta(max_length=limits.HOLDERS_PER_ERASURE + 1)] = ()


class ErasedPage(Wire, frozen=True):
    """Which events of one page are erased records: bit i of the little-endian bitmap stands for the page's event i.
    No trailing zero bytes."""

    bitmap: Annotated[bytes, Meta(min_length=1, max_length=limits.ERASED_PAGE_EVENTS // 8)]


class Holds(Wire, frozen=True):
    """A chart's holds in force: (event number, records or None for all), ascending."""

    holds: Annotated[
        tuple[
            tuple[
                Number,
                Annotated[tuple[Number, ...], Meta(min_length=1, max_length=limits.RECORDS_PER_HOLD)] | None,
            ],
            ...,
        ],
        Meta(max_length=limits.HOLDS_PER_CHART),
    ]


class OwnerIndex(Wire, frozen=True):
    """Which chart an owner key opened, or was named for by a change that was begun. `spent`: it was the chart's once,
    and another took its place."""

    chart: Number
    spent: bool = False


class Denials(Wire, frozen=True):
    """How often one institution asked in vain on one chart on `day` (days of ledger time since 1970): it was denied, or
    an emergency waited for a second institution."""

    day: Number
    count: Annotated[int, Meta(ge=1, le=limits.U53)]


class MotionState(IntEnum):
    """Where a motion stands. That an open one has expired is seen when it is read."""

    OPEN = 1
    PASSED = 2
    LOST = 3  # so many are against that no quorum is left


class Cast(Wire, frozen=True):
    """One ballot. It counts while its institution has authority without a break since `epoch`."""

    institution: Number
    epoch: Number


class MotionLeaf(Wire, frozen=True):
    """A motion and the ballots on it that counted when the last one was cast, each ascending by institution.

    `moved_at` and `decided_at` are heights of blocks; `decided_at` is 0 while it is open. `assigned` is the number that
    the ledger gave to an accredited institution.
    """

    proposer: Number
    change: Change
    moved_at: Number
    expires_at: TimeMs
    state: MotionState
    favour: Annotated[tuple[Cast, ...], Meta(max_length=limits.AUTHORITIES)]
    against: Annotated[tuple[Cast, ...], Meta(max_length=limits.AUTHORITIES)]
    decided_at: Number = 0
    assigned: Number | None = None


class OpenMotions(Wire, frozen=True):
    """(motion, proposer, expires_at), ascending: the motions by authorities that were open when one was last moved or
    decided."""

    motions: Annotated[tuple[tuple[Number, Number, TimeMs], ...], Meta(max_length=limits.MOTIONS_OPEN)]


class EvidenceLeaf(Wire, frozen=True):
    """Two votes that convict an authority of equivocation, and the height of the block that recorded them."""

    institution: Number
    reporter: Number
    reported_at: Number
    first: Vote
    second: Vote


class Claim(Wire, frozen=True):
    """Whose a name, certificate or key is, or ever was."""

    institution: Number


Leaf = (
    Params
    | Counters
    | AuthoritySet
    | Institution
    | Window
    | Chart
    | GrantLeaf
    | OwnerIndex
    | Denials
    | MotionLeaf
    | OpenMotions
    | EvidenceLeaf
    | Claim
    | PolicyLeaf
    | Recovery
    | DelegateLeaf
    | Emergency
    | Emergencies
    | Erasure
    | ErasedPage
    | Holds
)

KINDS: Final[dict[int, type[Leaf]]] = {
    keys.KIND_PARAMS: Params,
    keys.KIND_COUNTERS: Counters,
    keys.KIND_AUTHORITIES: AuthoritySet,
    keys.KIND_INSTITUTION: Institution,
    keys.KIND_WINDOW: Window,
    keys.KIND_CHART: Chart,
    keys.KIND_GRANT: GrantLeaf,
    keys.KIND_OWNER: OwnerIndex,
    keys.KIND_DENIALS: Denials,
    keys.KIND_MOTION: MotionLeaf,
    keys.KIND_OPEN_MOTIONS: OpenMotions,
    keys.KIND_EVIDENCE: EvidenceLeaf,
    keys.KIND_CLAIM: Claim,
    keys.KIND_POLICY: PolicyLeaf,
    keys.KIND_RECOVERY: Recovery,
    keys.KIND_DELEGATE: DelegateLeaf,
    keys.KIND_EMERGENCY: Emergency,
    keys.KIND_EMERGENCIES: Emergencies,
    keys.KIND_ERASURE: Erasure,
    keys.KIND_ERASED: ErasedPage,
    keys.KIND_HOLDS: Holds,
}

_GRANT_HEAD: Final = msgspec.msgpack.Decoder(GrantHead)
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(leaf) for kind, leaf in KINDS.items()}


def decode_leaf(key: bytes, raw: bytes) -> Leaf:
    """The leaf that stands at `key`, from bytes that this node itself wrote under a checked state root.

    Skips the check for canonical form, which `protocol.codec` does for bytes from strangers.
    """
    leaf: Leaf = _DECODERS[key[0]].decode(raw)
    return leaf


def decode_grant_head(raw: bytes) -> GrantHead:
    """The same of a grant's leaf, as far as `GrantHead` goes."""
    return _GRANT_HEAD.decode(raw)
