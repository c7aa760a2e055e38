"""Rules about who may read what, each broken in a leader's ledger: what it records is what its rules decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from protocol.ledger import access, cosigning, decisions
from protocol.types.operations import (
    ACCESS_WRITE,
    ACT_GRANT,
    ACT_READ,
    Bar,
    Disclose,
    Policy,
)
from tests.protocol.ledger.rules.broken import Broken, Stage


def asking(stage: Stage, terms: dict[str, Any], *records: int, **asked: Any) -> list[Any]:
    """A disclosure by institution 1 under a grant with these terms."""
    grant = stage.world.grant(stage.patient, stage.world.terms(**terms))
    stage.world.wait(10)
    plain = Disclose(stage.chart, grant, records or (1,), "TREAT")
    return stage.carried(replace(plain, **asked))


def revoked(stage: Stage) -> list[Any]:
    bodies = asking(stage, {})
    stage.world.revoke(stage.patient, 0)
    return bodies


def barred(stage: Stage) -> list[Any]:
    stage.world.set_policy(stage.patient, Policy(bars=(Bar(1, (None, None, None)),)))
    return asking(stage, {})


def barred_since(stage: Stage) -> list[Any]:
    """By a bar whose tags are older than the record."""
    stage.world.set_policy(stage.patient, Policy(bars=(Bar(1, stage.tags(None, None, [7])),)))
    stage.world.revoke(stage.patient, stage.world.grant(stage.patient))
    (record,) = stage.world.append(stage.patient)
    return asking(stage, {}, record)


def erased(stage: Stage) -> list[Any]:
    stage.world.erase(stage.patient, 1)
    return asking(stage, {})


def capped(stage: Stage) -> list[Any]:
    asked = Disclose(stage.chart, None, (1,), "TREAT")
    for _ in range(2):
        stage.world.run(1, asked)
    return stage.carried(asked)


def delegates_asking(carrier: int = 0, **changes: Any) -> Callable[[Stage], list[Any]]:
    """A delegate who may only grant, or with `acts`, asks to read."""

    def made(stage: Stage) -> list[Any]:
        if "grant" in changes:
            stage.world.grant(stage.patient)
        helper = stage.world.name_delegate(stage.patient, acts=changes.get("acts", ACT_GRANT))
        if changes.get("frozen"):
            stage.frozen()
        grant = changes.get("grant")
        return stage.by(helper, Disclose(stage.chart, grant, (1,), "TREAT"), carrier=carrier)

    return made


def forged_by_the_carrier(stage: Stage) -> list[Any]:
    """An institution that is not the custodian asks in the name of a delegate, with a key of its own."""
    helper = stage.world.name_delegate(stage.patient, acts=ACT_READ)
    helper.key = stage.world.fresh_key()
    return stage.by(helper, Disclose(stage.chart, None, (1,), "TREAT"), carrier=1)


TABLE = [
    Broken(f"denied: {name}", decisions, "by_grant", held, broken, "state_root", attack)
    for name, held, broken, attack in (
        ("emergency purpose", "purposes.is_emergency(asked.purpose)", "False", lambda s: asking(s, {}, purpose="BTG")),
        ("no grant", "return Reason.NO_GRANT", "return Reason.NONE", lambda s: asking(s, {}, grant=None)),
        (
            "another institution",
            "asked.institution not in terms.grantees",
            "False",
            lambda s: asking(s, {"grantee": 3}),
        ),
        ("write only", "not terms.access & ACCESS_READ", "False", lambda s: asking(s, {"access": ACCESS_WRITE})),
        ("revoked", "grant.revoked_at is not None", "False", revoked),
        (
            "not yet",
            "asked.time_ms < terms.not_before",
            "False",
            lambda s: asking(s, {"not_before": s.world.now + 9_999}),
        ),
        ("expired", "asked.time_ms >= terms.not_after", "False", lambda s: asking(s, {"not_after": s.world.now + 2})),
        (
            "purpose",
            "not any(purposes.covers(granted, asked.purpose) for granted in terms.purposes)",
            "False",
            lambda s: asking(s, {}, purpose="HRESCH"),
        ),
        (
            "practitioner",
            "terms.practitioners is not None and asked.practitioner not in terms.practitioners",
            "False",
            lambda s: asking(s, {"practitioners": (b"p" * 16,)}),
        ),
        (
            "outside",
            "not covered(terms.tags, [record.entry.tags for record in asked.records])",
            "False",
            lambda s: asking(s, {"tags": s.tags(None, None, [7], [4])}),
        ),
    )
] + [
    Broken(
        "denied: barred",
        decisions,
        "_bars_and_erasure",
        "barred(asked, policy, emergency=emergency)",
        "False",
        "state_root",
        barred,
    ),
    Broken(
        "denied: barred since",
        decisions,
        "_stands_against",
        "record.generation > bar.generation",
        "False",
        "state_root",
        barred_since,
    ),
    Broken("denied: erased", decisions, "_bars_and_erasure", "if asked.erased", "if False", "state_root", erased),
    Broken(
        "what is permitted is disclosed",
        decisions,
        "by_grant",
        "return _bars_and_erasure(asked, policy, emergency=False)",
        "return Reason.OUTSIDE",
        "state_root",
        lambda s: asking(s, {}),
    ),
    Broken(
        "keys are released until then",
        access,
        "_disclose",
        "working.params.release_ms",
        "99",
        "state_root",
        lambda s: asking(s, {}),
    ),
    Broken(
        "a denial counts",
        access,
        "count_unanswered",
        "working.put(key, Denials(day, count + 1))",
        "pass",
        "state_root",
        lambda s: asking(s, {}, grant=None),
    ),
    Broken(
        "denials are capped",
        access,
        "count_unanswered",
        "count >= working.params.denials_per_day",
        "False",
        "denial-cap-reached",
        capped,
    ),
    Broken(
        "a delegate reads if it may",
        decisions,
        "by_delegate",
        "terms.acts & ACT_READ",
        "True",
        "state_root",
        delegates_asking(),
    ),
    Broken(
        "a delegate that another institution carries is judged alike",
        decisions,
        "by_delegate",
        "terms.acts & ACT_READ",
        "True",
        "state_root",
        delegates_asking(carrier=1),
    ),
    Broken(
        "whoever carries it, a delegate's signature stands under it",
        cosigning,
        "_verify",
        "if not working.",
        "if False and not working.",
        "bad-cosignature",
        forged_by_the_carrier,
    ),
    Broken(
        "a delegate reads under its bounds",
        access,
        "_for_delegate",
        "operation.grant is not None",
        "False",
        "bad-terms",
        delegates_asking(acts=ACT_READ, grant=0),
    ),
    Broken(
        "no delegate of a frozen owner reads",
        access,
        "_for_delegate",
        "in_force and not cosigning.frozen(working, operation.chart)",
        "in_force",
        "state_root",
        delegates_asking(acts=ACT_READ, frozen=True),
    ),
]
