"""What a key that is said to be stolen must not do, each permitted by a leader's broken ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from protocol.ledger import consent, control, erasure, records
from protocol.types.operations import (
    AppendRecords,
    Delegate,
    Erase,
    Grant,
    Policy,
    SetPolicy,
)
from tests.protocol.ledger.rules.broken import Broken, Stage


def frozen_owner(make: Callable[[Stage], Any], carrier: int = 2) -> Callable[[Stage], list[Any]]:
    def made(stage: Stage) -> list[Any]:
        stage.frozen()
        return stage.owner(make(stage), carrier=carrier)

    return made


def note(stage: Stage) -> AppendRecords:
    return AppendRecords(stage.chart, (replace(stage.entry(), disputes=1),))


def naming(stage: Stage) -> Delegate:
    return Delegate(stage.chart, stage.world.delegate_terms(stage.world.fresh_key()))


TABLE = [
    Broken(
        f"a frozen owner's key: {name}",
        module,
        function,
        "cosigning.check_not_frozen(working, number)",
        "pass",
        "owner-frozen",
        attack,
    )
    for name, module, function, attack in (
        ("grants nothing", consent, "_grant", frozen_owner(lambda s: Grant(s.chart, s.world.terms()))),
        ("sets no policy", control, "_set_policy", frozen_owner(lambda s: SetPolicy(s.chart, Policy()))),
        ("names nobody", control, "_delegate", frozen_owner(naming)),
        ("erases nothing", erasure, "_erase", frozen_owner(lambda s: Erase(s.chart, (1,), ()), carrier=0)),
        ("disputes nothing", records, "_append", frozen_owner(note, carrier=0)),
    )
]
