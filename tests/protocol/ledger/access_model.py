"""Who may read what, as a person would work it out with a pencil: an independent model of the promise to patients.

It knows labels and no tags, names of keys and no signatures, sets and no windows, and shares no rule and no table with
the ledger. What it takes from the ledger are words: names of reasons, outcomes and errors. This file holds what there
is and who may read; `access_rules` says what each operation does to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Mark = tuple[int, str]
"""A label as the wallet or the custodian wrote it down for one generation of the chart."""
Cover = tuple[frozenset[Mark] | None, frozenset[Mark] | None, frozenset[Mark] | None, frozenset[Mark] | None]
"""Which marks, by position: category, year, two sensitivities. None is any."""

OVER = {
    child: parent
    for parent, children in {
        "": "HMARKT HOPERAT HPAYMT HRESCH PATRQT PUBHLTH TREAT",
        "HOPERAT": "CAREMGT DONAT FRAUD GOV HACCRED HCOMPL HDECD HDIRECT HDM HLEGAL HOUTCOMS HPRGRP HQUALIMP HSYSADMIN "
        "MEMADMIN MILCDM PATADMIN PATSFTY PERFMSR RECORDMGT SYSDEV TRAIN",
        "HPAYMT": "CLMATTCH COVAUTH COVERAGE REMITADV",
        "COVERAGE": "ELIGDTRM ELIGVER ENROLLM MILDCRG",
        "HRESCH": "BIORCH CLINTRCH DSRCH POARCH TRANSRCH",
        "CLINTRCH": "CLINTRCHNPC CLINTRCHPC PRECLINTRCH",
        "HSYSADMIN": "LABELING METAMGT",
        "SYSDEV": "HTEST",
        "PATRQT": "FAMRQT PWATRNY SUPNWK",
        "PUBHLTH": "DISASTER THREAT",
        "TREAT": "CLINTRL COC ETREAT POPHLTH",
        "ETREAT": "BTG ERTREAT",
    }.items()
    for child in children.split()
}
"""HL7 v3 PurposeOfUse, each code with the one over it, copied from the code system and not from the ledger."""


def line_of(purpose: str) -> list[str]:
    """The purpose and all that lie over it."""
    line = [purpose]
    while OVER[line[-1]]:
        line.append(OVER[line[-1]])
    return line


def is_emergency(purpose: str) -> bool:
    return "ETREAT" in line_of(purpose)


def serves(permitted: frozenset[str], purpose: str) -> bool:
    """Whether a permission for these purposes is one for this purpose."""
    return bool(permitted & set(line_of(purpose)))


class Refused(Exception):
    """The ledger must refuse the operation by this name."""


@dataclass
class Numbers:
    """Which numbers a key has used: each once, and none that lies 64 or more below the highest."""

    used: set[int] = field(default_factory=set)

    def check(self, number: int) -> None:
        highest = max(self.used, default=0)
        if number in self.used or number <= highest - 64:
            raise Refused("Replayed")
        if number > highest + 1_048_576:
            raise Refused("NumberTooFar")


@dataclass
class RecordModel:
    marks: tuple[Mark, Mark, Mark, Mark]
    generation: int
    writer: int
    holders: frozenset[int]
    erased: bool = False


@dataclass
class GrantModel:
    readers: frozenset[int]
    cover: Cover
    purposes: frozenset[str]
    begin: int
    end: int
    access: frozenset[str] = frozenset({"read"})
    staff: frozenset[str] | None = None
    by_delegate: bool = False
    reissued: bool = False
    revoked: bool = False


@dataclass
class DelegateModel:
    key: str
    cover: Cover
    purposes: frozenset[str]
    begin: int
    end: int
    acts: frozenset[str]
    ended: bool = False
    void: bool = False
    numbers: Numbers = field(default_factory=Numbers)

    def in_force(self, now: int) -> bool:
        return not self.ended and not self.void and self.begin <= now < self.end


@dataclass
class BarModel:
    """`generation` is the last that the owner knew of when it wrote the bar."""

    institution: int | None
    categories: frozenset[Mark] | None
    years: frozenset[Mark] | None
    sensitivities: frozenset[Mark] | None
    emergencies: bool
    generation: int

    def stands_before(self, record: RecordModel) -> bool:
        if record.generation > self.generation:
            return True
        category, year, *sensitivities = record.marks
        return (
            (self.categories is None or category in self.categories)
            and (self.years is None or year in self.years)
            and (self.sensitivities is None or not self.sensitivities.isdisjoint(sensitivities))
        )


@dataclass
class GuardiansModel:
    threshold: int
    keys: tuple[str, ...]


@dataclass
class ChangeModel:
    """What waits. `to` is an owner key and an encryption key, for a rotation or a recovery."""

    number: int
    kind: str
    ready_at: int
    to: tuple[str, str] | None = None
    guardians: GuardiansModel | None = None
    overrule: bool = False


@dataclass
class EmergencyModel:
    institution: int
    asked_at: int
    records: tuple[int, ...]
    release_until: int | None = None
    review_by: int | None = None
    confirmed_by: int | None = None
    reviewed_by: int | None = None


@dataclass
class AskingModel:
    """An asking to read that stands on the ledger as event `event` of `chart`."""

    chart: int
    event: int
    reader: int
    records: tuple[int, ...]
    purpose: str
    staff: str | None
    outcome: str
    grant: int | None = None
    delegate: int | None = None
    release_until: int | None = None
    emergency: EmergencyModel | None = None

    @property
    def deadline(self) -> int | None:
        return self.emergency.release_until if self.emergency is not None else self.release_until


@dataclass
class ErasureModel:
    owed: frozenset[int]
    receipts: set[int] = field(default_factory=set)


@dataclass
class CountModel:
    """An institution's emergencies. `unreviewed`: (review_by, chart, event)."""

    opened: int = 0
    late: int = 0
    unjustified: int = 0
    unreviewed: set[tuple[int, int, int]] = field(default_factory=set)


