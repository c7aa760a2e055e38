"""Rules about a chart whose custodian is gone for good, each broken in a leader's ledger."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from protocol.ledger import charts, cosigning
from protocol.types.governance import Remove, Suspend
from protocol.types.operations import MoveChart
from tests.protocol.ledger.rules.broken import Broken, Stage


def moving(stage: Stage, status: type[Remove | Suspend], chosen: int = 1) -> list[Any]:
    """A chart whose custodian was removed or suspended, carried to institution 1."""
    patient = stage.world.open_chart(3)
    stage.world.decide(status(3))
    return [stage.world.body(1, stage.world.owned(patient, MoveChart(patient.chart, 3, chosen)))]


def moved_from_elsewhere(stage: Stage) -> list[Any]:
    """Institution 3 was removed, and never kept this chart."""
    stage.world.decide(Remove(3))
    return stage.owner(MoveChart(stage.chart, 3, 1), carrier=1)


def moving_frozen(stage: Stage) -> list[Any]:
    stage.patient = stage.world.open_chart(3)
    stage.world.set_guardians(stage.patient)
    stage.world.begin(stage.patient, stage.world.fresh_key(), carrier=3, overrule=True)
    stage.world.decide(Remove(3))
    return [stage.world.body(1, stage.world.owned(stage.patient, MoveChart(stage.patient.chart, 3, 1)))]


def moving_unsigned(stage: Stage) -> list[Any]:
    patient = stage.world.open_chart(3)
    stage.world.decide(Remove(3))
    signed = stage.world.owned(patient, MoveChart(patient.chart, 3, 1))
    forged = replace(signed.cosignatures[0], signature=bytes(64))
    return [stage.world.body(1, replace(signed, cosignatures=(forged,)))]


TABLE = [
    Broken(
        "a chart moves to whom its owner chose",
        charts,
        "_move",
        "operation.custodian != call.institution",
        "False",
        "unauthorised",
        lambda s: moving(s, Remove, chosen=2),
    ),
    Broken(
        "and only from who was removed",
        charts,
        "_move",
        ".status != STATUS_REMOVED",
        ".status == -1",
        "custodian-remains",
        lambda s: moving(s, Suspend),
    ),
    Broken(
        "which is its custodian",
        charts,
        "_move",
        "chart.custodian != operation.former",
        "False",
        "custodian-remains",
        moved_from_elsewhere,
    ),
    Broken(
        "not by a key that is said to be stolen",
        charts,
        "_move",
        "cosigning.check_not_frozen(working, number)",
        "pass",
        "owner-frozen",
        moving_frozen,
    ),
    Broken(
        "and by its owner",
        cosigning,
        "_verify",
        "if not working.",
        "if False and not working.",
        "bad-cosignature",
        moving_unsigned,
    ),
]
