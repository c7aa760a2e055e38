"""Rules about delegates, each broken in a leader's ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol import limits
from protocol.ledger import consent, control, cosigning, decisions
from protocol.types.operations import (
    ACCESS_READ,
    ACCESS_WRITE,
    ACT_READ,
    Delegate,
    EndDelegate,
    Reissue,
    Revoke,
)
from tests.protocol.ledger.rules.broken import Broken, Stage, granting


def ended(stage: Stage) -> list[Any]:
    helper = stage.world.name_delegate(stage.patient)
    stage.world.end_delegate(stage.patient, helper)
    return stage.by(helper, granting(stage))


def before_its_time(stage: Stage) -> list[Any]:
    return stage.by(stage.world.name_delegate(stage.patient, not_before=stage.world.now + 99_999), granting(stage))


def recovered(stage: Stage) -> list[Any]:
    helper = stage.world.name_delegate(stage.patient)
    stage.world.set_guardians(stage.patient)
    stage.world.recover(stage.patient)
    return stage.by(helper, granting(stage))


def within(attack: Callable[[Stage], dict[str, Any]]) -> Callable[[Stage], list[Any]]:
    """A delegate's grant of terms that lie beyond its bounds in one way."""

    def made(stage: Stage) -> list[Any]:
        return stage.by(stage.world.name_delegate(stage.patient), granting(stage, **attack(stage)))

    return made


def reissuing(stage: Stage) -> list[Any]:
    for _ in range(2):
        stage.world.grant(stage.patient)
    again = Reissue(1, stage.tags(None, None, [9], [9]))
    return stage.by(stage.world.name_delegate(stage.patient), Revoke(stage.chart, 0, (again,)))


def ending_another(stage: Stage) -> list[Any]:
    one, other = (stage.world.name_delegate(stage.patient) for _ in range(2))
    return stage.by(one, EndDelegate(stage.chart, other.number))


def owners_key(stage: Stage) -> list[Any]:
    return stage.owner(Delegate(stage.chart, stage.world.delegate_terms(stage.patient.key)))


def too_many_grants(stage: Stage) -> list[Any]:
    helper = stage.world.name_delegate(stage.patient)
    stage.change_chart(grants=limits.GRANTS_BY_DELEGATES)
    return stage.by(helper, granting(stage))


def impostor(stage: Stage) -> list[Any]:
    one, other = (stage.world.name_delegate(stage.patient) for _ in range(2))
    other.key = one.key
    return stage.by(other, granting(stage))


TABLE = [
    Broken(
        "a delegate signs with its own key",
        cosigning,
        "_verify",
        "if not working.",
        "if False and not working.",
        "bad-cosignature",
        impostor,
    ),
    Broken(
        "it does what it may",
        consent,
        "_check_in_force",
        "if not delegate.terms.acts & act",
        "if False",
        "beyond-bounds",
        lambda s: s.by(s.world.name_delegate(s.patient, acts=ACT_READ), granting(s)),
    ),
    Broken(
        "it leaves the owner grants to make",
        consent,
        "_grant",
        "else limits.GRANTS_BY_DELEGATES",
        "else limits.GRANTS_PER_CHART",
        "too-many-grants",
        too_many_grants,
    ),
    Broken(
        "it was not ended",
        decisions,
        "delegate_in_force",
        "delegate.ended_at is None and",
        "",
        "delegate-not-in-force",
        ended,
    ),
    Broken(
        "its time has come",
        decisions,
        "delegate_in_force",
        "terms.not_before <= time_ms",
        "0 <= time_ms",
        "delegate-not-in-force",
        before_its_time,
    ),
    Broken(
        "it ended when the chart was recovered",
        decisions,
        "delegate_in_force",
        "number >= delegates_from and",
        "",
        "delegate-not-in-force",
        recovered,
    ),
    Broken(
        "it grants reading only",
        consent,
        "_check_bounds",
        "terms.access == ACCESS_READ",
        "True",
        "beyond-bounds",
        within(lambda s: {"access": ACCESS_READ | ACCESS_WRITE}),
    ),
    Broken(
        "its grants end with it",
        consent,
        "_check_bounds",
        "terms.not_after <= bounds.not_after",
        "True",
        "beyond-bounds",
        within(lambda s: {"not_after": limits.U53}),
    ),
    Broken(
        "its grants lie within its tags",
        consent,
        "_check_bounds",
        "decisions.within(terms.tags, bounds.tags)",
        "True",
        "beyond-bounds",
        within(lambda s: {"tags": s.tags(None, None, [3, 5], [4])}),
    ),
    Broken(
        "its grants are for its purposes",
        consent,
        "_check_bounds",
        "purposes.covers(mine, asked) for mine",
        "True for mine",
        "beyond-bounds",
        within(lambda s: {"purposes": ("HRESCH",)}),
    ),
    Broken(
        "it reissues nothing",
        consent,
        "_revoke",
        "operation.reissues or operation.delegates or operation.bars is not None",
        "False",
        "beyond-bounds",
        reissuing,
    ),
    Broken(
        "it ends none but itself",
        control,
        "_end",
        "call.cosignatures[0].actor != which",
        "False",
        "unauthorised",
        ending_another,
    ),
    Broken(
        "its key is not the owner's",
        control,
        "_check_delegate",
        "terms.key == chart.owner_key",
        "False",
        "bad-terms",
        owners_key,
    ),
    Broken(
        "its acts are known",
        control,
        "_check_delegate",
        "terms.acts == 0 or terms.acts & ~ACTS",
        "False",
        "bad-terms",
        lambda s: s.owner(Delegate(s.chart, s.world.delegate_terms(s.world.fresh_key(), acts=8))),
    ),
]