@dataclass
class ChartModel:
    """A chart, as the owner would write it down."""

    custodian: int
    owner: tuple[str, str]
    numbers: Numbers
    events: int = 1
    generation: int = 0
    records: dict[int, RecordModel] = field(default_factory=dict)
    grants: list[GrantModel] = field(default_factory=list)
    delegates: list[DelegateModel] = field(default_factory=list)
    mode: str = "ALLOWED"
    bars: list[BarModel] = field(default_factory=list)
    policy_signed: tuple[str, int] = ("", 0)
    guardians: GuardiansModel | None = None
    changes: int = 0
    waits: ChangeModel | None = None
    emergencies: dict[int, EmergencyModel] = field(default_factory=dict)
    erasures: dict[int, ErasureModel] = field(default_factory=dict)
    holds: dict[int, frozenset[int] | None] = field(default_factory=dict)

    def overtaken(self, number: int) -> bool:
        """Whether the owner signed the policy that stands after what it signed under this number."""
        key, latest = self.policy_signed
        return key == self.owner[0] and number < latest

    @property
    def unfinished(self) -> int:
        """What was begun and must be able to end, however full the chart is."""
        return sum(
            (
                sum(not grant.revoked for grant in self.grants),
                sum(not delegate.ended for delegate in self.delegates),
                self.waits is not None,
                len(self.holds),
                sum(len(erasure.owed - erasure.receipts) for erasure in self.erasures.values()),
                sum(one.review_by is not None and one.reviewed_by is None for one in self.emergencies.values()),
            )
        )

    @property
    def frozen(self) -> bool:
        """The owner's key is said to be stolen: whoever has it can only withdraw."""
        return self.waits is not None and self.waits.overrule


def covers(cover: Cover, record: RecordModel) -> bool:
    return all(marks is None or mark in marks for marks, mark in zip(cover, record.marks, strict=True))


def lies_within(cover: Cover, bounds: Cover) -> bool:
    return all(
        bound is None or (marks is not None and marks <= bound) for marks, bound in zip(cover, bounds, strict=True)
    )


def barred(chart: ChartModel, reader: int, records: list[RecordModel], *, emergency: bool) -> bool:
    """A bar stands before everything else; in an emergency only one that says so."""
    return any(
        bar.institution in (None, reader)
        and (bar.emergencies or not emergency)
        and any(bar.stands_before(record) for record in records)
        for bar in chart.bars
    )


def why_not(chart: ChartModel, asking: AskingModel, records: tuple[int, ...], now: int) -> str:
    """Why these records may not be read by this asking at this time; "NONE" if they may. The promise to patients."""
    asked = [chart.records[number] for number in records]
    if asking.emergency is not None:
        return _why_not_in_emergency(chart, asking, asked)
    if is_emergency(asking.purpose):
        return "EMERGENCY_PURPOSE"
    if asking.delegate is not None:
        return _why_not_to_delegate(chart, asking, asked, now)
    if asking.grant is None or asking.grant >= len(chart.grants):
        return "NO_GRANT"
    return _why_not_under_grant(chart, asking, asked, now)


def _why_not_in_emergency(chart: ChartModel, asking: AskingModel, asked: list[RecordModel]) -> str:
    if chart.mode == "FORBIDDEN":
        return "BREAK_GLASS_FORBIDDEN"
    if barred(chart, asking.reader, asked, emergency=True):
        return "BARRED"
    return "ERASED" if any(record.erased for record in asked) else "NONE"


def _why_not_to_delegate(chart: ChartModel, asking: AskingModel, asked: list[RecordModel], now: int) -> str:
    """A delegate reads as the owner would: bars are about institutions. Not while the owner's key may be stolen."""
    assert asking.delegate is not None
    delegate = chart.delegates[asking.delegate]
    if chart.frozen or not delegate.in_force(now):
        return "DELEGATE_ENDED"
    if "read" not in delegate.acts or not serves(delegate.purposes, asking.purpose):
        return "DELEGATE_BOUNDS"
    if not all(covers(delegate.cover, record) for record in asked):
        return "DELEGATE_BOUNDS"
    return "ERASED" if any(record.erased for record in asked) else "NONE"


def _why_not_under_grant(chart: ChartModel, asking: AskingModel, asked: list[RecordModel], now: int) -> str:
    assert asking.grant is not None
    grant = chart.grants[asking.grant]
    if asking.reader not in grant.readers:
        return "WRONG_INSTITUTION"
    if "read" not in grant.access:
        return "WRITE_ONLY"
    if grant.revoked:
        return "REVOKED"
    if now < grant.begin:
        return "NOT_YET"
    if now >= grant.end:
        return "EXPIRED"
    if not serves(grant.purposes, asking.purpose):
        return "PURPOSE"
    if grant.staff is not None and asking.staff not in grant.staff:
        return "PRACTITIONER"
    if not all(covers(grant.cover, record) for record in asked):
        return "OUTSIDE"
    if barred(chart, asking.reader, asked, emergency=False):
        return "BARRED"
    return "ERASED" if any(record.erased for record in asked) else "NONE"


def may_write(chart: ChartModel, number: int, writer: int, records: list[RecordModel], now: int) -> bool:
    """Whether grant `number` lets an institution add these records now."""
    if number >= len(chart.grants):
        return False
    grant = chart.grants[number]
    return (
        writer in grant.readers
        and "write" in grant.access
        and not grant.revoked
        and grant.begin <= now < grant.end
        and all(covers(grant.cover, record) for record in records)
    )
