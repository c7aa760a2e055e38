"""The five claims, each shown from one file and the genesis alone, and the ways in which each could be untrue."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol.errors import BadProof
from protocol.ledger import keys
from protocol.ledger.events import Reason
from protocol.proofs import bundle, grant, past
from protocol.proofs.erasure import ErasureClaim, ErasureProof
from protocol.proofs.explaining import explain
from protocol.proofs.grant import GrantClaim
from protocol.proofs.history import HistoryClaim
from protocol.proofs.parts import EventShown
from protocol.types.governance import Remove, Suspend
from protocol.types.operations import AppendRecords, Revoke
from protocol.types.terms import ACCESS_WRITE, Bar, Reissue
from tests.protocol.proofs.proving import Prover, immunization

HOUR_MS = 3_600_000


@pytest.fixture
def prover(world: Any) -> Prover:
    """A chart with two records, held by institutions 1 and 2 too, and one grant to institution 1."""
    patient = world.open_chart()
    made = Prover(world, patient)
    world.run(0, AppendRecords(patient.chart, (immunization(), immunization()), (1, 2)))
    world.grant(patient)
    world.open_chart()
    return made


def shown(prover: Prover, proof: Any, **how: Any) -> Any:
    """What a proof shows, once through its file."""
    read = bundle.read(bundle.write(proof))
    assert read == proof
    claim = bundle.check(read, genesis=prover.world.genesis, **how)
    lines = explain(claim, prover.world.genesis)
    assert any(line.startswith("Not shown") for line in lines)
    assert all(line.endswith((".", "!")) for line in lines), lines
    return claim


# --- history


def test_all_that_happened_to_a_chart(prover: Prover) -> None:
    claim = shown(prover, prover.history())
    assert isinstance(claim, HistoryClaim)
    assert (claim.complete, claim.total, list(claim.events)) == (True, 4, prover.world.history(prover.patient))
    text = " ".join(explain(claim, prover.world.genesis))
    assert "all that ever happened to chart 0" in text
    assert "None was left out, moved or put in" in text


def test_every_run_of_a_history_is_shown_and_says_what_it_leaves_out(prover: Prover) -> None:
    prover.world.append(prover.patient, *(immunization() for _ in range(7)))
    total = prover.world.chart(prover.patient).events
    whole = prover.world.history(prover.patient)
    for first in range(total):
        for end in range(first + 1, total + 1):
            claim = shown(prover, prover.history(first, end))
            assert list(claim.events) == whole[first:end]
            assert claim.complete == (end - first == total)
            told = " ".join(explain(claim, None))
            assert ("which other proofs have to show" in told) != claim.complete


def test_no_event_is_left_out_moved_or_put_in(prover: Prover) -> None:
    prover.world.append(prover.patient, *(immunization() for _ in range(3)))
    proof = prover.history()
    events = proof.events
    for forged in (
        events[:-1],
        events[1:],
        (*events[:2], *events[3:]),
        (events[1], events[0], *events[2:]),
        (*events, events[-1]),
        (*events[:3], events[4], *events[4:]),
    ):
        with pytest.raises(BadProof, match=r"^history: "):
            shown(prover, replace(proof, events=forged))
    part = prover.history(2, 5)
    for change in (
        {"first": 3},
        {"first": 0},
        {"before": part.after, "after": part.before},
        {"before": ()},
        {"after": (*part.after, bytes(32))},
        {"chart": 1},
    ):
        with pytest.raises(BadProof, match=r"^(history|state): "):
            shown(prover, replace(part, **change))


# --- grants


def verdict(prover: Prover, proof: Any) -> tuple[bool, Reason]:
    claim = shown(prover, proof)
    assert isinstance(claim, GrantClaim)
    return claim.in_force, claim.against


def test_a_grant_is_in_force_or_the_proof_says_why_not(prover: Prover) -> None:
    world, patient = prover.world, prover.patient
    assert verdict(prover, prover.grant(0)) == (True, Reason.NONE)
    assert verdict(prover, prover.grant(0, institution=None)) == (True, Reason.NONE)
    assert verdict(prover, prover.grant(0, institution=2)) == (False, Reason.WRONG_INSTITUTION)
    assert verdict(prover, prover.grant(1)) == (False, Reason.NO_GRANT)
    later = world.grant(patient, world.terms(not_before=world.now + HOUR_MS))
    assert verdict(prover, prover.grant(later)) == (False, Reason.NOT_YET)
    world.wait(HOUR_MS)
    world.block()
    assert verdict(prover, prover.grant(later)) == (True, Reason.NONE)
    world.revoke(patient, later)
    assert verdict(prover, prover.grant(later)) == (False, Reason.REVOKED)
    world.wait(31 * 24 * HOUR_MS)
    world.block()
    assert verdict(prover, prover.grant(0)) == (False, Reason.EXPIRED)


def test_a_bar_that_takes_everything_beats_the_grant(prover: Prover, make_tags: Any) -> None:
    def bar(institution: int | None, *tags: Any) -> Bar:
        lists = make_tags(*tags, [1], [1])[:3] if len(tags) < 3 else make_tags(*tags, [1])[:3]
        return Bar(institution, lists)

    for bars, barred in (
        ((bar(1, None, None, None),), True),
        ((bar(None, None, None, None),), True),
        ((bar(2, None, None, None),), False),
        ((bar(1, [7], None, None),), False),  # the grant is of any category
        ((bar(1, None, None, [3, 9]),), True),  # it covers nothing but sensitivity 3
        ((bar(1, None, None, [9]),), False),
    ):
        prover.set_policy(*bars)
        expected = (False, Reason.BARRED) if barred else (True, Reason.NONE)
        assert verdict(prover, prover.grant(0)) == expected, bars
        written = shown(prover, prover.grant(0))
        assert len(written.bars) == sum(one.institution in (None, 1) for one in bars)
    write_only = prover.world.grant(prover.patient, prover.world.terms(access=ACCESS_WRITE))
    prover.set_policy(bar(None, None, None, None))
    assert verdict(prover, prover.grant(write_only)) == (True, Reason.NONE)


def test_without_an_institution_the_bars_against_any_grantee_are_told(prover: Prover, make_tags: Any) -> None:
    bar = Bar(1, make_tags([7], None, [1], [1])[:3])
    past_block = prover.block()
    for bars, told in (((), 0), ((replace(bar, institution=2),), 0), ((bar, replace(bar, institution=None)), 2)):
        prover.set_policy(*bars)
        for proof in (prover.grant(0, institution=None), prover.past(prover.block(), 0, institution=None)):
            claim = shown(prover, proof)
            assert (claim.in_force, len(claim.bars)) == (True, told)
            text = " ".join(explain(claim, None))
            assert ("no bar stood against it" in text) == (told == 0)
            assert ("1 of them against one institution alone" in text) == (told == 2)
    assert shown(prover, prover.past(past_block, 0, institution=None)).bars == ()


def test_a_record_is_judged_as_the_authorities_judge_it(prover: Prover, make_tags: Any) -> None:
    world, patient = prover.world, prover.patient
    assert verdict(prover, prover.grant(0, record=1)) == (True, Reason.NONE)
    narrow = world.grant(patient, world.terms(tags=make_tags([9], None, [3], [4])))
    assert verdict(prover, prover.grant(narrow, record=1)) == (False, Reason.OUTSIDE)
    prover.set_policy(Bar(1, make_tags([1], None, [1], [1])[:3]))
    assert verdict(prover, prover.grant(0, record=1))[1] is Reason.NONE  # the bar names a sensitivity, too
    prover.set_policy(Bar(1, (*make_tags([1], None, [1], [1])[:2], None)))
    assert verdict(prover, prover.grant(0, record=1)) == (False, Reason.BARRED)
    assert verdict(prover, prover.grant(0)) == (True, Reason.NONE)  # other categories are left
    prover.set_policy()
    prover.erase([1], [1, 2])
    assert verdict(prover, prover.grant(0, record=1)) == (False, Reason.ERASED)
    assert verdict(prover, prover.grant(0, record=2)) == (True, Reason.NONE)
    with pytest.raises(BadProof, match="is no record"):
        shown(prover, prover.grant(0, record=0))
    with pytest.raises(BadProof, match=r"^grant: whether a record could be read depends on who asks"):
        shown(prover, prover.grant(0, institution=None, record=1))


def test_an_institution_that_is_suspended_or_removed_can_use_no_grant(prover: Prover) -> None:
    prover.world.decide(Suspend(1), 0, 2, 3)
    prover.hops = (_end(prover),)
    claim = shown(prover, prover.grant(0))
    assert (claim.in_force, claim.suspended, claim.against) == (False, True, Reason.NONE)
    assert "was suspended then" in " ".join(explain(claim, None))


def _end(prover: Prover) -> Any:
    from protocol.proofs.light import EpochHop

    world = prover.world
    hop = EpochHop(world.head, world.certificate(), world.authorities())
    world.block()
    return hop


def test_what_decides_about_a_grant_can_be_neither_left_out_nor_made_up(prover: Prover) -> None:
    world = prover.world
    honest = prover.grant(0)
    prover.set_policy(Bar(1, (None, None, None)))
    barred = prover.grant(0)
    world.revoke(prover.patient, 0)
    revoked = prover.grant(0, record=1)
    none = prover.grant(5)
    for proof, change, check in (
        (barred, {"policy": None}, "holds a value at this key, where the policy's leaf belongs"),
        (barred, {"policy": world.leaves[keys.chart(0)]}, "another value at this key, where the policy's leaf"),
        (revoked, {"grant_leaf": honest.grant_leaf}, "another value at this key, where the grant's leaf"),
        (revoked, {"grant_leaf": None}, "holds a value at this key, where the grant's leaf"),
        (revoked, {"anchor": honest.anchor}, "step 0 of the state path"),
        (revoked, {"grant": 1}, "holds nothing at this key"),
        (revoked, {"institution": 2}, "another value at this key, where an institution's leaf"),
        (revoked, {"institution": None}, "a leaf that nothing asks for"),
        (revoked, {"erased": b"\x91\xc4\x01\x01"}, "holds nothing at this key, where the leaf of what was erased"),
        (none, {"grant_leaf": honest.grant_leaf}, "holds nothing at this key, where the grant's leaf"),
        (none, {"nodes": none.nodes[:-1]}, "the state path ends before"),
        (none, {"nodes": (*none.nodes, none.nodes[-1])}, "the state path goes on past"),
        (none, {"nodes": none.nodes[::-1]}, "is not a node of the state tree"),
    ):
        forged = replace(proof, **change)
        with pytest.raises(BadProof, match=f"^state: .*{check}"):
            shown(prover, replace(forged, checksum=grant.checksum(forged.grant, forged.institution)))
    with pytest.raises(BadProof, match=r"^history: "):
        shown(prover, replace(revoked, record=replace(revoked.record, number=2)))


# --- grants in the past


def test_a_grant_at_every_height_as_the_state_had_it_then(prover: Prover, make_tags: Any) -> None:
    """At each block on the way the proof at the head is kept, and in the end the history says the same of each."""
    world, patient = prover.world, prover.patient
    kept = []

    def keep() -> None:
        for number in range(4):
            kept.append((prover.block(), number, shown(prover, prover.grant(number))))

    keep()
    world.grant(patient, world.terms(not_before=world.now + HOUR_MS))
    keep()
    world.wait(HOUR_MS)
    world.append(patient)
    keep()
    prover.set_policy(Bar(1, (None, None, None)))
    keep()
    prover.set_policy()
    world.revoke(patient, 0)
    keep()
    world.grant(patient)
    world.wait(40 * 24 * HOUR_MS)
    world.block()
    keep()
    reasons = set()
    for block, number, then in kept:
        claim = shown(prover, prover.past(block, number))
        same = ("height", "time_ms", "terms", "against", "in_force", "grants", "revoked_at", "bars", "bars_stale")
        for name in same:
            assert getattr(claim, name) == getattr(then, name), (name, number, then.height)
        reasons.add(claim.against)
        assert claim.later.header == world.head
    assert reasons == {
        Reason.NONE, Reason.NO_GRANT, Reason.NOT_YET, Reason.EXPIRED, Reason.REVOKED, Reason.BARRED
    }  # fmt: skip


def test_reissued_tags_and_renewed_bars_decide_about_the_past_too(prover: Prover, make_tags: Any) -> None:
    """After each revocation the proof at the head is kept, and in the end the history says the same of each."""
    world, patient = prover.world, prover.patient
    asked, *spare = (world.grant(patient) for _ in range(6))
    tags = make_tags(None, None, [30], [40])
    everything = Bar(1, (None, None, None), generation=1)
    part = Bar(None, make_tags([9], None, [30])[:3], generation=3)
    kept = []

    def revoke(number: int, bars: tuple[Bar, ...] | None, *reissues: Reissue) -> None:
        keep(world.owned(patient, Revoke(patient.chart, number, reissues, bars=bars)))

    def keep(signed: Any) -> None:
        world.run(2, signed)
        kept.append((prover.block(), shown(prover, prover.grant(asked))))

    revoke(spare[0], (everything,), Reissue(asked, tags))  # where no policy was
    revoke(spare[1], None)
    revoke(spare[2], (part,))
    revoke(spare[3], ())
    held_back = world.owned(patient, Revoke(patient.chart, spare[4], bars=()))
    prover.set_policy(everything)
    keep(held_back)
    found = []
    for block, then in kept:
        claim = shown(prover, prover.past(block, asked))
        assert claim.terms == then.terms
        assert claim.terms.tags == tags
        assert (claim.against, claim.in_force) == (then.against, then.in_force)
        assert (claim.bars, claim.bars_stale) == (then.bars, then.bars_stale)
        found.append((claim.against, claim.bars, claim.bars_stale))
    assert found == [
        (Reason.BARRED, (everything,), False),
        (Reason.BARRED, (everything,), True),
        (Reason.NONE, (part,), False),
        (Reason.NONE, (), False),
        (Reason.BARRED, (everything,), True),  # bars signed before the policy that stands change nothing
    ]
    told = " ".join(explain(shown(prover, prover.history()), None))
    assert "renewed what is forbidden: 1 bar(s)" in told


def test_a_history_that_hides_the_revocation_shows_nothing(prover: Prover) -> None:
    world, patient = prover.world, prover.patient
    world.revoke(patient, 0)
    block = prover.block()
    world.append(patient)
    proof = prover.past(block, 0)
    assert verdict(prover, proof) == (False, Reason.REVOKED)
    total = world.chart(patient).events
    hidden = replace(proof, history=prover.history(0, total - 2))
    with pytest.raises(BadProof, match=r"^history: it ends with event 3, and what followed may have decided"):
        shown(prover, hidden)
    with pytest.raises(BadProof, match=r"^history: it begins with event 1"):
        shown(prover, replace(proof, history=prover.history(1, total)))
    world.block()
    with pytest.raises(BadProof, match=r"^history: it is shown at block \d+, and says nothing of block"):
        shown(prover, past.prove(prover.block(), proof.history, 0, 1))


# --- erasures


def test_an_erasure_acknowledged_and_by_whom_not(prover: Prover) -> None:
    world = prover.world
    number = prover.erase([1, 2], [1, 2])
    claim = shown(prover, prover.erasure(number))
    assert isinstance(claim, ErasureClaim)
    assert (claim.ordered.records, claim.receipts, list(claim.owing)) == ((1, 2), (), [0, 1, 2])
    prover.acknowledge(number, 1)
    height = world.head.height
    prover.acknowledge(number, 0)
    world.decide(Remove(2), 0, 1, 3)
    prover.hops = (_end(prover),)
    claim = shown(prover, prover.erasure(number))
    assert claim.receipts == ((0, height + 1), (1, height))
    assert (list(claim.owing), claim.gone, claim.complete) == ([2], (2,), False)
    text = " ".join(explain(claim, world.genesis))
    assert "Laboratory had not acknowledged it" in text
    assert "never will: it was removed" in text
    assert "no copy is left" in text
    assert "gdpr" not in text.lower()


def test_an_erasure_that_all_acknowledged(prover: Prover) -> None:
    number = prover.erase([2], [1, 2])
    for institution in (0, 1, 2):
        prover.acknowledge(number, institution)
    claim = shown(prover, prover.erasure(number))
    assert claim.complete
    assert "Everybody whom the order names as having stored any of them has acknowledged." in explain(claim, None)
    assert "nobody but those named" in explain(claim, None)[-1], "copies that a writer made later are on no ledger"


def test_who_owes_can_be_neither_hidden_nor_made_up(prover: Prover) -> None:
    number = prover.erase([1], [1, 2])
    before = prover.erasure(number)
    prover.acknowledge(number, 1)
    proof = prover.erasure(number)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"erasure": before.erasure}, "state: 3 institutions owe a receipt, and the proof shows 2"),
        ({"erasure": before.erasure, "owing": before.owing}, "state: "),
        ({"owing": proof.owing[::-1]}, "state: the state holds another value at this key, where an institution's leaf"),
        ({"owing": proof.owing[:1]}, "state: 2 institutions owe a receipt, and the proof shows 1"),
        ({"ordered": prover.event(1)}, "state: "),
        ({"ordered": EventShown(number, proof.ordered.event, ())}, "history: "),
        ({"leaf": before.leaf}, "state: "),
        ({"erasure": b"\x90"}, "decoding: "),
        ({"chart": 1}, "state: "),
    ]
    for change, check in cases:
        with pytest.raises(BadProof, match=f"^{check}"):
            shown(prover, replace(proof, **change))
    assert isinstance(proof, ErasureProof)
