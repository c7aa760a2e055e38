"""Rules about who writes records, each broken in a leader's ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from protocol.ledger import cosigning, decisions, records
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    AppendRecords,
)
from tests.protocol.ledger.rules.broken import Broken, Stage


def writing(*tags: int, **changes: Any) -> Callable[[Stage], list[Any]]:
    """Institution 3 appends under a grant that lets it write but for these changes."""

    def made(stage: Stage) -> list[Any]:
        terms = {"grantee": 3, "access": ACCESS_WRITE, **changes}
        ends, ended = terms.pop("lasts", None), terms.pop("ended", False)
        if ends is not None:
            terms["not_after"] = stage.world.now + ends
        grant = stage.world.grant(stage.patient, stage.world.terms(**terms))
        if ended:
            stage.world.revoke(stage.patient, grant)
        stage.world.wait(10)
        return stage.carried(AppendRecords(stage.chart, (stage.entry(*tags),), (), grant), carrier=3)

    return made


def amending(stage: Stage) -> list[Any]:
    """Under a grant of other records than the one with the tags 1 to 4."""
    tags = stage.tags([9], [2], [3], [4])
    grant = stage.world.grant(stage.patient, stage.world.terms(grantee=3, access=ACCESS_WRITE, tags=tags))
    entry = stage.entry(9, 2, 3, 4, supersedes=1)
    return stage.carried(AppendRecords(stage.chart, (entry,), (), grant), carrier=3)


def disputing(stage: Stage) -> list[Any]:
    return stage.carried(AppendRecords(stage.chart, (replace(stage.entry(), disputes=1),)), carrier=0)


TABLE = [
    Broken(f"to write: {name}", decisions, "may_write", held, broken, "write-not-granted", attack)
    for name, held, broken, attack in (
        ("not revoked", "or grant.revoked_at is not None", "", writing(ended=True)),
        ("a grantee", "institution in terms.grantees", "True", writing(grantee=2)),
        ("a grant to write", "bool(terms.access & ACCESS_WRITE)", "True", writing(access=ACCESS_READ)),
        ("in time", "terms.not_before <= time_ms < terms.not_after", "True", writing(lasts=2)),
        ("covered", "covered(terms.tags, records)", "True", writing(1, 2, 9, 4)),
    )
] + [
    Broken(
        "the custodian writes",
        records,
        "_check_writer",
        "if chart.custodian != call.institution:",
        "if False:",
        "unauthorised",
        lambda s: s.carried(AppendRecords(s.chart, (s.entry(),))),
    ),
    Broken(
        "the custodian writes under no grant",
        records,
        "_check_writer",
        "if chart.custodian == call.institution:",
        "if False:",
        "bad-terms",
        lambda s: writing(grantees=(0, 3))(s) and s.carried(AppendRecords(s.chart, (s.entry(),), (), 0), carrier=0),
    ),
    Broken(
        "a note of dispute is the owner's",
        records,
        "_append",
        "any(entry.disputes is not None for entry in operation.entries)",
        "False",
        "missing-cosignature",
        disputing,
    ),
    Broken(
        "a plain record takes no co-signature",
        cosigning,
        "none_needed",
        "if call.cosignatures",
        "if False",
        "unauthorised",
        lambda s: s.owner(AppendRecords(s.chart, (s.entry(),)), carrier=0),
    ),
    Broken(
        "holders exist",
        records,
        "check_holders",
        "holders and holders[-1] >= working.require(keys.COUNTERS, Counters).institutions",
        "False",
        "unknown-institution",
        lambda s: s.carried(AppendRecords(s.chart, (s.entry(),), (99,)), carrier=0),
    ),
    Broken(
        "a grant to write covers what is amended",
        records,
        "_check_amended",
        "if not decisions.covered(grant.terms.tags, [amended.entry.tags]):",
        "if False:",
        "write-not-granted",
        amending,
    ),
    Broken(
        "what is amended is a record",
        records,
        "_check_earlier",
        "not isinstance(working.event(chart, other), RecordAppended)",
        "False",
        "unknown-record",
        lambda s: s.carried(AppendRecords(s.chart, (s.entry(supersedes=0),)), carrier=0),
    ),
]
