"""Access: the rules decide in the block, for every reason that there is."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import DenialCapReached, NotAscending, Unauthorised, UnknownChart, UnknownPurpose, UnknownRecord
from protocol.ledger import keys
from protocol.ledger.access import DAY_MS
from protocol.ledger.events import Disclosed, GlassBroken, Outcome, Reason, decode_event, reason_text
from protocol.ledger.leaves import Emergencies
from protocol.params import Params
from protocol.types.operations import (
    ACCESS_WRITE,
    AppendRecords,
    Bar,
    BreakGlassMode,
    Disclose,
    Policy,
    Revoke,
)


def test_disclosed_until_the_release_deadline(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.grant(patient)
    receipt = world.disclose(patient, 0, 1)
    assert (receipt.outcome, receipt.reason, receipt.first_event) == (Outcome.DISCLOSED, Reason.NONE, 3)
    until = world.head.timestamp + world.genesis.params.release_ms
    assert world.history(patient)[-1] == Disclosed(
        world.head.height, world.head.timestamp, 1, 0, (1,), "TREAT", Outcome.DISCLOSED, Reason.NONE, until
    )


def reasons(world: Any, make_entry: Any, make_tags: Any) -> dict[Reason, Any]:
    """A denial for each reason, each the only rule against it."""
    patient, closed = world.open_chart(), world.open_chart()
    world.append(patient, *[make_entry(1, 2, number, 4) for number in (3, 5, 6, 3)])  # 1 to 4
    world.append(closed)
    world.set_policy(closed, Policy(BreakGlassMode.FORBIDDEN))
    plain = world.grant(patient)
    revoked = world.grant(patient)
    world.revoke(patient, revoked)
    world.set_policy(patient, Policy(bars=(Bar(1, make_tags(None, None, [6])[:3]),)))
    later = world.grant(patient, world.terms(not_before=world.now + 1_000))
    brief = world.grant(patient, world.terms(not_after=world.now + 2))
    wide = world.grant(patient, world.terms(tags=make_tags(None, None, [3, 5, 6], [4])))
    certain = world.grant(patient, world.terms(practitioners=(b"p" * 16,)))
    writing = world.grant(patient, world.terms(access=ACCESS_WRITE))
    ended, bound = world.name_delegate(patient), world.name_delegate(patient)
    world.end_delegate(patient, ended)
    world.erase(patient, 4)
    full = tuple((world.now, patient.chart, at) for at in range(limits.EMERGENCIES_UNREVIEWED))
    world.leaves[keys.emergencies(3)] = encode(Emergencies(unreviewed=full))
    world.wait(10)

    def delegated(helper: Any, *records: int) -> Any:
        return world.run(0, world.delegated(helper, Disclose(patient.chart, None, records, "TREAT")))

    return {
        Reason.EMERGENCY_PURPOSE: lambda: world.disclose(patient, plain, 1, purpose="BTG"),
        Reason.NO_GRANT: lambda: world.disclose(patient, None, 1),
        Reason.WRONG_INSTITUTION: lambda: world.disclose(patient, plain, 1, reader=3),
        Reason.WRITE_ONLY: lambda: world.disclose(patient, writing, 1),
        Reason.REVOKED: lambda: world.disclose(patient, revoked, 1),
        Reason.NOT_YET: lambda: world.disclose(patient, later, 1),
        Reason.EXPIRED: lambda: world.disclose(patient, brief, 1),
        Reason.PURPOSE: lambda: world.disclose(patient, plain, 1, purpose="HRESCH"),
        Reason.PRACTITIONER: lambda: world.disclose(patient, certain, 1),
        Reason.OUTSIDE: lambda: world.disclose(patient, plain, 1, 2),
        Reason.BARRED: lambda: world.disclose(patient, wide, 1, 3),
        Reason.ERASED: lambda: world.disclose(patient, plain, 1, 4),
        Reason.DELEGATE_ENDED: lambda: delegated(ended, 1),
        Reason.DELEGATE_BOUNDS: lambda: delegated(bound, 1, 2),
        Reason.BREAK_GLASS_FORBIDDEN: lambda: world.break_glass(closed, 1),
        Reason.REVIEWS_OWED: lambda: world.break_glass(patient, 1, reader=3),
    }


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NONE])
def test_denied_with_its_reason(world: Any, make_entry: Any, make_tags: Any, reason: Reason) -> None:
    receipt = reasons(world, make_entry, make_tags)[reason]()
    assert (receipt.outcome, receipt.reason) == (Outcome.DENIED, reason)
    event = decode_event(world.events[(receipt.chart, receipt.first_event)])
    assert isinstance(event, Disclosed | GlassBroken)
    assert (event.outcome, event.reason, event.release_until) == (Outcome.DENIED, reason, None)


def test_each_reason_reads_as_a_sentence() -> None:
    assert all(reason_text(reason).endswith(".") for reason in Reason)
    assert len({reason_text(reason) for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("grant", [0, 5, 70_000, limits.U53])
def test_a_grant_that_is_none_is_a_denial_and_not_an_error(world: Any, grant: int) -> None:
    patient = world.open_chart()
    world.append(patient)
    assert world.disclose(patient, grant, 1).reason is Reason.NO_GRANT


def test_every_position_must_be_covered(world: Any, make_entry: Any, make_tags: Any) -> None:
    patient = world.open_chart()
    world.append(patient, make_entry(1, 2, 3, 4))
    narrow = [[1], [2], [3], [4]]
    assert world.disclose(patient, world.grant(patient, world.terms(tags=make_tags(*narrow))), 1).reason is Reason.NONE
    for position in range(4):
        lists = [list(one) for one in narrow]
        lists[position] = [77]
        grant = world.grant(patient, world.terms(tags=make_tags(*lists)))
        assert world.disclose(patient, grant, 1).reason is Reason.OUTSIDE
    lists = [[2], [1], [4], [3]]  # the right tags, at wrong positions
    assert (
        world.disclose(patient, world.grant(patient, world.terms(tags=make_tags(*lists))), 1).reason is Reason.OUTSIDE
    )


def test_a_grant_runs_from_its_first_to_before_its_last_moment(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    grant = world.grant(patient, world.terms(not_before=world.now + 100, not_after=world.now + 200))
    terms = world.grant_leaf(patient, grant).terms
    for moment, reason in [
        (terms.not_before - 1, Reason.NOT_YET),
        (terms.not_before, Reason.NONE),
        (terms.not_after - 1, Reason.NONE),
        (terms.not_after, Reason.EXPIRED),
    ]:
        world.now = moment
        assert world.disclose(patient, grant, 1).reason is reason


@pytest.mark.parametrize("records", [(0,), (1, 2), (3,), (1, 9), (limits.U53,)])
def test_only_records_can_be_asked_for(world: Any, records: tuple[int, ...]) -> None:
    patient = world.open_chart()
    world.append(patient)  # event 1, between the opening and the grant
    world.grant(patient)
    world.refuses(UnknownRecord, world.body(1, Disclose(patient.chart, 0, records, "TREAT")))


def test_malformed_requests(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.append(patient)
    cases = [
        (UnknownChart, Disclose(9, 0, (1,), "TREAT")),
        (UnknownChart, Disclose(limits.U53, 0, (1,), "TREAT")),
        (UnknownPurpose, Disclose(patient.chart, 0, (1,), "CURIOUS")),
        (NotAscending, Disclose(patient.chart, 0, (2, 1), "TREAT")),
        (NotAscending, Disclose(patient.chart, 0, (1, 1), "TREAT")),
    ]
    for error, operation in cases:
        world.refuses(error, world.body(1, operation))
    signed = world.owned(patient, Disclose(patient.chart, None, (1,), "TREAT"))
    world.refuses(Unauthorised, world.body(1, signed))


def test_denials_are_capped_per_asker_chart_and_day(new_world: Any) -> None:
    world = new_world(Params(denials_per_day=2))
    patient, other = world.open_chart(), world.open_chart()
    world.append(patient)
    world.append(other)
    world.now = (world.now // DAY_MS + 1) * DAY_MS
    asking = Disclose(patient.chart, None, (1,), "TREAT")
    world.run(1, asking)
    world.run(1, asking)
    world.refuses(DenialCapReached, world.body(1, asking))
    world.refuses(DenialCapReached, world.body(1, asking))
    world.run(3, asking)
    world.run(1, Disclose(other.chart, None, (1,), "TREAT"))
    grant = world.grant(patient)
    assert world.disclose(patient, grant, 1).outcome is Outcome.DISCLOSED
    world.now = (world.now // DAY_MS + 1) * DAY_MS
    assert world.run(1, asking).outcome is Outcome.DENIED


def test_a_revocation_in_the_same_block_wins(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.grant(patient)
    asking = world.body(1, Disclose(patient.chart, 0, (1,), "TREAT"))
    revoking = world.body(2, world.owned(patient, Revoke(patient.chart, 0)))
    receipts = world.block(asking, revoking)
    assert receipts[0].operations[0].reason is Reason.REVOKED


def test_records_of_the_same_block_can_be_asked_for(world: Any, make_entry: Any) -> None:
    patient = world.open_chart()
    world.grant(patient)
    appending = world.body(0, AppendRecords(patient.chart, (make_entry(1, 2, 3, 4),)))
    asking = world.body(1, Disclose(patient.chart, 0, (2,), "TREAT"))
    receipts = world.block(appending, asking)
    assert receipts[1].operations[0].outcome is Outcome.DISCLOSED
