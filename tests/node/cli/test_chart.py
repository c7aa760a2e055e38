"""`chartledger chart history` says of every event what is particular to it."""

import msgspec
import pytest

from node.api.events import KINDS, event_out
from node.cli.chart import details
from protocol.ledger.events import (
    ChangeCancelled,
    DelegateNamed,
    Erased,
    ErasureAcknowledged,
    GlassBroken,
    GlassReviewed,
    HoldPlaced,
    Outcome,
    PolicySet,
    Reason,
)
from protocol.types.terms import BreakGlassMode, Policy

NAMES = {0: "St. Anna", 1: "Rivertown", 2: "Lakeside"}
AT = (7, 1_000)
BROKEN = (Outcome.DENIED, Reason.BREAK_GLASS_FORBIDDEN, None, None, bytes(32))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (PolicySet(*AT, 0, Policy(BreakGlassMode.ALLOWED, ())), "the policy: emergencies allowed, 0 bars"),
        (GlassBroken(*AT, 2, (1, 4), "ETREAT", *BROKEN), "denied for ETREAT without permission, 2 records: You had"),
        (GlassReviewed(*AT, 1, 6, True, None, True), "Rivertown reviewed emergency 6 late and found it justified"),
        (Erased(*AT, 0, (1,), (1, 2)), "the owner and St. Anna ordered 1 record erased"),
        (ErasureAcknowledged(*AT, 2, 9), "Lakeside acknowledged that it deleted what erasure 9 names"),
        (HoldPlaced(*AT, 0, (3, 4), bytes(32)), "St. Anna placed a legal hold on 2 records"),
        (ChangeCancelled(*AT, 8, 1, True), "change 1 was cancelled by the guardians"),
    ],
)
def test_what_happened_is_said_in_words(event, said):
    shown = msgspec.to_builtins(event_out(5, b"", event))
    assert said in details(shown, NAMES)


def test_kinds_without_words_of_their_own_have_the_ledger_s():
    assert KINDS[DelegateNamed] == "delegate"
    words = details(
        {"kind": "delegate", "sentence": "institution 9 did 1 thing(s), institution 2 did 2 thing(s)"}, NAMES
    )
    assert words == "institution 9 did 1 thing, Lakeside did 2 things"
