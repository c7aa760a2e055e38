"""Events of charts as JSON."""

from __future__ import annotations

import msgspec

from node.api.events import event_out
from node.api.schemas import EventOut
from protocol.codec.canonical import encode
from protocol.ledger.events import Revoked
from protocol.types.terms import Bar


def told(event: Revoked) -> EventOut:
    """What a client reads of it."""
    return msgspec.json.decode(msgspec.json.encode(event_out(7, encode(event), event)), type=EventOut)


def test_a_revocation_tells_which_bars_it_renewed() -> None:
    bar = Bar(None, (None, None, (b"t" * 16,)), emergencies=True, generation=1)
    out = told(Revoked(3, 1_000, 1, 0, 1, (), bars=(bar,)))
    assert out.bars == [
        {"institution": None, "tags": [None, None, [(b"t" * 16).hex()]], "emergencies": True, "generation": 1}
    ]
    assert out.sentence == "the chart's owner withdrew permission number 0 and renewed what is forbidden: 1 bar(s)"
    assert told(Revoked(3, 1_000, 1, 0, 1, (), bars=())).bars == []
    unchanged = told(Revoked(3, 1_000, 1, 0, 1, ()))
    assert unchanged.bars is None
    assert unchanged.sentence == "the chart's owner withdrew permission number 0"
