"""The naive ledger's state, and the one error of everything in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.params import Params
from protocol.types.governance import Change
from protocol.types.institutions import Authority, AuthoritySet, Genesis, Institution

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
class Chart:
    """One chart: `records` are the event numbers that are records."""

    custodian: int
    owner_key: bytes
    events: int = 1
    records: set[int] = field(default_factory=set)
    revoked: dict[int, bool] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=lambda: Numbers(64))


@dataclass
class MotionOf:
    """One motion. `decided` is "passed", "lost" or empty."""

    proposer: int
    change: Change
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
    owners: set[bytes] = field(default_factory=set)
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
