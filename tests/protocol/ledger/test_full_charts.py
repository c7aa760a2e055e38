"""A chart takes so many events and no more; what was begun ends on a full one, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import limits
from protocol.codec.canonical import encode
from protocol.errors import ChartFull
from protocol.ledger import keys, tree
from protocol.types.operations import (
    AppendRecords,
    BreakGlass,
    BreakGlassMode,
    CancelRecovery,
    CompleteRecovery,
    ConfirmBreakGlass,
    Delegate,
    Disclose,
    Erase,
    ErasureReceipt,
    Grant,
    Hold,
    Policy,
    ReleaseHold,
    ReviewBreakGlass,
    Revoke,
    SetGuardians,
    SetPolicy,
)


def fill(world: Any, patient: Any, left: int = 0) -> None:
    """As if so much had happened to the chart that it has room for `left` events and what it keeps free."""
    chart = world.chart(patient)
    events = limits.EVENTS_PER_CHART - chart.kept_free - left
    peaks = tuple(bytes([place]) * 32 for place in range(events.bit_count()))
    world.leaves[keys.chart(patient.chart)] = encode(replace(chart, events=events, peaks=peaks))
    world.nodes.update(tree.update(dict(tree.EMPTY_TREE), world.leaves).nodes)


def begun(world: Any) -> tuple[Any, dict[str, Callable[[], Any]]]:
    """A chart on which everything was begun that can end, and what ends each."""
    patient = world.open_chart()
    chart = patient.chart
    world.append(patient)
    world.append(patient)
    grant = world.grant(patient)
    helper = world.name_delegate(patient)
    world.set_guardians(patient)
    hold = world.run(0, Hold(chart, (2,), bytes(32))).first_event
    emergency = world.break_glass(patient, 1).first_event
    erasure = world.erase(patient, 1, holders=(1, 3)).first_event
    change = world.next_change(patient)
    world.run(2, world.owned(patient, SetGuardians(chart, change, None)))
    ends = {
        "revoke": lambda: world.revoke(patient, grant),
        "end delegate": lambda: world.end_delegate(patient, helper),
        "release": lambda: world.run(0, ReleaseHold(chart, hold)),
        "review": lambda: world.run(3, ReviewBreakGlass(chart, emergency, 1, True)),
        "custodian's receipt": lambda: world.run(0, ErasureReceipt(chart, erasure)),
        "holder's receipt": lambda: world.run(1, ErasureReceipt(chart, erasure)),
        "last receipt": lambda: world.run(3, ErasureReceipt(chart, erasure)),
        "cancel": lambda: world.run(2, world.owned(patient, CancelRecovery(chart, change))),
    }
    return patient, ends


def test_what_was_begun_keeps_a_number_free_until_it_ends(world: Any) -> None:
    patient, ends = begun(world)
    assert world.chart(patient).kept_free == len(ends)
    for done, end in enumerate(ends.values(), 1):
        assert end().events == 1
        assert world.chart(patient).kept_free == len(ends) - done


def test_everything_begun_ends_on_a_full_chart(world: Any) -> None:
    patient, ends = begun(world)
    fill(world, patient)
    for end in ends.values():
        assert end().events == 1
    assert world.chart(patient).events == limits.EVENTS_PER_CHART


def test_a_change_completes_on_a_full_chart(world: Any) -> None:
    patient = world.open_chart()
    world.run(2, world.owned(patient, world.rotating(patient, world.fresh_key())))
    fill(world, patient)
    world.wait(world.genesis.params.recovery_ms)
    world.run(1, CompleteRecovery(patient.chart, 0))
    assert world.chart(patient).events == limits.EVENTS_PER_CHART


@pytest.mark.parametrize("left", [0, 1])
def test_nothing_begins_on_a_chart_without_room_for_its_end(world: Any, make_entry: Any, left: int) -> None:
    """With room for one event, what needs no end is taken and what needs one is not."""
    patient, _ = begun(world)
    chart = patient.chart
    fill(world, patient, left)
    key = world.fresh_key()
    beginning = {
        0: world.owned(patient, Grant(chart, world.terms())),
        1: world.owned(patient, Delegate(chart, world.delegate_terms(key))),
        2: world.guarded(patient, world.recovering(patient, key), 0, 1),
        3: BreakGlass(chart, (2,), "ETREAT", bytes(32)),
        4: Hold(chart, None, bytes(32)),
    }
    for carrier, operation in beginning.items():
        if carrier == 2 and left:
            continue  # it ends the change that waits, so it takes one more only
        world.refuses(ChartFull, world.body(carrier if carrier < 4 else 0, operation))
    whole = {
        0: AppendRecords(chart, (make_entry(),)),
        1: world.owned(patient, SetPolicy(chart, Policy())),
        3: Disclose(chart, None, (2,), "TREAT"),
    }
    for carrier, operation in whole.items():
        if left:
            execution = world.execution(body := world.body(carrier, operation))
            assert world.apply(execution, body).operations[0].events == 1
        else:
            world.refuses(ChartFull, world.body(carrier, operation))


def test_the_last_number_has_no_key_and_no_error_of_its_own(world: Any) -> None:
    """Full to the last event: an emergency or erasure would get a number that no key holds."""
    patient = world.open_chart()
    world.append(patient)
    chart = patient.chart
    fill(world, patient)
    assert world.chart(patient).events == limits.EVENTS_PER_CHART
    world.refuses(ChartFull, world.body(1, BreakGlass(chart, (1,), "ETREAT", bytes(32))))
    world.refuses(ChartFull, world.body(0, world.erasing(patient, 1)))
    world.refuses(ChartFull, world.body(0, Hold(chart, None, bytes(32))))
    world.refuses(ChartFull, world.body(1, Disclose(chart, None, (1,), "TREAT")))


def test_a_confirmation_needs_room_for_the_review(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    world.set_policy(patient, Policy(BreakGlassMode.TWO_INSTITUTIONS))
    event = world.break_glass(patient, 1).first_event
    assert world.chart(patient).kept_free == 0
    fill(world, patient, 1)
    world.refuses(ChartFull, world.body(3, ConfirmBreakGlass(patient.chart, event, 1, (1,))))
    fill(world, patient, 2)
    world.run(3, ConfirmBreakGlass(patient.chart, event, 1, (1,)))
    assert world.chart(patient).kept_free == 1


def test_ending_again_takes_nothing_more(world: Any) -> None:
    patient = world.open_chart()
    grant, helper = world.grant(patient), world.name_delegate(patient)
    for _ in range(2):
        world.revoke(patient, grant)
        world.end_delegate(patient, helper)
    assert world.chart(patient).kept_free == 0
    assert world.run(2, world.owned(patient, Revoke(patient.chart, grant))).events == 0


def test_an_erasure_keeps_room_for_every_receipt(world: Any) -> None:
    patient = world.open_chart()
    world.append(patient)
    fill(world, patient, 3)
    world.refuses(ChartFull, world.body(0, world.owned(patient, Erase(patient.chart, (1,), (1, 2, 3)))))
    fill(world, patient, 5)
    receipt = world.erase(patient, 1, holders=(1, 2, 3))
    for institution in range(4):
        world.run(institution, ErasureReceipt(patient.chart, receipt.first_event))
    assert world.chart(patient).events == limits.EVENTS_PER_CHART
