"""The naive ledger's state, and the one error of everything in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from protocol.params import Params
from protocol.types.governance import Change as Motioned
from protocol.types.institutions import Authority, AuthoritySet, Genesis, Institution
from protocol.types.operations import GrantTerms, Guardians, OwnerKeys, Policy, Tags4
from protocol.types.terms import DelegateTerms

EVENTS_PER_CHART = 1 << 24
Verify = Callable[[bytes, bytes, bytes], bool]


class Invalid(Exception):
    """A final block holds what docs/spec forbids; one sentence says what."""


def require(condition: bool, sentence: str) -> None:
    """Raise `Invalid` unless the condition holds."""
    if not condition:
        raise Invalid(sentence)


@dataclass
class Numbers:
    """Numbers that a key has used: all of them, and how far below the highest one still counts as free."""

    width: int
    used: set[int] = field(default_factory=set)

    def use(self, number: int) -> None:
        """Use one up. The spec counts a fresh key's highest as 0."""
        highest = max(self.used, default=0)
        require(number not in self.used, f"number {number} was used before")
        require(number > highest - self.width, f"number {number} lies below the window")
        require(number <= highest + (1 << 20), f"number {number} lies too far ahead")
        self.used.add(number)


@dataclass
class Record:
    """A record, and who `stored` it: holders and writer."""

    generation: int
    tags: Tags4
    stored: set[int]


@dataclass
class GrantOf:
    """A grant."""

    terms: GrantTerms
    ended: bool = False


@dataclass
class DelegateOf:
    """A delegate."""

    terms: DelegateTerms
    numbers: Numbers = field(default_factory=lambda: Numbers(64))
    ended: bool = False


@dataclass
class Change:
    """What waits: `keys` or `guardians` (perhaps none) to come, at `ready_at`. `kind` is "ROTATION", "RECOVERY" or
    "GUARDIANS"."""

    number: int
    ready_at: int
    kind: str
    keys: OwnerKeys | None = None
    guardians: Guardians | None = None
    overrule: bool = False


@dataclass
class EmergencyOf:
    """An emergency that was not denied; `release_until` and `review_by` are None while it waits for a second
    institution."""

    institution: int
    asked_at: int
    records: tuple[int, ...]
    release_until: int | None = None
    review_by: int | None = None
    confirmed_by: int | None = None
    reviewed_by: int | None = None
    justified: bool | None = None


@dataclass
class Answers:
    """What an institution answers for: emergencies that it opened, reviews that came late or found no justification,
    and those still owed: (due, chart, event)."""

    opened: int = 0
    late: int = 0
    unjustified: int = 0
    unreviewed: set[tuple[int, int, int]] = field(default_factory=set)


@dataclass(frozen=True)
class Said:
    """One event of a chart: what kind it is, and what it says, field by field."""

    chart: int
    event: int
    kind: str
    fields: dict[str, Any]

    @property
    def words(self) -> str:
        """Its kind, and what was decided in it."""
        decided = (self.fields[name] for name in ("outcome", "reason") if name in self.fields)
        return " ".join((self.kind, *decided)).removesuffix(" NONE")


