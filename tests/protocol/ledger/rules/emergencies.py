"""Rules about emergencies, each broken in a leader's ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol import limits
from protocol.ledger import decisions, emergency, keys
from protocol.ledger.leaves import Emergencies
from protocol.types.governance import Suspend
from protocol.types.operations import (
    Bar,
    BreakGlass,
    BreakGlassMode,
    ConfirmBreakGlass,
    Policy,
    ReviewBreakGlass,
)
from tests.protocol.ledger.rules.broken import Broken, Stage


def breaking(stage: Stage, purpose: str = "ETREAT") -> list[Any]:
    return stage.carried(BreakGlass(stage.chart, (1,), purpose, bytes(32)))


def under(policy: Policy) -> Callable[[Stage], list[Any]]:
    def made(stage: Stage) -> list[Any]:
        stage.world.set_policy(stage.patient, policy)
        return breaking(stage)

    return made


def owing(stage: Stage) -> None:
    listed = tuple((5, 1_000, at) for at in range(limits.EMERGENCIES_UNREVIEWED))
    stage.put(keys.emergencies(1), Emergencies(unreviewed=listed))


def pending(stage: Stage) -> int:
    stage.world.set_policy(stage.patient, Policy(BreakGlassMode.TWO_INSTITUTIONS))
    return stage.world.break_glass(stage.patient, 1).first_event  # type: ignore[no-any-return]


def reviewing_what_waits(stage: Stage) -> list[Any]:
    stage.world.grant(stage.patient)  # so that a number is kept free
    return stage.carried(ReviewBreakGlass(stage.chart, pending(stage), 1, True), carrier=3)


def confirming(stage: Stage, carrier: int = 3, institution: int = 1, **how: Any) -> list[Any]:
    event = pending(stage)
    if how.get("late"):
        stage.world.wait(stage.world.genesis.params.release_ms + 10)
    if how.get("owes"):
        owing(stage)
    if "policy" in how:
        stage.world.set_policy(stage.patient, how["policy"])
    if how.get("erased"):
        stage.world.erase(stage.patient, 1)
    if how.get("suspended"):
        stage.world.decide(Suspend(1))
    records = tuple(stage.world.append(stage.patient)) if how.get("other") else (1,)
    if how.get("again"):
        stage.world.run(2, ConfirmBreakGlass(stage.chart, event, 1, (1,)))
    return stage.carried(ConfirmBreakGlass(stage.chart, event, institution, records), carrier=carrier)


def reviewing(stage: Stage, carrier: int = 3, justified: bool = True, **how: Any) -> list[Any]:
    stage.world.grant(stage.patient)  # so that a number is kept free
    event = stage.world.break_glass(stage.patient, 1).first_event
    if how.get("late"):
        stage.world.wait(stage.world.genesis.params.review_ms + 10)
    if how.get("again"):
        stage.world.run(2, ReviewBreakGlass(stage.chart, event, 1, False))
    return stage.carried(ReviewBreakGlass(stage.chart, event, 1, justified), carrier=carrier)


def reviewed_by_whoever_confirmed(stage: Stage) -> list[Any]:
    event = pending(stage)
    stage.world.run(3, ConfirmBreakGlass(stage.chart, event, 1, (1,)))
    return stage.carried(ReviewBreakGlass(stage.chart, event, 1, True), carrier=3)


EVERYTHING = (None, None, None)

TABLE = [
    Broken(
        "only emergencies go without a grant",
        emergency,
        "_break",
        "not purposes.is_emergency(operation.purpose)",
        "False",
        "bad-terms",
        lambda s: breaking(s, "TREAT"),
    ),
    Broken(
        "an owner forbids emergencies",
        decisions,
        "by_emergency",
        "break_glass_mode(policy) is BreakGlassMode.FORBIDDEN",
        "False",
        "state_root",
        under(Policy(BreakGlassMode.FORBIDDEN)),
    ),
    Broken(
        "an owner wants two institutions",
        emergency,
        "_break",
        "is BreakGlassMode.TWO_INSTITUTIONS",
        "is None",
        "state_root",
        under(Policy(BreakGlassMode.TWO_INSTITUTIONS)),
    ),
    Broken(
        "a bar that says so stands in emergencies",
        decisions,
        "barred",
        "(emergency and not bar.emergencies)",
        "emergency",
        "state_root",
        under(Policy(bars=(Bar(None, EVERYTHING, True),))),
    ),
    Broken(
        "a bar that does not say so opens",
        decisions,
        "barred",
        "(emergency and not bar.emergencies)",
        "False",
        "state_root",
        under(Policy(bars=(Bar(None, EVERYTHING),))),
    ),
    Broken(
        "what may be read in an emergency is disclosed",
        decisions,
        "by_emergency",
        "    return reason",
        "    return Reason.BARRED",
        "state_root",
        breaking,
    ),
    Broken(
        "who owes reviews opens no more",
        decisions,
        "by_emergency",
        "and unreviewed_full",
        "and False",
        "state_root",
        lambda s: owing(s) or breaking(s),
    ),
    Broken(
        "an emergency counts",
        emergency,
        "_open",
        "opened=count.opened + 1",
        "opened=count.opened",
        "state_root",
        breaking,
    ),
    Broken("an emergency is owed a review", emergency, "_open", ", unreviewed=unreviewed", "", "state_root", breaking),
    Broken(
        "a review is due in time",
        emergency,
        "_open",
        "working.params.review_ms",
        "limits.U53 // 2",
        "state_root",
        breaking,
    ),
    Broken(
        "an emergency is read for so long",
        emergency,
        "_open",
        "working.params.release_ms",
        "99",
        "state_root",
        breaking,
    ),
    Broken(
        "nobody vouches for itself",
        emergency,
        "_confirm",
        "call.institution == emergency.institution",
        "False",
        "unauthorised",
        lambda s: confirming(s, carrier=1),
    ),
    Broken(
        "a confirmation comes in time",
        emergency,
        "_confirm",
        "working.timestamp > emergency.asked_at + working.params.release_ms",
        "False",
        "expired",
        lambda s: confirming(s, late=True),
    ),
    Broken(
        "the policy of the confirmation counts",
        emergency,
        "_check_again",
        "reason is not Reason.NONE",
        "False",
        "forbidden-meanwhile",
        lambda s: confirming(s, policy=Policy(BreakGlassMode.FORBIDDEN)),
    ),
    Broken(
        "the bars of the confirmation count",
        emergency,
        "_check_again",
        "reason is not Reason.NONE",
        "False",
        "forbidden-meanwhile",
        lambda s: confirming(s, policy=Policy(BreakGlassMode.TWO_INSTITUTIONS, (Bar(1, EVERYTHING, True),))),
    ),
    Broken(
        "what was erased meanwhile is not confirmed",
        emergency,
        "_check_again",
        "reading.any_erased(working, number, records)",
        "False",
        "already-erased",
        lambda s: confirming(s, erased=True),
    ),
    Broken(
        "an emergency of who was suspended meanwhile is not confirmed",
        emergency,
        "_confirm",
        ".status != STATUS_ACCREDITED",
        ".status == -1",
        "not-accredited",
        lambda s: confirming(s, suspended=True),
    ),
    Broken(
        "a confirmation is of what was asked for",
        emergency,
        "_confirm",
        "emergency.records != records_digest(operation.records)",
        "False",
        "bad-terms",
        lambda s: confirming(s, other=True),
    ),
    Broken(
        "an emergency is confirmed once",
        emergency,
        "_confirm",
        "emergency.release_until is not None",
        "False",
        "not-waiting",
        lambda s: confirming(s, again=True),
    ),
    Broken(
        "no confirmation for who owes reviews",
        emergency,
        "_check_again",
        ">= limits.EMERGENCIES_UNREVIEWED",
        "> limits.U53",
        "too-many-unreviewed",
        lambda s: confirming(s, owes=True),
    ),
    Broken(
        "an emergency is its asker's",
        emergency,
        "_found",
        "    if emergency is None or emergency.institution != operation.institution:\n",
        "    emergency = emergency and replace(emergency, institution=operation.institution)\n"
        "    if emergency is None:\n",
        "unknown-emergency",
        lambda s: confirming(s, institution=2),
    ),
    Broken(
        "who asked reviews nothing",
        emergency,
        "_review",
        "call.institution in (emergency.institution, emergency.confirmed_by)",
        "False",
        "unauthorised",
        lambda s: reviewing(s, carrier=1),
    ),
    Broken(
        "who confirmed reviews nothing",
        emergency,
        "_review",
        ", emergency.confirmed_by)",
        ",)",
        "unauthorised",
        reviewed_by_whoever_confirmed,
    ),
    Broken(
        "what waits is not reviewed",
        emergency,
        "_review",
        "    if emergency.review_by is None:\n",
        "    emergency = replace(emergency, review_by=9)\n    if False:\n",
        "too-early",
        reviewing_what_waits,
    ),
    Broken(
        "a review comes once",
        emergency,
        "_review",
        "emergency.reviewed_by is not None",
        "False",
        "already-reviewed",
        lambda s: reviewing(s, again=True),
    ),
    Broken(
        "a late review is late",
        emergency,
        "_review",
        "working.timestamp > emergency.review_by",
        "False",
        "state_root",
        lambda s: reviewing(s, late=True),
    ),
    Broken(
        "what was not justified counts",
        emergency,
        "_review",
        "count.unjustified + (not operation.justified)",
        "count.unjustified",
        "state_root",
        lambda s: reviewing(s, justified=False),
    ),
]
