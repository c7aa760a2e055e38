"""Rules about erasure and legal holds, each broken in a leader's ledger."""

from __future__ import annotations

from typing import Any

from protocol import limits
from protocol.ledger import erasure, keys
from protocol.ledger.leaves import Holds
from protocol.types.operations import AppendRecords, Erase, ErasureReceipt, Hold, ReleaseHold
from tests.protocol.ledger.rules.broken import Broken, Stage


def erasing(stage: Stage, *records: int, holders: tuple[int, ...] = (), carrier: int = 0) -> list[Any]:
    return stage.owner(Erase(stage.chart, records or (1,), holders), carrier=carrier)


def again(stage: Stage) -> list[Any]:
    stage.world.erase(stage.patient, 1)
    return erasing(stage)


def held(stage: Stage) -> list[Any]:
    stage.world.run(0, Hold(stage.chart, None, bytes(32)))
    return erasing(stage)


def held_by_name(stage: Stage) -> list[Any]:
    stage.world.run(0, Hold(stage.chart, (1,), bytes(32)))
    return erasing(stage)


def unnamed(stage: Stage) -> list[Any]:
    (record,) = stage.world.append_held(stage.patient, 3, entries=(stage.entry(),))
    return erasing(stage, record)


def writer_unnamed(stage: Stage) -> list[Any]:
    grant = stage.world.grant(stage.patient, stage.world.terms(grantees=(3,), access=2))
    written = stage.world.run(3, AppendRecords(stage.chart, (stage.entry(),), (), grant))
    return erasing(stage, written.first_event)


def receipt(stage: Stage, carrier: int, again: bool = False) -> list[Any]:
    event = stage.world.erase(stage.patient, 1, holders=(3,)).first_event
    if again:
        stage.world.run(carrier, ErasureReceipt(stage.chart, event))
    return stage.carried(ErasureReceipt(stage.chart, event), carrier=carrier)


def releasing(stage: Stage) -> list[Any]:
    hold = stage.world.run(0, Hold(stage.chart, None, bytes(32))).first_event
    return stage.carried(ReleaseHold(stage.chart, hold), carrier=1)


def too_many(stage: Stage) -> list[Any]:
    stage.put(keys.holds(stage.chart), Holds(tuple((at, None) for at in range(limits.HOLDS_PER_CHART))))
    return stage.carried(Hold(stage.chart, None, bytes(32)), carrier=0)


def holding_what_is_gone(stage: Stage) -> list[Any]:
    stage.world.erase(stage.patient, 1)
    return stage.carried(Hold(stage.chart, (1,), bytes(32)), carrier=0)


TABLE = [
    Broken(
        "an erasure is the owner's",
        erasure,
        "_erase",
        "cosigning.owner_signed(working, operation, call, chart)",
        "chart",
        "missing-cosignature",
        lambda s: s.carried(Erase(s.chart, (1,), ()), carrier=0),
    ),
    Broken(
        "an erasure is the custodian's",
        erasure,
        "_custodians",
        "chart.custodian != call.institution",
        "False",
        "unauthorised",
        lambda s: erasing(s, holders=(0,), carrier=1),
    ),
    Broken(
        "a hold is the custodian's",
        erasure,
        "_custodians",
        "chart.custodian != call.institution",
        "False",
        "unauthorised",
        lambda s: s.carried(Hold(s.chart, None, bytes(32))),
    ),
    Broken(
        "the custodian releases its hold",
        erasure,
        "_custodians",
        "chart.custodian != call.institution",
        "False",
        "unauthorised",
        releasing,
    ),
    Broken(
        "a record is erased once",
        erasure,
        "_erase",
        "reading.any_erased(working, number, operation.records)",
        "False",
        "already-erased",
        again,
    ),
    Broken(
        "a hold of all stands before",
        erasure,
        "_check_holds",
        "held is None or",
        "held is not None and",
        "on-hold",
        held,
    ),
    Broken(
        "a hold of some stands before",
        erasure,
        "_check_holds",
        "not set(held).isdisjoint(records)",
        "False",
        "on-hold",
        held_by_name,
    ),
    Broken(
        "all who store it are named",
        erasure,
        "_check_named",
        "(*record.holders, record.institution)",
        "(record.institution,)",
        "holder-missing",
        unnamed,
    ),
    Broken(
        "who wrote it is named",
        erasure,
        "_check_named",
        "(*record.holders, record.institution)",
        "record.holders",
        "holder-missing",
        writer_unnamed,
    ),
    Broken(
        "what is erased is marked",
        erasure,
        "_erase",
        "_mark(working, number, operation.records)",
        "pass",
        "state_root",
        erasing,
    ),
    Broken(
        "the custodian owes a receipt",
        erasure,
        "_erase",
        "{*operation.holders, call.institution}",
        "{*operation.holders}",
        "state_root",
        erasing,
    ),
    Broken(
        "every holder owes a receipt",
        erasure,
        "_erase",
        "{*operation.holders, call.institution}",
        "{call.institution}",
        "state_root",
        lambda s: erasing(s, holders=(3,)),
    ),
    Broken(
        "who owes nothing answers nothing",
        erasure,
        "_acknowledge",
        "institution not in erasure.owed",
        "False",
        "nothing-owed",
        lambda s: receipt(s, 2),
    ),
    Broken(
        "a receipt comes once",
        erasure,
        "_acknowledge",
        "any(by == institution for by, _ in erasure.receipts)",
        "False",
        "already-acknowledged",
        lambda s: receipt(s, 3, again=True),
    ),
    Broken(
        "a receipt is written down",
        erasure,
        "_acknowledge",
        "working.put(key, replace(erasure, receipts=receipts))",
        "pass",
        "state_root",
        lambda s: receipt(s, 3),
    ),
    Broken(
        "a hold is written down",
        erasure,
        "_hold",
        "Holds((*holds.holds, (chart.events, operation.records)))",
        "holds",
        "state_root",
        lambda s: s.carried(Hold(s.chart, None, bytes(32)), carrier=0),
    ),
    Broken(
        "a hold is released once",
        erasure,
        "_release",
        "len(kept) == len(holds.holds)",
        "False",
        "unknown-hold",
        lambda s: s.world.run(0, Hold(s.chart, None, bytes(32))) and s.carried(ReleaseHold(s.chart, 1), carrier=0),
    ),
    Broken(
        "so many holds are in force",
        erasure,
        "_hold",
        "len(holds.holds) >= limits.HOLDS_PER_CHART",
        "False",
        "too-many-holds",
        too_many,
    ),
    Broken(
        "nothing erased is held",
        erasure,
        "_hold",
        "reading.any_erased(working, number, operation.records)",
        "False",
        "already-erased",
        holding_what_is_gone,
    ),
]