@dataclass
class Chart:
    """One chart: `records`, `emergencies`, `owed` (receipts, by erasure) and `holds` by event number. Delegates below
    `delegates_from` ended when it was recovered; `policy_as` is the key and number that signed the policy; `said` are
    all charts' events of this block."""

    number: int
    custodian: int
    owner_key: bytes
    said: list[Said]
    events: int = 0
    generation: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    grants: list[GrantOf] = field(default_factory=list)
    numbers: Numbers = field(default_factory=lambda: Numbers(64))
    policy: Policy = field(default_factory=Policy)
    policy_as: tuple[bytes, int] | None = None
    delegates: list[DelegateOf] = field(default_factory=list)
    delegates_from: int = 0
    guardians: Guardians | None = None
    changes: int = 0
    waiting: Change | None = None
    encryption: tuple[int, bytes] = (0, b"")
    emergencies: dict[int, EmergencyOf] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)
    ordered: dict[int, set[int]] = field(default_factory=dict)
    owed: dict[int, set[int]] = field(default_factory=dict)
    holds: dict[int, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def frozen(self) -> bool:
        """Whether the owner's key is said to be stolen."""
        return self.waiting is not None and self.waiting.overrule

    def overtakes(self, number: int) -> bool:
        """Whether the policy that stands was signed later than what the owner signed under this number."""
        return self.policy_as is not None and self.policy_as[0] == self.owner_key and number < self.policy_as[1]

    @property
    def unfinished(self) -> int:
        """How much was begun and has not ended."""
        count = sum(not grant.ended for grant in self.grants) + sum(not who.ended for who in self.delegates)
        count += len(self.holds) + sum(map(len, self.owed.values())) + (self.waiting is not None)
        return count + sum(one.review_by is not None and one.reviewed_by is None for one in self.emergencies.values())

    def happened(self, kind: str, by: int, fields: dict[str, Any], *, makes_room: bool = False) -> None:
        """One more event, of this kind, that institution `by` brought about; room stays for what was begun to end.

        With `makes_room`, it ends something, and needs none.
        """
        self.said.append(Said(self.number, self.events, kind, {"institution": by, **fields}))
        self.events += 1
        fits = self.events + self.unfinished <= EVENTS_PER_CHART
        require(makes_room or fits, "the chart has no room left for what was begun to end")


@dataclass
class MotionOf:
    """One motion. `decided` is "passed", "lost" or empty."""

    proposer: int
    change: Motioned
    expires_at: int
    favour: set[tuple[int, int]]  # (institution, epoch in which it voted)
    against: set[tuple[int, int]] = field(default_factory=set)
    decided: str = ""


@dataclass
class State:
    """All of it. `sets` by epoch; `next_set`, `params_next`: of the epoch to come, once this block has changed
    something."""

    chain: bytes
    verify: Verify
    params: Params
    institutions: list[Institution]
    sets: dict[int, AuthoritySet]
    epoch: int = 0
    height: int = 0
    timestamp: int = 0
    next_set: AuthoritySet | None = None
    params_next: Params | None = None
    numbers: dict[tuple[int, int], Numbers] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)
    owners: dict[bytes, int] = field(default_factory=dict)  # whose chart's an owner key is, or was named for
    spent: set[bytes] = field(default_factory=set)  # owner keys that were replaced
    answers: dict[int, Answers] = field(default_factory=dict)  # by institution
    unanswered: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(day, askings of that day that opened nothing) by chart and asker."""
    said: list[Said] = field(default_factory=list)  # in this block
    motions: list[MotionOf] = field(default_factory=list)
    claims: set[tuple[str, bytes]] = field(default_factory=set)
    convicted: set[tuple[int, int]] = field(default_factory=set)
    executed: set[bytes] = field(default_factory=set)
    barred: set[int] = field(default_factory=set)  # institutions that were ever suspended or removed

    def institution(self, number: int) -> Institution:
        """The institution of this number."""
        require(number < len(self.institutions), f"there is no institution {number}")
        return self.institutions[number]

    def members(self) -> tuple[Authority, ...]:
        """Who votes from the next epoch on, as far as this block has decided."""
        return (self.next_set or self.sets[self.epoch]).members

    def seat(self, members: list[Authority]) -> None:
        """The next epoch's set is this. Any change of who, with which key, or by which parameters ends the epoch."""
        require(bool(members), "the chain would be without an authority")
        ordered = tuple(sorted(members, key=lambda member: member.institution))
        self.next_set = AuthoritySet(self.epoch + 1, ordered)

    def votes(self, institution: int) -> bool:
        """Whether it is an authority of the epoch of this block."""
        return any(member.institution == institution for member in self.sets[self.epoch].members)


def beginning(genesis: Genesis, chain: bytes, verify: Verify) -> State:
    """The state at height 0."""
    members = tuple(Authority(n, genesis.institutions[n].vote_key, 0) for n in genesis.authorities)
    state = State(
        chain=chain,
        verify=verify,
        params=genesis.params,
        institutions=list(genesis.institutions),
        sets={0: AuthoritySet(0, members)},
        timestamp=genesis.created_at,
    )
    for one in genesis.institutions:
        state.claims.add(("name", one.name.encode()))
        state.claims.update(("signing", key) for key in (*one.operation_keys, one.vote_key))
        state.claims.update(("certificate", der) for der in one.network_certificates)
        state.claims.add(("encryption", one.encryption_key))
    return state
